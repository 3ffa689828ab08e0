//! Doing what was planned, in its transaction, each statement counted.

use std::collections::BTreeMap;

use anyhow::Result;

use super::decide::{Decision, Opening};
use super::engine::Engine;
use super::mask::Key;
use super::plan::Prepared;
use super::policy::Policy;
use super::relations::nullable_columns;
use super::work::{Work, key_table};
use crate::fault::Fault;
use crate::message::Action;
use crate::sql::statement::Statement;

use super::engine::Session;

/// Nulls, deletes and masks what a plan says. A count that differs is a fault, for the caller to
/// undo everything.
pub(super) async fn execute<E: Engine>(
    prepared: &mut Prepared<'_, E>,
    policy: &Policy,
    key: Option<&Key>,
) -> Result<()> {
    let Prepared { work, decision, .. } = prepared;
    for (place, opening) in &decision.openings {
        let constraint = &work.graph.edges[*place].key;
        if *opening == Opening::Defer
            && let Some(sql) = constraint.as_ref().and_then(|key| work.engine.defer(key))
        {
            work.run(sql).await?;
        }
    }
    undo_references(work, decision, policy).await?;
    for (place, opening) in decision.openings.clone() {
        if opening == Opening::Null {
            open_by_null(work, place).await?;
        }
    }
    for step in decision.steps.iter().filter(|step| step.action == Action::Delete) {
        let within = |wanted: Opening| -> Vec<usize> {
            decision
                .openings
                .iter()
                .filter(|(edge, opening)| {
                    *opening == wanted && work.graph.edges[*edge].child == step.place
                })
                .map(|(edge, _)| *edge)
                .collect()
        };
        let (leaves, cascades) = (within(Opening::LeavesFirst), within(Opening::Cascade));
        let deleted = if leaves.is_empty() && cascades.is_empty() {
            work.delete_keys(step.place).await?
        } else {
            let all = format!("SELECT count(*) FROM {}", work.path(step.place));
            let before = work.count(&all).await?;
            if leaves.is_empty() {
                work.delete_keys(step.place).await?;
            } else {
                delete_leaves_first(work, step.place, &leaves).await?;
            }
            before.saturating_sub(work.count(&all).await?)
        };
        check(work, step.place, "deleted", deleted, step.rows)?;
    }
    // Before masks give them other keys.
    for step in decision.steps.iter().filter(|step| step.action == Action::Null) {
        let Some(keys) = &step.keys else { continue };
        if !work.lasts(step.place)? {
            // A change moves a row that only its place told from others.
            continue;
        }
        let (path, on) = (work.path(step.place), work.on_key(step.place, "c", "n")?);
        let there = work
            .count(format!("SELECT count(*) FROM {keys} n {} {path} c ON {on}", work.engine.join()))
            .await?;
        check(work, step.place, "kept", there, step.rows)?;
    }
    mask(work, decision, policy, key).await
}

/// Masks rows, and changes references to masked keys with them.
async fn mask<E: Engine>(
    work: &mut Work<'_, E>,
    decision: &Decision,
    policy: &Policy,
    key: Option<&Key>,
) -> Result<()> {
    let mut followed = BTreeMap::new();
    let masks = || decision.steps.iter().filter(|step| step.action == Action::Mask);
    for step in masks().filter(|step| step.keys.is_none()) {
        let masked = work.mask(policy, step.place, key, &mut followed).await?;
        check(work, step.place, "masked", masked, step.rows)?;
    }
    for step in masks() {
        let (Some(edge), true) = (step.edge, step.keys.is_some()) else { continue };
        let changed = followed.get(&edge).copied().unwrap_or(0);
        check(work, step.place, "changed", changed, step.rows)?;
    }
    Ok(())
}

fn check<E: Engine>(
    work: &Work<'_, E>,
    place: usize,
    done: &str,
    rows: u64,
    planned: u64,
) -> Result<()> {
    if rows == planned {
        return Ok(());
    }
    let triggers = match work.table(place).triggers.as_slice() {
        [] => String::new(),
        names => format!("; its triggers are {}", names.join(", ")),
    };
    Err(Fault::system(format!(
        "{}: {planned} rows should have been {done}, and {rows} were, so everything was undone{triggers}",
        work.store(place)
    ))
    .into())
}

/// Nulls the references of rows that stay, or sets them to the policy's constants.
async fn undo_references<E: Engine>(
    work: &mut Work<'_, E>,
    decision: &Decision,
    policy: &Policy,
) -> Result<()> {
    for step in decision.steps.iter().filter(|step| step.action == Action::Null) {
        let (Some(place), Some(keys)) = (step.edge, &step.keys) else { continue };
        let edge = work.graph.edges[place].clone();
        let mut statement = Statement::plain("");
        let constants = work.constants(policy, &edge);
        let by_database = constants.is_none() && work.sets_default(&edge);
        if by_database {
            continue;
        }
        let mut sets = Vec::new();
        match constants {
            Some(texts) => {
                let values = work.constant_values(&edge, &texts)?;
                for (name, value) in edge.columns.iter().zip(values) {
                    let parameter = statement.bind(work.engine.dialect(), value);
                    sets.push(format!("{} = {parameter}", work.name(name)));
                }
            }
            None => {
                sets.extend(step.columns.iter().map(|name| format!("{} = NULL", work.name(name))))
            }
        }
        let (key, k) = (work.bare_key(edge.child)?, work.temp_key(edge.child, None)?);
        statement.text = format!(
            "UPDATE {} SET {} WHERE ({key}) IN (SELECT {k} FROM {keys})",
            work.path(edge.child),
            sets.join(", ")
        );
        let changed = work.session.run(&statement).await?;
        check(work, edge.child, "changed", changed, step.rows)?;
    }
    Ok(())
}

/// Nulls a reference of rows that go themselves, so that their circle is open.
async fn open_by_null<E: Engine>(work: &mut Work<'_, E>, place: usize) -> Result<()> {
    let edge = work.graph.edges[place].clone();
    let columns = nullable_columns(&work.catalog, &edge);
    let Some(first) = columns.first() else { return Ok(()) };
    let sets: Vec<String> =
        columns.iter().map(|column| format!("{} = NULL", work.name(&column.name))).collect();
    let (key, k) = (work.bare_key(edge.child)?, work.temp_key(edge.child, None)?);
    let sql = format!(
        "UPDATE {} SET {} WHERE {} IS NOT NULL AND ({key}) IN (SELECT {k} FROM {} WHERE fate = 0)",
        work.path(edge.child),
        sets.join(", "),
        work.name(&first.name),
        key_table(edge.child)
    );
    work.run(sql).await?;
    Ok(())
}

/// Deletes rows that refer to each other within their store, those first that no other refers to.
async fn delete_leaves_first<E: Engine>(
    work: &mut Work<'_, E>,
    place: usize,
    edges: &[usize],
) -> Result<()> {
    let (path, keys) = (work.path(place), key_table(place));
    let (key, k) = (work.bare_key(place)?, work.temp_key(place, None)?);
    let scratch = format!("manifold_s{place}");
    loop {
        work.scratch(&scratch, place, "").await?;
        let leaves = work.leaves(place, &keys, edges, "")?;
        let select = format!("{leaves} AND k.fate = 0");
        if work.insert(&scratch, &k, &select).await? == 0 {
            return Ok(());
        }
        work.run(format!("DELETE FROM {path} WHERE ({key}) IN (SELECT {k} FROM {scratch})"))
            .await?;
    }
}
