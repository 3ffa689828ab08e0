//! What a silo holds and how it is asked, as the promises need it.

use serde_json::{Map, Value, json};

use super::output::{ByStore, Record, by_store, sorted};
use super::program::{Run, named};
use super::rules;
use super::setup::{Case, Setup};
use crate::silo::{Ability, StoreId};

/// How often a vendor's job is asked for before the suite gives up.
const ASKED: usize = 200;

impl Setup {
    /// Learns from the form what is secret, so that every further run is watched for it.
    pub(super) fn learn_secrets(&mut self) {
        let form = self.bare("spec").run().one("SPEC", "spec")["spec"].take();
        self.secrets.extend(rules::secrets(&form, &self.config));
        self.secrets.retain(|secret| secret.len() >= 4);
    }

    /// The payload of SPEC.
    pub(super) fn spec(&self) -> Value {
        self.bare("spec").run().done().one("SPEC", "spec")
    }

    /// Whether the connector has an ability, by its spec; if not, that no store offers it.
    pub(super) fn can(&self, ability: Ability) -> bool {
        let name = ability.to_string();
        let told = self.spec()["abilities"]
            .as_array()
            .is_some_and(|abilities| abilities.iter().any(|one| *one == name.as_str()));
        if !told {
            for entry in self.entries() {
                let offered = abilities(&entry).contains(&name);
                assert!(!offered, "{} offers {name}, and the spec does not", id(&entry));
            }
        }
        told
    }

    /// The stores, as `discover` prints them.
    pub(super) fn entries(&self) -> Vec<Value> {
        entries(&self.call("discover").run().done())
    }

    /// The stores that offer an ability.
    pub(super) fn offering(&self, ability: Ability) -> Vec<Value> {
        let mut entries = self.entries();
        entries.retain(|entry| abilities(entry).contains(&ability.to_string()));
        entries
    }

    /// The entry of a case's store.
    pub(super) fn entry(&self, case: &Case) -> Value {
        let mut entries = self.entries();
        entries.retain(|entry| id(entry) == case.store);
        assert_eq!(entries.len(), 1, "discover must list {}", case.store);
        entries.remove(0)
    }

    /// The first case, which every setup has.
    pub(super) fn first(&self) -> &Case {
        self.cases.first().expect("a setup has a case")
    }

    /// The cases in whose stores a subject can be searched.
    pub(super) fn searchable(&self) -> Vec<&Case> {
        let offering: Vec<StoreId> = self.offering(Ability::Query).iter().map(id).collect();
        self.cases.iter().filter(|case| offering.contains(&case.store)).collect()
    }

    /// The cases whose records can be deleted on their own.
    pub(super) fn deletable(&self) -> Vec<&Case> {
        let offering: Vec<StoreId> = self.offering(Ability::Delete).iter().map(id).collect();
        let mut cases: Vec<_> =
            self.cases.iter().filter(|case| offering.contains(&case.store)).collect();
        cases.retain(|case| !case.refused);
        assert!(!cases.is_empty(), "the setup needs a case whose records can be deleted");
        cases
    }

    /// Every record of the silo, in an order that does not depend on how they came: read where a
    /// store can be read, and looked at where it cannot.
    pub(super) fn everything(&self) -> ByStore {
        let (readable, rest): (Vec<_>, Vec<_>) = self
            .entries()
            .into_iter()
            .partition(|entry| abilities(entry).contains(&Ability::Read.to_string()));
        let mut records = Vec::new();
        if !readable.is_empty() {
            let read = self.call("read").with("-s", &json!({ "schemas": readable }));
            records.extend(read.run().done().records());
        }
        if !rest.is_empty() {
            let scan = self.call("scan").with("-s", &json!({ "schemas": rest }));
            records.extend(scan.arg("--limit=1000000").run().done().records());
        }
        by_store(sorted(records))
    }

    /// The records of a case's store.
    pub(super) fn records_of(&self, case: &Case) -> Vec<Record> {
        self.everything().remove(&case.store).unwrap_or_default()
    }

    /// The records of a case's store in which a property is a value.
    pub(super) fn matching(&self, case: &Case, property: &str, value: &str) -> Vec<Record> {
        let mut records = self.records_of(case);
        records.retain(|record| record.text(property).as_deref() == Some(value));
        records
    }

    /// An entry of a query file, with the whole schema of the store as a host sends it.
    pub(super) fn identifier(&self, case: &Case, property: &str, value: &str) -> Value {
        let mut identifier = named(&case.store);
        identifier["identifier"] = json!(property);
        identifier["identifier_query"] = json!(value);
        identifier["json_schema"] = self.entry(case)["json_schema"].take();
        identifier
    }

