//! Looking again, on a new connection, at everything that was done.

use std::collections::BTreeMap;

use anyhow::Result;

use super::engine::{Cell, Engine, Mode, Session};
use super::plan::{Intent, SetDigest};
use super::seal::Seal;
use super::strategies::MASKED;
use super::work::{Fate, Phase, Work, into_columns, key_table};
use crate::message::Action;
use crate::sql::statement::Statement;

/// How many keys are in memory at once.
const PAGE: usize = 5_000;

/// How many keys, or ranges of keys, one statement asks for.
const BATCH: usize = 100;

/// What was done, for the look afterwards.
pub(super) struct Done {
    /// The relations whose references were nulled: relation, key table, first column nulled.
    pub(super) nulled: Vec<(usize, String, String)>,
    /// The digest of all columns of each store's kept rows.
    pub(super) kept: BTreeMap<usize, String>,
}

/// What is there that should not be, by store.
pub(super) type Remaining = BTreeMap<usize, u64>;

impl<E: Engine> Work<'_, E> {
    /// Remembers, before the commit, what the look afterwards compares with.
    pub(super) async fn remember(
        &mut self,
        decision: &super::decide::Decision,
        seal: &Seal,
    ) -> Result<Done> {
        let mut done = Done { nulled: Vec::new(), kept: BTreeMap::new() };
        for step in &decision.steps {
            if let (Action::Null, Some(edge), Some(keys)) = (step.action, step.edge, &step.keys)
                && step.reason.as_deref() == Some(self.graph.edges[edge].reason)
                && let Some(first) = step.columns.first()
            {
                done.nulled.push((edge, keys.clone(), first.clone()));
            }
        }
        for place in self.reached() {
            let rows =
                self.count(format!("SELECT count(*) FROM {} WHERE fate = 2", key_table(place)));
            if rows.await? > 0 && self.lasts(place)? {
                let sql = format!(
                    "SELECT {} FROM {} k {} {} t ON {} WHERE k.fate = 2",
                    self.all_columns(place, "t"),
                    key_table(place),
                    self.engine.join(),
                    self.path(place),
                    self.on_key(place, "t", "k")?
                );
                let mut sum = SetDigest::new(seal);
                let mut each = |cells: &[Cell<'_>]| {
                    sum.add(cells);
                    Ok(())
                };
                self.session.rows(&Statement::plain(sql), &mut each).await?;
                done.kept.insert(place, sum.finish());
            }
        }
        Ok(done)
    }

    /// A page of keys after `last`, in order. Each is given with its integer, where it is one.
    async fn page(
        &mut self,
        place: usize,
        table: &str,
        filter: &str,
        last: Option<&[E::Value]>,
    ) -> Result<Vec<(Vec<E::Value>, Option<i64>)>> {
        let k = self.temp_key(place, None)?;
        let mut statement = Statement::plain("");
        let mut conditions: Vec<String> = Vec::new();
        if !filter.is_empty() {
            conditions.push(filter.to_owned());
        }
        if let Some(last) = last {
            let parameters: Vec<String> = last
                .iter()
                .map(|value| statement.bind(self.engine.dialect(), value.clone()))
                .collect();
            conditions.push(match parameters.as_slice() {
                [one] => format!("{k} > {one}"),
                all => format!("({k}) > ({})", all.join(", ")),
            });
        }
        let filter = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        statement.text = format!("SELECT {k} FROM {table}{filter} ORDER BY {k} LIMIT {PAGE}");
        let engine = self.engine;
        let mut page = Vec::new();
        let mut each = |cells: &[Cell<'_>]| {
            let integer = match cells {
                [Cell::Integer(integer)] => Some(*integer),
                _ => None,
            };
            page.push((cells.iter().map(|cell| engine.value(cell)).collect(), integer));
            Ok(())
        };
        self.session.rows(&statement, &mut each).await?;
        Ok(page)
    }

    /// Takes over which rows are the subject's and stay from the transaction that was committed.
    pub(super) async fn adopt(&mut self, before: &mut Work<'_, E>) -> Result<()> {
        for place in before.reached() {
            let mut last: Option<Vec<E::Value>> = None;
            while before.lasts(place)? {
                let page =
                    before.page(place, &key_table(place), "fate > 0", last.as_deref()).await?;
                let Some((end, _)) = page.last() else { break };
                last = Some(end.clone());
                self.ensure_keys(place).await?;
                let columns = into_columns(&self.key_parts(place)?);
                for batch in page.chunks(BATCH) {
                    let mut statement = Statement::plain("");
                    let row = |(values, _): &(Vec<E::Value>, Option<i64>)| {
                        let key = values.iter().cloned();
                        let key = key.map(|value| statement.bind(self.engine.dialect(), value));
                        let key = key.collect::<Vec<_>>().join(", ");
                        format!("({key}, 0, {}, {}, -1)", Phase::Owned as i64, Fate::Keep as i64)
                    };
                    let rows = batch.iter().map(row).collect::<Vec<_>>().join(", ");
                    let (keys, rows) = (key_table(place), format!("VALUES {rows}"));
                    statement.text = self.engine.insert_new(&keys, &columns, &rows);
                    self.session.run(&statement).await?;
                }
            }
        }
        Ok(())
    }

    /// The condition that a row's key is among `found`.
    pub(super) fn by_keys(
        &self,
        place: usize,
        found: &[Vec<E::Value>],
        statement: &mut Statement<E::Value>,
    ) -> Result<String> {
        let parts = self.key_parts(place)?;
        let names: Vec<String> = parts.iter().map(|part| part.sql.clone()).collect();
        Ok(among(self.engine.dialect(), &names, found, statement))
    }

    /// Whether a store's rows can be found again in another transaction.
    pub(super) fn lasts(&self, place: usize) -> Result<bool> {
        Ok(self.key_parts(place)?.iter().all(|part| part.column.is_some()))
    }
}

