//! The smallest connector: a store of greetings, one for each name in the configuration.

use protocol::config::Secret;
use protocol::output::Output;
use protocol::silo::{
    Ability, Access, Capabilities, From, Query, Read, Sample, Schema, Silo, Store, StoreId, Subject,
};
use protocol::{Deserialize, JsonSchema, Result, Serialize, async_trait};

#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// # Names
    ///
    /// The people you want to greet.
    names: Vec<String>,
    /// # API Key
    ///
    /// Not used; it shows how a secret is asked for.
    #[serde(default)]
    pub api_key: Option<Secret>,
}

pub struct Hello(Config);

#[async_trait]
impl Silo for Hello {
    type Config = Config;
    const NAME: &'static str = "Hello";
    const ABILITIES: &'static [Ability] = &[Ability::Read, Ability::Query];

    async fn connect(config: Config, _: Access) -> Result<Hello> {
        Ok(Hello(config))
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        Ok(vec![Box::new(Greetings(&self.0.names))])
    }
}

#[derive(Serialize, JsonSchema)]
struct Greeting<'a> {
    name: &'a str,
    greeting: String,
}

struct Greetings<'a>(&'a [String]);

impl Greetings<'_> {
    fn push(&self, out: &mut Output, want: impl Fn(&str) -> bool) -> Result<()> {
        let mut names = self.0.iter().filter(|name| want(name));
        names.try_for_each(|name| out.push(&Greeting { name, greeting: format!("Hello, {name}!") }))
    }
}

#[async_trait]
impl Store for Greetings<'_> {
    fn id(&self) -> StoreId {
        StoreId::named("greetings")
    }

    async fn schema(&self) -> Result<Schema> {
        Ok(Schema::of::<Greeting<'_>>())
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        Greetings(&self.0[..sample.limit.min(self.0.len())]).push(out, |_| true)
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::default().read(self).query(self)
    }
}

#[async_trait]
impl Read for Greetings<'_> {
    async fn read(&self, _: &From<'_>, out: &mut Output) -> Result<()> {
        self.push(out, |_| true)
    }
}

#[async_trait]
impl Query for Greetings<'_> {
    async fn query(&self, subject: &Subject, out: &mut Output) -> Result<()> {
        self.push(out, |name| subject.has("name", name))
    }
}
