defmodule Notes.Note do
  use Ecto.Schema

  schema "notes" do
    field :text, :string
  end
end
