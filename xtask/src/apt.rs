//! Installing Debian packages without letting their own services start.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::screen;

/// Where Debian asks whether an installed service may start.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Debian's installer, which fetches the lists of packages once.
#[derive(Default)]
pub(crate) struct Apt {
    updated: bool,
}

impl Apt {
    /// Installs packages.
    pub(crate) fn install(&mut self, packages: &[&str]) -> Result<()> {
        ensure!(Path::new("/usr/bin/apt-get").exists(), "this machine has no apt-get");
        screen::note(format_args!("installing {}", packages.join(" ")));
        let _policy = Policy::forbid_starts()?;
        if !self.updated {
            run(apt_get()?.args(["-qq", "update"]))?;
            self.updated = true;
        }
        run(apt_get()?.args(["-qq", "-y", "--no-install-recommends", "install"]).args(packages))
    }
}

/// Keeps what is installed meanwhile from starting services; an answer that is there already is left alone.
struct Policy {
    ours: Option<PathBuf>,
}

impl Policy {
    fn forbid_starts() -> Result<Policy> {
        if Path::new(POLICY).exists() {
            return Ok(Policy { ours: None });
        }
        let draft = std::env::temp_dir().join(format!("manifold-policy-{}", std::process::id()));
        fs::write(&draft, "#!/bin/sh\nexit 101\n")
            .with_context(|| format!("writing {}", draft.display()))?;
        let installed = run(privileged("install")?.args(["-m", "755"]).arg(&draft).arg(POLICY));
        fs::remove_file(&draft).with_context(|| format!("removing {}", draft.display()))?;
        installed?;
        Ok(Policy { ours: Some(POLICY.into()) })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let Some(path) = &self.ours else { return };
        if let Err(error) = privileged("rm").and_then(|mut remove| run(remove.arg(path))) {
            screen::note(format_args!(
                "{} is left behind and should be removed: {error:#}",
                path.display()
            ));
        }
    }
}

fn apt_get() -> Result<Command> {
    let mut command = privileged("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]);
    Ok(command)
}

/// A command that runs as root, if this process may have that.
fn privileged(program: &str) -> Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    let mut sudo = Command::new("sudo");
    if !std::io::stdin().is_terminal() {
        sudo.arg("--non-interactive");
    }
    sudo.arg(program);
    Ok(sudo)
}

/// Whether this process is root.
pub(crate) fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("running id")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::inherit()).output();
    let output = output.with_context(|| format!("starting {}", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "it could not be installed ({})",
            said.lines().last().unwrap_or("it said nothing").trim()
        );
    }
    Ok(())
}
