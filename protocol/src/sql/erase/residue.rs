//! Looking for a subject's values in all text of a database: what no relation leads to.
//!
//! Values are looked for as parts of texts, in every text and JSON column of every store. What is
//! found is told by store, column and count, never with the value.

use std::collections::BTreeSet;

use anyhow::Result;

use super::engine::{Cell, Engine, Session};
use super::persons::{Trait, holds};
use super::policy::Rule;
use super::relations::Edge;
use super::work::{Work, key_table};
use crate::message::Finding;
use crate::silo::{Kind, StoreId, Subject};
use crate::sql::catalog::Right;
use crate::sql::statement::Statement;

/// Shorter values are found everywhere, and say nothing.
const SHORTEST: usize = 5;

/// More values than these are not looked for, and that is said.
const MOST: usize = 200;

/// What is looked for.
pub(super) struct Values {
    texts: BTreeSet<String>,
    /// Whether there were too many.
    cut: bool,
}

/// What was found, and what could not be looked at.
pub(super) struct Searched {
    pub(super) found: Vec<Finding>,
    pub(super) gaps: Vec<String>,
}

impl<E: Engine> Work<'_, E> {
    /// The values to look for: the identifiers, and the e-mail addresses and phone numbers of rows
    /// that go.
    pub(super) async fn values(&mut self, subjects: &[(StoreId, Subject)]) -> Result<Values> {
        let mut texts = BTreeSet::new();
        let mut add = |text: &str| {
            let text = text.trim().to_lowercase();
            if text.chars().count() >= SHORTEST {
                texts.insert(text);
            }
        };
        for (_, subject) in subjects {
            subject.identifiers.iter().for_each(|known| add(&known.value));
        }
        for place in self.reached() {
            let columns: Vec<String> = self
                .table(place)
                .columns
                .iter()
                .filter(|column| matches!(holds(column), Some(Trait::Email | Trait::Phone)))
                .map(|column| format!("t.{}", self.name(&column.name)))
                .collect();
            if columns.is_empty() {
                continue;
            }
            let sql = format!(
                "SELECT {} FROM {} k {} {} t ON {} WHERE k.fate < 2 LIMIT {}",
                columns.join(", "),
                key_table(place),
                self.engine.join(),
                self.path(place),
                self.on_key(place, "t", "k")?,
                MOST
            );
            let mut each = |cells: &[Cell<'_>]| {
                for cell in cells {
                    match cell {
                        Cell::Text(text) => add(text),
                        Cell::Integer(number) => add(&number.to_string()),
                        _ => {}
                    }
                }
                Ok(())
            };
            self.session.rows(&Statement::plain(sql), &mut each).await?;
        }
        let cut = texts.len() >= MOST;
        Ok(Values { texts, cut })
    }

    /// Where any of the values still stand: what is the subject's own or nobody's, and what is
    /// another person's. The subject's rows are those in the key tables.
    pub(super) async fn search(&mut self, values: &Values) -> Result<Searched> {
        let mut searched = Searched { found: Vec::new(), gaps: Vec::new() };
        if values.cut {
            searched.gaps.push("there are too many values to look for all of them".to_owned());
        }
        for place in 0..self.catalog.tables.len() {
            let table = self.table(place).clone();
            if table.kind == Kind::View || values.texts.is_empty() {
                continue;
            }
            if !table.may(Right::See) {
                searched.gaps.push(format!("{}: this user may not read all of it", table.id));
                continue;
            }
            for column in &table.columns {
                let mut statement = Statement::plain("");
                let sql = format!("c.{}", self.name(&column.name));
                let mut any = Vec::new();
                for value in &values.texts {
                    let parameter = statement.bind(self.engine.dialect(), self.engine.text(value));
                    any.extend(self.engine.contains(column, &sql, &parameter));
                }
                if any.is_empty() {
                    continue;
                }
                let condition = any.join(" OR ");
                statement.text =
                    format!("SELECT count(*) FROM {} c WHERE {condition}", self.path(place));
                let all = self.number(&statement).await?;
                if all == 0 {
                    continue;
                }
                let others = self.of_others(place, &condition, statement, all).await?;
                let StoreId { group, name } = table.id.clone();
                let finding = |(rows, others)| Finding {
                    schema_name: name.clone(),
                    schema_group: group.clone(),
                    column: column.name.clone(),
                    rows,
                    others,
                };
                let parts = [(all.saturating_sub(others), false), (others, true)];
                searched.found.extend(parts.into_iter().filter(|(rows, _)| *rows > 0).map(finding));
            }
        }
        Ok(searched)
    }

    /// How many of `all` rows that a condition finds are another person's: those of a store of
    /// persons that are not the subject's, and those that refer to another person and not to the
    /// subject.
    async fn of_others(
        &mut self,
        place: usize,
        condition: &str,
        mut found: Statement<E::Value>,
        all: u64,
    ) -> Result<u64> {
        let of_persons = |place: usize| self.graph.persons[place] || self.graph.looks[place];
        let person = of_persons(place);
        let edges = self.graph.from[place].iter().map(|&edge| &self.graph.edges[edge]);
        let towards: Vec<Edge> = edges
            .filter(|edge| edge.rule != Rule::Refers && edge.parent != place)
            .filter(|edge| of_persons(edge.parent) && self.table(edge.parent).may(Right::See))
            .cloned()
            .collect();
        if !person && towards.is_empty() {
            return Ok(0);
        }
        let Ok(key) = self.row_key(place, "c") else {
            // Nothing tells whose they are.
            return Ok(if person { all } else { 0 });
        };
        let (rows, k) = (format!("manifold_f{place}"), self.temp_key(place, None)?);
        self.scratch(&rows, place, ", other INTEGER NOT NULL").await?;
        let select = format!(
            "SELECT {key}, {} FROM {} c WHERE {condition}",
            i64::from(person),
            self.path(place)
        );
        found.text = self.engine.insert_new(&rows, &format!("{k}, other"), &select);
        self.session.run(&found).await?;
        for edge in &towards {
            let other = self.refers_to_others(edge, &rows)?;
            self.run(format!("UPDATE {rows} SET other = 1 WHERE {other}")).await?;
        }
        for edge in &towards {
            if self.has_keys(edge.parent) {
                let own = self.refers_to_taken(edge, &rows)?;
                self.run(format!("UPDATE {rows} SET other = 0 WHERE {own}")).await?;
            }
        }
        if self.has_keys(place) {
            let keys = key_table(place);
            self.run(format!(
                "UPDATE {rows} SET other = 0 WHERE ({k}) IN (SELECT {k} FROM {keys})"
            ))
            .await?;
        }
        self.count(format!("SELECT count(*) FROM {rows} WHERE other = 1")).await
    }
}
