//! OAuth 2: access tokens fetched once for all who wait, and renewed in time (RFC 6749, 7523).

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::auth::{Auth, Basic, Signature, secret};
use super::client::{Client, Draft, Settings};
use super::jwt::ServiceAccount;
use super::request::Request;
use super::retry::Verdict;
use crate::config::Secret;
use crate::fault::Fault;
use crate::log;

/// How long a token must still be good to be used.
const MARGIN: Duration = Duration::from_secs(60);

/// How long a token is good for where the vendor does not say.
const LIFE: Duration = Duration::from_secs(3600);

/// How long everybody gets the same failure before the token is asked for again.
const BACKOFF: Duration = Duration::from_secs(5);

/// What an access token is given for.
pub enum Grant {
    /// The client's own credentials.
    ClientCredentials,
    /// A refresh token, which a person once agreed to.
    Refresh(Secret),
    /// A person's name and password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token that a service account signs.
    Assertion(Box<ServiceAccount>),
}

/// How the client's own credentials are presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// In the `Authorization` header, as RFC 6749 prefers.
    Header,
    /// In the form.
    Form,
}

/// What is done with a refresh token that replaces the one before it.
type Rotated = Box<dyn Fn(&Secret) -> Result<()> + Send + Sync>;

/// Fetches and renews access tokens.
pub struct OAuth2 {
    client: Client,
    path: &'static str,
    id: Option<(String, Secret)>,
    present: Present,
    scope: Option<String>,
    rotated: Rotated,
    state: Mutex<State>,
}

struct State {
    grant: Grant,
    token: Option<Token>,
    /// Counts tokens, so that it is known which one was refused.
    number: u64,
    failed: Option<(Instant, Fault)>,
}

struct Token {
    value: Secret,
    fresh_until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<f64>,
    #[serde(default)]
    refresh_token: Option<String>,
}

impl OAuth2 {
    /// Tokens from the endpoint at `path` below the base of `settings`.
    pub fn new(settings: Settings, path: &'static str, grant: Grant) -> Result<OAuth2> {
        let settings = Settings { judge, explain, ..settings };
        Ok(OAuth2 {
            client: Client::new(settings)?,
            path,
            id: None,
            present: Present::Header,
            scope: None,
            rotated: Box::new(crate::config::rotated("refresh_token")),
            state: Mutex::new(State { grant, token: None, number: 0, failed: None }),
        })
    }

    /// The same with the client's own credentials.
    pub fn id(self, id: impl Into<String>, secret: Secret, present: Present) -> OAuth2 {
        OAuth2 { id: Some((id.into(), secret)), present, ..self }
    }

    /// The same with a scope.
    pub fn scope(self, scope: impl Into<String>) -> OAuth2 {
        OAuth2 { scope: Some(scope.into()), ..self }
    }

    /// The same with what is done with a refresh token that replaces the one before it. It is done
    /// before the new one is used; until then the old one is what a person would have to mend.
    pub fn rotated(
        self,
        rotated: impl Fn(&Secret) -> Result<()> + Send + Sync + 'static,
    ) -> OAuth2 {
        OAuth2 { rotated: Box::new(rotated), ..self }
    }

    /// A token that is good, or a new one. Whoever comes while one is fetched waits for that one.
    async fn fresh(&self, state: &mut State) -> Result<()> {
        let now = Instant::now();
        if state.token.as_ref().is_some_and(|token| now < token.fresh_until) {
            return Ok(());
        }
        if let Some((when, fault)) = &state.failed
            && when.elapsed() < BACKOFF
        {
            return Err(fault.clone().into());
        }
        match self.fetch(state).await {
            Ok(()) => {
                state.failed = None;
                Ok(())
            }
            Err(error) => {
                let fault = error.downcast_ref::<Fault>().cloned();
                let fault = fault.unwrap_or_else(|| Fault::system(format!("{error:#}")));
                state.failed = Some((Instant::now(), fault));
                Err(error)
            }
        }
    }

