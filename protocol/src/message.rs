//! The native messages and input files, a superset of the Monoid protocol's.
//!
//! Messages are JSON objects, one a line. Absent members are omitted, never null. Records are not
//! here: they are written once, by [`crate::output`], and never exist as a Rust value.
//! Input files are read liberally: unknown members are ignored, and null or `""` stands for absent.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::silo::{Ability, Kind, StoreId};

/// A message on stdout, other than RECORD.
#[expect(clippy::large_enum_variant, reason = "one message exists at a time")]
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Message {
    /// What a configuration looks like and what the connector can do.
    Spec {
        /// The payload.
        spec: Spec,
    },
    /// Whether a configuration works.
    Validate {
        /// The payload.
        validate_msg: Validate,
    },
    /// The stores of a silo.
    Schema {
        /// The payload.
        schema_msg: Schemas<SchemaEntry>,
    },
    /// Where a read got to.
    State {
        /// The payload.
        state: State,
    },
    /// How far a read is.
    Progress {
        /// The payload.
        progress: Progress,
    },
    /// Members of the configuration that have another value from now on, such as a refresh token
    /// that the vendor replaced. Whoever keeps the configuration must keep these instead.
    Config {
        /// The members.
        config: serde_json::Map<String, Value>,
    },
    /// The answer to one identifier of a query or delete.
    RequestResult {
        /// The payload.
        request: RequestResult,
    },
    /// How a request stands.
    RequestStatus {
        /// The payload.
        request_status: RequestStatus,
    },
    /// What an erasure would do.
    Plan {
        /// The payload.
        plan: Plan,
    },
    /// What is still there, read afresh.
    Verify {
        /// The payload.
        verify: Verify,
    },
    /// Whether a file of evidence holds together.
    Evidence {
        /// The payload.
        evidence: Evidence,
    },
}

/// The payload of SPEC.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// The connector's name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The JSON Schema (draft-07) of the configuration.
    pub spec: Value,
    /// What the connector can ever do. Not in Monoid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abilities: Option<Vec<Ability>>,
}

/// The payload of VALIDATE.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Validate {
    /// Whether it works.
    pub status: ValidateStatus,
    /// What to correct, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether a configuration works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ValidateStatus {
    /// It does.
    Success,
    /// It does not.
    Failure,
}

/// The payload of SCHEMA, and the content of a `-s` file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Schemas<T> {
    /// One entry a store.
    pub schemas: Vec<T>,
}

/// One store, as `schema` (the first three members) and `discover` (all) print it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SchemaEntry {
    /// The store's name.
    pub name: String,
    /// The store's group.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "filled")]
    pub group: Option<String>,
    /// The JSON Schema of a record.
    pub json_schema: Value,
    /// What only `discover` prints.
    #[serde(flatten)]
    pub details: Option<Details>,
}

/// What `discover` says of a store beside its schema.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Details {
    /// What kind of store it is.
    pub kind: Kind,
    /// The properties that identify a record; empty where none do.
    #[serde(default)]
    pub key: Vec<String>,
    /// The properties an incremental read can go by, the likeliest first.
    #[serde(default)]
    pub cursors: Vec<String>,
    /// The stores this one points at.
    #[serde(default)]
    pub relations: Vec<Relation>,
    /// What can be done with this store.
    #[serde(default)]
    pub capabilities: Vec<Ability>,
}

/// A reference from one store to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// The referring store's id, where it is not the one that this stands with.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub child: Option<StoreId>,
    /// The referring properties.
    pub columns: Vec<String>,
    /// What they refer to.
    pub references: Reference,
    /// What erasing the parent means for the child, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why it has that rule, or why it is suggested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Between 0 and 1 for a relation that is not declared but looks like one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// The store and properties that a relation points at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The store's name.
    pub schema_name: String,
    /// The store's group.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "filled")]
    pub schema_group: Option<String>,
    /// The properties referred to.
    pub columns: Vec<String>,
}

/// An entry of a `-s` file: as `schema` or `discover` printed it, with what the user chose.
#[derive(Debug, Clone, Deserialize)]
pub struct ChosenStore {
    /// The store's name.
    pub name: String,
    /// The store's group.
    #[serde(default, deserialize_with = "filled")]
    pub group: Option<String>,
    /// The schema, whose `properties` choose columns; absent for all.
    #[serde(default)]
    pub json_schema: Option<Value>,
    /// The property to read incrementally by.
    #[serde(default, deserialize_with = "filled")]
    pub cursor: Option<String>,
}

impl ChosenStore {
    /// Which store it is.
    pub fn id(&self) -> StoreId {
        StoreId::new(self.group.clone(), self.name.clone())
    }
}

