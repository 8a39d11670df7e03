//! The status board: what each database has captured and what the bucket has confirmed.
