//! The smallest connector.

fn main() {}