/// The names in the `properties` of a JSON Schema, in order; `None` where it has no such member.
pub fn properties(schema: Option<&Value>) -> Option<Vec<String>> {
    let properties = schema?.get("properties")?.as_object()?;
    Some(properties.keys().cloned().collect())
}

/// The payload of STATE.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The store's name.
    pub schema_name: String,
    /// The store's group.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "filled")]
    pub schema_group: Option<String>,
    /// Where the read got to. Only the connector that wrote it reads it.
    pub cursor: Value,
}

/// The payload of PROGRESS.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Progress {
    /// The store's name.
    pub schema_name: String,
    /// The store's group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_group: Option<String>,
    /// How many records of this run have been written.
    pub records: u64,
    /// How many there are, where that is known or estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// The payload of REQUEST_RESULT.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestResult {
    /// How the request stands.
    pub status: RequestStatus,
    /// What finds it again.
    pub handle: RequestHandle,
}

/// The payload of REQUEST_STATUS.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestStatus {
    /// The store's name.
    pub schema_name: String,
    /// The store's group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_group: Option<String>,
    /// How it stands.
    pub request_status: Standing,
    /// What `request-results` will print.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_type: Option<DataType>,
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Standing {
    /// The vendor is at work.
    Progress,
    /// It is done.
    Complete,
    /// It was not done.
    Failed,
}

/// What a request's results are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DataType {
    /// RECORD messages with data.
    Records,
    /// One RECORD message that names a file.
    File,
    /// Nothing.
    None,
}

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RequestType {
    /// To find.
    Query,
    /// To erase.
    Delete,
}

/// What finds a request again, in a later process. Content of a `-r` file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestHandle {
    /// The store's name.
    pub schema_name: String,
    /// The store's group.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "filled")]
    pub schema_group: Option<String>,
    /// What it was for.
    pub request_type: RequestType,
    /// The request itself, and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<HandleData>,
}

impl RequestHandle {
    /// Which store it is about.
    pub fn id(&self) -> StoreId {
        StoreId::new(self.schema_group.clone(), self.schema_name.clone())
    }
}

/// The free-form part of a handle: Monoid's `query`, and the facts Monoid has no place for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HandleData {
    /// The identifier this handle answers, as the query file had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Box<RawValue>>,
    /// All identifiers of the store, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identifiers: Vec<Identifier>,
    /// The vendor's job, where it answers later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Value>,
    /// How many records were deleted, or would be in a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// Whether nothing was deleted because only a rehearsal was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// How many are still there that should not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
    /// Why it cannot be known whether any are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverifiable: Option<String>,
    /// Why the request failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What an ability of its own adds, such as the request a closure was computed for.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

/// The content of a `-q` file.
#[derive(Debug, Clone, Deserialize)]
pub struct QueryFile {
    /// What is known of the subject.
    pub identifiers: Vec<Box<RawValue>>,
    /// Whether to follow relations from the identified records.
    #[serde(default)]
    pub follow: Option<bool>,
    /// Everything else: the members of an erasure policy.
    #[serde(flatten)]
    pub policy: serde_json::Map<String, Value>,
}

/// The members of an erasure policy.
pub const POLICY_MEMBERS: [&str; 5] = ["persons", "relations", "strategies", "retain", "hold"];

/// One thing known of a subject: the value of one property of one store.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identifier {
    /// The store's name.
    pub schema_name: String,
    /// The store's group.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "filled")]
    pub schema_group: Option<String>,
    /// The property.
    pub identifier: String,
    /// Its value, as text.
    #[serde(deserialize_with = "scalar")]
    pub identifier_query: String,
    /// The store's schema, whose `properties` choose columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<Value>,
    /// How values are compared.
    #[serde(default, rename = "match", skip_serializing_if = "Matching::is_exact")]
    pub matching: Matching,
}

impl Identifier {
    /// Which store it is about.
    pub fn id(&self) -> StoreId {
        StoreId::new(self.schema_group.clone(), self.schema_name.clone())
    }
}

/// Names the store and the property, never the value.
impl std::fmt::Debug for Identifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identifier({}.{})", self.id(), self.identifier)
    }
}

/// How an identifier is compared with what is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// By code points: case, accents and blanks count, whatever the column's collation says.
    #[default]
    Exact,
    /// As the column's collation compares.
    Collation,
}

impl Matching {
    /// Whether it is the usual one, which is not written.
    pub fn is_exact(&self) -> bool {
        *self == Matching::Exact
    }
}

