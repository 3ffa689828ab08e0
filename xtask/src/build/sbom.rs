//! The list of what a binary is made of, as CycloneDX.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::workspace::{Package, Workspace};

/// The bill of materials of a connector: the crates that are linked into it for this target, with its features.
pub(super) fn cyclonedx(
    workspace: &Workspace,
    connector: &Package,
    triple: &str,
) -> Result<Vec<u8>> {
    let mut tree = workspace.cargo("tree");
    tree.args([
        "--locked",
        "--package",
        &connector.name,
        "--target",
        triple,
        "--edges",
        "normal,no-proc-macro",
    ]);
    tree.args(["--prefix", "none", "--format", "{p}|{l}|{r}"]);
    let output = tree.output().context("running cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let lock =
        fs::read_to_string(workspace.root.join("Cargo.lock")).context("reading Cargo.lock")?;
    let bill = bill(connector, &String::from_utf8_lossy(&output.stdout), &checksums(&lock));
    let mut text = serde_json::to_vec_pretty(&bill)?;
    text.push(b'\n');
    Ok(text)
}

fn bill(connector: &Package, tree: &str, checksums: &BTreeMap<(&str, &str), &str>) -> Value {
    let lines: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    let crates = lines.iter().filter_map(|line| component(line, checksums));
    let components: Vec<Value> =
        crates.filter(|component| component["name"] != connector.name).collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": purl(&connector.name, &connector.version),
                "name": connector.name,
                "version": connector.version,
            },
        },
        "components": components,
    })
}

/// The component that a line `name v1.2.3 (more)|licence|repository` tells of.
fn component(line: &str, checksums: &BTreeMap<(&str, &str), &str>) -> Option<Value> {
    let mut parts = line.split('|');
    let mut words = parts.next()?.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(name, version),
        "name": name,
        "version": version,
        "purl": purl(name, version),
    });
    if let Some(licence) = parts.next().filter(|licence| !licence.is_empty()) {
        // Older crates separate alternatives by a slash, which SPDX does not know.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    if let Some(repository) = parts.next().filter(|repository| !repository.is_empty()) {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    if let Some(checksum) = checksums.get(&(name, version)) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    Some(component)
}

fn purl(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{version}")
}

/// The checksums of the crates in a lock file, by name and version.
fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let checksum = |package| {
        let name = field(package, "name")?;
        Some(((name, field(package, "version")?), field(package, "checksum")?))
    };
    lock.split("[[package]]").filter_map(checksum).collect()
}

/// The value of `key = "value"` among lines.
fn field<'a>(lines: &'a str, key: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_component() {
        let lock = "version = 4\n\n[[package]]\nname = \"itoa\"\nversion = \"1.0.1\"\nchecksum = \"abc\"\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        let component =
            component("itoa v1.0.1|MIT/Apache-2.0|https://example.com/itoa", &checksums(lock))
                .unwrap();
        assert_eq!(component["purl"], "pkg:cargo/itoa@1.0.1");
        assert_eq!(component["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(component["hashes"][0]["content"], "abc");
    }

    #[test]
    fn a_crate_of_this_workspace_shows_no_path() {
        let component =
            component("protocol v0.1.0 (/home/somebody/manifold/protocol)||", &BTreeMap::new())
                .unwrap();
        assert!(!component.to_string().contains("somebody"));
    }
}
