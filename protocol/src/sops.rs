//! Opens documents that sops encrypted for age recipients, in memory.
//!
//! sops leaves the names in a document legible and seals its values, each bound to its place. A MAC
//! over all values tells whether somebody without the key changed one, sealed or not. Which values
//! are sealed is seen by their form, not by the rule that sops followed: a value that was swapped
//! for a plain one does not fit the MAC either.

mod age;

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha512};

use crate::config;
pub(crate) use age::Identities;

/// Where sops keeps what it needs to know, beside the values.
const MEMBER: &str = "sops";

/// What the MAC of sealed values alone begins with: the SHA-256 of `sops`.
const ONLY_SEALED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// What sops says of its work. Members that are lists are null in some versions' files.
#[derive(Deserialize)]
struct Sealing {
    #[serde(default)]
    age: Option<Vec<Recipient>>,
    lastmodified: String,
    mac: String,
    #[serde(default)]
    encrypted_suffix: Option<String>,
    #[serde(default)]
    mac_only_encrypted: Option<bool>,
    /// Recipients in groups, each of which has only a share of the key.
    #[serde(default)]
    key_groups: Option<Vec<Value>>,
}

/// Someone who can open the document.
#[derive(Deserialize)]
struct Recipient {
    recipient: String,
    /// The document's key, sealed for them.
    enc: String,
}

type Cipher = AesGcm<Aes256, U32>;

/// Whether sops encrypted a document.
pub(crate) fn is_sealed(document: &Value) -> bool {
    document.get(MEMBER).is_some_and(Value::is_object)
}

/// The document with its values in the clear, and without what sops added: its member, and the
/// suffix of names, which goes from every name that ends with it.
pub(crate) fn open(
    document: Value,
    identities: impl FnOnce() -> Result<Identities>,
) -> Result<Value> {
    let Value::Object(mut members) = document else { bail!("sops encrypts objects only") };
    let sealing = members.shift_remove(MEMBER).unwrap_or_default();
    let sealing: Sealing = serde_path_to_error::deserialize(sealing)
        .map_err(|error| anyhow!("its member `{MEMBER}`: {}", config::complaint(&error)))?;
    let mut opening = Opening {
        cipher: cipher(&sealing, identities)?,
        mac: Sha512::new(),
        only_sealed: sealing.mac_only_encrypted == Some(true),
    };
    if opening.only_sealed {
        opening.mac.update(ONLY_SEALED);
    }
    let mut document = Value::Object(members);
    opening.walk(&mut document, &mut String::new())?;

    let changed = "somebody changed it after sops encrypted it: its MAC does not fit";
    let mac = Sealed::parse(&sealing.mac).context(changed)?;
    let mac = mac.open(&opening.cipher, &sealing.lastmodified).context(changed)?;
    let digest = opening.mac.finalize();
    let hex: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    ensure!(mac == hex.as_bytes(), changed);

    match sealing.encrypted_suffix.as_deref() {
        Some(suffix) if !suffix.is_empty() => without(document, suffix),
        _ => Ok(document),
    }
}

/// The cipher of the values, by the document's key that one of the identities opens.
fn cipher(sealing: &Sealing, identities: impl FnOnce() -> Result<Identities>) -> Result<Cipher> {
    ensure!(
        sealing.key_groups.as_ref().is_none_or(Vec::is_empty),
        "sops split its key between several groups, and only what one recipient can open is opened here"
    );
    let recipients = sealing.age.as_deref().unwrap_or_default();
    ensure!(
        !recipients.is_empty(),
        "sops encrypted it for no age recipient, and only age is opened here"
    );
    let identities = identities()?;
    for recipient in recipients {
        let key = identities
            .open(&recipient.enc)
            .with_context(|| format!("the key for {}", recipient.recipient))?;
        if let Some(key) = key {
            return Cipher::new_from_slice(&key).ok().context("its key is not one of sops");
        }
    }
    let names: Vec<&str> = recipients.iter().map(|one| one.recipient.as_str()).collect();
    bail!("sops encrypted it for {}, and no age identity given is theirs", names.join(", "))
}

/// A walk through a document in which its values come to be in the clear.
struct Opening {
    cipher: Cipher,
    /// Over the values, in order.
    mac: Sha512,
    /// Whether the MAC is over sealed values alone.
    only_sealed: bool,
}

impl Opening {
    /// Opens what is sealed in `value`; `path` is the names that lead there, each with a colon.
    fn walk(&mut self, value: &mut Value, path: &mut String) -> Result<()> {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let end = path.len();
                    path.push_str(name);
                    path.push(':');
                    self.walk(member, path)?;
                    path.truncate(end);
                }
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.walk(item, path))?,
            Value::String(text) => match Sealed::parse(text) {
                Some(sealed) => *value = self.open(&sealed, path)?,
                None => self.plain(text),
            },
            Value::Bool(true) => self.plain("True"),
            Value::Bool(false) => self.plain("False"),
            // As Go spells them: a fraction without an exponent, however long.
            Value::Number(number) => match number.as_f64() {
                Some(fraction) if number.is_f64() => self.plain(&fraction.to_string()),
                _ => self.plain(&number.to_string()),
            },
            Value::Null => {}
        }
        Ok(())
    }

    fn open(&mut self, sealed: &Sealed<'_>, path: &str) -> Result<Value> {
        let name = || path.trim_end_matches(':').replace(':', ".");
        let bytes = sealed
            .open(&self.cipher, path)
            .with_context(|| format!("somebody changed `{}` after sops encrypted it", name()))?;
        self.mac.update(&bytes);
        let value = sealed.value(bytes).with_context(|| format!("`{}` cannot be read", name()))?;
        config::hide(&value);
        Ok(value)
    }

    fn plain(&mut self, text: &str) {
        if !self.only_sealed {
            self.mac.update(text);
        }
    }
}

