//! `cargo xtask run NAME COMMAND …`: a built image run as a platform would, or as nearly as this machine can.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::build;
use crate::image::{self, Unpacked};
use crate::workspace::Workspace;
use crate::{apt, screen};

/// Flags whose values are files or folders of this machine, which the image has to see.
const PATHS: [&str; 12] = [
    "-c",
    "--config",
    "--catalog",
    "-q",
    "--query",
    "-s",
    "--schemas",
    "-r",
    "--requests",
    "-p",
    "--persist_conf",
    "--state",
];

/// Enters a root of its own with what is listed before `--` mounted in it, and runs what comes after.
/// Mounts are seen by this process alone, and end with it.
const ENTER: &str = r#"
root=$1; shift
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$root${1%/*}" && : >>"$root$1"; fi
    mount --bind "$1" "$root$1"
    shift
done
shift
exec chroot "$root" "$@"
"#;

/// Runs a command of an image, with this process's stdin, stdout and stderr, and ends as it does.
pub(crate) fn command(name: &str, arguments: &[String], mounts: &[PathBuf]) -> Result<()> {
    let workspace = Workspace::load()?;
    let (arguments, mut paths) = visible(arguments)?;
    for path in mounts {
        paths.push(fs::canonicalize(path).with_context(|| format!("finding {}", path.display()))?);
    }
    let means = Means::of_this_machine()?;
    screen::note(format_args!("running {name} {means}"));
    let mut run = means.prepare(&workspace, name, &arguments, &paths)?;
    let status =
        run.status().with_context(|| format!("starting {}", run.get_program().display()))?;
    match status.code() {
        Some(code) => std::process::exit(code),
        None => bail!("it was ended by a signal ({status})"),
    }
}

/// By what means an image is run, the first being the nearest to what a platform does.
#[derive(Clone, Copy)]
pub(crate) enum Means {
    /// Through this engine.
    Engine(&'static str),
    /// Unpacked, in a root of its own.
    Root,
    /// Unpacked, its binary alone.
    Binary,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Means::Engine(engine) => write!(f, "through {engine}"),
            Means::Root => f.write_str("in a root of its own: no engine answers"),
            Means::Binary => {
                f.write_str("as a binary: no engine answers, and this user may not chroot")
            }
        }
    }
}

impl Means {
    /// What this machine has.
    pub(crate) fn of_this_machine() -> Result<Means> {
        Ok(match build::engine() {
            Some(engine) => Means::Engine(engine),
            None if can_enter()? => Means::Root,
            None => Means::Binary,
        })
    }

    /// The command that runs a built image, which sees these paths of this machine.
    pub(crate) fn prepare(
        self,
        workspace: &Workspace,
        name: &str,
        arguments: &[String],
        paths: &[PathBuf],
    ) -> Result<Command> {
        let archive = workspace.target.join("images").join(format!("{name}.tar"));
        let shown = || format!("{} (`cargo xtask build` makes it)", workspace.shown(&archive));
        let file = File::open(&archive).with_context(|| format!("opening {}", shown()))?;
        let root = workspace.target.join("run").join(name);
        let image = image::unpack(file, &root).with_context(|| format!("unpacking {}", shown()))?;
        match self {
            Means::Engine(engine) => {
                build::load(engine, &archive)?;
                with_engine(engine, &image, arguments, paths)
            }
            Means::Root => in_root(&root, &image, arguments, paths),
            Means::Binary => {
                let binary = root.join(image.entrypoint.trim_start_matches('/'));
                let mut command = Command::new(binary);
                command.args(arguments).envs(image.environment());
                Ok(command)
            }
        }
    }
}

/// The arguments with their paths made absolute, and these paths.
fn visible(arguments: &[String]) -> Result<(Vec<String>, Vec<PathBuf>)> {
    let (mut seen, mut paths): (Vec<String>, Vec<PathBuf>) = (vec![], vec![]);
    for argument in arguments {
        let is_path =
            seen.last().is_some_and(|flag| PATHS.contains(&flag.as_str())) && argument != "-";
        if is_path {
            let path = fs::canonicalize(argument).with_context(|| format!("finding {argument}"))?;
            seen.push(
                path.to_str().with_context(|| format!("{argument} is not UTF-8"))?.to_owned(),
            );
            paths.push(path);
        } else {
            seen.push(argument.clone());
        }
    }
    Ok((seen, paths))
}

fn with_engine(
    engine: &str,
    image: &Unpacked,
    arguments: &[String],
    paths: &[PathBuf],
) -> Result<Command> {
    let mut run = Command::new(engine);
    run.args(["run", "--rm", "--interactive", "--network", "host", "--pull", "never"]);
    for path in paths {
        let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        run.arg("--volume").arg(format!("{path}:{path}"));
    }
    run.arg(&image.name).args(arguments);
    Ok(run)
}

/// Whether this process may have mounts and a root of its own.
fn can_enter() -> Result<bool> {
    let probe = unshare()?.args(["chroot", "/", "true"]).output();
    Ok(probe.is_ok_and(|output| output.status.success()))
}

/// What gives a command mounts of its own, and to a user without rights those of root among them.
fn unshare() -> Result<Command> {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !apt::is_root()? {
        command.arg("--map-root-user");
    }
    command.arg("--");
    Ok(command)
}

fn in_root(
    root: &Path,
    image: &Unpacked,
    arguments: &[String],
    paths: &[PathBuf],
) -> Result<Command> {
    // What container engines mount as well: names cannot be found without.
    let resolver = ["/etc/hosts", "/etc/resolv.conf"].map(PathBuf::from);
    let mut command = unshare()?;
    command.args(["/bin/sh", "-euc", ENTER, "enter"]).arg(root);
    command.args(resolver.iter().filter(|path| path.exists())).args(paths);
    command.arg("--").arg(&image.entrypoint).args(arguments);
    // `sh` and `mount` need the path; the connector does not see more of this machine.
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(image.environment());
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_behind_their_flags() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.json");
        fs::write(&config, "{}").unwrap();
        let given = ["read", "-c", config.to_str().unwrap(), "--state", "-", "--mode", "append"]
            .map(str::to_owned);
        let (arguments, paths) = visible(&given).unwrap();
        let absolute = fs::canonicalize(&config).unwrap();
        assert_eq!(paths, std::slice::from_ref(&absolute));
        assert_eq!(arguments[2], absolute.to_str().unwrap());
        assert_eq!(arguments[3..], given[3..]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = visible(&["-c".to_owned(), "/no/such.json".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("/no/such.json"));
    }
}
