//! An erasure policy as a person writes it: who are persons, what relations mean, what is masked,
//! what is kept.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::complaint;
use crate::fault::Fault;
use crate::message::{POLICY_MEMBERS, Reference};
use crate::silo::StoreId;
use crate::sql::catalog::Catalog;

/// The members of a policy, each of which may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The stores whose rows are persons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub persons: Vec<Named>,
    /// What relations mean, declared ones and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<SetRelation>,
    /// What is done with the rows of a store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strategies: Vec<Strategy>,
    /// What must be kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retain: Vec<Retain>,
    /// Why nothing may be erased at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
}

/// A store in a policy: its name, `group/name`, or its id as messages have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Named {
    /// A name, which must be unique, or `group/name`.
    Short(String),
    /// Group and name.
    Full(StoreId),
}

/// What a relation means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetRelation {
    /// The referring store.
    #[serde(flatten)]
    pub store: StoreId,
    /// Its referring columns.
    pub columns: Vec<String>,
    /// What they refer to.
    pub references: Reference,
    /// What it means.
    pub rule: Rule,
}

/// What it means for a row that it refers to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// The child goes with its parent.
    Owns,
    /// The child stays, and its reference is nulled.
    Refers,
    /// The parent is the child's.
    Part,
}

impl Rule {
    /// As policies and messages spell it.
    pub fn word(self) -> &'static str {
        match self {
            Rule::Owns => "owns",
            Rule::Refers => "refers",
            Rule::Part => "part",
        }
    }
}

/// What is done with the rows of a store that go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Strategy {
    /// The store.
    #[serde(flatten)]
    pub store: StoreId,
    /// Whether its rows go or are masked.
    #[serde(default)]
    pub action: StoreAction,
    /// What becomes of columns: of those masked, and the constant for a reference to a row that
    /// goes.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub columns: Map<String, Value>,
}

/// What is done with the rows of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreAction {
    /// They go.
    Delete,
    /// They stay, and their columns are overwritten.
    #[default]
    Mask,
}

/// Rows that must be kept, with what they own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retain {
    /// The store.
    #[serde(flatten)]
    pub store: StoreId,
    /// The one column whose values must be kept; absent for whole rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Why.
    pub reason: String,
    /// The column that says how old a row is.
    #[serde(default, alias = "date_column", skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Rows from this day on are kept: `2024-01-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Rows up to this age are kept: `P10Y`, `P6M`, `P90D`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
}

impl Policy {
    /// The policy that the members of an object say. Others are ignored, as in every message.
    pub fn of(members: &Map<String, Value>) -> Result<Policy> {
        let own = members
            .iter()
            .filter(|(name, value)| POLICY_MEMBERS.contains(&name.as_str()) && !value.is_null());
        let own: Map<String, Value> =
            own.map(|(name, value)| (name.clone(), value.clone())).collect();
        serde_path_to_error::deserialize(Value::Object(own))
            .map_err(|error| Fault::config(format!("the policy: {}", complaint(&error))).into())
    }

    /// What of it is about the stores of one database.
    pub(super) fn only(mut self, of_it: impl Fn(&StoreId) -> bool) -> Policy {
        self.persons.retain(|named| match named {
            Named::Short(_) => true,
            Named::Full(id) => of_it(id),
        });
        self.relations.retain(|relation| of_it(&relation.store));
        self.strategies.retain(|strategy| of_it(&strategy.store));
        self.retain.retain(|rule| of_it(&rule.store));
        self
    }

    /// This policy and another: what either keeps is kept, and where both set the same relation or
    /// store, the other is right.
    pub fn and(mut self, other: Policy) -> Policy {
        self.persons.extend(other.persons);
        self.relations.retain(|mine| {
            !other.relations.iter().any(|theirs| {
                (&mine.store, &mine.columns, &mine.references)
                    == (&theirs.store, &theirs.columns, &theirs.references)
            })
        });
        self.relations.extend(other.relations);
        self.strategies
            .retain(|mine| !other.strategies.iter().any(|theirs| mine.store == theirs.store));
        self.strategies.extend(other.strategies);
        self.retain.extend(other.retain);
        self.hold = other.hold.or(self.hold);
        self
    }
}

/// Whether a policy means a store, by its full id or, where there is but one, by its name.
pub(super) fn is_named(said: &StoreId, id: &StoreId) -> bool {
    said == id || (said.group.is_none() && said.name == id.name)
}

/// The place in the catalog of a store that a policy names.
pub(super) fn find(catalog: &Catalog, named: &Named, member: &str) -> Result<usize> {
    let matches = |id: &StoreId| match named {
        Named::Short(text) => id.name == *text || id.to_string() == *text,
        Named::Full(full) => is_named(full, id),
    };
    let mut found = catalog.tables.iter().enumerate().filter(|(_, table)| matches(&table.id));
    let first = found.next();
    let text = match named {
        Named::Short(text) => text.clone(),
        Named::Full(id) => id.to_string(),
    };
    match (first, found.next()) {
        (Some((place, _)), None) => Ok(place),
        (Some((place, table)), Some(_)) if matches!(named, Named::Full(id) if *id == table.id) => {
            Ok(place)
        }
        (Some(_), Some(_)) => Err(Fault::config(format!(
            "the policy's `{member}` names {text}, and there are several: say its schema_group too"
        ))
        .into()),
        (None, _) => Err(Fault::config(format!(
            "the policy's `{member}` names {text}, and there is no such store"
        ))
        .into()),
    }
}