fn among<V: Clone>(
    dialect: &crate::sql::dialect::Dialect,
    names: &[String],
    found: &[Vec<V>],
    statement: &mut Statement<V>,
) -> String {
    if let [name] = names {
        let list: Vec<String> = found
            .iter()
            .filter_map(|values| values.first())
            .map(|value| statement.bind(dialect, value.clone()))
            .collect();
        return format!("{name} IN ({})", list.join(", "));
    }
    let one = |values: &Vec<V>, statement: &mut Statement<V>| {
        let pairs: Vec<String> = names
            .iter()
            .zip(values)
            .map(|(name, value)| format!("{name} = {}", statement.bind(dialect, value.clone())))
            .collect();
        format!("({})", pairs.join(" AND "))
    };
    let all: Vec<String> = found.iter().map(|values| one(values, statement)).collect();
    format!("({})", all.join(" OR "))
}

/// Keys as they come, in order, gathered into ranges where they are consecutive integers.
enum Gathered<V> {
    Ranges(Vec<(i64, i64)>),
    Keys(Vec<Vec<V>>),
}

/// Looks again. `before` is the transaction that was committed, with its key tables.
pub(super) async fn look_again<E: Engine>(
    before: &mut Work<'_, E>,
    done: &Done,
    intent: &Intent,
    identified: &[(usize, u64)],
    seal: &Seal,
) -> Result<Remaining> {
    let mut now = Work::begin(before.engine, Mode::Look, &intent.policy, &intent.subjects).await?;
    let mut remaining = Remaining::new();
    for ((id, subject), (place, _)) in intent.subjects.iter().zip(identified) {
        let rows = now.matching(now.place(id)?, subject).await?;
        let keys = key_table(*place);
        let staying = before
            .count(format!("SELECT count(*) FROM {keys} WHERE via = -1 AND fate > 0"))
            .await?;
        // Whether a masked row still has its identifier is up to the mask.
        *remaining.entry(*place).or_default() += rows.saturating_sub(staying);
    }
    for place in before.reached() {
        if before.lasts(place)? {
            *remaining.entry(place).or_default() += gone(before, &mut now, place).await?;
        }
        *remaining.entry(place).or_default() += masked(before, &mut now, place, intent).await?;
        if let Some(digest) = done.kept.get(&place) {
            let unchanged = kept(before, &mut now, place, seal).await? == *digest;
            *remaining.entry(place).or_default() += u64::from(!unchanged);
        }
    }
    for (edge, keys, column) in &done.nulled {
        let child = before.graph.edges[*edge].child;
        let mut last: Option<Vec<E::Value>> = None;
        while before.lasts(child)? {
            let page = before.page(child, keys, "", last.as_deref()).await?;
            let Some((end, _)) = page.last() else { break };
            last = Some(end.clone());
            for batch in page.chunks(BATCH) {
                let found: Vec<Vec<E::Value>> =
                    batch.iter().map(|(values, _)| values.clone()).collect();
                let mut statement = Statement::plain("");
                let condition = now.by_keys(child, &found, &mut statement)?;
                statement.text = format!(
                    "SELECT count(*) FROM {} WHERE {condition} AND {} IS NOT NULL",
                    now.path(child),
                    now.name(column)
                );
                *remaining.entry(child).or_default() += now.number(&statement).await?;
            }
        }
    }
    remaining.retain(|_, rows| *rows > 0);
    Ok(remaining)
}

