//! Rules for packages: what a connector's folder holds, and who may depend on whom.

use super::{File, Finding, Tree};

/// Connectors that may depend on another: their systems are of one family.
const FAMILIES: [(&str, &str); 1] = [("redshift", "postgres")];

/// Drivers and clients of one vendor's system, which only a connector may depend on.
const DRIVERS: [&str; 14] = [
    "duckdb",
    "lapin",
    "libsqlite3-sys",
    "mongodb",
    "mysql",
    "mysql_async",
    "postgres",
    "postgres-protocol",
    "postgres-types",
    "rdkafka",
    "redis",
    "rusqlite",
    "tiberius",
    "tokio-postgres",
];

/// What every connector's folder holds.
const FILES: [(&str, &str); 4] = [
    ("README.md", "write it for the person who connects the system"),
    ("CHANGELOG.md", "write it, by date, for the people who use the connector"),
    ("src/main.rs", "write it: three lines that hand the silo to the runner"),
    ("tests/conformance.rs", "write it: it runs the conformance suite"),
];

pub(super) fn check(tree: &Tree, found: &mut Vec<Finding>) {
    for file in &tree.0 {
        let Some(folder) = file.path.strip_suffix("/Cargo.toml") else { continue };
        dependencies(file, folder, found);
        if let Some(name) = folder.strip_prefix("connectors/") {
            connector(tree, file, name, found);
        }
    }
}

fn connector(tree: &Tree, manifest: &File, name: &str, found: &mut Vec<Finding>) {
    let package = format!("connector-{name}");
    for line in settings(manifest)
        .filter(|line| matches!(line.table, "package" | "[bin]") && line.key == "name")
    {
        if line.value != format!("\"{package}\"") {
            found.push(Finding::new(
                manifest,
                line.number,
                format!("call the package and its binary {package}"),
            ));
        }
    }
    for (path, what) in FILES {
        if tree.file(&format!("connectors/{name}/{path}")).is_none() {
            found.push(Finding::new(
                manifest,
                1,
                format!("connectors/{name}/{path} is missing: {what}"),
            ));
        }
    }
}

fn dependencies(manifest: &File, folder: &str, found: &mut Vec<Finding>) {
    let connector = folder.strip_prefix("connectors/");
    let mut dependency = |name: &str, value: &str, number: usize| {
        let mut add = |what: String| found.push(Finding::new(manifest, number, what));
        if !value.contains("workspace = true") {
            add(format!(
                "give {name} its version in the workspace's Cargo.toml, and `workspace = true` here"
            ));
        }
        match (name.strip_prefix("connector-"), connector) {
            (Some(other), Some(this)) if FAMILIES.contains(&(this, other)) => {}
            (Some(_), _) => add(format!("do not depend on {name}: a connector stands on its own")),
            (None, None) if DRIVERS.contains(&name) => {
                add(format!("leave {name} to the connector of its vendor"))
            }
            (None, _) if folder == "xtask" && name == "protocol" => {
                add("run the binaries instead of depending on protocol".to_owned());
            }
            _ => {}
        }
    };
    let mut last_table = "";
    for line in settings(manifest) {
        let name = line.key.trim_matches('"');
        if line.table.split('.').next_back().is_some_and(|last| last.ends_with("dependencies")) {
            match name.strip_suffix(".workspace") {
                Some(name) => dependency(name, "workspace = true", line.number),
                None => dependency(name, line.value, line.number),
            }
        } else if let Some((_, name)) = line.table.rsplit_once("dependencies.")
            && last_table != line.table
        {
            let inherits =
                |other: &Setting<'_>| other.table == line.table && other.key == "workspace";
            let value = if settings(manifest).any(|other| inherits(&other)) {
                "workspace = true"
            } else {
                ""
            };
            dependency(name.trim_matches('"'), value, line.number);
        }
        last_table = line.table;
    }
}

/// One `key = value` of a TOML file, and the table it stands in.
struct Setting<'a> {
    number: usize,
    table: &'a str,
    key: &'a str,
    value: &'a str,
}

/// The settings of a Cargo.toml, as far as one line holds each.
fn settings(file: &File) -> impl Iterator<Item = Setting<'_>> {
    let mut table = "";
    file.lines().filter_map(move |(number, line)| {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name;
            return None;
        }
        let (key, value) = line.split_once('=')?;
        let key = key.trim();
        (!key.starts_with('#')).then_some(Setting { number, table, key, value: value.trim() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn found(folder: &str, manifest: &str) -> Vec<usize> {
        let path = format!("{folder}/Cargo.toml");
        let mut files = vec![(path.as_str(), manifest)];
        let others: Vec<String> =
            FILES.iter().map(|(name, _)| format!("{folder}/{name}")).collect();
        files.extend(others.iter().map(|path| (path.as_str(), "")));
        let mut found = vec![];
        check(&Tree::of(&files), &mut found);
        found.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_connector_is_named_after_its_folder() {
        assert_eq!(found("connectors/acme", "[package]\nname = \"connector-acme\"\n"), NONE);
        assert_eq!(found("connectors/acme", "[package]\nname = \"acme\"\n"), [2]);
        assert_eq!(found("connectors/acme", "[[bin]]\nname = \"acme\"\n"), [2]);
    }

    #[test]
    fn a_connector_has_all_its_files() {
        let mut found = vec![];
        check(&Tree::of(&[("connectors/acme/Cargo.toml", "")]), &mut found);
        assert_eq!(found.len(), FILES.len());
    }

    #[test]
    fn versions_stand_in_the_workspace() {
        assert_eq!(found("protocol", "[dependencies]\nserde.workspace = true\n"), NONE);
        assert_eq!(
            found("protocol", "[dependencies]\nserde = { workspace = true, optional = true }\n"),
            NONE
        );
        assert_eq!(
            found("protocol", "[dependencies.serde]\nworkspace = true\noptional = true\n"),
            NONE
        );
        assert_eq!(found("protocol", "[dependencies]\nserde = \"1\"\n"), [2]);
        assert_eq!(
            found(
                "protocol",
                "[target.'cfg(unix)'.dev-dependencies]\nserde = { version = \"1\" }\n"
            ),
            [2]
        );
        assert_eq!(
            found("protocol", "[dependencies.serde]\nversion = \"1\"\noptional = true\n"),
            [2]
        );
    }

    #[test]
    fn packages_depend_one_way() {
        assert_eq!(found("connectors/a", "[dependencies]\nconnector-b.workspace = true\n"), [2]);
        assert_eq!(
            found("connectors/redshift", "[dependencies]\nconnector-postgres.workspace = true\n"),
            NONE
        );
        assert_eq!(found("xtask", "[dependencies]\nprotocol.workspace = true\n"), [2]);
        assert_eq!(found("xtask", "[dev-dependencies]\nconnector-a.workspace = true\n"), [2]);
    }

    #[test]
    fn drivers_belong_to_connectors() {
        assert_eq!(
            found("protocol", "[dependencies]\nrusqlite = { workspace = true, optional = true }\n"),
            [2]
        );
        assert_eq!(found("connectors/sqlite", "[dependencies]\nrusqlite.workspace = true\n"), NONE);
    }
}
