//! `cargo xtask affected`: the connectors that a change touches, for people and for the matrix of CI.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::screen;
use crate::workspace::{Package, Workspace};

/// Files that change no binary, no test and no image: by how their names begin, or end.
const DOCUMENTS: (&[&str], &[&str]) =
    (&["LICENSE", ".gitignore", "integration-spec.yaml"], &[".md"]);

/// Branches that changes are made for, the first that exists being the one.
const TRUNKS: [&str; 2] = ["origin/main", "main"];

/// Prints the connectors that changed since `since`, as lines or as a matrix.
pub(crate) fn command(since: Option<&str>, matrix: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    let changed = changed(&workspace, since)?;
    let connectors: Vec<&Package> = workspace.connectors().collect();
    let affected = affected(&changed, &connectors);
    if matrix {
        return screen::result(self::matrix(&affected));
    }
    affected.iter().filter_map(|package| package.connector()).try_for_each(screen::result)
}

/// The files that differ from what `since` was when this change began, in commits or only in the folder.
fn changed(workspace: &Workspace, since: Option<&str>) -> Result<Vec<String>> {
    let git = |arguments: &[&str]| -> Result<String> {
        let mut command = std::process::Command::new("git");
        let output = command
            .args(arguments)
            .current_dir(&workspace.root)
            .output()
            .context("starting git")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "git {}: {}", arguments.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let exists = |branch: &&&str| git(&["rev-parse", "--quiet", "--verify", branch]).is_ok();
    let since = since.or_else(|| TRUNKS.iter().find(exists).copied());
    let since =
        since.context("there is no branch main to compare with: name a revision with --since")?;
    let base = git(&["merge-base", since, "HEAD"])?;
    let mut files = git(&["diff", "--name-only", "--no-renames", "-z", base.trim()])?;
    files += &git(&["ls-files", "--others", "--exclude-standard", "-z"])?;
    Ok(files.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// A change in a connector's folder affects it and those that depend on it; documents affect none; all else affects all.
fn affected<'a>(changed: &[String], connectors: &[&'a Package]) -> Vec<&'a Package> {
    let document = |path: &&String| {
        DOCUMENTS.0.iter().any(|name| path.starts_with(name))
            || DOCUMENTS.1.iter().any(|end| path.ends_with(end))
    };
    let mut names = BTreeSet::new();
    for path in changed.iter().filter(|path| !document(path)) {
        let folder = path.strip_prefix("connectors/").and_then(|rest| rest.split_once('/'));
        match folder {
            Some((name, _)) => names.insert(name),
            None => return connectors.to_vec(),
        };
    }
    let touched = |package: &Package| {
        let depends =
            |name: &str| package.dependencies.iter().any(|other| other.connector() == Some(name));
        names.iter().any(|name| package.connector() == Some(name) || depends(name))
    };
    connectors.iter().copied().filter(|package| touched(package)).collect()
}

/// What a job for each connector has to know.
fn matrix(connectors: &[&Package]) -> Value {
    let job = |package: &&Package| json!({"connector": package.connector(), "services": package.services()});
    json!({"include": connectors.iter().map(job).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, depends_on: &[&str]) -> Package {
        let dependency = |name: &&str| json!({"name": format!("connector-{name}")});
        let dependencies: Vec<Value> = depends_on.iter().map(dependency).collect();
        serde_json::from_value(json!({
            "name": format!("connector-{name}"), "version": "1.0.0", "manifest_path": "/x/Cargo.toml",
            "dependencies": dependencies, "metadata": {"manifold": {"services": [name]}},
        }))
        .unwrap()
    }

    fn names(changed: &[&str]) -> Vec<String> {
        let packages =
            [package("postgres", &[]), package("redshift", &["postgres"]), package("sqlite", &[])];
        let changed: Vec<String> = changed.iter().map(|&path| path.to_owned()).collect();
        let affected = affected(&changed, &packages.iter().collect::<Vec<_>>());
        affected.iter().map(|package| package.connector().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_connector_affects_itself_and_those_built_on_it() {
        assert_eq!(names(&["connectors/sqlite/src/lib.rs"]), ["sqlite"]);
        assert_eq!(
            names(&["connectors/postgres/Cargo.toml", "README.md"]),
            ["postgres", "redshift"]
        );
    }

    #[test]
    fn what_all_are_built_on_affects_all() {
        assert_eq!(names(&["protocol/src/lib.rs"]).len(), 3);
        assert_eq!(names(&["Cargo.lock"]).len(), 3);
        assert_eq!(names(&["integration-manifest.yaml"]).len(), 3);
    }

    #[test]
    fn documents_affect_none() {
        assert!(names(&["README.md", "connectors/sqlite/CHANGELOG.md", "LICENSE-MIT"]).is_empty());
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn the_matrix_names_services() {
        let expected = json!({"include": [{"connector": "postgres", "services": ["postgres"]}]});
        assert_eq!(matrix(&[&package("postgres", &[])]), expected);
    }
}