    async fn fetch(&self, state: &mut State) -> Result<()> {
        let asked = Instant::now();
        let reply = self.client.send(&self.request(&state.grant)?).await?;
        let granted: Granted = reply.json()?;
        log::hide(&granted.access_token);
        if let (Grant::Refresh(old), Some(new)) = (&mut state.grant, granted.refresh_token)
            && old.reveal() != new
        {
            log::hide(&new);
            let new = Secret::from(new);
            (self.rotated)(&new).context("handing out the new refresh token")?;
            *old = new;
        }
        let life = granted.expires_in.and_then(|life| Duration::try_from_secs_f64(life).ok());
        let life = life.unwrap_or(LIFE);
        // Short-lived tokens are used for most of their life all the same.
        let fresh_until = asked + life.saturating_sub(MARGIN.min(life / 5));
        state.token = Some(Token { value: granted.access_token.into(), fresh_until });
        state.number += 1;
        Ok(())
    }

    fn request(&self, grant: &Grant) -> Result<Request> {
        let mut form: Vec<(&str, String)> = Vec::new();
        match grant {
            Grant::ClientCredentials => form.push(("grant_type", "client_credentials".into())),
            Grant::Refresh(token) => form.extend([
                ("grant_type", "refresh_token".into()),
                ("refresh_token", token.reveal().to_owned()),
            ]),
            Grant::Password { username, password } => form.extend([
                ("grant_type", "password".into()),
                ("username", username.clone()),
                ("password", password.reveal().to_owned()),
            ]),
            Grant::Assertion(account) => form.extend([
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".into()),
                ("assertion", account.token(SystemTime::now())?),
            ]),
        }
        form.extend(self.scope.iter().map(|scope| ("scope", scope.clone())));
        let mut request = Request::post(self.path).private();
        match (&self.id, self.present) {
            (None, _) => {}
            (Some((id, key)), Present::Form) => {
                form.extend([("client_id", id.clone()), ("client_secret", key.reveal().to_owned())])
            }
            (Some((id, key)), Present::Header) => {
                request = request.header(AUTHORIZATION, Basic::header(id, key)?);
            }
        }
        let form = form.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        // Asking twice gives two tokens, which does no harm; a refresh token that is used up by an
        // answer that was lost would, so that one is sent once.
        let request = request.form(form);
        Ok(if matches!(grant, Grant::Refresh(_)) { request } else { request.safe() })
    }
}

#[async_trait]
impl Auth for OAuth2 {
    async fn sign(&self, draft: &mut Draft) -> Result<Signature> {
        let mut state = self.state.lock().await;
        self.fresh(&mut state).await?;
        let token = state.token.as_ref().ok_or_else(|| anyhow!("no token was fetched"))?;
        draft.headers.insert(AUTHORIZATION, secret("Bearer ", token.value.reveal())?);
        Ok(Signature(state.number))
    }

    async fn renew(&self, refused: Signature) -> Result<bool> {
        let mut state = self.state.lock().await;
        // Somebody else may have renewed it while this one waited.
        if Signature(state.number) == refused {
            state.token = None;
            self.fresh(&mut state).await?;
        }
        Ok(true)
    }
}

/// At this endpoint 400 and 401 are final: what proves who asks is wrong.
fn judge(status: reqwest::StatusCode, body: &[u8]) -> Verdict {
    match status.as_u16() {
        400 | 401 => Verdict::Denied,
        _ => super::retry::judge(status, body),
    }
}

/// The `error` member, a word of RFC 6749's own list or of the vendor's.
fn explain(body: &[u8], _: bool) -> Option<String> {
    #[derive(Deserialize)]
    struct Refused {
        error: String,
    }
    let Refused { error } = serde_json::from_slice(body).ok()?;
    let plain = error.len() <= 40 && error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    plain.then_some(error)
}