/// How many deleted rows are there again, and how many rows refer to them.
async fn gone<E: Engine>(
    before: &mut Work<'_, E>,
    now: &mut Work<'_, E>,
    place: usize,
) -> Result<u64> {
    let mut last: Option<Vec<E::Value>> = None;
    let mut gathered: Gathered<E::Value> = Gathered::Ranges(Vec::new());
    let mut there = 0;
    loop {
        let page = before.page(place, &key_table(place), "fate = 0", last.as_deref()).await?;
        let Some((end, _)) = page.last() else { break };
        last = Some(end.clone());
        for (values, integer) in page {
            gathered = match (gathered, integer) {
                (Gathered::Ranges(mut ranges), Some(integer)) => {
                    match ranges.last_mut() {
                        Some((_, end)) if end.checked_add(1) == Some(integer) => *end = integer,
                        _ => ranges.push((integer, integer)),
                    }
                    Gathered::Ranges(ranges)
                }
                (Gathered::Ranges(ranges), None) => {
                    there += count_gathered(now, place, &Gathered::Ranges(ranges)).await?;
                    Gathered::Keys(vec![values])
                }
                (Gathered::Keys(mut keys), _) => {
                    keys.push(values);
                    Gathered::Keys(keys)
                }
            };
            let full = match &gathered {
                Gathered::Ranges(ranges) => ranges.len() > BATCH,
                Gathered::Keys(keys) => keys.len() >= BATCH,
            };
            if full {
                // The last range may go on.
                let (whole, rest) = match gathered {
                    Gathered::Ranges(mut ranges) => {
                        let rest: Vec<(i64, i64)> = ranges.pop().into_iter().collect();
                        (Gathered::Ranges(ranges), Gathered::Ranges(rest))
                    }
                    keys => (keys, Gathered::Keys(Vec::new())),
                };
                there += count_gathered(now, place, &whole).await?;
                gathered = rest;
            }
        }
    }
    Ok(there + count_gathered(now, place, &gathered).await?)
}

