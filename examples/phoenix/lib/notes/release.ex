defmodule Notes.Release do
  @moduledoc "What a release can do without Mix: `bin/notes eval Notes.Release.migrate`."

  def migrate do
    Application.load(:notes)

    for repo <- Application.fetch_env!(:notes, :ecto_repos) do
      {:ok, _, _} = Ecto.Migrator.with_repo(repo, &Ecto.Migrator.run(&1, :up, all: true))
    end
  end
end
