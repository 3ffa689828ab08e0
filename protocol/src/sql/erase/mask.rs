//! A mask: what a column's value becomes.
//!
//! Hashes and surrogates can be told from other values, so that a second run leaves them alone.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::engine::Cell;
use super::persons::{Trait, holds};
use crate::fault::Fault;
use crate::silo::StoreId;
use crate::sql::catalog::Column;
use crate::sql::types::Type;

/// What a column's value becomes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mask {
    /// Nothing.
    Null,
    /// The same for every row.
    Constant(String),
    /// Its SHA-256.
    Hash,
    /// Its HMAC-SHA-256 with the evidence key.
    Hmac,
    /// Something random.
    Surrogate,
    /// What it is.
    Keep,
}

/// The key of an HMAC, from the configuration.
pub(super) type Key = Vec<u8>;

/// How a hash begins, before its 43 characters.
pub(super) const HASHED: &str = "sha256:";
/// How an HMAC does.
pub(super) const KEYED: &str = "hmac:";
/// How a surrogate does.
pub(super) const RANDOM: &str = "erased-";
/// How every surrogate of a UUID begins: no generator sets these bits so (version 8, variant 2).
const RANDOM_UUID: &str = "e7a5ed00-0000-8000-8";

impl Mask {
    pub(super) fn parse(value: &Value, store: &StoreId, column: &str) -> Result<Mask> {
        let complaint = || {
            Fault::config(format!(
                "the policy's strategy for `{column}` of {store} must be null, hash, hmac, \
                 surrogate, keep or {{\"constant\": value}}"
            ))
        };
        Ok(match value {
            Value::Null => Mask::Null,
            Value::String(word) => match word.as_str() {
                "null" => Mask::Null,
                "hash" => Mask::Hash,
                "hmac" => Mask::Hmac,
                "surrogate" => Mask::Surrogate,
                "keep" => Mask::Keep,
                _ => return Err(complaint().into()),
            },
            Value::Object(members) => match members.get("constant") {
                Some(Value::Null) => Mask::Null,
                Some(Value::String(text)) if members.len() == 1 => Mask::Constant(text.clone()),
                Some(value @ (Value::Number(_) | Value::Bool(_))) if members.len() == 1 => {
                    Mask::Constant(value.to_string())
                }
                _ => return Err(complaint().into()),
            },
            _ => return Err(complaint().into()),
        })
    }

    /// Whether a value is what this mask would leave.
    pub(super) fn is_done(&self, cell: &Cell<'_>) -> bool {
        let text = match cell {
            Cell::Text(text) => Some(*text),
            _ => None,
        };
        match self {
            Mask::Keep => true,
            _ if *cell == Cell::Null => !matches!(self, Mask::Constant(_)),
            Mask::Null => false,
            Mask::Constant(constant) => match cell {
                Cell::Integer(integer) => integer.to_string() == *constant,
                Cell::Real(real) => constant.parse() == Ok(*real),
                _ => text == Some(constant),
            },
            Mask::Hash => text.is_some_and(|text| is_sealed(text, HASHED)),
            Mask::Hmac => text.is_some_and(|text| is_sealed(text, KEYED)),
            Mask::Surrogate => text.is_some_and(|text| {
                text.starts_with(RANDOM) || text.to_ascii_lowercase().starts_with(RANDOM_UUID)
            }),
        }
    }

    /// The new value, as text; `None` for null.
    pub(super) fn value(
        &self,
        column: &Column,
        cell: &Cell<'_>,
        key: Option<&Key>,
    ) -> Result<Option<String>> {
        let text = match cell {
            Cell::Null => String::new(),
            Cell::Integer(integer) => integer.to_string(),
            Cell::Real(real) => real.to_string(),
            Cell::Text(text) => (*text).to_owned(),
            Cell::Bytes(bytes) => BASE64.encode(bytes),
        };
        Ok(match self {
            Mask::Null | Mask::Keep => None,
            Mask::Constant(constant) => Some(constant.clone()),
            Mask::Hash => Some(HASHED.to_owned() + &BASE64.encode(Sha256::digest(text.as_bytes()))),
            Mask::Hmac => {
                let key = key.ok_or_else(no_key)?;
                Some(KEYED.to_owned() + &BASE64.encode(hmac(key, text.as_bytes())))
            }
            Mask::Surrogate => Some(surrogate(column)?),
        })
    }
}

fn is_sealed(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| BASE64.decode(rest).is_ok_and(|bytes| bytes.len() == 32))
}

fn no_key() -> Fault {
    Fault::config("the strategy hmac needs `evidence_key` in the configuration")
}

/// The HMAC-SHA-256 of some bytes.
pub(super) fn hmac(key: &[u8], bytes: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// So many random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Fault::system("the system gives no random numbers"))?;
    Ok(bytes)
}

fn surrogate(column: &Column) -> Result<String> {
    let bytes = random::<12>()?;
    if column.of == Type::Uuid {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok(format!("{RANDOM_UUID}{}-{}", &hex[..3], &hex[3..15]));
    }
    // 16 characters of 6 bits; fewer where the column is short.
    let text = BASE64.encode(bytes);
    let room = column.length.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
    let (tail, free) = match holds(column) == Some(Trait::Email) {
        true if room >= RANDOM.len() + 16 + "@invalid".len() => ("@invalid", 16),
        _ => ("", room.saturating_sub(RANDOM.len()).min(16)),
    };
    Ok(format!("{RANDOM}{}{tail}", &text[..free]))
}
