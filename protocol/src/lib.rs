//! What every Manifold connector is built on: messages, traits, output and the runner.
//!
//! A connector implements [`silo::Silo`] and [`silo::Store`], opts into further abilities with
//! [`silo::Capabilities`], pushes what it reads into an [`output::Output`], and hands itself to
//! [`runner::main`]. `README.md` beside this crate's manifest is the map.

#![warn(missing_docs)]

pub mod config;
pub mod fault;
pub mod json;
pub mod log;
pub mod message;
pub mod output;
pub mod runner;
mod runtime;
pub mod select;
pub mod silo;
mod sops;
pub mod wire;

#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "sql")]
pub mod sql;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;

pub use anyhow::{self, Context, Result, bail};
pub use async_trait::async_trait;
pub use schemars::JsonSchema;
pub use serde::{Deserialize, Serialize};
