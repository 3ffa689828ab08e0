//! The workspace as cargo sees it: where it is, its packages, and cargo itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// The prefix that keeps a connector's package from colliding with a driver crate.
const PREFIX: &str = "connector-";

/// What `cargo metadata` tells of this workspace.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One member of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) manifest_path: PathBuf,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) license: Option<String>,
    #[serde(default)]
    pub(crate) repository: Option<String>,
    #[serde(default)]
    pub(crate) dependencies: Vec<Dependency>,
    #[serde(default, deserialize_with = "or_default")]
    metadata: Metadata,
}

/// A package that another depends on.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    name: String,
}

/// `[package.metadata]`, of which this project reads its own table.
#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    manifold: Manifold,
}

/// `[package.metadata.manifold]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifold {
    /// The services that the tests need.
    #[serde(default)]
    services: Vec<String>,
}

impl Workspace {
    /// Reads the workspace that holds the current directory.
    pub(crate) fn load() -> Result<Workspace> {
        let output = Command::new(cargo())
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .stderr(Stdio::inherit())
            .output()
            .context("running cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata failed");
        let mut workspace: Workspace = serde_json::from_slice(&output.stdout)
            .context("reading what cargo metadata printed")?;
        workspace.packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(workspace)
    }

    /// The connectors, by name.
    pub(crate) fn connectors(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.connector().is_some())
    }

    /// The connectors of these names, all of them when there is no name.
    pub(crate) fn chosen_connectors(&self, names: &[String]) -> Result<Vec<&Package>> {
        if names.is_empty() {
            return Ok(self.connectors().collect());
        }
        names.iter().map(|name| self.connector(name)).collect()
    }

    /// The connector of this name.
    pub(crate) fn connector(&self, name: &str) -> Result<&Package> {
        match self.connectors().find(|package| package.connector() == Some(name)) {
            Some(package) => Ok(package),
            None => {
                let known: Vec<&str> = self.connectors().filter_map(Package::connector).collect();
                bail!("there is no connector {name}; there are: {}", known.join(", "))
            }
        }
    }

    /// The version that all packages share.
    pub(crate) fn version(&self) -> Result<&str> {
        let package = self.packages.iter().find(|package| package.name == "xtask");
        Ok(&package.context("the workspace has no package xtask")?.version)
    }

    /// Where the sources are published.
    pub(crate) fn repository(&self) -> Result<&str> {
        let found = self.packages.iter().find_map(|package| package.repository.as_deref());
        found.context("no package names its repository")
    }

    /// Builds the connectors with the profile of the tests.
    pub(crate) fn build(&self, connectors: &[&Package]) -> Result<()> {
        if connectors.is_empty() {
            return Ok(());
        }
        let mut command = self.cargo("build");
        command.args(["--release", "--locked", "--bins"]);
        for package in connectors {
            command.args(["--package", &package.name]);
        }
        run(&mut command)
    }

    /// The binary that [`Workspace::build`] makes of a connector.
    pub(crate) fn binary(&self, connector: &Package) -> PathBuf {
        self.target.join("release").join(&connector.name)
    }

    /// A cargo subcommand, run at the root.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(cargo());
        command.arg(subcommand).current_dir(&self.root);
        command
    }

    /// A path as people see it: from the root.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

impl Dependency {
    /// The connector's name, if this package is one.
    pub(crate) fn connector(&self) -> Option<&str> {
        self.name.strip_prefix(PREFIX)
    }
}

impl Package {
    /// The connector's name, if this package is one.
    pub(crate) fn connector(&self) -> Option<&str> {
        self.name.strip_prefix(PREFIX)
    }

    /// The folder of the package.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().expect("a manifest lies in a folder")
    }

    /// The services that the tests of this package need.
    pub(crate) fn services(&self) -> &[String] {
        &self.metadata.manifold.services
    }
}

/// The cargo that runs this program, so that both are of one toolchain.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs a command to its end, its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("starting {program}"))?;
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    let name = Path::new(&program)
        .file_name()
        .map_or(program.as_str().into(), |name| name.to_string_lossy());
    ensure!(status.success(), "{name} {} failed ({status})", arguments.join(" "));
    Ok(())
}

/// Runs a program to its end, and gives what it prints; the last line of its complaint is the error.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = PathBuf::from(command.get_program());
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("starting {}", name.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}): {}",
            name.display(),
            output.status,
            said.lines().last().unwrap_or_default()
        );
    }
    Ok(output.stdout)
}

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
