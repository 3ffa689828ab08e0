//! Intercom's own rules: version, rate limits, error codes.
//!
//! <https://developers.intercom.com/docs/references/introduction>

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::Result;
use protocol::http::{
    Bearer, Client, HeaderMap, HeaderName, HeaderValue, Limits, Settings, Told, Window,
};
use serde_json::Value;

use crate::{Config, Region};

/// The version of the API that the stores are described in. Conversations and tickets can be
/// deleted since 2.13.
const VERSION: &str = "2.14";

/// An app may ask 10,000 times a minute, spread over stretches of ten seconds.
const LIMITS: Limits = Limits {
    concurrency: 10,
    windows: &[Window { requests: 1_600, per: Duration::from_secs(10) }],
    told,
};

pub(crate) fn client(config: &Config) -> Result<Client> {
    let own = config.region.unwrap_or(Region::Us).base_url();
    let base = config.base_url.clone().unwrap_or_else(|| own.to_owned());
    Client::new(Settings {
        // Lists of events link to their next page by Intercom's own address.
        aliases: [Region::Us, Region::Eu, Region::Au].map(|r| r.base_url().to_owned()).to_vec(),
        auth: Box::new(Bearer(config.access_token.clone())),
        credential: "`access_token`",
        headers: vec![(
            HeaderName::from_static("intercom-version"),
            HeaderValue::from_static(VERSION),
        )],
        limits: LIMITS,
        explain,
        ..Settings::to(base)
    })
}

/// `X-RateLimit-Remaining`, and the second at which `X-RateLimit-Reset` gives room again.
fn told(headers: &HeaderMap) -> Option<Told> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let remaining = text("x-ratelimit-remaining")?.parse().ok()?;
    let reset: u64 = text("x-ratelimit-reset")?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    // No window is longer than a minute, whatever the two clocks say.
    Some(Told { remaining, reset: Duration::from_secs(reset.saturating_sub(now).min(60)) })
}

/// The code of the first error: a word of Intercom's own vocabulary.
fn explain(body: &[u8], _: bool) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let code = body.pointer("/errors/0/code")?.as_str()?;
    let plain = code.len() <= 60 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    plain.then(|| code.to_owned())
}
