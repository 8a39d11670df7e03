defmodule Notes.Application do
  use Application

  @impl true
  def start(_type, _args) do
    children = [Notes.Repo, NotesWeb.Endpoint]
    Supervisor.start_link(children, strategy: :one_for_one, name: Notes.Supervisor)
  end
end
