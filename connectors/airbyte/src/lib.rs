//! Any Airbyte source, wrapped: the connector's configuration names the program.

pub use protocol::wire::foreign::airbyte::Airbyte;
