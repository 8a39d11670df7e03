//! litestream.yml + env + flags → typed Options.
