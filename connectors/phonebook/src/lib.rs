//! A program that is wrapped, as a connector of its own.

use protocol::wire::foreign::named::{Named, Wraps};

/// The connector.
pub type Phonebook = Named<protocol::wire::foreign::airbyte::Source, Program>;

/// The program.
pub struct Program;

impl Wraps for Program {
    const NAME: &'static str = "Phonebook";
    const PROGRAM: &'static str = include_str!("../program.json");
}
