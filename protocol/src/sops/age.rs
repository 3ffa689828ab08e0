//! Decrypts what is in age files for X25519 identities: keys, which are short.

use std::fmt;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

/// What lines of identities begin with.
const PREFIX: &str = "AGE-SECRET-KEY-";

const VERSION: &str = "age-encryption.org/v1\n";
const MALFORMED: &str = "it is not an age file";

/// The secrets that open what was encrypted for their owner.
#[derive(Default)]
pub(crate) struct Identities(Vec<[u8; 32]>);

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} identities", self.0.len())
    }
}

impl Identities {
    /// Adds those of a file as age-keygen writes it: one a line, among comments. Identities of
    /// other kinds, such as plugins', are left out.
    pub(crate) fn add(&mut self, text: &str) -> Result<()> {
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with(PREFIX) {
                // What is wrong with it is not said: it may be all but a secret.
                let key =
                    identity(line).with_context(|| format!("line {} is no age identity", i + 1))?;
                self.0.push(key);
            }
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The content of an armored file, if it was encrypted for one of these.
    pub(super) fn open(&self, armored: &str) -> Result<Option<Vec<u8>>> {
        let lines = armored.trim().strip_prefix("-----BEGIN AGE ENCRYPTED FILE-----");
        let lines = lines.and_then(|rest| rest.strip_suffix("-----END AGE ENCRYPTED FILE-----"));
        let text: String = lines.context(MALFORMED)?.split_whitespace().collect();
        let bytes = BASE64_STANDARD.decode(text).ok().context(MALFORMED)?;
        let file = File::parse(&bytes).context(MALFORMED)?;
        let found = self
            .0
            .iter()
            .find_map(|identity| file.shares.iter().find_map(|share| share.open(identity)));
        let Some(key) = found else { return Ok(None) };
        ensure!(file.is_authentic(&key), "somebody changed it");
        file.content(&key).context("somebody changed it").map(Some)
    }
}

fn identity(line: &str) -> Option<[u8; 32]> {
    let text = CheckedHrpstring::new::<Bech32>(line).ok()?;
    let known = text.hrp().as_str().eq_ignore_ascii_case(PREFIX);
    let bytes: Vec<u8> = text.byte_iter().collect();
    bytes.try_into().ok().filter(|_| known)
}

/// A file: who can open it, and what it holds.
struct File<'a> {
    shares: Vec<Share>,
    /// What the MAC is over.
    header: &'a [u8],
    mac: Vec<u8>,
    nonce: &'a [u8],
    sealed: &'a [u8],
}

/// The file's key, sealed for one recipient.
struct Share {
    /// The sender's public key, of this share alone.
    ephemeral: [u8; 32],
    sealed: Vec<u8>,
}

impl File<'_> {
    fn parse(bytes: &[u8]) -> Option<File<'_>> {
        let dashes = bytes.windows(5).position(|window| window == b"\n--- ")?;
        let (header, rest) = bytes.split_at(dashes + b"\n---".len());
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        let (mac, payload) = (rest.get(1..end)?, rest.get(end + 1..)?);
        let (nonce, sealed) = payload.split_at_checked(16)?;
        let stanzas = std::str::from_utf8(header).ok()?.strip_prefix(VERSION)?;
        let stanzas = stanzas.strip_suffix("---")?.strip_prefix("-> ")?;
        // Stanzas of other kinds are for others, or there to keep readers tolerant.
        let shares = stanzas.split("\n-> ").filter(|stanza| stanza.starts_with("X25519 "));
        Some(File {
            shares: shares.map(Share::parse).collect::<Option<_>>()?,
            header,
            mac: BASE64_STANDARD_NO_PAD.decode(mac).ok()?,
            nonce,
            sealed,
        })
    }

    /// Whether whoever wrote the header had the file's key.
    fn is_authentic(&self, key: &[u8]) -> bool {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&derived(key, None, b"header"));
        mac.is_ok_and(|mac| mac.chain_update(self.header).verify_slice(&self.mac).is_ok())
    }

    /// What the file holds, if it is at most one chunk of 64 KiB.
    fn content(&self, key: &[u8]) -> Option<Vec<u8>> {
        // The first chunk, and the last one.
        let nonce = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        unsealed(&derived(key, Some(self.nonce), b"payload"), nonce, self.sealed)
    }
}

impl Share {
    /// `X25519 EPHEMERAL`, and on lines of its own the key.
    fn parse(stanza: &str) -> Option<Share> {
        let (head, body) = stanza.split_once('\n')?;
        let decode = |text: &str| BASE64_STANDARD_NO_PAD.decode(text).ok();
        Some(Share {
            ephemeral: decode(head.strip_prefix("X25519 ")?)?.try_into().ok()?,
            sealed: decode(&body.replace('\n', ""))?,
        })
    }

    /// The file's key, if it was sealed for this identity.
    fn open(&self, identity: &[u8; 32]) -> Option<Vec<u8>> {
        let shared = x25519(*identity, self.ephemeral);
        // A sender's key of low order, with which every identity would share the same.
        if shared == [0; 32] {
            return None;
        }
        let recipient = x25519(*identity, X25519_BASEPOINT_BYTES);
        let salt = [self.ephemeral, recipient].concat();
        let key = derived(&shared, Some(&salt), b"age-encryption.org/v1/X25519");
        unsealed(&key, [0; 12], &self.sealed).filter(|key| key.len() == 16)
    }
}

/// A key made of another, for one purpose.
fn derived(key: &[u8], salt: Option<&[u8]>, purpose: &[u8]) -> [u8; 32] {
    let mut derived = [0; 32];
    let expanded = Hkdf::<Sha256>::new(salt, key).expand(purpose, &mut derived);
    expanded.expect("32 bytes are fewer than HKDF can make");
    derived
}

fn unsealed(key: &[u8; 32], nonce: [u8; 12], sealed: &[u8]) -> Option<Vec<u8>> {
    ChaCha20Poly1305::new(key.into()).decrypt(&Nonce::from(nonce), sealed).ok()
}
