//! A service account: proves who it is with a JSON Web Token it signs itself (RFC 7519, 7523).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Map, Value, json};

use crate::config::Secret;
use crate::fault::Fault;

/// How long a token that was just signed is good for.
const LIFE: Duration = Duration::from_secs(3600);

/// An account with a private RSA key, which signs with RS256.
pub struct ServiceAccount {
    key: RsaKeyPair,
    /// The key's name in the header, where the vendor wants one.
    key_id: Option<String>,
    /// The claims that are always the same: `iss`, `sub`, `aud`, `scope`.
    claims: Map<String, Value>,
}

impl ServiceAccount {
    /// An account with its private key in PEM (PKCS #8 or PKCS #1) and its constant claims.
    pub fn new(
        pem: &Secret,
        key_id: Option<String>,
        claims: Map<String, Value>,
    ) -> Result<ServiceAccount> {
        let wrong =
            || Fault::config("the private key is not an RSA key in PEM of 2048 bits or more");
        let text = pem.reveal();
        let pkcs1 = text.contains("BEGIN RSA PRIVATE KEY");
        let lines = text.lines().map(str::trim);
        let body: String = lines.filter(|line| !line.starts_with("-----")).collect();
        let der = BASE64.decode(body).ok().with_context(wrong)?;
        let key = if pkcs1 { RsaKeyPair::from_der(&der) } else { RsaKeyPair::from_pkcs8(&der) };
        Ok(ServiceAccount { key: key.ok().with_context(wrong)?, key_id, claims })
    }

    /// A token signed now.
    pub fn token(&self, now: SystemTime) -> Result<String> {
        let now = now.duration_since(UNIX_EPOCH).context("this machine's clock is before 1970")?;
        let mut header = json!({ "alg": "RS256", "typ": "JWT" });
        if let Some(key_id) = &self.key_id {
            header["kid"] = key_id.as_str().into();
        }
        let mut claims = self.claims.clone();
        claims.insert("iat".to_owned(), now.as_secs().into());
        claims.insert("exp".to_owned(), (now + LIFE).as_secs().into());
        let part = |value: &[u8]| BASE64URL.encode(value);
        let signed = format!(
            "{}.{}",
            part(&serde_json::to_vec(&header)?),
            part(&serde_json::to_vec(&claims)?)
        );
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .ok()
            .context("signing a token")?;
        Ok(format!("{signed}.{}", part(&signature)))
    }
}
