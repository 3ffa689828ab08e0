//! The guests of one account and their visits: read, found by an address, erased.

mod guests;
mod visits;

use std::time::Duration;

use protocol::config::Secret;
use protocol::http::{Bearer, Client, Limits, Request, Settings, Window};
use protocol::silo::{Ability, Access, Silo, Store};
use protocol::{Deserialize, JsonSchema, Result, async_trait};

use guests::Guests;
use visits::Visits;

const BASE_URL: &str = "https://api.example.com";

/// What the vendor allows: how many requests at once, and how many in a while.
const LIMITS: Limits = Limits {
    concurrency: 16,
    windows: &[Window { requests: 100_000, per: Duration::from_secs(60) }],
    told: |_| None,
};

/// How to reach an account.
#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// # API Key
    ///
    /// A key that may read guests, and delete them if that is what you want.
    api_key: Secret,
    /// # Base URL
    ///
    /// Another address of the API, such as a proxy's. Leave it empty for the vendor's own.
    #[serde(default)]
    base_url: Option<String>,
}

/// An account.
pub struct Guestbook {
    config: Config,
    client: Client,
}

impl Guestbook {
    /// A client with connections of its own.
    fn client(config: &Config) -> Result<Client> {
        let base = config.base_url.clone().unwrap_or_else(|| BASE_URL.to_owned());
        Client::new(Settings {
            auth: Box::new(Bearer(config.api_key.clone())),
            credential: "`api_key`",
            limits: LIMITS,
            ..Settings::to(base)
        })
    }
}

#[async_trait]
impl Silo for Guestbook {
    type Config = Config;
    const NAME: &'static str = "Guestbook";
    const ABILITIES: &'static [Ability] = &[Ability::Read, Ability::Query, Ability::Delete];

    async fn connect(config: Config, _: Access) -> Result<Guestbook> {
        let client = Guestbook::client(&config)?;
        // A wrong key fails here, once, and not in every store.
        client.send(&Request::get("v1/account")).await?;
        Ok(Guestbook { config, client })
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        Ok(vec![Box::new(Guests(self)), Box::new(Visits(self))])
    }
}
