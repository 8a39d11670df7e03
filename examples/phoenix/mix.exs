defmodule Notes.MixProject do
  use Mix.Project

  def project do
    [
      app: :notes,
      version: "0.1.0",
      elixir: "~> 1.14",
      start_permanent: Mix.env() == :prod,
      deps: deps()
    ]
  end

  def application do
    [mod: {Notes.Application, []}, extra_applications: [:logger]]
  end

  defp deps do
    [
      {:phoenix, "1.7.21"},
      {:ecto_sql, "3.12.1"},
      {:ecto_sqlite3, "0.19.0"},
      {:jason, "1.4.4"},
      {:bandit, "1.6.11"}
    ]
  end
end
