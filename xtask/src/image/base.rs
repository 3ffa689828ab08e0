//! The layer below every connector: what a static binary still looks for in the file system.

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Layer, Tree};

/// Where TLS libraries look for the authorities they trust.
pub(crate) const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

const ACCOUNTS: &str = "\
root:x:0:0:root:/:/sbin/nologin
airbyte:x:1000:1000:airbyte:/airbyte:/sbin/nologin
nonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin
";
const GROUPS: &str = "root:x:0:\nairbyte:x:1000:\nnonroot:x:65532:\n";

/// Authorities, accounts, how names are resolved, and a place for temporary files.
pub(crate) fn base() -> Result<Layer> {
    let mut tree = Tree::default();
    tree.file(CERTIFICATES.trim_start_matches('/'), certificates().into_bytes(), 0o644);
    tree.file("etc/group", GROUPS.as_bytes().to_vec(), 0o644);
    tree.file("etc/nsswitch.conf", b"hosts: files dns\n".to_vec(), 0o644);
    tree.file("etc/passwd", ACCOUNTS.as_bytes().to_vec(), 0o644);
    tree.folder("tmp", 0o1777);
    tree.layer("certificates, accounts and /tmp")
}

/// Mozilla's authorities in PEM. Not those of this machine, which may trust some of its own.
fn certificates() -> String {
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let text = BASE64_STANDARD.encode(certificate);
        pem += "-----BEGIN CERTIFICATE-----\n";
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            pem += line;
            pem.push('\n');
            rest = after;
        }
        pem += "-----END CERTIFICATE-----\n";
    }
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_whole_lines_of_pem() {
        let pem = certificates();
        assert_eq!(
            pem.matches("BEGIN CERT").count(),
            webpki_root_certs::TLS_SERVER_ROOT_CERTS.len()
        );
        assert!(pem.lines().all(|line| line.len() <= 64 && !line.is_empty()));
    }
}
