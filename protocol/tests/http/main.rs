//! What `protocol::http` promises, against a server on loopback that misbehaves as real ones do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod lists;
mod oauth2;
mod pages;
mod requests;
mod tools;
