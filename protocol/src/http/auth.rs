//! What proves who asks: an interface, and the usual ways.

use std::any::Any;

use anyhow::{Context, Result};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::client::Draft;
use crate::config::Secret;
use crate::fault::Fault;

/// Signs requests. A vendor's own signature over method, URL and body is one implementation.
#[async_trait]
pub trait Auth: Send + Sync + Any {
    /// Adds to `draft` what proves who asks. Called for each attempt, after all else is in place.
    async fn sign(&self, draft: &mut Draft) -> Result<Signature>;

    /// Told that what `refused` stands for was not accepted; whether there is a new one now.
    async fn renew(&self, refused: Signature) -> Result<bool> {
        let _: Signature = refused;
        Ok(false)
    }
}

/// Which of several successive credentials a request was signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signature(pub u64);

/// Nothing is added.
pub struct NoAuth;

#[async_trait]
impl Auth for NoAuth {
    async fn sign(&self, _: &mut Draft) -> Result<Signature> {
        Ok(Signature::default())
    }
}

/// `Authorization: Bearer …`
pub struct Bearer(pub Secret);

#[async_trait]
impl Auth for Bearer {
    async fn sign(&self, draft: &mut Draft) -> Result<Signature> {
        draft.headers.insert(AUTHORIZATION, secret("Bearer ", self.0.reveal())?);
        Ok(Signature::default())
    }
}

/// `Authorization: Basic …`
pub struct Basic {
    /// The user's name.
    pub username: String,
    /// The user's password.
    pub password: Secret,
}

impl Basic {
    /// The header's value.
    pub(super) fn header(username: &str, password: &Secret) -> Result<HeaderValue> {
        if username.contains(':') {
            return Err(Fault::config("the user name must not hold a colon").into());
        }
        secret("Basic ", &BASE64.encode(format!("{username}:{}", password.reveal())))
    }
}

#[async_trait]
impl Auth for Basic {
    async fn sign(&self, draft: &mut Draft) -> Result<Signature> {
        draft.headers.insert(AUTHORIZATION, Basic::header(&self.username, &self.password)?);
        Ok(Signature::default())
    }
}

/// A key in a header of the vendor's own.
pub struct Key {
    /// The header.
    pub header: HeaderName,
    /// The key.
    pub key: Secret,
}

#[async_trait]
impl Auth for Key {
    async fn sign(&self, draft: &mut Draft) -> Result<Signature> {
        draft.headers.insert(self.header.clone(), secret("", self.key.reveal())?);
        Ok(Signature::default())
    }
}

/// A header that must not be shown.
pub(super) fn secret(scheme: &str, value: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("{scheme}{value}"))
        .ok()
        .context(Fault::config("the key has characters that cannot stand in a header"))?;
    header.set_sensitive(true);
    Ok(header)
}
