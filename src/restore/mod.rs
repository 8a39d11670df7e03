//! The road down: from the bucket to a database file.
