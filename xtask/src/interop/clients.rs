//! Programs from the Python package index, each in an environment of its own.
//!
//! An environment is made of a list of exact versions below `xtask/clients/`, and kept outside of
//! `target/` under a name that the list and the interpreter give: another list is another environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::workspace::{Workspace, output};
use crate::{programs, screen};

/// The environments that are at hand.
pub(crate) struct Clients<'a> {
    workspace: &'a Workspace,
    python: PathBuf,
    cache: PathBuf,
}

impl<'a> Clients<'a> {
    /// Looks for an interpreter, and for where to keep environments.
    pub(crate) fn new(workspace: &'a Workspace) -> Result<Clients<'a>> {
        let python = programs::find("python3", &[]).context("there is no python3")?;
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let cache =
            folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        let cache =
            cache.context("neither XDG_CACHE_HOME nor HOME says where to keep environments")?;
        Ok(Clients { workspace, python, cache: cache.join("manifold/clients") })
    }

    /// Where the lists and the scripts are.
    pub(crate) fn folder(&self) -> PathBuf {
        self.workspace.root.join("xtask/clients")
    }

    /// The programs of an environment, which is made if it is not there.
    pub(crate) fn programs(&self, name: &str) -> Result<PathBuf> {
        let list = self.folder().join(format!("{name}.txt"));
        let content =
            fs::read(&list).with_context(|| format!("reading {}", self.workspace.shown(&list)))?;
        let version = output(Command::new(&self.python).arg("--version"))?;
        let mut hash = Sha256::new();
        hash.update(&content);
        hash.update(&version);
        let key: String =
            hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let folder = self.cache.join(format!("{name}-{key}"));
        let ready = folder.join("ready");
        if !ready.exists() {
            self.make(name, &folder, &list)?;
            fs::write(&ready, "").with_context(|| format!("writing {}", ready.display()))?;
        }
        Ok(folder.join("bin"))
    }

    fn make(&self, name: &str, folder: &Path, list: &Path) -> Result<()> {
        screen::note(format_args!("making the environment {name} in {}", folder.display()));
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        output(Command::new(&self.python).args(["-m", "venv"]).arg(folder))
            .context("python3 -m venv, which Debian has in python3-venv")?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--requirement"]).arg(list);
        output(&mut pip).context("pip")?;
        Ok(())
    }
}
