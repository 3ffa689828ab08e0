//! Erasure on SQLite: known databases, generated ones against an oracle, and what may go wrong.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod chinook;
mod generated;
mod harness;
mod oracle;
mod promises;