async fn count_gathered<E: Engine>(
    now: &mut Work<'_, E>,
    place: usize,
    gathered: &Gathered<E::Value>,
) -> Result<u64> {
    let parts = now.key_parts(place)?;
    let own: Vec<String> = parts.iter().map(|part| part.sql.clone()).collect();
    let mut there = count_among(now, place, &own, gathered).await?;
    // The database enforces its own references; those that only the policy knows of, it does not.
    for edge in now.graph.into[place].clone() {
        let edge = now.graph.edges[edge].clone();
        if !edge.indexed && edge.key.is_some() {
            continue;
        }
        let names: Option<Vec<String>> = parts
            .iter()
            .map(|part| {
                let at = edge.references.iter().position(|name| Some(name) == part.column.as_ref());
                let at = at.filter(|_| part.indexed.is_none());
                Some(now.name(&edge.columns[at?]))
            })
            .collect();
        if let Some(names) = names.filter(|names| names.len() == edge.columns.len()) {
            there += count_among(now, edge.child, &names, gathered).await?;
        }
    }
    Ok(there)
}

async fn count_among<E: Engine>(
    now: &mut Work<'_, E>,
    place: usize,
    names: &[String],
    gathered: &Gathered<E::Value>,
) -> Result<u64> {
    let mut statement = Statement::plain("");
    let condition = match gathered {
        Gathered::Ranges(ranges) if ranges.is_empty() => return Ok(0),
        Gathered::Keys(keys) if keys.is_empty() => return Ok(0),
        Gathered::Ranges(ranges) => {
            let Some(name) = names.first() else { return Ok(0) };
            let mut ors = Vec::new();
            for (first, last) in ranges {
                let first = now.engine.value(&Cell::Integer(*first));
                let last = now.engine.value(&Cell::Integer(*last));
                let first = statement.bind(now.engine.dialect(), first);
                let last = statement.bind(now.engine.dialect(), last);
                ors.push(format!("{name} BETWEEN {first} AND {last}"));
            }
            format!("({})", ors.join(" OR "))
        }
        Gathered::Keys(keys) => among(now.engine.dialect(), names, keys, &mut statement),
    };
    statement.text = format!("SELECT count(*) FROM {} WHERE {condition}", now.path(place));
    now.number(&statement).await
}

/// How many masked rows hold something else than their mask.
async fn masked<E: Engine>(
    before: &mut Work<'_, E>,
    now: &mut Work<'_, E>,
    place: usize,
    intent: &Intent,
) -> Result<u64> {
    let mut open = 0;
    let mut last: Option<Vec<E::Value>> = None;
    while before.lasts(place)? {
        let filter = format!("fate = {MASKED}");
        let page = before.page(place, &key_table(place), &filter, last.as_deref()).await?;
        let Some((end, _)) = page.last() else { break };
        last = Some(end.clone());
        for batch in page.chunks(BATCH) {
            let found: Vec<Vec<E::Value>> =
                batch.iter().map(|(values, _)| values.clone()).collect();
            open += now.still_unmasked(&intent.policy, place, &found).await?;
        }
    }
    Ok(open)
}

/// The digest of all columns of a store's kept rows, as they are now.
async fn kept<E: Engine>(
    before: &mut Work<'_, E>,
    now: &mut Work<'_, E>,
    place: usize,
    seal: &Seal,
) -> Result<String> {
    let mut sum = SetDigest::new(seal);
    let mut last: Option<Vec<E::Value>> = None;
    loop {
        let page = before.page(place, &key_table(place), "fate = 2", last.as_deref()).await?;
        let Some((end, _)) = page.last() else { break };
        last = Some(end.clone());
        for batch in page.chunks(BATCH) {
            let found: Vec<Vec<E::Value>> =
                batch.iter().map(|(values, _)| values.clone()).collect();
            let mut statement = Statement::plain("");
            let condition = now.by_keys(place, &found, &mut statement)?;
            statement.text = format!(
                "SELECT {} FROM {} t WHERE {condition}",
                now.all_columns(place, "t"),
                now.path(place)
            );
            let mut each = |cells: &[Cell<'_>]| {
                sum.add(cells);
                Ok(())
            };
            now.session.rows(&statement, &mut each).await?;
        }
    }
    Ok(sum.finish())
}
