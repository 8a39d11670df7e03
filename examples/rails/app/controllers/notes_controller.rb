class NotesController < ActionController::API
  def up
    render json: "up".to_json
  end

  def index
    render json: Note.order(:id).pluck(:text)
  end

  # One request that writes to all three databases.
  def create
    note = Note.create!(text: params.require(:text))
    QueuedJob.create!(name: "index_note", argument: note.id)
    CachedValue.create!(key: "note/#{note.id}", value: note.text)
    render json: "created".to_json, status: :created
  end
end
