//! Any Singer tap, wrapped: the connector's configuration names the program.

pub use protocol::wire::foreign::singer::Singer;
