//! The relations between the stores of a database, and what each means for erasure: the catalog's
//! foreign keys, the policy's word on them, and cautious defaults for the rest.

use std::collections::BTreeSet;

use anyhow::Result;

use super::persons::looks_like_persons;
use super::policy::{Named, Policy, Rule, find};
use crate::fault::Fault;
use crate::message::{Reference, Relation};
use crate::silo::StoreId;
use crate::sql::catalog::{Catalog, Column, ForeignKey, Table};

/// The stores of a database and what refers to what, by their places in the catalog.
#[derive(Debug)]
pub struct Graph {
    /// Every relation, in the order of the catalog, those of the policy last.
    pub edges: Vec<Edge>,
    /// Whether a store is one of persons.
    pub persons: Vec<bool>,
    /// Whether a store looks like one of persons and is not taken as one.
    pub looks: Vec<bool>,
    /// The relations that point at a store.
    pub into: Vec<Vec<usize>>,
    /// The relations that a store has.
    pub from: Vec<Vec<usize>>,
}

/// One relation.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The referring store.
    pub child: usize,
    /// The store referred to.
    pub parent: usize,
    /// The referring columns.
    pub columns: Vec<String>,
    /// What they refer to, in the same order.
    pub references: Vec<String>,
    /// What it means.
    pub rule: Rule,
    /// Whether the policy says so.
    pub by_hand: bool,
    /// Why it has its rule.
    pub reason: &'static str,
    /// The database's own constraint, where there is one.
    pub key: Option<ForeignKey>,
    /// Whether the referring columns all stand in the child's primary key.
    pub in_key: bool,
    /// Whether an index begins with the referring columns.
    pub indexed: bool,
}

impl Edge {
    /// As messages say it.
    pub fn message(&self, catalog: &Catalog) -> Relation {
        let StoreId { group, name } = catalog.tables[self.parent].id.clone();
        Relation {
            child: None,
            columns: self.columns.clone(),
            references: Reference {
                schema_name: name,
                schema_group: group,
                columns: self.references.clone(),
            },
            rule: Some(self.rule.word().to_owned()),
            reason: Some(self.reason.to_owned()),
            score: None,
        }
    }

    /// `store (columns)`, for people.
    pub fn name(&self, catalog: &Catalog) -> String {
        format!("{}({})", catalog.tables[self.child].id, self.columns.join(", "))
    }
}

impl Graph {
    /// The graph of a database. `identified` are the stores that identifiers name.
    pub fn of(catalog: &Catalog, policy: &Policy, identified: &[usize]) -> Result<Graph> {
        let mut edges = declared(catalog);
        add_from_policy(catalog, policy, &mut edges)?;
        let looking: Vec<bool> = catalog.tables.iter().map(looks_like_persons).collect();
        let mut persons = vec![false; catalog.tables.len()];
        for named in &policy.persons {
            persons[find(catalog, named, "persons")?] = true;
        }
        add_identified(&mut persons, &looking, &edges, identified);
        let looks = looking.iter().zip(&persons).map(|(looks, person)| *looks && !person).collect();
        let mut graph = Graph {
            into: vec![Vec::new(); catalog.tables.len()],
            from: vec![Vec::new(); catalog.tables.len()],
            edges,
            persons,
            looks,
        };
        graph.judge(catalog);
        for (place, edge) in graph.edges.iter().enumerate() {
            graph.into[edge.parent].push(place);
            graph.from[edge.child].push(place);
        }
        Ok(graph)
    }

    /// Gives every relation that the policy is silent on its rule.
    fn judge(&mut self, catalog: &Catalog) {
        let owned_by_hand: BTreeSet<usize> = self
            .edges
            .iter()
            .filter(|edge| edge.by_hand && edge.rule == Rule::Owns && self.persons[edge.parent])
            .map(|edge| edge.child)
            .collect();
        for edge in self.edges.iter_mut().filter(|edge| !edge.by_hand) {
            let child = &catalog.tables[edge.child];
            (edge.rule, edge.reason) = if edge.child == edge.parent {
                (Rule::Refers, "a reference within a store refers")
            } else if self.persons[edge.child] && !is_one_to_one(child, &edge.columns) {
                (Rule::Refers, "a person's row refers to others")
            } else if self.persons[edge.child] {
                (Rule::Owns, "its columns are a key of the row: the same person")
            } else if self.persons[edge.parent] && owned_by_hand.contains(&edge.child) {
                (Rule::Refers, "the policy says to which person the row belongs")
            } else {
                match edge.key.as_ref().map(|key| key.on_delete) {
                    Some(crate::sql::catalog::OnChange::SetNull) => {
                        (Rule::Refers, "ON DELETE SET NULL")
                    }
                    Some(crate::sql::catalog::OnChange::SetDefault) => {
                        (Rule::Refers, "ON DELETE SET DEFAULT")
                    }
                    _ => (Rule::Owns, "a row goes with the one it refers to"),
                }
            };
        }
    }
}

/// The declared relations, each set of columns once.
fn declared(catalog: &Catalog) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    let place = |id: &StoreId| catalog.tables.iter().position(|table| table.id == *id);
    for (child, table) in catalog.tables.iter().enumerate() {
        for key in &table.references {
            let Some(parent) = place(&key.table) else { continue };
            let complete = key.columns.len() == key.references.len()
                && key.columns.iter().all(|name| table.column(name).is_some())
                && key.references.iter().all(|name| catalog.tables[parent].column(name).is_some());
            if !complete {
                continue;
            }
            let twin = edges.iter_mut().find(|edge| {
                (edge.child, edge.parent, &edge.columns, &edge.references)
                    == (child, parent, &key.columns, &key.references)
            });
            match twin.and_then(|edge| edge.key.as_mut()) {
                Some(known) => known.deferrable &= key.deferrable,
                None => edges.push(edge(catalog, child, parent, key)),
            }
        }
    }
    edges
}

