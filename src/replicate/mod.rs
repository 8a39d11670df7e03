//! The road up: from a commit to the bucket.
