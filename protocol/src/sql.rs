//! What SQL silos share: dialects, statements, types, the catalog, and reading in order.
//!
//! A database brings its driver and its catalog queries, and writes its own rows straight into the
//! output: there is no row, value or column trait here. Names are quoted and values are
//! parameters, always.

pub mod catalog;
pub mod dialect;
pub mod erase;
pub mod order;
pub mod statement;
pub mod types;
