//! Erasure on SQLite: what every database is held to, and what may go wrong with a file.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;
mod killed;
mod promises;

protocol::erasure!(crate::harness::Database, 600);
