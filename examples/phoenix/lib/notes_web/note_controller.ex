defmodule NotesWeb.NoteController do
  use Phoenix.Controller, formats: [:json]
  import Ecto.Query, only: [from: 2]
  alias Notes.{Note, Repo}

  def up(conn, _params), do: json(conn, "up")

  def index(conn, _params) do
    json(conn, Repo.all(from n in Note, order_by: n.id, select: n.text))
  end

  def create(conn, %{"text" => text}) do
    Repo.insert!(%Note{text: text})
    conn |> put_status(:created) |> json("created")
  end
end
