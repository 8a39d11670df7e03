Rails.application.configure do
  config.eager_load = true
  config.logger = ActiveSupport::Logger.new($stdout)
  config.log_level = :info
  # The databases are made by the migrations; a file that a deploy would write is of no use.
  config.active_record.dump_schema_after_migration = false
end
