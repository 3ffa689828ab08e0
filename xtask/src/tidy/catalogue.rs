//! Rules for the manifest: each connector is in it, each of its images is a connector, and ids are Monoid's.

use super::{Finding, Tree};
use crate::manifest::{self, Entry, MONOID_IDS};

pub(super) fn check(tree: &Tree, found: &mut Vec<Finding>) {
    let Some(file) = tree.file(manifest::FILE) else {
        found.push(Finding {
            path: manifest::FILE.into(),
            line: 1,
            what: "write it: the list of integrations".into(),
        });
        return;
    };
    let entries = match manifest::parse(&file.text) {
        Ok(entries) => entries,
        Err(error) => return found.push(Finding::new(file, 1, format!("{error:#}"))),
    };
    let connectors: Vec<&str> = tree.0.iter().filter_map(|file| connector(&file.path)).collect();
    let version = tree.file("Cargo.toml").and_then(|file| version(&file.text));
    let line = |entry: &Entry| {
        file.lines().find(|(_, line)| line.contains(&entry.id)).map_or(1, |(number, _)| number)
    };

    for entry in &entries {
        let Some(name) = entry.connector() else { continue };
        let mut add = |what: String| found.push(Finding::new(file, line(entry), what));
        if !connectors.contains(&name) {
            add(format!("{}: there is no connectors/{name} to make its image of", entry.name));
        }
        if version.is_some() && entry.tag.as_deref() != version {
            add(format!(
                "{}: set dockerTag to the workspace's version, {}",
                entry.name,
                version.unwrap_or_default()
            ));
        }
    }
    for (name, id) in MONOID_IDS {
        let ours = entries.iter().find(|entry| entry.integration() == Some(name));
        if let Some(entry) = ours
            && entries.iter().all(|entry| entry.id != id)
        {
            let what = format!("{}: give it the id {id}, by which Monoid knows it", entry.name);
            found.push(Finding::new(file, line(entry), what));
        }
    }
    for name in connectors {
        if !entries.iter().any(|entry| entry.connector() == Some(name)) {
            found.push(Finding::new(file, 1, format!("add an entry for connectors/{name}")));
        }
    }
}

/// The connector whose Cargo.toml this is.
fn connector(path: &str) -> Option<&str> {
    path.strip_prefix("connectors/")?.strip_suffix("/Cargo.toml")
}

/// The version that the packages share.
fn version(manifest: &str) -> Option<&str> {
    let (_, package) = manifest.split_once("[workspace.package]")?;
    let line = package.lines().find(|line| line.starts_with("version"))?;
    line.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    const ROOT: (&str, &str) = ("Cargo.toml", "[workspace.package]\nversion = \"1.2.3\"\n");

    fn found(connectors: &[&str], entries: &[(&str, &str, &str)]) -> Vec<usize> {
        let entry = |(id, name, tag): &(&str, &str, &str)| {
            format!(
                "- id: {id}\n  name: {name}\n  dockerImage: manifold/{name}\n  dockerTag: {tag}\n"
            )
        };
        let text: String = entries.iter().map(entry).collect();
        let paths: Vec<String> =
            connectors.iter().map(|name| format!("connectors/{name}/Cargo.toml")).collect();
        let mut files = vec![ROOT, (manifest::FILE, text.as_str())];
        files.extend(paths.iter().map(|path| (path.as_str(), "")));
        let mut found = vec![];
        check(&Tree::of(&files), &mut found);
        found.into_iter().map(|finding| finding.line).collect()
    }

    const ID: &str = "7a9b2f46-0a3e-4ad3-bd2e-0f3c3d3a1e10";

    #[test]
    fn connectors_and_entries_are_the_same() {
        assert_eq!(found(&["acme"], &[(ID, "acme", "1.2.3")]), NONE);
        assert_eq!(found(&["acme", "other"], &[(ID, "acme", "1.2.3")]), [1]);
        assert_eq!(found(&[], &[(ID, "acme", "1.2.3")]), [1]);
    }

    #[test]
    fn a_tag_is_the_version() {
        assert_eq!(found(&["acme"], &[(ID, "acme", "1.2.4")]), [1]);
    }

    #[test]
    fn monoids_connectors_keep_their_ids() {
        assert_eq!(found(&["postgres"], &[(ID, "postgres", "1.2.3")]), [1]);
        assert_eq!(found(&["postgres"], &[(MONOID_IDS[0].1, "postgres", "1.2.3")]), NONE);
    }
}
