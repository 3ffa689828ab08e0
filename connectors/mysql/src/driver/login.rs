//! Greeting, encryption and authentication.

use std::io;
use std::sync::Arc;

use protocol::Result;
use protocol::fault::Fault;
use protocol::tls::Mode;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use rustls::ClientConfig;

use super::refusal;
use super::wire::{Parts, Wire};

/// How to get in.
pub(crate) struct Login<'a> {
    pub(crate) host: &'a str,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) database: Option<&'a str>,
    pub(crate) mode: Mode,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

mod capability {
    /// An affected row is one that was found, not one that changed.
    pub(super) const FOUND_ROWS: u32 = 1 << 1;
    pub(super) const LONG_FLAG: u32 = 1 << 2;
    pub(super) const CONNECT_WITH_DB: u32 = 1 << 3;
    pub(super) const PROTOCOL_41: u32 = 1 << 9;
    pub(super) const SSL: u32 = 1 << 11;
    pub(super) const TRANSACTIONS: u32 = 1 << 13;
    pub(super) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(super) const PLUGIN_AUTH: u32 = 1 << 19;
}

/// `utf8mb4_general_ci`, which every server knows.
const UTF8MB4: u8 = 45;

/// The greatest packet that we say we take.
const GREATEST: u32 = 0x4000_0000;

/// Greets the server, encrypts what follows if the mode asks for it, and logs in.
pub(super) fn login(wire: &mut Wire, login: &Login<'_>) -> Result<()> {
    let greeting = Greeting::parse(wire.packet()?)?;
    use capability::*;
    let mut capabilities =
        FOUND_ROWS | LONG_FLAG | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    if login.database.is_some() {
        capabilities |= CONNECT_WITH_DB;
    }
    let tls = login.tls.as_ref().filter(|_| greeting.capabilities & SSL != 0);
    if tls.is_none() && !matches!(login.mode, Mode::Disable | Mode::Prefer) {
        return Err(Fault::config(
            "`sslmode`: the server does not encrypt connections, and the configuration asks for it",
        )
        .into());
    }
    if tls.is_some() {
        capabilities |= SSL;
    }
    let mut answer = Vec::with_capacity(256);
    answer.extend_from_slice(&capabilities.to_le_bytes());
    answer.extend_from_slice(&GREATEST.to_le_bytes());
    answer.push(UTF8MB4);
    answer.extend_from_slice(&[0; 23]);
    if let Some(tls) = tls {
        wire.send(&answer)?;
        wire.encrypt(Arc::clone(tls), login.host).map_err(|error| refused_tls(&error))?;
    }
    let method = Method::named(&greeting.plugin).unwrap_or(Method::Native);
    let proof = method.proof(login, &greeting.scramble, wire.is_encrypted())?;
    for text in [login.user, login.password] {
        if text.contains('\0') {
            return Err(Fault::config("`username` and `password` cannot hold a NUL").into());
        }
    }
    answer.extend_from_slice(login.user.as_bytes());
    answer.push(0);
    answer.push(u8::try_from(proof.len()).map_err(|_| Fault::config("`password` is too long"))?);
    answer.extend_from_slice(&proof);
    if let Some(database) = login.database {
        answer.extend_from_slice(database.as_bytes());
        answer.push(0);
    }
    answer.extend_from_slice(method.name().as_bytes());
    answer.push(0);
    wire.send(&answer)?;
    authenticate(wire, login, method)
}

/// Answers what the server asks until it lets us in.
fn authenticate(wire: &mut Wire, login: &Login<'_>, mut method: Method) -> Result<()> {
    loop {
        let encrypted = wire.is_encrypted();
        let mut parts = Parts(wire.packet()?);
        let answer = match parts.byte()? {
            0x00 => return Ok(()),
            0xff => return Err(refusal::parse(parts.0).into()),
            0xfe if parts.0.is_empty() => {
                return Err(unknown("the one of servers before 4.1"));
            }
            0xfe => {
                let name = String::from_utf8_lossy(parts.until_nul()).into_owned();
                method = Method::named(&name).ok_or_else(|| unknown(&name))?;
                method.proof(login, nonce(parts.0), encrypted)?
            }
            // The server knows the password's digest, or does not and wants the password itself.
            0x01 if method == Method::CachingSha2 => match parts.byte()? {
                0x03 => continue,
                0x04 if encrypted => Method::clear(login),
                _ => return Err(in_the_clear()),
            },
            _ => return Err(Fault::system("the server's login is not understood").into()),
        };
        wire.send(&answer)?;
    }
}

