//! Erasure on PostgreSQL: what every database is held to, and what only this one has.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod harness;
mod others;
mod own;

protocol::erasure!(crate::harness::Database, 150);
protocol::erasure_faults!(crate::harness::Database);
