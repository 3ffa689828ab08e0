//! Masking: whether what a policy says of a store can hold, and doing it.

use std::collections::BTreeMap;

use anyhow::Result;

use super::decide::{Decision, Fates, Planned};
use super::engine::{Cell, Engine, Session};
use super::mask::{HASHED, KEYED, Key, Mask, RANDOM};
use super::persons::holds;
use super::policy::{Policy, is_named};
use super::references::nulled_table;
use super::rekey::Change;
use super::work::{Work, key_table};
use crate::fault::Fault;
use crate::message::Action;
use crate::sql::catalog::{Column, Table};
use crate::sql::statement::Statement;
use crate::sql::types::Type;

/// The masks of a store's columns, as the policy says.
pub(super) fn masks(policy: &Policy, table: &Table) -> Result<Vec<(Column, Mask)>> {
    let Some(strategy) =
        policy.strategies.iter().find(|strategy| is_named(&strategy.store, &table.id))
    else {
        return Ok(Vec::new());
    };
    let mut masks = Vec::new();
    for (name, value) in &strategy.columns {
        let column = table.column(name).ok_or_else(|| {
            Fault::config(format!(
                "the policy's strategy names the column `{name}`, and {} has none",
                table.id
            ))
        })?;
        masks.push((column.clone(), Mask::parse(value, &table.id, name)?));
    }
    let place = |name: &str| table.columns.iter().position(|column| column.name == name);
    masks.sort_by_key(|(column, _)| place(&column.name));
    Ok(masks)
}

/// Why a mask cannot hold on a column, as far as the catalog tells.
fn objection(column: &Column, mask: &Mask, key: Option<&Key>, convertible: bool) -> Option<String> {
    let texts = matches!(column.of, Type::Text | Type::Any | Type::Other);
    let length = |needed: u64| {
        column
            .length
            .filter(|length| *length < needed)
            .map(|length| format!("it needs {needed} characters, and there is room for {length}"))
    };
    if *mask == Mask::Keep {
        return None;
    }
    if column.generated {
        return Some("the database computes it".to_owned());
    }
    match mask {
        Mask::Keep => None,
        Mask::Null if !column.nullable => Some("it may not be null".to_owned()),
        Mask::Null => None,
        Mask::Constant(text) => {
            let number = match column.of {
                Type::Integer => text.parse::<i128>().is_ok(),
                Type::Number => text.parse::<f64>().is_ok(),
                _ => true,
            };
            if !convertible || !number {
                return Some(format!("the constant is no value of {}", column.declared));
            }
            if !column.values.is_empty() && !column.values.contains(text) {
                return Some("the constant is not among its values".to_owned());
            }
            length(text.chars().count() as u64)
        }
        _ if !column.values.is_empty() => Some("it has a fixed list of values".to_owned()),
        Mask::Hmac if key.is_none() => {
            Some("hmac needs `evidence_key` in the configuration".to_owned())
        }
        Mask::Hash | Mask::Hmac if !texts => {
            Some(format!("a hash is text, and the column is {}", column.declared))
        }
        Mask::Hash => length(HASHED.len() as u64 + 43),
        Mask::Hmac => length(KEYED.len() as u64 + 43),
        Mask::Surrogate if !texts && column.of != Type::Uuid => {
            Some(format!("there is no surrogate for {}", column.declared))
        }
        // Ten characters of six bits are enough to be unique among millions.
        Mask::Surrogate if texts => length(RANDOM.len() as u64 + 10),
        Mask::Surrogate => None,
    }
}

