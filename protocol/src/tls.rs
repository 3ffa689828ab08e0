//! Encryption of a database connection: the modes of `sslmode`, and what each of them checks.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::fault::Fault;

/// How a connection is encrypted, as the field `sslmode` of a form names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Cow<'_, str>")]
pub enum Mode {
    /// Never.
    Disable,
    /// If the server can.
    Prefer,
    /// Always, with whatever certificate the server has.
    Require,
    /// Always, with a certificate of a trusted authority.
    VerifyCa,
    /// Always, with a trusted certificate of the host's own name.
    VerifyFull,
}

impl TryFrom<Cow<'_, str>> for Mode {
    type Error = &'static str;

    fn try_from(word: Cow<'_, str>) -> std::result::Result<Mode, &'static str> {
        let told = "must be disable, prefer, require, verify-ca or verify-full";
        Mode::named(word.trim()).ok_or(told)
    }
}

impl JsonSchema for Mode {
    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "title": "SSL Mode",
            "description": "How the connection is encrypted: disable, prefer, require, verify-ca or verify-full.",
        })
    }
}

/// # SSL Root Certificate
///
/// The certificates of the authorities you trust for verify-ca and verify-full: a file, or the
/// PEM text itself. Leave it empty for the public ones.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Roots(pub String);

impl Mode {
    /// The mode that a word stands for.
    pub fn named(word: &str) -> Option<Mode> {
        Some(match word {
            "disable" => Mode::Disable,
            // libpq's `allow` encrypts when it must; to encrypt when possible is no less.
            "prefer" | "allow" => Mode::Prefer,
            "require" => Mode::Require,
            "verify-ca" => Mode::VerifyCa,
            "verify-full" => Mode::VerifyFull,
            _ => return None,
        })
    }

    /// The settings of the handshake; `None` where there is none. `roots` is a file or PEM text.
    pub fn config(self, roots: Option<&Roots>) -> Result<Option<Arc<ClientConfig>>> {
        // With a root certificate, `require` verifies the authority, as libpq does.
        let check = match (self, roots) {
            (Mode::Disable, _) => return Ok(None),
            (Mode::Prefer, _) | (Mode::Require, None) => Check::Nothing,
            (Mode::Require, Some(_)) | (Mode::VerifyCa, _) => Check::Authority,
            (Mode::VerifyFull, _) => Check::Everything,
        };
        let provider = Arc::new(ring::default_provider());
        let webpki = match check {
            Check::Nothing => None,
            Check::Authority | Check::Everything => {
                let roots = Arc::new(trusted(roots)?);
                let built =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
                Some(built.build().map_err(|error| {
                    Fault::config(format!("`sslrootcert` cannot be used: {error}"))
                })?)
            }
        };
        let verifier = Verifier { webpki, check, provider: Arc::clone(&provider) };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::system(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Some(Arc::new(config)))
    }
}

/// The authorities in a file or text, or the public ones.
fn trusted(roots: Option<&Roots>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let Some(Roots(given)) = roots else {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(store);
    };
    let text = if given.contains("-----BEGIN") {
        given.as_bytes().to_vec()
    } else {
        std::fs::read(given)
            .map_err(|error| Fault::config(format!("`sslrootcert`: {given}: {error}")))?
    };
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate =
            certificate.map_err(|_| Fault::config("`sslrootcert` is not in the PEM format"))?;
        store
            .add(certificate)
            .map_err(|error| Fault::config(format!("`sslrootcert` cannot be used: {error}")))?;
    }
    if store.is_empty() {
        return Err(Fault::config("`sslrootcert` holds no certificate in the PEM format").into());
    }
    Ok(store)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    Authority,
    Everything,
}

/// Verifies what the mode asks for, and in every mode that the server has the certificate's key.
#[derive(Debug)]
struct Verifier {
    webpki: Option<Arc<WebPkiServerVerifier>>,
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        let Some(webpki) = &self.webpki else { return Ok(ServerCertVerified::assertion()) };
        // The chain is verified before the name.
        match webpki.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Check::Authority => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
