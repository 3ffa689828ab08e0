//! What the binary says to platforms: the same file read and written through each foreign protocol.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod airbyte;
mod flow;
mod flow_client;
mod left_out;
mod program;
mod singer;
mod stalled;