/// A value as sops writes it: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.
struct Sealed<'a> {
    data: &'a str,
    nonce: &'a str,
    tag: &'a str,
    kind: &'a str,
}

impl Sealed<'_> {
    /// The parts of a sealed value; nothing, if the text is a plain one.
    fn parse(text: &str) -> Option<Sealed<'_>> {
        let parts = text.strip_prefix("ENC[AES256_GCM,data:")?.strip_suffix(']')?;
        let (data, parts) = parts.split_once(",iv:")?;
        let (nonce, parts) = parts.split_once(",tag:")?;
        let (tag, kind) = parts.split_once(",type:")?;
        Some(Sealed { data, nonce, tag, kind })
    }

    /// What is in it, if it was sealed with this key for this place.
    fn open(&self, cipher: &Cipher, place: &str) -> Option<Vec<u8>> {
        let decode = |text: &str| BASE64_STANDARD.decode(text).ok();
        let nonce: [u8; 32] = decode(self.nonce)?.try_into().ok()?;
        let sealed = [decode(self.data)?, decode(self.tag)?].concat();
        let payload = Payload { msg: &sealed, aad: place.as_bytes() };
        cipher.decrypt(&Nonce::from(nonce), payload).ok()
    }

    /// The value that its bytes spell.
    fn value(&self, bytes: Vec<u8>) -> Option<Value> {
        let text = String::from_utf8(bytes).ok()?;
        match self.kind {
            "str" | "bytes" | "time" => Some(text.into()),
            "int" | "float" => text.parse::<Number>().ok().map(Value::Number),
            "bool" => text.to_ascii_lowercase().parse::<bool>().ok().map(Value::Bool),
            _ => None,
        }
    }
}

