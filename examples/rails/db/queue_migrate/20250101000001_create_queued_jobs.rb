class CreateQueuedJobs < ActiveRecord::Migration[6.1]
  def change
    create_table(:queued_jobs) do |t|
      t.text :name, null: false
      t.integer :argument, null: false
    end
  end
end
