# One node of a cluster of Erlang nodes that counts, by the documented rules of elixir_litefs: the node without a `.primary` beside its
# database is the primary; a write is made there, and then this node waits until its own position has moved.
#
#   elixir counter.exs DB SHARED NAME PYTHON HELPER COUNT
#
# SHARED is a directory that all nodes of the test have. For each file `phase-N` there every node counts COUNT times, notes each number
# that it was given in `counted`, and writes `done-N-NAME` when it reads the sum of all nodes itself.

defmodule Db do
  use GenServer

  def start(python, helper, db) do
    {:ok, _} = GenServer.start(__MODULE__, {python, helper, db}, name: __MODULE__)
  end

  # What the helper answers: {:ok, number}, or {:error, why}.
  def ask(what), do: GenServer.call(__MODULE__, what, 30_000)

  def init({python, helper, db}) do
    {:ok, Port.open({:spawn_executable, python}, [:binary, {:line, 4096}, args: ["-u", helper, db]])}
  end

  def handle_call(what, _from, port) do
    Port.command(port, what <> "\n")

    receive do
      {^port, {:data, {:eol, "ok " <> number}}} -> {:reply, {:ok, String.to_integer(number)}, port}
      {^port, {:data, {:eol, why}}} -> {:reply, {:error, why}, port}
    end
  end
end

defmodule Rules do
  def set(db), do: :persistent_term.put(:db, db)

  def primary?(), do: not File.exists?(Path.join(Path.dirname(db()), ".primary"))

  def position() do
    [txid, _checksum] = File.read!(db() <> "-pos") |> String.trim() |> String.split("/")
    {number, ""} = Integer.parse(txid, 16)
    number
  end

  # Every node is asked, so that two of them would be noticed.
  def primaries() do
    Enum.filter([node() | Node.list()], &(:rpc.call(&1, __MODULE__, :primary?, []) == true))
  end

  def write(primary, what) do
    before = position()
    answer = :rpc.call(primary, Db, :ask, [what])

    case {answer, :rpc.call(primary, __MODULE__, :position, [])} do
      {{:ok, _}, there} when there != before -> wait(before, System.monotonic_time(:millisecond) + 5_000, 20)
      _ -> :nothing_to_wait_for
    end

    answer
  end

  defp wait(before, until, pause) do
    cond do
      position() > before -> :ok
      System.monotonic_time(:millisecond) > until -> :too_late
      true ->
        Process.sleep(:rand.uniform(pause))
        wait(before, until, min(1_000, pause * 2))
    end
  end

  defp db(), do: :persistent_term.get(:db)
end

defmodule Counter do
  def run(shared, name, count) do
    until(fn -> length(Node.list()) == 2 end)

    for phase <- 1..2 do
      until(fn -> File.exists?(Path.join(shared, "phase-#{phase}")) end)
      Enum.reduce(1..count, find(shared), fn _, primary -> count_once(shared, name, primary) end)
      until(fn -> Db.ask("read") == {:ok, 3 * count * phase} end)
      File.write!(Path.join(shared, "done-#{phase}-#{name}"), "")
    end

    Process.sleep(:infinity)
  end

  # The library looks for the primary every 30 seconds; this one when it was refused.
  defp count_once(shared, name, primary) do
    case Rules.write(primary, "count") do
      {:ok, number} ->
        note(shared, "counted", "#{name} #{number}")
        {:ok, seen} = Db.ask("read")
        if seen < number, do: note(shared, "late", "#{name} #{number} #{seen}")
        primary

      _refused ->
        Process.sleep(50)
        count_once(shared, name, find(shared))
    end
  end

  defp find(shared) do
    case Rules.primaries() do
      [one] -> one
      [] ->
        Process.sleep(50)
        find(shared)

      several ->
        note(shared, "several", inspect(several))
        hd(several)
    end
  end

  defp note(shared, file, line), do: File.write!(Path.join(shared, file), line <> "\n", [:append])

  defp until(condition) do
    unless condition.() do
      Process.sleep(20)
      until(condition)
    end
  end
end

[db, shared, name, python, helper, count] = System.argv()
Rules.set(db)
Db.start(python, helper, db)
if Rules.primary?(), do: {:ok, _} = Db.ask("create")

spawn(fn ->
  # Also who comes later is met.
  Enum.each(Stream.cycle(~w(a b c)), fn other ->
    Node.connect(:"#{other}@127.0.0.1")
    Process.sleep(50)
  end)
end)

Counter.run(shared, name, String.to_integer(count))
