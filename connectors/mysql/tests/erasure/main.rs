//! Erasure on InnoDB: what every database is held to, and what only this one has.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;
mod others;
mod own;
#[path = "../server/mod.rs"]
mod server;

protocol::erasure!(crate::harness::Database, 100);
protocol::erasure_faults!(crate::harness::Database);