/// The day that rows of an age rule are kept from, given today: both like `2024-01-31`.
pub(super) fn cutoff(retain: &Retain, today: Date) -> Result<Option<String>> {
    let complain = |what: &str| -> anyhow::Error {
        Fault::config(format!("the policy's `retain` of {}: {what}", retain.store)).into()
    };
    match (&retain.since, &retain.age, &retain.date) {
        (None, None, None) => Ok(None),
        (None, None, Some(_)) => Err(complain("`date` needs `since` or `age` beside it")),
        (_, _, None) => Err(complain("`since` and `age` need `date`, the column to go by")),
        (Some(_), Some(_), _) => Err(complain("say `since` or `age`, not both")),
        (Some(since), None, _) => match Date::parse(since) {
            Some(date) => Ok(Some(date.to_string())),
            None => Err(complain("`since` must be a day like 2024-01-31")),
        },
        (None, Some(age), _) => match today.minus(age) {
            Some(date) => Ok(Some(date.to_string())),
            None => Err(complain("`age` must be like P10Y, P6M, P8W or P90D")),
        },
    }
}

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// The day, in UTC, of a number of seconds since 1970.
    pub(super) fn of_seconds(seconds: i64) -> Date {
        Date::of_days(seconds.div_euclid(86_400))
    }

    /// Howard Hinnant's `civil_from_days`.
    fn of_days(days: i64) -> Date {
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Date { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
    }

    /// Howard Hinnant's `days_from_civil`.
    fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let shifted = if self.month > 2 { self.month - 3 } else { self.month + 9 };
        let day_of_year = (153 * shifted + 2) / 5 + self.day - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
            - 719_468
    }

    fn parse(text: &str) -> Option<Date> {
        let mut parts = text.split('-');
        let mut number = |digits: usize| -> Option<i64> {
            let part = parts.next().filter(|part| part.len() == digits)?;
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let date = Date { year: number(4)?, month: number(2)?, day: number(2)? };
        (parts.next().is_none() && Date::of_days(date.days()) == date).then_some(date)
    }

    fn minus(self, age: &str) -> Option<Date> {
        let age = age.strip_prefix('P')?;
        let (number, unit) = age.split_at_checked(age.len().checked_sub(1)?)?;
        let number: i64 = number.parse().ok().filter(|n| (0..=100_000).contains(n))?;
        let back = |months: i64| {
            let total = self.year * 12 + self.month - 1 - months;
            let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
            // The 31st of a shorter month is its last day: what is in doubt is kept.
            (1..=self.day)
                .rev()
                .map(|day| Date { year, month, day })
                .find(|date| Date::of_days(date.days()) == *date)
        };
        match unit {
            "Y" => back(number * 12),
            "M" => back(number),
            "W" => Some(Date::of_days(self.days() - number * 7)),
            "D" => Some(Date::of_days(self.days() - number)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(value: Value) -> Result<Policy> {
        Policy::of(value.as_object().unwrap())
    }

    #[test]
    fn a_policy_is_read_from_a_messages_members_and_others_are_left_alone() {
        let read = policy(json!({
            "title": 1, "persons": ["Customer", {"schema_name": "Employee"}], "retain": null,
            "relations": [{"schema_name": "a", "columns": ["b"], "rule": "owns",
                           "references": {"schema_name": "c", "columns": ["d"]}}],
        }))
        .unwrap();
        assert_eq!(read.persons.len(), 2);
        assert_eq!(read.relations[0].rule, Rule::Owns);
    }

    #[test]
    fn what_a_policy_says_wrongly_is_named_by_its_place() {
        let complaint = policy(json!({"relations": [{"schema_name": "a", "columns": ["b"],
            "references": {"schema_name": "c", "columns": ["d"]}, "rule": "own"}]}));
        assert!(complaint.unwrap_err().to_string().contains("relations[0]"));
    }

    #[test]
    fn of_two_policies_all_that_is_kept_is_kept() {
        let one = policy(json!({"retain": [{"schema_name": "a", "reason": "law"}]})).unwrap();
        let two = policy(json!({"retain": [{"schema_name": "b", "reason": "law"}]})).unwrap();
        assert_eq!(one.and(two).retain.len(), 2);
    }

    #[test]
    fn ages_count_back_by_the_calendar() {
        let today = Date::parse("2024-03-31").unwrap();
        for (age, expected) in [
            ("P1Y", "2023-03-31"),
            ("P1M", "2024-02-29"),
            ("P1D", "2024-03-30"),
            ("P2W", "2024-03-17"),
        ] {
            assert_eq!(today.minus(age).unwrap().to_string(), expected, "{age}");
        }
        assert_eq!(Date::of_seconds(0).to_string(), "1970-01-01");
        assert_eq!(Date::of_seconds(1_709_251_199).to_string(), "2024-02-29");
        assert_eq!(Date::parse("2023-02-29"), None);
        assert_eq!(today.minus("10 years"), None);
    }
}
