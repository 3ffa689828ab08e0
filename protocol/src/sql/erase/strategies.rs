//! Masking: what a column's value becomes, whether that can hold, and doing it.
//!
//! Hashes and surrogates can be told from other values, so that a second run leaves them alone.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::decide::{Decision, Fates, Planned};
use super::engine::{Cell, Engine, Session};
use super::persons::{Trait, holds};
use super::policy::{Policy, is_named};
use super::work::{Work, key_table};
use crate::fault::Fault;
use crate::message::Action;
use crate::silo::StoreId;
use crate::sql::catalog::{Column, Table};
use crate::sql::statement::Statement;
use crate::sql::types::Type;

/// What a column's value becomes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mask {
    /// Nothing.
    Null,
    /// The same for every row.
    Constant(String),
    /// Its SHA-256.
    Hash,
    /// Its HMAC-SHA-256 with the evidence key.
    Hmac,
    /// Something random.
    Surrogate,
    /// What it is.
    Keep,
}

/// The key of an HMAC, from the configuration.
pub(super) type Key = Vec<u8>;

/// The new values of a row's columns, by the place of their masks; `None` for null.
type NewValues = Vec<(usize, Option<String>)>;

const HASHED: &str = "sha256:";
const KEYED: &str = "hmac:";
const RANDOM: &str = "erased-";
/// How every surrogate of a UUID begins: no generator sets these bits so (version 8, variant 2).
const RANDOM_UUID: &str = "e7a5ed00-0000-8000-8";

impl Mask {
    fn parse(value: &Value, store: &StoreId, column: &str) -> Result<Mask> {
        let complaint = || {
            Fault::config(format!(
                "the policy's strategy for `{column}` of {store} must be null, hash, hmac, \
                 surrogate, keep or {{\"constant\": value}}"
            ))
        };
        Ok(match value {
            Value::Null => Mask::Null,
            Value::String(word) => match word.as_str() {
                "null" => Mask::Null,
                "hash" => Mask::Hash,
                "hmac" => Mask::Hmac,
                "surrogate" => Mask::Surrogate,
                "keep" => Mask::Keep,
                _ => return Err(complaint().into()),
            },
            Value::Object(members) => match members.get("constant") {
                Some(Value::Null) => Mask::Null,
                Some(Value::String(text)) if members.len() == 1 => Mask::Constant(text.clone()),
                Some(value @ (Value::Number(_) | Value::Bool(_))) if members.len() == 1 => {
                    Mask::Constant(value.to_string())
                }
                _ => return Err(complaint().into()),
            },
            _ => return Err(complaint().into()),
        })
    }

    /// Whether a value is what this mask would leave.
    fn is_done(&self, cell: &Cell<'_>) -> bool {
        let text = match cell {
            Cell::Text(text) => Some(*text),
            _ => None,
        };
        match self {
            Mask::Keep => true,
            _ if *cell == Cell::Null => !matches!(self, Mask::Constant(_)),
            Mask::Null => false,
            Mask::Constant(constant) => match cell {
                Cell::Integer(integer) => integer.to_string() == *constant,
                Cell::Real(real) => constant.parse() == Ok(*real),
                _ => text == Some(constant),
            },
            Mask::Hash => text.is_some_and(|text| is_sealed(text, HASHED)),
            Mask::Hmac => text.is_some_and(|text| is_sealed(text, KEYED)),
            Mask::Surrogate => text.is_some_and(|text| {
                text.starts_with(RANDOM) || text.to_ascii_lowercase().starts_with(RANDOM_UUID)
            }),
        }
    }

    /// The new value, as text; `None` for null.
    fn value(&self, column: &Column, cell: &Cell<'_>, key: Option<&Key>) -> Result<Option<String>> {
        let text = match cell {
            Cell::Null => String::new(),
            Cell::Integer(integer) => integer.to_string(),
            Cell::Real(real) => real.to_string(),
            Cell::Text(text) => (*text).to_owned(),
            Cell::Bytes(bytes) => BASE64.encode(bytes),
        };
        Ok(match self {
            Mask::Null | Mask::Keep => None,
            Mask::Constant(constant) => Some(constant.clone()),
            Mask::Hash => Some(HASHED.to_owned() + &BASE64.encode(Sha256::digest(text.as_bytes()))),
            Mask::Hmac => {
                let key = key.ok_or_else(no_key)?;
                Some(KEYED.to_owned() + &BASE64.encode(hmac(key, text.as_bytes())))
            }
            Mask::Surrogate => Some(surrogate(column)?),
        })
    }
}

