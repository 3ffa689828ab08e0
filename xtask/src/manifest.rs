//! `integration-manifest.yaml`: the list of integrations, in the form that Monoid's loader reads.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The file, at the root of the workspace.
pub(crate) const FILE: &str = "integration-manifest.yaml";

/// What every image's name begins with; the rest is the connector's name.
const IMAGES: &str = "manifold/";

/// The ids by which Monoid knows these connectors: with them, its loader replaces its own entries by ours.
pub(crate) const MONOID_IDS: [(&str, &str); 9] = [
    ("postgres", "d454d06e-4a7d-47d2-b8af-b3c877eceed5"),
    ("mysql", "cd4ca115-9761-476b-8404-6507b852fd82"),
    ("mariadb", "5ca5915b-047e-4a97-bd38-14266a43cc32"),
    ("bigquery", "df51dc01-28ba-4785-bc94-a665afcf698b"),
    ("redshift", "eedf094b-21e8-466c-87a4-7d86974e0fe6"),
    ("snowflake", "35b27655-f7c2-4409-a8a8-2246482af7c0"),
    ("intercom", "0ba2ffc8-07a6-4e04-86ad-45e81f098697"),
    ("mixpanel", "c67f04e0-9063-4a90-9555-17bde7554d5e"),
    ("mssql", "c748cae7-f22b-4d44-9c96-7d3509a293d4"),
];

/// One integration.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Absent from a manual integration.
    pub(crate) image: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) documentation: Option<String>,
    /// Named where it is not the image's own name.
    connector: Option<String>,
    /// The foreign protocols that the connector has images for.
    pub(crate) wires: Vec<String>,
    /// Everything the entry says, known or not, in its order.
    pub(crate) fields: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    id: String,
    name: String,
    docker_image: Option<String>,
    docker_tag: Option<String>,
    documentation_url: Option<String>,
    connector: Option<String>,
    #[serde(default)]
    manual: bool,
    #[serde(default)]
    wires: Vec<String>,
}

impl Entry {
    fn read(fields: Map<String, Value>) -> Result<Entry> {
        let name =
            fields.get("name").and_then(Value::as_str).unwrap_or("without a name").to_owned();
        let known: Known = serde_json::from_value(Value::Object(fields.clone()))
            .with_context(|| format!("the entry {name}"))?;
        ensure!(
            is_uuid(&known.id),
            "the entry {name}: the id {} is not a lower-case UUID",
            known.id
        );
        ensure!(
            known.manual != known.docker_image.is_some(),
            "the entry {name}: it has to have either a dockerImage or manual: true"
        );
        ensure!(
            known.manual || known.docker_tag.is_some(),
            "the entry {name}: an image has to have a dockerTag"
        );
        Ok(Entry {
            id: known.id,
            name: known.name,
            image: known.docker_image,
            tag: known.docker_tag,
            documentation: known.documentation_url,
            connector: known.connector,
            wires: known.wires,
            fields,
        })
    }

    /// The connector whose binary is in the image.
    pub(crate) fn connector(&self) -> Option<&str> {
        self.connector.as_deref().or_else(|| self.integration())
    }

    /// What the image is named after: two integrations can be of one connector.
    pub(crate) fn integration(&self) -> Option<&str> {
        self.image.as_deref().map(|image| image.strip_prefix(IMAGES).unwrap_or(image))
    }
}

/// Reads the manifest of the workspace at `root`.
pub(crate) fn read(root: &Path) -> Result<Vec<Entry>> {
    let text = fs::read_to_string(root.join(FILE)).with_context(|| format!("reading {FILE}"))?;
    parse(&text)
}

/// Reads a manifest's text.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>> {
    let read = || {
        let list: Vec<Map<String, Value>> = serde_saphyr::from_str(text).map_err(|error| {
            // The rest is a picture of the place, and an error is one line.
            anyhow::anyhow!("{}", error.to_string().lines().next().unwrap_or_default().to_owned())
        })?;
        let entries: Vec<Entry> = list.into_iter().map(Entry::read).collect::<Result<_>>()?;
        for (i, entry) in entries.iter().enumerate() {
            if let Some(other) = entries[..i].iter().find(|other| other.id == entry.id) {
                bail!(
                    "the entries {} and {} have the same id {}",
                    other.name,
                    entry.name,
                    entry.id
                );
            }
        }
        Ok(entries)
    };
    read().with_context(|| FILE.to_owned())
}

/// The text of the entry of a new connector.
pub(crate) fn new_entry(
    id: &str,
    connector: &str,
    title: &str,
    repository: &str,
    version: &str,
    reads: bool,
) -> String {
    // What cannot be read as a whole has nothing to say on a wire.
    let wires = if reads { "source, tap, capture" } else { "" };
    format!(
        "\n- id: {id}\n  name: {title}\n  documentationUrl: {repository}/tree/main/connectors/{connector}\n  \
         dockerImage: {IMAGES}{connector}\n  dockerTag: {version}\n  logo: \"\"\n  manual: false\n  wires: [{wires}]\n"
    )
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && groups
            .concat()
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "- id: d454d06e-4a7d-47d2-b8af-b3c877eceed5
  name: Postgres
  dockerImage: manifold/postgres
  dockerTag: 0.1.0
  colour: { of: [elephants] }
";

    fn refusal(text: &str) -> String {
        let error = format!("{:#}", parse(text).unwrap_err());
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    }

    #[test]
    fn unknown_fields_are_kept() {
        let entries = parse(ENTRY).unwrap();
        assert_eq!(entries[0].connector(), Some("postgres"));
        assert_eq!(entries[0].fields["colour"], serde_json::json!({"of": ["elephants"]}));
    }

    #[test]
    fn an_entry_can_name_a_connector_that_is_not_called_like_its_image() {
        let entries = parse(&format!("{ENTRY}  connector: mysql\n")).unwrap();
        assert_eq!(entries[0].connector(), Some("mysql"));
        assert_eq!(entries[0].integration(), Some("postgres"));
    }

    #[test]
    fn a_new_entry_can_be_read() {
        let id = "7a9b2f46-0a3e-4ad3-bd2e-0f3c3d3a1e10";
        let text = format!(
            "{ENTRY}{}",
            new_entry(id, "acme-crm", "Acme Crm", "https://example.com", "1.2.3", true)
        );
        let entries = parse(&text).unwrap();
        assert_eq!((entries[1].id.as_str(), entries[1].connector()), (id, Some("acme-crm")));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        assert!(
            refusal(&ENTRY.repeat(2)).contains("the same id d454d06e"),
            "{}",
            refusal(&ENTRY.repeat(2))
        );
        assert!(
            refusal("- name: Nameless\n  manual: true\n")
                .contains("the entry Nameless: missing field `id`")
        );
        assert!(refusal(&ENTRY.replace("d454d06e-", "")).contains("not a lower-case UUID"));
        assert!(
            refusal(&ENTRY.replace("  dockerImage: manifold/postgres\n", ""))
                .contains("either a dockerImage")
        );
        assert!(refusal(&ENTRY.replace("  dockerTag: 0.1.0\n", "")).contains("dockerTag"));
        assert!(refusal("- id: [").starts_with(FILE));
    }
}
