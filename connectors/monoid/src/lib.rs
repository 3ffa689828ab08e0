//! Any Monoid connector, wrapped: the connector's configuration names the program.

pub use protocol::wire::foreign::monoid::Monoid;