fn edge(catalog: &Catalog, child: usize, parent: usize, key: &ForeignKey) -> Edge {
    let table = &catalog.tables[child];
    Edge {
        child,
        parent,
        columns: key.columns.clone(),
        references: key.references.clone(),
        rule: Rule::Owns,
        by_hand: false,
        reason: "",
        key: Some(key.clone()),
        in_key: !key.columns.is_empty() && key.columns.iter().all(|name| table.key.contains(name)),
        indexed: is_indexed(table, &key.columns),
    }
}

/// Whether an index begins with the columns, in any order.
fn is_indexed(table: &Table, columns: &[String]) -> bool {
    table.indexes.iter().chain([&table.key]).any(|index| {
        index
            .get(..columns.len())
            .is_some_and(|head| columns.iter().all(|name| head.contains(name)))
    })
}

/// Whether no two rows refer to the same parent: the columns are the whole primary key, or a unique
/// key that is never null.
fn is_one_to_one(table: &Table, columns: &[String]) -> bool {
    let same = |key: &[String]| {
        key.len() == columns.len() && columns.iter().all(|name| key.contains(name))
    };
    let never_null = columns.iter().all(|name| table.column(name).is_some_and(|c| !c.nullable));
    same(&table.key) || (never_null && table.uniques.iter().any(|unique| same(unique)))
}

/// The rules that the policy sets, and the relations that it adds.
fn add_from_policy(catalog: &Catalog, policy: &Policy, edges: &mut Vec<Edge>) -> Result<()> {
    for set in &policy.relations {
        let child = find(catalog, &Named::Full(set.store.clone()), "relations")?;
        let target = StoreId::new(
            set.references.schema_group.clone().or_else(|| set.store.group.clone()),
            set.references.schema_name.clone(),
        );
        let parent = find(catalog, &Named::Full(target), "relations")?;
        for (table, names) in [(child, &set.columns), (parent, &set.references.columns)] {
            let table = &catalog.tables[table];
            if let Some(missing) = names.iter().find(|name| table.column(name).is_none()) {
                return Err(Fault::config(format!(
                    "the policy's `relations` name the column `{missing}`, and {} has none",
                    table.id
                ))
                .into());
            }
        }
        if set.columns.is_empty() || set.columns.len() != set.references.columns.len() {
            return Err(Fault::config(format!(
                "the policy's relation of {} must name as many columns as it refers to",
                set.store
            ))
            .into());
        }
        let known = edges.iter().position(|edge| {
            edge.child == child
                && edge.parent == parent
                && same_pairs(edge, &set.columns, &set.references.columns)
        });
        let place = known.unwrap_or_else(|| {
            let key = ForeignKey {
                name: None,
                columns: set.columns.clone(),
                table: catalog.tables[parent].id.clone(),
                references: set.references.columns.clone(),
                on_delete: crate::sql::catalog::OnChange::Refuse,
                on_update: crate::sql::catalog::OnChange::Refuse,
                deferrable: false,
            };
            // The database does not know of it.
            edges.push(Edge { key: None, ..edge(catalog, child, parent, &key) });
            edges.len() - 1
        });
        let edge = &mut edges[place];
        edge.rule = set.rule;
        edge.by_hand = true;
        edge.reason = "the policy says so";
    }
    Ok(())
}

/// Whether a relation pairs the same columns, in whatever order.
fn same_pairs(edge: &Edge, columns: &[String], references: &[String]) -> bool {
    let pairs = |a: &[String], b: &[String]| -> BTreeSet<(String, String)> {
        a.iter().cloned().zip(b.iter().cloned()).collect()
    };
    pairs(&edge.columns, &edge.references) == pairs(columns, references)
}

/// Takes identified stores as ones of persons: those that look like it, and those that refer to no
/// person. Where that leaves none, all: an identified row is somebody's.
fn add_identified(persons: &mut [bool], looking: &[bool], edges: &[Edge], identified: &[usize]) {
    for &place in identified.iter().filter(|&&place| looking[place]) {
        persons[place] = true;
    }
    let open: Vec<usize> = identified.iter().copied().filter(|&place| !persons[place]).collect();
    let free: Vec<usize> = open
        .iter()
        .copied()
        .filter(|&place| {
            !edges.iter().any(|edge| {
                edge.child == place
                    && edge.parent != place
                    && (persons[edge.parent] || open.contains(&edge.parent))
            })
        })
        .collect();
    for place in free {
        persons[place] = true;
    }
    if !persons.contains(&true) {
        for &place in &open {
            persons[place] = true;
        }
    }
}

/// The columns of a reference that can be set to null when its parent goes: they may be null and
/// belong to no other key. Empty where the reference cannot be undone.
pub(super) fn nullable_columns<'c>(catalog: &'c Catalog, edge: &Edge) -> Vec<&'c Column> {
    let table = &catalog.tables[edge.child];
    let alone = edge.columns.len() == 1;
    let elsewhere = |name: &String| {
        table.key.contains(name)
            || (!alone
                && (table.uniques.iter().any(|unique| unique.contains(name))
                    || table
                        .references
                        .iter()
                        .any(|key| key.columns != edge.columns && key.columns.contains(name))))
    };
    edge.columns
        .iter()
        .filter(|name| !elsewhere(name))
        .filter_map(|name| table.column(name))
        .filter(|column| column.nullable && !column.generated)
        .collect()
}
