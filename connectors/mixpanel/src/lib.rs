//! Mixpanel: profiles, events and the lexicon, and what it retrieves and deletes of a person.

mod activity;
mod api;
mod archive;
mod date;
mod jobs;
mod lexicon;
mod user;

use protocol::config::Secret;
use protocol::silo::{Ability, Access, Silo, Store, StoreId};
use protocol::{Deserialize, JsonSchema, Result, async_trait, log};

use serde_json::Value;
use tokio::sync::OnceCell;

use api::Api;

/// How to reach a project.
#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// # Project Name
    ///
    /// The name you give your Mixpanel project; it groups what is read from it.
    project_name: String,
    /// # Project Token
    ///
    /// The token of your project, from its settings.
    project_token: String,
    /// # Project ID
    ///
    /// The number of your project, from its settings; needed for everything but GDPR requests.
    #[serde(default)]
    project_id: Option<String>,
    /// # Service Account Username
    ///
    /// The name of a service account of your project; needed for everything but GDPR requests.
    #[serde(default)]
    service_account_username: Option<String>,
    /// # Service Account Password
    ///
    /// The secret of that service account.
    #[serde(default)]
    service_account_password: Option<Secret>,
    /// # GDPR OAuth Secret
    ///
    /// Your OAuth token for Mixpanel's GDPR API, from the settings of your account.
    oauth_secret: Secret,
    /// # API Secret
    ///
    /// The secret of your project, which opens the archives that Mixpanel makes.
    api_secret: Secret,
    /// # Region
    ///
    /// Where Mixpanel keeps your project's data: us, eu or in. Leave it empty for us.
    #[serde(default)]
    region: Option<Region>,
    /// # Base URL
    ///
    /// Another address for all of Mixpanel's hosts, such as a proxy's. Leave it empty for its own.
    #[serde(default)]
    base_url: Option<String>,
    /// # Start Date
    ///
    /// The first day whose events you want, such as 2024-01-31. Leave it empty for all.
    #[serde(default)]
    start_date: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Region {
    Us,
    Eu,
    In,
}

/// A project.
pub struct Mixpanel {
    config: Config,
    api: Api,
    /// What profiles look like, once it was asked for.
    profiles: OnceCell<Value>,
}

impl Mixpanel {
    fn id(&self, name: &str) -> StoreId {
        StoreId::new(Some(self.config.project_name.clone()), name)
    }
}

#[async_trait]
impl Silo for Mixpanel {
    type Config = Config;
    const NAME: &'static str = "Mixpanel";
    const ABILITIES: &'static [Ability] = &[Ability::Read, Ability::Query, Ability::Delete];

    async fn connect(config: Config, _: Access) -> Result<Mixpanel> {
        date::start(config.start_date.as_deref())?;
        let api = Api::connect(&config).await?;
        Ok(Mixpanel { config, api, profiles: OnceCell::new() })
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        let mut stores: Vec<Box<dyn Store + '_>> = vec![Box::new(activity::Activity(self))];
        match self.api.account() {
            Ok(_) => {
                stores.push(Box::new(user::User(self)));
                stores.push(Box::new(lexicon::Lexicon(self)));
            }
            Err(error) => log::warn(format_args!("User and Lexicon are left out: {error}")),
        }
        Ok(stores)
    }

    /// Asks for a retrieval that cannot be there, to see that the GDPR API takes the token.
    async fn validate(&self) -> Result<()> {
        self.api.account()?;
        jobs::may_ask(self).await
    }
}
