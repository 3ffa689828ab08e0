//! Intercom: its people, what they said and did, and how to find and erase one of them.

mod api;
mod stores;
mod subject;

use std::sync::Arc;

use protocol::config::Secret;
use protocol::http::{Client, Request};
use protocol::silo::{Ability, Access, Silo, Store};
use protocol::{Deserialize, JsonSchema, Result, async_trait};

use stores::Object;

/// How to reach a workspace.
#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// # Workspace Name
    ///
    /// The name you give your Intercom workspace; it groups what is read from it.
    #[schemars(extend("order" = 1))]
    workspace: String,
    /// # Access Token
    ///
    /// The access token of your Intercom app, from the Developer Hub.
    #[schemars(extend("order" = 2))]
    access_token: Secret,
    /// # Region
    ///
    /// Where Intercom keeps your workspace's data: us, eu or au. Leave it empty for us.
    #[serde(default)]
    #[schemars(extend("order" = 3))]
    region: Option<Region>,
    /// # Base URL
    ///
    /// Another address of Intercom's API, such as a proxy's. Leave it empty for Intercom's own.
    #[serde(default)]
    #[schemars(extend("order" = 4))]
    base_url: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Region {
    Us,
    Eu,
    Au,
}

impl Region {
    fn base_url(self) -> &'static str {
        match self {
            Region::Us => "https://api.intercom.io",
            Region::Eu => "https://api.eu.intercom.io",
            Region::Au => "https://api.au.intercom.io",
        }
    }
}

/// A workspace.
pub struct Intercom {
    config: Arc<Config>,
    client: Client,
}

impl Intercom {
    /// A client with connections of its own, to look past whatever the first one remembers.
    fn fresh(&self) -> Result<Client> {
        api::client(&self.config)
    }
}

#[async_trait]
impl Silo for Intercom {
    type Config = Config;
    const NAME: &'static str = "Intercom";
    const ABILITIES: &'static [Ability] = &[Ability::Read, Ability::Query, Ability::Delete];

    async fn connect(config: Config, _: Access) -> Result<Intercom> {
        let client = api::client(&config)?;
        // Whose token it is: a wrong one fails here, once, and not in every store.
        client.send(&Request::get("me")).await?;
        Ok(Intercom { config: Arc::new(config), client })
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        let object = |kind| -> Box<dyn Store + '_> { Box::new(Object { silo: self, kind }) };
        Ok(stores::ALL.iter().map(object).collect())
    }

    /// Asks for one record of whatever needs a right of its own.
    async fn validate(&self) -> Result<()> {
        for path in ["contacts", "conversations", "companies", "tags", "data_attributes"] {
            self.client.send(&Request::get(path).query("per_page", 1)).await?;
        }
        Ok(())
    }
}