impl<E: Engine> Work<'_, E> {
    /// The steps that mask rows of a store. A strategy that cannot hold is a fault.
    pub(super) async fn mask_steps(
        &mut self,
        policy: &Policy,
        place: usize,
        fates: Fates,
        key: Option<&Key>,
        follow: bool,
        decision: &mut Decision,
    ) -> Result<Vec<Planned>> {
        let table = self.table(place).clone();
        let kept = decision.kept_columns.get(&place).cloned().unwrap_or_default();
        let masks = masks(policy, &table)?;
        let masked = policy.strategies.iter().any(|strategy| {
            is_named(&strategy.store, &table.id)
                && strategy.action == super::policy::StoreAction::Mask
        });
        if !masked {
            let names: Vec<&str> = kept.iter().map(String::as_str).collect();
            return Ok(vec![Planned {
                reason: Some(format!(
                    "{} is kept by retention, so its row stays, and no strategy says how to mask \
                     the rest of {}",
                    names.join(", "),
                    table.id
                )),
                ..Planned::of(place, Action::Blocked, fates.mask)
            }]);
        }
        for (column, mask) in masks.iter().filter(|(_, mask)| *mask != Mask::Keep) {
            let convertible = match mask {
                Mask::Constant(text) => self.engine.convert(column, text).is_some(),
                _ => true,
            };
            let mut why = objection(column, mask, key, convertible);
            if kept.contains(&column.name) {
                why = Some("a rule of retention keeps it".to_owned());
            }
            if let Some(&by) = self.followers(place, &[&column.name]).first() {
                let by = self.graph.edges[by].name(&self.catalog);
                match mask {
                    Mask::Null => why = Some(format!("{by} refers to it")),
                    _ if !follow => {
                        why = Some(format!("{by} refers to it, and changes with it: use --follow"));
                    }
                    _ => {}
                }
            }
            if let Some(why) = why {
                return Err(cannot_hold(&table, &column.name, &why));
            }
        }
        if let Some((columns, why)) = self.clash(place, &masks, fates.mask).await? {
            return Err(cannot_hold(&table, &columns.join("`, `"), &why));
        }
        let changed = changed(&masks);
        let followers = self.followers(place, &changed);
        let open = match followers.is_empty() {
            true => self.unmasked(place, &masks).await?,
            false => self.set_masked_aside(place, &masks).await?,
        };
        let followed = self.follow_steps(policy, place, &changed, &followers).await?;
        if open > 0 {
            self.try_masks(policy, place, open, key, decision).await?;
        }
        let changed: Vec<String> = changed.into_iter().map(str::to_owned).collect();
        let mut steps = Vec::new();
        if open > 0 {
            steps.push(Planned { columns: changed, ..Planned::of(place, Action::Mask, open) });
        }
        steps.extend(followed);
        if fates.mask > open {
            steps.push(Planned {
                reason: Some("masked already".to_owned()),
                ..Planned::of(place, Action::Keep, fates.mask - open)
            });
        }
        let silent: Vec<String> = table
            .columns
            .iter()
            .filter(|column| holds(column).is_some() && !kept.contains(&column.name))
            .filter(|column| !masks.iter().any(|(known, _)| known.name == column.name))
            .map(|column| column.name.clone())
            .collect();
        if !silent.is_empty() {
            steps.push(Planned {
                reason: Some(
                    "these columns look like a person's, and no strategy says what becomes of \
                     them: mask them, or say keep"
                        .to_owned(),
                ),
                columns: silent,
                ..Planned::of(place, Action::Left, fates.mask)
            });
        }
        Ok(steps)
    }

    /// `SELECT …`: the keys of a store's rows of a fate, and their values in some columns, from the
    /// store or a copy of its rows.
    fn masked_rows(
        &self,
        place: usize,
        path: &str,
        columns: &[Column],
        fate: &str,
    ) -> Result<String> {
        let columns = columns.iter().map(|column| format!(", t.{}", self.name(&column.name)));
        Ok(format!(
            "SELECT {}{} FROM {} k {} {path} t ON {} WHERE k.fate {fate}",
            self.temp_key(place, Some("k"))?,
            columns.collect::<String>(),
            key_table(place),
            self.engine.join(),
            self.on_key(place, "t", "k")?
        ))
    }

    /// How many rows of a store are to be masked and are not yet.
    async fn unmasked(&mut self, place: usize, masks: &[(Column, Mask)]) -> Result<u64> {
        let parts = self.key_parts(place)?.len();
        let columns: Vec<Column> = masks.iter().map(|(column, _)| column.clone()).collect();
        let sql = self.masked_rows(place, &self.path(place), &columns, "= 1")?;
        let mut open = 0;
        let mut each = |cells: &[Cell<'_>]| {
            open += u64::from(!is_done(&cells[parts..], masks));
            Ok(())
        };
        self.session.rows(&Statement::plain(sql), &mut each).await?;
        Ok(open)
    }

    /// Marks the rows that are masked already, so that what refers to them is none of the plan's.
    /// Returns how many are not.
    async fn set_masked_aside(&mut self, place: usize, masks: &[(Column, Mask)]) -> Result<u64> {
        let parts = self.key_parts(place)?.len();
        let columns: Vec<Column> = masks.iter().map(|(column, _)| column.clone()).collect();
        let sql =
            self.masked_rows(place, &self.path(place), &columns, &format!("= 1 LIMIT {PAGE}"))?;
        let mut open = 0;
        loop {
            let engine = self.engine;
            let mut page: Vec<(Vec<E::Value>, bool)> = Vec::new();
            let mut each = |cells: &[Cell<'_>]| {
                let (found, values) = cells.split_at(parts);
                let found = found.iter().map(|cell| engine.value(cell)).collect();
                page.push((found, is_done(values, masks)));
                Ok(())
            };
            self.session.rows(&Statement::plain(&sql), &mut each).await?;
            if page.is_empty() {
                break;
            }
            for (found, done) in page {
                open += u64::from(!done);
                self.set_fate(place, &found, if done { MASKED } else { OPEN }).await?;
            }
        }
        self.run(format!("UPDATE {} SET fate = 1 WHERE fate = {OPEN}", key_table(place))).await?;
        Ok(open)
    }

    /// Sets the fate of one row.
    pub(super) async fn set_fate(
        &mut self,
        place: usize,
        found: &[E::Value],
        fate: i64,
    ) -> Result<()> {
        let mut statement = Statement::plain("");
        let on = (1..).zip(found).map(|(i, value)| {
            format!("k{i} = {}", statement.bind(self.engine.dialect(), value.clone()))
        });
        let on = on.collect::<Vec<_>>().join(" AND ");
        statement.text = format!("UPDATE {} SET fate = {fate} WHERE {on}", key_table(place));
        self.session.run(&statement).await?;
        Ok(())
    }

    /// Masks the rows of a store that are to be; returns how many were changed. Adds how many rows
    /// refer to changed keys, by relation.
    pub(super) async fn mask(
        &mut self,
        policy: &Policy,
        place: usize,
        key: Option<&Key>,
        followed: &mut BTreeMap<usize, u64>,
    ) -> Result<u64> {
        let masks = masks(policy, self.table(place))?;
        let followers = self.followers(place, &changed(&masks));
        let path = self.path(place);
        let mut changed = 0;
        while let Some(page) = self.new_values(place, &path, &masks, &followers, key).await? {
            for change in page {
                let mut found = change.found.clone();
                if !change.sets.is_empty() && followers.is_empty() {
                    let mut statement = Statement::plain("");
                    statement.text = self.update_row(place, &change, &mut statement)?;
                    changed += self.session.run(&statement).await?;
                } else if !change.sets.is_empty() {
                    for (edge, rows) in self.change_key(place, &followers, &change).await? {
                        *followed.entry(edge).or_default() += rows;
                    }
                    changed += 1;
                    found = self.move_key(place, &change).await?;
                }
                self.set_fate(place, &found, MASKED).await?;
            }
        }
        Ok(changed)
    }

    /// What becomes of some of the rows that are to be masked and are not yet; `None` once there are
    /// none.
    pub(super) async fn new_values(
        &mut self,
        place: usize,
        path: &str,
        masks: &[(Column, Mask)],
        followers: &[usize],
        key: Option<&Key>,
    ) -> Result<Option<Vec<Change<E::Value>>>> {
        let parts = self.key_parts(place)?.len();
        let mut columns: Vec<Column> = masks.iter().map(|(column, _)| column.clone()).collect();
        for name in followers.iter().flat_map(|&edge| &self.graph.edges[edge].references) {
            columns.extend(self.table(place).column(name).cloned());
        }
        let sql = self.masked_rows(place, path, &columns, &format!("= 1 LIMIT {PAGE}"))?;
        let (engine, id) = (self.engine, self.store(place).clone());
        let mut page = Vec::new();
        let mut each = |cells: &[Cell<'_>]| {
            let (found, values) = cells.split_at(parts);
            let (values, old) = values.split_at(masks.len());
            let mut sets = Vec::new();
            for (cell, (column, mask)) in values.iter().zip(masks) {
                if mask.is_done(cell) {
                    continue;
                }
                let value = match mask.value(column, cell, key)? {
                    Some(text) => engine.convert(column, &text).ok_or_else(|| {
                        Fault::system(format!("{id}: the mask is no value of `{}`", column.name))
                    })?,
                    None => engine.value(&Cell::Null),
                };
                sets.push((column.clone(), value));
            }
            let old = columns[masks.len()..].iter().zip(old);
            let old = old.map(|(column, cell)| (column.name.clone(), engine.value(cell)));
            page.push(Change {
                found: found.iter().map(|cell| engine.value(cell)).collect(),
                sets,
                old: old.collect(),
            });
            Ok(())
        };
        self.session.rows(&Statement::plain(&sql), &mut each).await?;
        Ok((!page.is_empty()).then_some(page))
    }

    /// Gives a row its new key in the tables that have it, and returns it.
    async fn move_key(&mut self, place: usize, change: &Change<E::Value>) -> Result<Vec<E::Value>> {
        let nulled = self.graph.from[place].iter().map(|edge| nulled_table(*edge));
        let nulled = nulled.filter(|table| self.has_made(table));
        let tables: Vec<String> = nulled.chain([key_table(place)]).collect();
        for table in tables {
            self.rename(place, &table, change).await?;
        }
        Ok(change.key_after(&self.key_parts(place)?))
    }

    /// Gives a row its new key in a temporary table.
    pub(super) async fn rename(
        &mut self,
        place: usize,
        table: &str,
        change: &Change<E::Value>,
    ) -> Result<()> {
        let after = change.key_after(&self.key_parts(place)?);
        let mut statement = Statement::plain("");
        let mut pairs = |values: &[E::Value]| -> Vec<String> {
            let values = (1..).zip(values);
            let dialect = self.engine.dialect();
            values.map(|(i, v)| format!("k{i} = {}", statement.bind(dialect, v.clone()))).collect()
        };
        let (sets, on) = (pairs(&after).join(", "), pairs(&change.found).join(" AND "));
        statement.text = format!("UPDATE {table} SET {sets} WHERE {on}");
        self.session.run(&statement).await?;
        Ok(())
    }

    /// How many masked rows of a store hold something else by now, seen by `other`.
    pub(super) async fn still_unmasked(
        &mut self,
        policy: &Policy,
        place: usize,
        found: &[Vec<E::Value>],
    ) -> Result<u64> {
        let masks = masks(policy, self.table(place))?;
        let mut statement = Statement::plain("");
        let condition = self.by_keys(place, found, &mut statement)?;
        let columns: Vec<String> =
            masks.iter().map(|(column, _)| self.name(&column.name)).collect();
        statement.text = format!(
            "SELECT {} FROM {} WHERE {condition}",
            if columns.is_empty() { "1".to_owned() } else { columns.join(", ") },
            self.path(place)
        );
        let mut open = 0;
        let mut each = |cells: &[Cell<'_>]| {
            open += u64::from(!is_done(cells, &masks));
            Ok(())
        };
        self.session.rows(&statement, &mut each).await?;
        Ok(open)
    }
}

fn cannot_hold(table: &Table, column: &str, why: &str) -> anyhow::Error {
    let id = &table.id;
    Fault::config(format!("the strategy for `{column}` of {id} cannot hold: {why}")).into()
}

/// The columns that masks change.
fn changed(masks: &[(Column, Mask)]) -> Vec<&str> {
    let changed = masks.iter().filter(|(_, mask)| *mask != Mask::Keep);
    changed.map(|(column, _)| column.name.as_str()).collect()
}

/// Whether all values are what their masks leave.
fn is_done(cells: &[Cell<'_>], masks: &[(Column, Mask)]) -> bool {
    cells.iter().zip(masks).all(|(cell, (_, mask))| mask.is_done(cell))
}

/// The fate of a row that has been masked.
pub(super) const MASKED: i64 = 4;

/// The fate of a row that was found not to be masked yet.
const OPEN: i64 = 5;

/// How many rows are in memory at once.
const PAGE: usize = 500;