fn is_sealed(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| BASE64.decode(rest).is_ok_and(|bytes| bytes.len() == 32))
}

fn no_key() -> Fault {
    Fault::config("the strategy hmac needs `evidence_key` in the configuration")
}

/// The HMAC-SHA-256 of some bytes.
pub(super) fn hmac(key: &[u8], bytes: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// So many random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Fault::system("the system gives no random numbers"))?;
    Ok(bytes)
}

fn surrogate(column: &Column) -> Result<String> {
    let bytes = random::<12>()?;
    if column.of == Type::Uuid {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok(format!("{RANDOM_UUID}{}-{}", &hex[..3], &hex[3..15]));
    }
    // 16 characters of 6 bits; fewer where the column is short.
    let text = BASE64.encode(bytes);
    let room = column.length.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
    let (tail, free) = match holds(column) == Some(Trait::Email) {
        true if room >= RANDOM.len() + 16 + "@invalid".len() => ("@invalid", 16),
        _ => ("", room.saturating_sub(RANDOM.len()).min(16)),
    };
    Ok(format!("{RANDOM}{}{tail}", &text[..free]))
}

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
fn objection(
    table: &Table,
    column: &Column,
    mask: &Mask,
    rows: u64,
    key: Option<&Key>,
    convertible: bool,
) -> Option<String> {
    let unique = table.key == [column.name.as_str()]
        || table.uniques.iter().any(|unique| *unique == [column.name.as_str()]);
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
            if unique && rows > 1 {
                return Some(format!("it is unique, and there are {rows} rows"));
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
        let referred: Vec<(String, String)> = self.graph.into[place]
            .iter()
            .map(|&edge| &self.graph.edges[edge])
            .flat_map(|edge| {
                let name = edge.name(&self.catalog);
                edge.references.iter().map(move |column| (column.clone(), name.clone()))
            })
            .collect();
        for (column, mask) in masks.iter().filter(|(_, mask)| *mask != Mask::Keep) {
            let convertible = match mask {
                Mask::Constant(text) => self.engine.convert(column, text).is_some(),
                _ => true,
            };
            let mut why = objection(&table, column, mask, fates.mask, key, convertible);
            if kept.contains(&column.name) {
                why = Some("a rule of retention keeps it".to_owned());
            }
            if table.key.contains(&column.name) {
                why = Some("it is part of the primary key".to_owned());
            }
            if let Some((_, by)) = referred.iter().find(|(name, _)| *name == column.name) {
                why = Some(format!("{by} refers to it"));
            }
            if let Some(why) = why {
                return Err(Fault::config(format!(
                    "the strategy for `{}` of {} cannot hold: {why}",
                    column.name, table.id
                ))
                .into());
            }
            if table.checks.iter().any(|check| check.contains(&column.name)) {
                decision.warnings.push(format!(
                    "{}: whether `{}` may be masked so is up to a CHECK constraint; a dry run tries it",
                    table.id, column.name
                ));
            }
        }
        let open = self.unmasked(place, &masks).await?;
        let changed: Vec<String> = masks
            .iter()
            .filter(|(_, mask)| *mask != Mask::Keep)
            .map(|(column, _)| column.name.clone())
            .collect();
        let mut steps = Vec::new();
        if open > 0 {
            steps.push(Planned { columns: changed, ..Planned::of(place, Action::Mask, open) });
        }
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

    fn masked_rows(&self, place: usize, masks: &[(Column, Mask)], fate: &str) -> Result<String> {
        let columns = masks.iter().map(|(column, _)| format!("t.{}", self.name(&column.name)));
        let columns: Vec<String> = columns.collect();
        let comma = if columns.is_empty() { "" } else { ", " };
        Ok(format!(
            "SELECT {}{comma}{} FROM {} k {} {} t ON {} WHERE k.fate {fate}",
            self.temp_key(place, Some("k"))?,
            columns.join(", "),
            key_table(place),
            self.engine.join(),
            self.path(place),
            self.on_key(place, "t", "k")?
        ))
    }

    /// How many rows of a store are to be masked and are not yet.
    async fn unmasked(&mut self, place: usize, masks: &[(Column, Mask)]) -> Result<u64> {
        let parts = self.key_parts(place)?.len();
        let sql = self.masked_rows(place, masks, "= 1")?;
        let mut open = 0;
        let mut each = |cells: &[Cell<'_>]| {
            let values = &cells[parts..];
            open +=
                u64::from(!values.iter().zip(masks).all(|(cell, (_, mask))| mask.is_done(cell)));
            Ok(())
        };
        self.session.rows(&Statement::plain(sql), &mut each).await?;
        Ok(open)
    }

    /// Masks the rows of a store that are to be; returns how many were changed.
    pub(super) async fn mask(
        &mut self,
        policy: &Policy,
        place: usize,
        key: Option<&Key>,
    ) -> Result<u64> {
        /// How many rows are in memory at once.
        const PAGE: usize = 500;
        let table = self.table(place).clone();
        let masks = masks(policy, &table)?;
        let parts = self.key_parts(place)?;
        let sql = self.masked_rows(place, &masks, &format!("= 1 LIMIT {PAGE}"))?;
        let (keys, path) = (key_table(place), self.path(place));
        let mut changed = 0;
        loop {
            let engine = self.engine;
            let mut page: Vec<(Vec<E::Value>, NewValues)> = Vec::new();
            let mut each = |cells: &[Cell<'_>]| {
                let (found, values) = cells.split_at(parts.len());
                let mut new = Vec::new();
                for (i, (cell, (column, mask))) in values.iter().zip(&masks).enumerate() {
                    if !mask.is_done(cell) {
                        new.push((i, mask.value(column, cell, key)?));
                    }
                }
                page.push((found.iter().map(|cell| engine.value(cell)).collect(), new));
                Ok(())
            };
            self.session.rows(&Statement::plain(&sql), &mut each).await?;
            if page.is_empty() {
                return Ok(changed);
            }
            for (found, new) in page {
                if !new.is_empty() {
                    let mut statement = Statement::plain("");
                    let mut sets = Vec::new();
                    for (i, value) in new {
                        let column = &masks[i].0;
                        let value = match value {
                            Some(text) => engine.convert(column, &text).ok_or_else(|| {
                                Fault::system(format!(
                                    "{}: the mask is no value of `{}`",
                                    table.id, column.name
                                ))
                            })?,
                            None => engine.value(&Cell::Null),
                        };
                        let parameter = statement.bind(engine.dialect(), value);
                        sets.push(format!("{} = {parameter}", self.name(&column.name)));
                    }
                    let on = parts.iter().zip(&found).map(|(part, value)| {
                        let parameter = statement.bind(engine.dialect(), value.clone());
                        format!("{} = {parameter}", part.sql)
                    });
                    let on = on.collect::<Vec<_>>().join(" AND ");
                    statement.text = format!("UPDATE {path} SET {} WHERE {on}", sets.join(", "));
                    changed += self.session.run(&statement).await?;
                }
                let mut statement = Statement::plain("");
                let on = (1..=parts.len()).zip(found).map(|(i, value)| {
                    format!("k{i} = {}", statement.bind(engine.dialect(), value))
                });
                let on = on.collect::<Vec<_>>().join(" AND ");
                statement.text = format!("UPDATE {keys} SET fate = {MASKED} WHERE {on}");
                self.session.run(&statement).await?;
            }
        }
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
            open +=
                u64::from(!cells.iter().zip(&masks).all(|(cell, (_, mask))| mask.is_done(cell)));
            Ok(())
        };
        self.session.rows(&statement, &mut each).await?;
        Ok(open)
    }
}

/// The fate of a row that has been masked.
pub(super) const MASKED: i64 = 4;
