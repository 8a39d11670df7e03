//! The local side: one SQLite database.
