threads 3, 3
port ENV.fetch("PORT", 8080)
# Requests that are under way at a stop have so long, within `grace` of litestream.yml.
force_shutdown_after 10