/// The document with the suffix taken once from every name that ends with it.
fn without(document: Value, suffix: &str) -> Result<Value> {
    Ok(match document {
        Value::Object(members) => {
            let mut renamed = Map::new();
            for (name, member) in members {
                let short = name.strip_suffix(suffix).unwrap_or(&name).to_owned();
                let member = without(member, suffix)?;
                ensure!(
                    renamed.insert(short.clone(), member).is_none(),
                    "`{short}` and `{short}{suffix}` would be one name without sops's suffix"
                );
            }
            Value::Object(renamed)
        }
        Value::Array(items) => {
            items.into_iter().map(|item| without(item, suffix)).collect::<Result<_>>()?
        }
        plain => plain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Documents that sops 3.11.0 made, and the identity that opens them.
    const SUFFIX: &str = include_str!("../tests/sops/suffix.yaml");
    const MAC_ONLY: &str = include_str!("../tests/sops/mac_only.yaml");
    const REGEX: &str = include_str!("../tests/sops/regex.yaml");
    const ALL: &str = include_str!("../tests/sops/all.json");
    const KEY: &str = include_str!("../tests/sops/key.txt");

    const STRANGER: &str =
        "AGE-SECRET-KEY-1P707GKJWGPWLXSC9H55SFU2SF47645MP5ZV3DTDZZEUVGQS050TQ05QFT2";

    fn opened(document: &str, keys: &str) -> Result<Value, String> {
        let document: Value = serde_saphyr::from_str(document).unwrap();
        assert!(is_sealed(&document));
        let identities = || {
            let mut identities = Identities::default();
            identities.add(keys).map(|()| identities)
        };
        open(document, identities).map_err(|error| format!("{error:#}"))
    }

    fn shop(suffix: &str) -> Value {
        let named = |name: &str| format!("{name}{suffix}");
        let mut shop = json!({
            "host": "db.example.com", "port": 5432, "ratio": 1.5, "large": 1e30,
            "since": "2020-01-01T00:00:00Z", "tls": true, "nothing": null, "empty": "",
            "digits": "0123",
        });
        shop[named("password")] = "correct horse \"battery\" žluťoučký".into();
        shop["nested"] = json!({
            named("token"): "hunter2",
            named("list"): ["one", 2, 2.5, true, false, "2021-02-03T00:00:00Z"],
            named("twice_sops"): "yes",
            named("text"): "two\nlines\n",
        });
        shop
    }

    #[test]
    fn what_sops_encrypted_is_read_as_it_was() {
        assert_eq!(opened(SUFFIX, KEY), Ok(shop("")), "the suffix goes, once from each name");
        assert_eq!(opened(MAC_ONLY, KEY), Ok(shop("")));
        assert_eq!(opened(REGEX, KEY), Ok(shop("_sops")), "no suffix was asked for");
        let all = json!({
            "host": "db.example.com", "port": 5432, "ratio": 1.5, "large": 1e30,
            "exact": 9007199254740991_u64, "tls": true, "nothing": null, "empty": "",
            "markup": "<a & b>", "none": {},
            "nested": [{"password": "correct horse \"battery\" žluťoučký"}, []],
        });
        assert_eq!(opened(ALL, KEY), Ok(all));
    }

    #[test]
    fn any_of_several_identities_will_do() {
        let keys = format!("{STRANGER}\nAGE-PLUGIN-YUBIKEY-1Q\n\n{KEY}");
        assert!(opened(SUFFIX, &keys).is_ok());
    }

    #[test]
    fn a_document_that_somebody_changed_is_refused() {
        let refused = |from: &str, to: &str, document: &str| {
            assert_eq!(document.matches(from).count(), 1, "{from}");
            opened(&document.replace(from, to), KEY).unwrap_err()
        };
        let mac = "its MAC does not fit";
        for (from, to, says) in [
            ("port: 5432", "port: 5433", mac),
            ("tls: true", "tls: false", mac),
            ("digits: \"0123\"", "digits: 123", mac),
            ("lastmodified: \"2026", "lastmodified: \"2025", mac),
            (
                "ENC[AES256_GCM,data:BJW5vmrfcw==",
                "ENC[AES256_GCM,data:BJW5vmrfcx==",
                "`nested.token_sops`",
            ),
            ("password_sops:", "pass_sops:", "`pass_sops`"),
            ("host: db.example.com\nport: 5432\n", "port: 5432\nhost: db.example.com\n", mac),
            ("    mac: ENC[", "    mac: [", "`mac` must be a string"),
            ("    mac: ENC[AES256_GCM,data:0", "    mac: ENC[AES256_GCM,data:1", mac),
        ] {
            let refusal = refused(from, to, SUFFIX);
            assert!(refusal.contains(says), "{to}: {refusal}");
        }
        // A sealed value in whose place somebody put a plain one.
        let (line, _) = SUFFIX.split_once("    token_sops: ").unwrap().1.split_once('\n').unwrap();
        for document in [SUFFIX, MAC_ONLY] {
            let (before, rest) = document.split_once("    token_sops: ").unwrap();
            let (_, after) = rest.split_once('\n').unwrap();
            let swapped = format!("{before}    token_sops: theirs\n{after}");
            assert!(opened(&swapped, KEY).unwrap_err().contains(mac));
            // A value of the same key from another place, and one of another document.
            let moved = format!("{before}    other_sops: {line}\n{after}");
            assert!(opened(&moved, KEY).unwrap_err().contains("`nested.other_sops`"));
        }
        // What the MAC does not cover may change: that is what was asked for.
        assert!(opened(&MAC_ONLY.replace("5432", "5433"), KEY).is_ok());
    }

    #[test]
    fn whoever_cannot_open_a_document_is_told_why() {
        let recipient = "age159nd74mcu75huyt6nclanye78uytycqwjlyh5nfy6rsx2k70uqyspjq8p8";
        let wrong = opened(SUFFIX, STRANGER).unwrap_err();
        assert!(wrong.contains(recipient) && wrong.contains("no age identity"), "{wrong}");
        let slip = opened(SUFFIX, &STRANGER.replace('7', "8")).unwrap_err();
        assert!(slip.contains("line 1") && !slip.contains("SECRET"), "{slip}");
        let cloud = "a: ENC[]\nsops: {age: null, gcp_kms: [{}], lastmodified: x, mac: x}";
        assert!(opened(cloud, KEY).unwrap_err().contains("for no age recipient"));
        let split = "sops: {key_groups: [{}, {}], lastmodified: x, mac: x}";
        assert!(opened(split, KEY).unwrap_err().contains("several groups"));
        assert!(opened("sops: {mac: x}", KEY).unwrap_err().contains("`lastmodified` is missing"));
        for broken in [
            SUFFIX.replace("BEGIN AGE", "BEGIN AN"),
            SUFFIX.replace("YWdlLWVuY3J5cHRpb24ub3JnL3Yx", "YWdlLWVuY3J5cHRpb24ub3JnL3Yy"),
        ] {
            assert!(opened(&broken, KEY).unwrap_err().contains("it is not an age file"));
        }
    }

    #[test]
    fn a_file_of_the_key_that_somebody_changed_is_refused() {
        let (before, after) = SUFFIX.split_once("            -----END").unwrap();
        let last = before.trim_end().len() - 4;
        let changed =
            format!("{}A{}            -----END{after}", &before[..last], &before[last + 1..]);
        assert!(opened(&changed, KEY).unwrap_err().contains("somebody changed it"));
    }

    #[test]
    fn names_that_the_suffix_keeps_apart_are_refused() {
        let document = json!({"a": 1, "b": [{"key": 1, "key_sops": 2}]});
        let error = without(document, "_sops").unwrap_err().to_string();
        assert!(error.contains("`key` and `key_sops`"), "{error}");
    }
}
