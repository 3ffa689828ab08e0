//! A connector that is made of one program: its configuration is the program's own.
//!
//! `cargo xtask new acme --wraps airbyte --command source-acme` writes such a connector. The form
//! that the program printed is kept in the connector's `program.json`, so that it is known where
//! the program is not.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::process::Program;
use super::{Configuration, Foreign, Kept, drawn};
use crate::config::Secret;
use crate::silo::{Ability, Access, Silo, Store};

/// A program that a connector is made of.
pub trait Wraps: Send + Sync + 'static {
    /// The connector's name, for people.
    const NAME: &'static str;

    /// The connector's `program.json`: the program with its arguments as `command`, and the JSON
    /// Schema of its configuration as `form`.
    const PROGRAM: &'static str;
}

/// The connector that is made of the program `W`, which speaks the protocol `P`.
pub struct Named<P, W> {
    foreign: P,
    of: PhantomData<fn() -> W>,
}

#[async_trait]
impl<P: Foreign, W: Wraps> Silo for Named<P, W> {
    type Config = Own<W>;
    const NAME: &'static str = W::NAME;
    const ABILITIES: &'static [Ability] = P::ABILITIES;

    async fn connect(config: Own<W>, _: Access) -> Result<Named<P, W>> {
        let Captured { command, form } = Captured::of::<W>();
        let program = Program::new(&command, None, Duration::from_secs(super::patience()))?;
        let kept = Kept::new(form, config.config, None, program.name())?;
        Ok(Named { foreign: P::new(program, kept), of: PhantomData })
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        self.foreign.stores().await
    }

    async fn validate(&self) -> Result<()> {
        self.foreign.validate().await
    }
}

/// What is known of a program without asking it.
#[derive(Deserialize)]
struct Captured {
    command: Vec<String>,
    form: Value,
}

impl Captured {
    fn of<W: Wraps>() -> Captured {
        serde_json::from_str(W::PROGRAM)
            .context(W::NAME)
            .expect("program.json is a part of the connector, which its first test reads")
    }
}

/// The configuration of the program `W`.
pub struct Own<W> {
    config: Configuration,
    of: PhantomData<fn() -> W>,
}

impl<'de, W: Wraps> Deserialize<'de> for Own<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Own<W>, D::Error> {
        let mut config = Value::deserialize(deserializer)?;
        drawn::filled_in(&Captured::of::<W>().form, &mut config);
        let config = Configuration(Secret::from(config.to_string()));
        Ok(Own { config, of: PhantomData })
    }
}

impl<W: Wraps> JsonSchema for Own<W> {
    fn schema_name() -> Cow<'static, str> {
        W::NAME.into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let form = drawn::form(&Captured::of::<W>().form);
        Schema::try_from(form).expect("a form is an object")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use serde_json::json;

    struct Shop;

    impl Wraps for Shop {
        const NAME: &'static str = "Shop";
        const PROGRAM: &'static str = r#"{"command": ["source-shop"], "form": {
            "required": ["login"], "properties": {"login": {"oneOf": [
                {"properties": {"kind": {"const": "key"}, "key": {"type": "string", "airbyte_secret": true}}},
                {"properties": {"kind": {"const": "none"}}}]}}}}"#;
    }

    #[test]
    fn the_form_is_the_programs_and_what_is_filled_in_reaches_it() {
        let form = config::form::<Own<Shop>>();
        assert_eq!(form["required"], json!(["login"]));
        assert_eq!(form["properties"]["login"]["secret"], true);
        let read = |config| config::read::<Own<Shop>>(config).unwrap().config.value();
        let login = json!({"kind": "key", "key": "wxyz1234"});
        assert_eq!(read(json!({"login": login.to_string()})), json!({ "login": login }));
        assert_eq!(read(json!({"login": login, "more": 1})), json!({"login": login, "more": 1}));
    }
}
