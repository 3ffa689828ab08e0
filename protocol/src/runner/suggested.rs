//! A policy to start from, for a plan that asks what only a person can know.

use serde_json::{Map, Value, json};

use crate::message::{Action, Plan, Step};
use crate::silo::StoreId;

/// What stands where a person has to choose. No policy that still has it is taken.
const CHOOSE: &str = "owns, refers or part";

/// The policy in use, with the persons that the plan took and an entry for each relation that is
/// undecided, or that led to what would be left.
pub(super) fn policy(plan: &Plan, used: &Map<String, Value>) -> Value {
    let mut policy = used.clone();
    if !policy.contains_key("persons") {
        policy.insert("persons".to_owned(), json!(plan.persons));
    }
    let mut relations: Vec<Value> = match policy.remove("relations") {
        Some(Value::Array(relations)) => relations,
        _ => Vec::new(),
    };
    let open = |step: &&Step| matches!(step.action, Action::Undecided | Action::Left);
    for step in plan.steps.iter().filter(open) {
        let Some(relation) = &step.relation else { continue };
        let own = StoreId::new(step.schema_group.clone(), step.schema_name.clone());
        let StoreId { group, name } = relation.child.clone().unwrap_or(own);
        let mut entry = json!({
            "schema_name": name,
            "columns": relation.columns,
            "references": relation.references,
            "rule": CHOOSE,
        });
        if let Some(group) = group {
            entry["schema_group"] = json!(group);
        }
        if !relations.contains(&entry) {
            relations.push(entry);
        }
    }
    policy.insert("relations".to_owned(), relations.into());
    Value::Object(policy)
}
