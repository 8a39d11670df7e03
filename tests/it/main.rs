//! The house seen from outside: the real binary, real processes and signals, a real S3 server, the real Litestream.
//!
//! Run with `scripts/test`, which starts the server and says where it is. A test that cannot run fails; none is skipped.

#![expect(clippy::disallowed_methods, reason = "these tests are outside of the program, and wait for it")]

mod harness;

mod absent;
mod boot;
mod cluster;
mod configuration;
mod control;
mod copy;
mod crash;
mod deploys;
mod directories;
mod doctor;
mod doubt;
mod environment;
mod examples;
mod exit_codes;
mod follow;
mod health;
mod help;
mod hostile;
mod idle;
mod interop;
mod layers;
mod litefs;
mod local;
mod marks;
mod migration;
mod moved;
mod names;
mod overwritten;
mod packages;
mod page;
mod permissions;
mod points;
mod proxy;
mod seed_story;
mod several;
mod shipping;
mod soak;
mod stderr;
mod streams;
mod supervision;
mod verify;
mod versions;
