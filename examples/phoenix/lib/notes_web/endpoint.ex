defmodule NotesWeb.Endpoint do
  use Phoenix.Endpoint, otp_app: :notes

  plug Plug.Parsers, parsers: [:json], json_decoder: Jason
  plug NotesWeb.Router
end
