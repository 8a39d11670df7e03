require_relative "boot"
require "logger"
require "rails"
require "active_record/railtie"
require "action_controller/railtie"

module Notes
  class Application < Rails::Application
    config.load_defaults Rails::VERSION::STRING.to_f
    config.api_only = true
  end
end
