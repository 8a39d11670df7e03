//! SQLite's own files and connections.
