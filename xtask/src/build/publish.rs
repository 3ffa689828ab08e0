//! Handing finished images to an engine or a registry, by the programs that people have for that.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::workspace::output;

/// Engines that can load an image.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// The first engine on this machine that answers.
pub(crate) fn engine() -> Option<&'static str> {
    ENGINES.into_iter().find(|engine| answers(Command::new(engine).arg("info")))
}

/// Loads an image into an engine.
pub(crate) fn load(engine: &str, archive: &Path) -> Result<()> {
    output(Command::new(engine).args(["load", "--quiet", "--input"]).arg(archive)).map(drop)
}

/// Pushes an image below a registry, and says under what name.
pub(super) fn push(archive: &Path, name: &str, registry: &str) -> Result<String> {
    let short = name.rsplit('/').next().unwrap_or(name);
    let reference = format!("{}/{short}", registry.trim_end_matches('/'));
    if answers(Command::new("skopeo").arg("--version")) {
        // Our own archive carries no signature that a policy could ask for.
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "--quiet", "--insecure-policy", "--preserve-digests"]);
        if is_local(registry) {
            copy.arg("--dest-tls-verify=false");
        }
        output(
            copy.arg(format!("oci-archive:{}", archive.display()))
                .arg(format!("docker://{reference}")),
        )?;
    } else {
        let engine =
            engine().context("to push takes skopeo, docker or podman, and none of them answers")?;
        load(engine, archive)?;
        output(Command::new(engine).args(["tag", name, &reference]))?;
        output(Command::new(engine).args(["push", &reference]))?;
    }
    Ok(reference)
}

/// Whether the registry is on this machine, where nobody has certificates.
fn is_local(registry: &str) -> bool {
    let host = registry.split(['/', ':']).next().unwrap_or(registry);
    host == "localhost" || host.starts_with("127.")
}

fn answers(command: &mut Command) -> bool {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::image::{self, Image};

    #[test]
    fn a_registry_that_refuses_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        let image = Image {
            name: "manifold/x",
            tag: "1",
            layers: &[&image::base().unwrap()],
            entrypoint: "/x",
            user: None,
            environment: vec![],
            labels: BTreeMap::new(),
            architecture: "amd64",
            created: "1970-01-01T00:00:00Z",
        };
        image.write(&path).unwrap();
        // Nobody listens there.
        let error = push(&path, "manifold/x:1", "127.0.0.1:1/team").unwrap_err();
        let error = format!("{error:#}");
        assert!(error.lines().count() == 1 && error.len() < 500, "{error}");
    }

    #[test]
    fn only_this_machine_is_local() {
        assert!(is_local("127.0.0.1:5000/team") && is_local("localhost:5000"));
        assert!(!is_local("registry.example.com/127.0.0.1") && !is_local("localhost.example.com"));
    }
}
