import Config

config :notes, ecto_repos: [Notes.Repo]

config :notes, NotesWeb.Endpoint,
  adapter: Bandit.PhoenixAdapter,
  render_errors: [formats: [json: NotesWeb.ErrorJSON], layout: false]

config :phoenix, :json_library, Jason
