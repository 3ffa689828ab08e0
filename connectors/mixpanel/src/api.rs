//! Mixpanel's own rules: hosts, credentials, rate limits, and the lexicon, which is asked for once.
//!
//! <https://docs.mixpanel.com/reference/overview>

use std::time::{Duration, Instant, SystemTime};

use protocol::Result;
use protocol::fault::Fault;
use protocol::http::{Auth, Basic, Bearer, Client, Limits, Request, Settings, Window};
use serde_json::Value;

use crate::{Config, Region};

/// The clients of a project: one for each of Mixpanel's APIs, because each has its own limits.
pub(crate) struct Api {
    /// Retrievals and deletions.
    pub(crate) gdpr: Client,
    account: Option<Account>,
}

/// What a service account can ask for.
pub(crate) struct Account {
    pub(crate) project: String,
    /// Profiles and what they did.
    pub(crate) query: Client,
    /// Raw events.
    pub(crate) export: Client,
    /// The lexicon, as Mixpanel gave it.
    pub(crate) lexicon: Vec<u8>,
    /// What time it was on the other side when it gave the lexicon, and here.
    clocks: (SystemTime, Instant),
}

impl Account {
    /// What time it is on the other side: days end by its clock, not by this machine's.
    pub(crate) fn now(&self) -> SystemTime {
        self.clocks.0 + self.clocks.1.elapsed()
    }
}

const fn limits(concurrency: usize, windows: &'static [Window]) -> Limits {
    Limits { concurrency, windows, told: |_| None }
}

const GDPR: Limits = limits(1, &[Window::second(1)]);
const QUERY: Limits = limits(5, &[Window::hour(60)]);
const EXPORT: Limits = limits(3, &[Window::second(3), Window::hour(60)]);
const APP: Limits = limits(1, &[Window::minute(5)]);

impl Api {
    /// Makes the clients, and asks for the lexicon: a service account that is not right fails here.
    pub(crate) async fn connect(config: &Config) -> Result<Api> {
        let (main, data) = hosts(config.region.unwrap_or(Region::Us));
        let base = |own: &str| config.base_url.clone().unwrap_or_else(|| own.to_owned());
        let client = |own, auth, credential, limits| {
            Client::new(Settings {
                auth,
                credential,
                limits,
                explain,
                // Exports of years take their time to begin.
                idle: Duration::from_secs(300),
                whole: Duration::from_secs(300),
                ..Settings::to(base(own))
            })
        };
        let oauth: Box<dyn Auth> = Box::new(Bearer(config.oauth_secret.clone()));
        let gdpr = client(main, oauth, "`oauth_secret`", GDPR)?;
        let (Some(project), Some(username), Some(password)) = (
            &config.project_id,
            &config.service_account_username,
            &config.service_account_password,
        ) else {
            return Ok(Api { gdpr, account: None });
        };
        let basic = |own, limits| {
            let (username, password) = (username.clone(), password.clone());
            let auth: Box<dyn Auth> = Box::new(Basic { username, password });
            client(own, auth, "`service_account_username` or `service_account_password`", limits)
        };
        let schemas = Request::get("api/app/projects/{project}/schemas");
        let reply = basic(main, APP)?.send(&schemas.part("project", project.as_str())).await?;
        // It must be what it should be before anything else is asked.
        reply.records("/results")?;
        let clocks = (reply.date().unwrap_or_else(SystemTime::now), Instant::now());
        let lexicon = reply.body;
        let (query, export) = (basic(main, QUERY)?, basic(data, EXPORT)?);
        let account = Some(Account { project: project.clone(), query, export, lexicon, clocks });
        Ok(Api { gdpr, account })
    }

    /// What the service account can ask for, or what to fill in.
    pub(crate) fn account(&self) -> Result<&Account> {
        self.account.as_ref().ok_or_else(|| {
            Fault::config(
                "fill in `project_id`, `service_account_username` and `service_account_password`",
            )
            .into()
        })
    }
}

fn hosts(region: Region) -> (&'static str, &'static str) {
    match region {
        Region::Us => ("https://mixpanel.com", "https://data.mixpanel.com"),
        Region::Eu => ("https://eu.mixpanel.com", "https://data-eu.mixpanel.com"),
        Region::In => ("https://in.mixpanel.com", "https://data-in.mixpanel.com"),
    }
}

/// Mixpanel says what is wrong in free text, which may repeat what it was asked for.
fn explain(body: &[u8], private: bool) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok().filter(|_| !private)?;
    body.get("error")?.as_str().map(str::to_owned)
}
