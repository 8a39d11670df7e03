defmodule NotesWeb.Router do
  use Phoenix.Router

  get "/up", NotesWeb.NoteController, :up
  get "/notes", NotesWeb.NoteController, :index
  post "/notes", NotesWeb.NoteController, :create
end
