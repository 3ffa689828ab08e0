//! `cargo xtask run NAME COMMAND …`: a built image run as a platform would, or as nearly as this machine can.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result, bail};

use crate::build;
use crate::image::{self, Unpacked};
use crate::workspace::Workspace;
use crate::{screen, services};

/// Flags whose values are files or folders of this machine, which the image has to see.
const PATHS: [&str; 11] = [
    "-c",
    "--config",
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
    let archive = workspace.target.join("images").join(format!("{name}.tar"));
    let shown = || format!("{} (`cargo xtask build` makes it)", workspace.shown(&archive));
    let file = File::open(&archive).with_context(|| format!("opening {}", shown()))?;
    let (arguments, mut paths) = visible(arguments)?;
    for path in mounts {
        paths.push(fs::canonicalize(path).with_context(|| format!("finding {}", path.display()))?);
    }
    let root = workspace.target.join("run").join(name);
    let image = image::unpack(file, &root).with_context(|| format!("unpacking {}", shown()))?;

    let status = if let Some(engine) = build::engine() {
        screen::note(format_args!("running {} through {engine}", image.name));
        with_engine(engine, &archive, &image, &arguments, &paths)?
    } else if can_enter()? {
        screen::note(format_args!(
            "running {} in a root of its own: no engine answers",
            image.name
        ));
        in_root(&root, &image, &arguments, &paths)?
    } else {
        screen::note(format_args!(
            "running the binary of {}: no engine answers, and this user may not chroot",
            image.name
        ));
        let binary = root.join(image.entrypoint.trim_start_matches('/'));
        Command::new(binary)
            .args(arguments)
            .envs(image.environment())
            .status()
            .context("starting the binary")?
    };
    match status.code() {
        Some(code) => std::process::exit(code),
        None => bail!("it was ended by a signal ({status})"),
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
    archive: &Path,
    image: &Unpacked,
    arguments: &[String],
    paths: &[PathBuf],
) -> Result<ExitStatus> {
    build::load(engine, archive)?;
    let mut run = Command::new(engine);
    run.args(["run", "--rm", "--interactive", "--network", "host", "--pull", "never"]);
    for path in paths {
        let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        run.arg("--volume").arg(format!("{path}:{path}"));
    }
    run.arg(&image.name).args(arguments).status().with_context(|| format!("starting {engine}"))
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
    if !services::is_root()? {
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
) -> Result<ExitStatus> {
    // What container engines mount as well: names cannot be found without.
    let resolver = ["/etc/hosts", "/etc/resolv.conf"]
        .map(PathBuf::from)
        .into_iter()
        .filter(|path| path.exists());
    let mut command = unshare()?;
    command.args(["/bin/sh", "-euc", ENTER, "enter"]).arg(root);
    command.args(resolver).args(paths).arg("--").arg(&image.entrypoint).args(arguments);
    // `sh` and `mount` need the path; the connector does not see more of this machine.
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(image.environment());
    command.status().context("starting unshare")
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
