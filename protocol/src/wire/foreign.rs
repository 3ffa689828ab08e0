//! Programs that speak another protocol, wrapped: each is a [`Silo`], so that
//! what they reach can be discovered, scanned, read and asked about as if it were ours.
//!
//! | program | validate | discover, scan | read | query | delete |
//! | --- | --- | --- | --- | --- | --- |
//! | Airbyte source | its `check` | its catalog; the first records | full, or on from its state | a filter over a full read | |
//! | Singer tap | a discovery | its catalog; the first records | full, or on from its state | a filter over a full read | |
//! | Monoid connector | its own | its own | | its own | its own, looked at afresh |
//!
//! A program is started as a command, or as an image through the container engine that is
//! installed. Each store is read by a run of its own, so that its state is its own and its failure
//! concerns it alone. Records stay raw JSON: what is not declared is kept, and what is declared and
//! not there is null. A state is kept as the program wrote it, and handed on only once a record
//! came after it or the program has ended well.
//!
//! A query through such a program reads the whole store and keeps the subject's records. The
//! store's schema says so (`"query": "full-read"`), and so does the result (`full_read` in its
//! `data`). Erasing has no form in Airbyte and Singer, and is never claimed for them.

pub mod airbyte;
mod drawn;
mod form;
mod lines;
mod mending;
pub mod monoid;
pub mod named;
mod process;
mod record;
mod relay;
mod schema;
pub mod singer;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::config::{self, Secret};
use crate::fault::Fault;
use crate::silo::{Ability, Access, Silo, Store};
use process::Program;

pub(crate) use process::end_all;

/// What a protocol makes of a program that speaks it and its configuration.
#[async_trait]
pub trait Foreign: Sized + Send + Sync + 'static {
    /// What people call such programs.
    const NAME: &'static str;

    /// Everything the stores of one can ever do.
    const ABILITIES: &'static [Ability];

    /// Asks a program for the form of its configuration: null where it has none.
    async fn form(program: &Program) -> Result<Value>;

    /// A program with a configuration that fits its form.
    fn new(program: Program, kept: Kept) -> Self;

    /// What it reaches.
    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>>;

    /// Its own check.
    async fn validate(&self) -> Result<()>;
}

/// Any program that speaks a protocol: the configuration names it.
pub struct Any<P>(P);

#[async_trait]
impl<P: Foreign> Silo for Any<P> {
    type Config = Settings;
    const NAME: &'static str = P::NAME;
    const ABILITIES: &'static [Ability] = P::ABILITIES;

    async fn connect(config: Settings, _: Access) -> Result<Any<P>> {
        let program = config.program()?;
        let form = P::form(&program).await?;
        let kept = Kept::new(form, config.config, Some("config"), program.name())?;
        Ok(Any(P::new(program, kept)))
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        self.0.stores().await
    }

    async fn validate(&self) -> Result<()> {
        self.0.validate().await
    }
}

/// How a foreign program is started, and its own configuration.
#[derive(Deserialize, JsonSchema)]
pub struct Settings {
    /// # Command
    ///
    /// The program you want to use and its arguments, one an entry. Leave it empty if you name an image.
    #[serde(default)]
    command: Vec<String>,
    /// # Image
    ///
    /// The image you want to use instead of a command. Docker or Podman has to be installed where the connector runs.
    #[serde(default)]
    image: Option<String>,
    /// # Configuration
    ///
    /// The program's own configuration, as JSON.
    config: Configuration,
    /// # Patience
    ///
    /// How many seconds the program may say nothing before it counts as hung and is stopped.
    #[serde(default = "patience")]
    #[schemars(range(min = 1))]
    patience: u64,
}

fn patience() -> u64 {
    600
}

impl Settings {
    /// The program.
    fn program(&self) -> Result<Program> {
        let patience = Duration::from_secs(self.patience.max(1));
        Program::new(&self.command, self.image.as_deref(), patience)
    }
}

/// A program's own configuration: an object, or the text of one. Kept as it was written.
#[derive(Clone)]
pub struct Configuration(Secret);

impl Configuration {
    /// The text, for the file that the program reads.
    fn text(&self) -> &str {
        self.0.reveal()
    }

    /// What it holds.
    fn value(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Configuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Configuration, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            value => value.to_string(),
        };
        match serde_json::from_str(&text) {
            Ok(Value::Object(_)) => Ok(Configuration(Secret::from(text))),
            _ => Err(serde::de::Error::custom("must be a JSON object, or the text of one")),
        }
    }
}

impl JsonSchema for Configuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Secret::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Secret::json_schema(generator)
    }
}

/// A program's configuration, which it may replace, and the form of it.
pub struct Kept {
    form: Value,
    config: Mutex<Configuration>,
    /// The field of ours that holds it, where it is not ours as a whole.
    field: Option<&'static str>,
}

impl Kept {
    /// Keeps a configuration that fits the program's form. Its secrets are in no log line from now
    /// on.
    fn new(
        form: Value,
        config: Configuration,
        field: Option<&'static str>,
        program: &str,
    ) -> Result<Kept, Fault> {
        let value = config.value();
        form::hide(&form, &value);
        match form::misfit(&form, &value) {
            Some(misfit) => {
                let place = field.map(|field| format!("`{field}`: ")).unwrap_or_default();
                Err(Fault::config(format!("{place}{misfit}, by the form of {program}")))
            }
            None => Ok(Kept { form, config: Mutex::new(config), field }),
        }
    }

    /// The text, as the program or its user wrote it last.
    fn text(&self) -> String {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.text().to_owned()
    }

    /// Takes up a configuration that the program wrote, and hands it to whoever keeps ours.
    fn replace(&self, text: String) -> Result<()> {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = Configuration(Secret::from(text));
        let (old, new) = (config.value(), changed.value());
        let Some(members) = new.as_object().filter(|_| new != old) else { return Ok(()) };
        form::hide(&self.form, &new);
        match self.field {
            Some(field) => config::rotated(field)(&changed.0)?,
            None => {
                for (name, value) in members.iter().filter(|(name, value)| old[*name] != **value) {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    config::rotated(name)(&Secret::from(text))?;
                }
            }
        }
        *config = changed;
        Ok(())
    }
}