    /// The entry of a query file for a case's own value.
    pub(super) fn subject(&self, case: &Case) -> Value {
        self.identifier(case, &case.property, &case.value)
    }

    /// Runs `query`, waits for vendors' jobs, and fetches what was found.
    pub(super) fn find(&self, identifiers: &[Value]) -> Vec<Record> {
        let run = self.call("query").with("-q", &json!({ "identifiers": identifiers })).run();
        let handles = self.settled(results(&run.done()), "COMPLETE");
        self.fetch(&handles)
    }

    /// Runs `request-results`.
    pub(super) fn fetch(&self, handles: &[Value]) -> Vec<Record> {
        let files = tempfile::tempdir_in(self.folder.path()).expect("a temporary folder");
        let call = self.call("request-results").with("-p", &json!({ "temp_store": files.path() }));
        call.with("-r", &json!({ "handles": handles })).run().done().records()
    }

    /// The handles of results once no vendor's job is under way, each of which must then stand so.
    pub(super) fn settled(&self, results: Vec<Value>, standing: &str) -> Vec<Value> {
        let mut standings: Vec<Value> =
            results.iter().map(|result| result["status"]["request_status"].clone()).collect();
        let handles: Vec<Value> =
            results.into_iter().map(|mut result| result["handle"].take()).collect();
        for _ in 0..ASKED {
            if !standings.iter().any(|standing| standing == "PROGRESS") {
                break;
            }
            let call = self.call("request-status").with("-r", &json!({ "handles": handles }));
            let statuses = call.run().done().only("REQUEST_STATUS", "request_status");
            standings =
                statuses.into_iter().map(|mut status| status["request_status"].take()).collect();
        }
        for (found, handle) in standings.iter().zip(&handles) {
            assert_eq!(found, standing, "a request should stand so: {}", handle["data"]["error"]);
        }
        handles
    }

    /// Runs `delete` with further flags; its results.
    pub(super) fn delete(&self, identifiers: &[Value], flags: &[&str]) -> Vec<Value> {
        let call = self.call("delete").with("-q", &json!({ "identifiers": identifiers }));
        let call = flags.iter().fold(call, |call, flag| call.arg(flag));
        results(&call.run().done())
    }
}

/// The stores that a SCHEMA message lists.
pub(super) fn entries(run: &Run) -> Vec<Value> {
    match run.one("SCHEMA", "schema_msg")["schemas"].take() {
        Value::Array(entries) => entries,
        other => panic!("`schemas` must be a list, not {other}"),
    }
}

/// The payloads of a run's REQUEST_RESULT messages.
pub(super) fn results(run: &Run) -> Vec<Value> {
    run.only("REQUEST_RESULT", "request")
}

/// Which store an entry of SCHEMA is about.
pub(super) fn id(entry: &Value) -> StoreId {
    let name = entry["name"].as_str().expect("an entry has a name");
    StoreId::new(entry["group"].as_str().map(str::to_owned), name)
}

/// The abilities that an entry of `discover` lists.
pub(super) fn abilities(entry: &Value) -> Vec<String> {
    texts(&entry["capabilities"])
}

/// The texts of a list.
pub(super) fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The properties of an entry's schema.
pub(super) fn properties(entry: &Value) -> Map<String, Value> {
    entry["json_schema"]["properties"].as_object().cloned().unwrap_or_default()
}

/// The same entry with only these properties.
pub(super) fn only(entry: &Value, names: &[&str]) -> Value {
    let mut entry = entry.clone();
    let properties: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
    entry["json_schema"]["properties"] = Value::Object(properties);
    entry
}

/// A store that no silo has.
pub(super) fn nowhere() -> StoreId {
    StoreId::named("no_such_store_anywhere")
}

/// A property that no store has.
pub(super) const NO_PROPERTY: &str = "no_such_property_anywhere";

/// Texts that are harmful wherever a name or a value is pasted into a statement, a URL, a filter or
/// a pattern.
pub(super) fn injections(property: &str) -> Vec<String> {
    let mut texts: Vec<String> = [
        "' OR '1'='1",
        "\\' OR 1=1 -- ",
        "\" OR \"\"=\"",
        "1 OR 1=1",
        "'; DELETE FROM t; --",
        "$1",
        "?",
        ":1",
        "%",
        "_",
        "*",
        ".*",
        "a\0b",
        "x&y=1#z",
        "../../x",
        "{{x}}",
        "${x}",
        "'",
        "\"",
        "`",
        "]",
        "\\",
        "\r\nX: y",
        "\u{feff}",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend([
        format!("{property}\" = \"{property}\" OR \"{property}"),
        format!("{property}` = `{property}` OR `{property}"),
        format!("1=1 OR {property}"),
        format!("{property}) OR (1=1"),
    ]);
    texts
}
