//! The key that plans are sealed with: the configuration's evidence key, or one drawn for the plan
//! that travels in its hash.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::mask::{Key, hmac, random};
use crate::fault::Fault;

/// A key for the hash of a plan.
pub(super) struct Seal {
    key: Vec<u8>,
    /// Whether the key travels in the hash.
    drawn: bool,
}

impl Seal {
    /// For a new plan.
    pub(super) fn new(key: Option<&Key>) -> Result<Seal> {
        Ok(match key {
            Some(key) => Seal { key: key.clone(), drawn: false },
            None => Seal { key: random::<16>()?.to_vec(), drawn: true },
        })
    }

    /// For comparing with a plan's hash.
    pub(super) fn of_hash(hash: &str, key: Option<&Key>) -> Result<Seal> {
        let complaint = || Fault::config("`--plan` wants the hash that plan printed, all of it");
        let mut parts = hash.trim().split('.');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("p1"), Some(_), None, _) => match key {
                Some(key) => Ok(Seal { key: key.clone(), drawn: false }),
                None => Err(Fault::config(
                    "the plan was sealed with an `evidence_key`, and the configuration has none",
                )
                .into()),
            },
            (Some("p1"), Some(drawn), Some(_), None) => {
                let key = BASE64.decode(drawn).map_err(|_| complaint())?;
                Ok(Seal { key, drawn: true })
            }
            _ => Err(complaint().into()),
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The hash of a plan's content.
    pub(super) fn hash(&self, content: &[u8]) -> String {
        let mac = BASE64.encode(hmac(&self.key, content));
        match self.drawn {
            true => format!("p1.{}.{mac}", BASE64.encode(&self.key)),
            false => format!("p1.{mac}"),
        }
    }
}

/// Whether two hashes are of the same plan, whatever blanks came with copying.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.trim() == b.trim()
}