fn unknown(name: &str) -> protocol::anyhow::Error {
    Fault::config(format!(
        "`username`: the account logs in by the method {name}, which is not known here; known are \
         mysql_native_password, caching_sha2_password and sha256_password"
    ))
    .into()
}

fn in_the_clear() -> protocol::anyhow::Error {
    Fault::config(
        "`sslmode`: the account's password would have to be sent as it is, which is only done on \
         an encrypted connection",
    )
    .into()
}

fn refused_tls(error: &io::Error) -> Fault {
    Fault::config(format!("`sslmode`: the connection cannot be encrypted: {error}"))
}

/// What a server says first.
struct Greeting {
    capabilities: u32,
    scramble: Vec<u8>,
    plugin: String,
}

impl Greeting {
    fn parse(packet: &[u8]) -> Result<Greeting> {
        let mut parts = Parts(packet);
        match parts.byte()? {
            10 => {}
            0xff => return Err(refusal::parse(parts.0).into()),
            _ => {
                return Err(Fault::config(
                    "`port`: what answers there is no MySQL or MariaDB server",
                )
                .into());
            }
        }
        parts.until_nul();
        parts.bytes(4)?;
        let mut scramble = parts.bytes(8)?.to_vec();
        parts.bytes(1)?;
        let low: [u8; 2] = parts.array()?;
        parts.bytes(3)?;
        let high: [u8; 2] = parts.array()?;
        let capabilities = u32::from_le_bytes([low[0], low[1], high[0], high[1]]);
        if capabilities & capability::PROTOCOL_41 == 0 {
            return Err(Fault::config("the server is older than MySQL 4.1").into());
        }
        let length = usize::from(parts.byte()?);
        parts.bytes(10)?;
        let rest = parts.bytes(length.saturating_sub(8).max(13).min(parts.0.len()))?;
        scramble.extend_from_slice(nonce(rest));
        let plugin = String::from_utf8_lossy(parts.until_nul()).into_owned();
        Ok(Greeting { capabilities, scramble, plugin })
    }
}

/// The nonce, without the NUL that ends it.
fn nonce(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(&[0]).unwrap_or(bytes)
}

/// How an account logs in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Native,
    CachingSha2,
    Sha256,
    Clear,
}

impl Method {
    fn named(name: &str) -> Option<Method> {
        [Method::Native, Method::CachingSha2, Method::Sha256, Method::Clear]
            .into_iter()
            .find(|method| method.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Method::Native => "mysql_native_password",
            Method::CachingSha2 => "caching_sha2_password",
            Method::Sha256 => "sha256_password",
            Method::Clear => "mysql_clear_password",
        }
    }

    /// What proves that we know the password.
    fn proof(self, login: &Login<'_>, nonce: &[u8], encrypted: bool) -> Result<Vec<u8>> {
        let password = login.password.as_bytes();
        Ok(match self {
            _ if password.is_empty() => match self {
                Method::Sha256 | Method::Clear => vec![0],
                Method::Native | Method::CachingSha2 => Vec::new(),
            },
            // SHA1(password) XOR SHA1(nonce, SHA1(SHA1(password)))
            Method::Native => {
                let hash = |parts: &[&[u8]]| digest(&SHA1_FOR_LEGACY_USE_ONLY, parts);
                let once = hash(&[password]);
                xor(&once, &hash(&[nonce, &hash(&[&once])]))
            }
            // SHA256(password) XOR SHA256(SHA256(SHA256(password)), nonce)
            Method::CachingSha2 => {
                let hash = |parts: &[&[u8]]| digest(&SHA256, parts);
                let once = hash(&[password]);
                xor(&once, &hash(&[&hash(&[&once]), nonce]))
            }
            Method::Sha256 if encrypted => Method::clear(login),
            // Whoever asks for the password itself must have shown who he is.
            Method::Clear if matches!(login.mode, Mode::VerifyCa | Mode::VerifyFull) => {
                Method::clear(login)
            }
            Method::Clear => {
                return Err(Fault::config(
                    "`sslmode`: the server asks for the password itself, which is only sent with \
                     verify-ca or verify-full",
                )
                .into());
            }
            Method::Sha256 => return Err(in_the_clear()),
        })
    }

    fn clear(login: &Login<'_>) -> Vec<u8> {
        let mut password = login.password.as_bytes().to_vec();
        password.push(0);
        password
    }
}

fn digest(algorithm: &'static ring::digest::Algorithm, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(algorithm);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().to_vec()
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}
