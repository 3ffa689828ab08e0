//! A certificate for a server on the loopback address, and the authority that signed it.

use std::path::PathBuf;

use anyhow::Result;

use super::Programs;
use super::home::Home;

/// What the certificate is good for: TLS libraries refuse one that is its own authority.
const EXTENSIONS: &str =
    "subjectAltName = DNS:localhost, IP:127.0.0.1\nextendedKeyUsage = serverAuth\n";

/// Files in PEM.
pub(super) struct Certificate {
    pub(super) authority: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Certificate {
    /// Makes one that lasts for two days, with the program `openssl`.
    pub(super) fn new(home: &Home, programs: &Programs) -> Result<Certificate> {
        let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let openssl =
            |arguments: &[&str]| home.run(home.command(programs.path("openssl")).args(arguments));
        home.write("extensions", EXTENSIONS)?;
        let authority = [
            "-keyout",
            "authority.key",
            "-out",
            "authority.pem",
            "-days",
            "2",
            "-subj",
            "/CN=Manifold tests",
        ];
        openssl(&[&["req", "-x509"], &new_key[..], &authority].concat())?;
        let request = ["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"];
        openssl(&[&["req"], &new_key[..], &request].concat())?;
        let sign = [
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
        ];
        let result =
            ["-CAcreateserial", "-days", "2", "-extfile", "extensions", "-out", "server.pem"];
        openssl(&[&sign[..], &result].concat())?;
        Ok(Certificate {
            authority: home.path("authority.pem"),
            certificate: home.path("server.pem"),
            key: home.path("server.key"),
        })
    }
}