/// The content of a `-r` file.
#[derive(Debug, Clone, Deserialize)]
pub struct HandleFile {
    /// Unchanged from `query` or `delete`.
    pub handles: Vec<RequestHandle>,
}

/// The content of a `-p` file.
#[derive(Debug, Clone, Deserialize)]
pub struct PersistFile {
    /// An existing folder for files among the results.
    pub temp_store: std::path::PathBuf,
}

/// The payload of PLAN.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Plan {
    /// What stands for this plan when it is approved.
    pub hash: String,
    /// What would be done, in order.
    pub steps: Vec<Step>,
    /// The stores taken as holding persons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub persons: Vec<StoreId>,
    /// What a person should know before approving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// A policy to start from, where one was asked for: what is undecided stands in it as a relation
    /// whose `rule` is to be completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Value>,
}

/// One action on one store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// The store's name.
    pub schema_name: String,
    /// The store's group.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "filled")]
    pub schema_group: Option<String>,
    /// What is done, or what stops it.
    pub action: Action,
    /// How many records.
    pub rows: u64,
    /// The relation that led here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
    /// The columns masked or nulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Why, and what would change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a step of a plan does, or what stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The records go.
    Delete,
    /// Columns of the records are overwritten.
    Mask,
    /// References to records that go are set to null.
    Null,
    /// The records stay, by a retention rule.
    Keep,
    /// It is not known whether the records belong to the subject.
    Undecided,
    /// The records cannot go, because others that stay refer to them.
    Blocked,
    /// The records stay, unreferenced, and may hold personal data.
    Left,
    /// The user may not see or change the records, or what refers to them; where it may not see them,
    /// their number is 0.
    Denied,
    /// Whether stores that the user cannot see refer to the records is not known.
    Unknown,
    /// The records differ from an identifier by case, accents or blanks only, and stay.
    Near,
}

/// The payload of VERIFY.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Verify {
    /// How many records are there that should not be.
    pub remaining: u64,
    /// How many are there by a retention rule.
    pub kept: u64,
    /// How many stores could not be looked at.
    pub unverifiable: u64,
    /// One entry a store.
    pub stores: Vec<VerifiedStore>,
    /// Where values of the subject stand in texts, where that was looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residue: Vec<Finding>,
}

/// A column in whose texts a value of the subject stands. Never the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The store's name.
    pub schema_name: String,
    /// The store's group.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "filled")]
    pub schema_group: Option<String>,
    /// The column.
    pub column: String,
    /// How many rows.
    pub rows: u64,
    /// Whether the rows are those of other persons, who may share a value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub others: bool,
}

/// What a fresh read of one store found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerifiedStore {
    /// The store's name.
    pub schema_name: String,
    /// The store's group.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "filled")]
    pub schema_group: Option<String>,
    /// How many records are there that should not be.
    pub remaining: u64,
    /// How many are there by a retention rule.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept: u64,
    /// How many differ from an identifier by case, accents or blanks only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near: u64,
    /// Why the store could not be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverifiable: Option<String>,
}

/// The payload of EVIDENCE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How many records the file has.
    pub records: u64,
    /// The numbers of those that say that something was begun, and that no outcome follows.
    pub undetermined: Vec<u64>,
    /// What is wrong with the file: changed, cut or missing records.
    pub problems: Vec<String>,
    /// The seal of the last record. Kept elsewhere, it shows whether the end was cut off.
    pub last: String,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Null and `""` stand for absent.
fn filled<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// A string, number or boolean, as text.
fn scalar<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        _ => Err(serde::de::Error::custom("must be a string, a number or a boolean")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_of_any_scalar_type_become_text_and_null_is_refused() {
        let parse = |value: &str| {
            serde_json::from_str::<Identifier>(&format!(
                r#"{{"schema_name":"t","schema_group":"","identifier":"id","identifier_query":{value},"odd":1}}"#
            ))
        };
        assert_eq!(parse("\"a b\"").unwrap().identifier_query, "a b");
        assert_eq!(parse("9007199254740993").unwrap().identifier_query, "9007199254740993");
        assert_eq!(parse("true").unwrap().identifier_query, "true");
        assert_eq!(parse("1").unwrap().schema_group, None);
        assert!(parse("null").is_err());
        assert!(parse("[1]").is_err());
    }

    #[test]
    fn a_subjects_value_is_not_in_debug_output() {
        let identifier: Identifier = serde_json::from_str(
            r#"{"schema_name":"t","identifier":"email","identifier_query":"ada@example.com"}"#,
        )
        .unwrap();
        assert!(!format!("{identifier:?}").contains("ada@"));
    }
}
