//! Looking for a subject's values in all text of a database: what no relation leads to.
//!
//! Values are looked for as parts of texts, in every text and JSON column of every store. What is
//! found is told by store, column and count, never with the value.

use std::collections::BTreeSet;

use anyhow::Result;

use super::engine::{Cell, Engine, Session};
use super::persons::{Trait, holds};
use super::work::{Work, key_table};
use crate::message::Finding;
use crate::silo::{Kind, StoreId, Subject};
use crate::sql::statement::Statement;

/// Shorter values are found everywhere, and say nothing.
const SHORTEST: usize = 5;

/// More values than these are not looked for, and that is said.
const MOST: usize = 200;

impl<E: Engine> Work<'_, E> {
    /// The values to look for: the identifiers, and the e-mail addresses and phone numbers of rows
    /// that go.
    pub(super) async fn values(
        &mut self,
        subjects: &[(StoreId, Subject)],
    ) -> Result<(BTreeSet<String>, bool)> {
        let mut values = BTreeSet::new();
        let mut add = |text: &str| {
            let text = text.trim().to_lowercase();
            if text.chars().count() >= SHORTEST {
                values.insert(text);
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
                    if let Cell::Text(text) = cell {
                        add(text);
                    }
                }
                Ok(())
            };
            self.session.rows(&Statement::plain(sql), &mut each).await?;
        }
        let complete = values.len() < MOST;
        Ok((values, complete))
    }

    /// Where any of the values still stand.
    pub(super) async fn search(&mut self, values: &BTreeSet<String>) -> Result<Vec<Finding>> {
        let mut found = Vec::new();
        for place in 0..self.catalog.tables.len() {
            let table = self.table(place).clone();
            if table.kind == Kind::View || values.is_empty() {
                continue;
            }
            for column in &table.columns {
                let mut statement = Statement::plain("");
                let sql = format!("t.{}", self.name(&column.name));
                let mut any = Vec::new();
                for value in values {
                    let parameter = statement.bind(self.engine.dialect(), self.engine.text(value));
                    any.extend(self.engine.contains(column, &sql, &parameter));
                }
                if any.is_empty() {
                    continue;
                }
                statement.text = format!(
                    "SELECT count(*) FROM {} t WHERE {}",
                    self.path(place),
                    any.join(" OR ")
                );
                let rows = self.number(&statement).await?;
                if rows == 0 {
                    continue;
                }
                let others = self.graph.persons[place] || self.graph.looks[place];
                let StoreId { group, name } = table.id.clone();
                found.push(Finding {
                    schema_name: name,
                    schema_group: group,
                    column: column.name.clone(),
                    rows,
                    others,
                });
            }
        }
        Ok(found)
    }
}
