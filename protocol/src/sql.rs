//! What SQL silos share: forms, dialects, statements, types, the catalog, reading in order, samples,
//! and room for records.
//!
//! A database brings its driver and its catalog queries, and writes its own rows straight into the
//! output: there is no row, value or column trait here. Names are quoted and values are
//! parameters, always.

pub mod catalog;
pub mod dialect;
pub mod erase;
pub mod order;
pub mod record;
pub mod sample;
pub mod server;
pub mod statement;
pub mod types;
pub mod write;
