//! What the tests share: a database of their own, and runs of the connector.

// Each test file uses some of it.
#![expect(dead_code, unused_imports, reason = "every test file compiles all of it, and uses some")]

mod program;
mod server;

pub(crate) use program::{Run, call, chosen, start};
pub(crate) use server::{Database, Server};
