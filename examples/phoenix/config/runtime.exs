import Config

config :notes, Notes.Repo,
  # The path that litestream.yml has as well.
  database: System.fetch_env!("DATABASE_PATH"),
  pool_size: String.to_integer(System.get_env("POOL_SIZE", "5")),
  journal_mode: :wal,
  # A writer waits for another one, in milliseconds.
  busy_timeout: 5000

config :notes, NotesWeb.Endpoint,
  server: true,
  http: [port: String.to_integer(System.get_env("PORT", "8080"))],
  secret_key_base: System.fetch_env!("SECRET_KEY_BASE")
