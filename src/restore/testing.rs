//! Replicas for the tests of this module and of those above it.

pub mod golden;
pub mod history;
