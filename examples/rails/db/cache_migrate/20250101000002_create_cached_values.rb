class CreateCachedValues < ActiveRecord::Migration[6.1]
  def change
    create_table(:cached_values) do |t|
      t.text :key, null: false
      t.text :value, null: false
    end
  end
end
