//! Erasing without following relations: exactly the rows that identifiers name, store by store.
//!
//! One transaction with a savepoint for each store, children first whatever the order of input. A
//! store that fails is put back alone, but for a failure that may be gone at the next try: then all
//! is begun anew, until the last one. A store whose deletion the database itself would carry on
//! into other rows, or refuse, fails by name before it is touched.

use anyhow::Result;

use super::engine::{Commit, Engine, Mode, Session};
use super::policy::Policy;
use super::sequence::children_first;
use super::work::{Fate, Work, key_table};
use crate::fault::{self, Cause, Fault};
use crate::log;
use crate::silo::{Outcome, StoreId, Subject};
use crate::sql::catalog::{OnChange, Referrers};

/// Deletes what `subjects` name, and nothing else. At the last try a store that fails is said to have
/// failed, whatever the cause.
pub(super) async fn erase<E: Engine>(
    engine: &E,
    subjects: &[(StoreId, Subject)],
    dry_run: bool,
    last: bool,
) -> Result<Vec<Outcome>> {
    let mut work = Work::begin(engine, Mode::Change, &Policy::default(), subjects).await?;
    let mut outcomes: Vec<Outcome> =
        subjects.iter().map(|(id, _)| Outcome::of(id.clone())).collect();
    let mut named = vec![None; work.catalog.tables.len()];
    for (i, (id, subject)) in subjects.iter().enumerate() {
        let identified = async {
            let place = work.place(id)?;
            begin(&mut work, place).await?;
            let found = work.identify(place, subject).await;
            settle(&mut work, found).await?;
            Ok::<usize, anyhow::Error>(place)
        };
        match identified.await {
            Ok(place) => named[place] = Some(i),
            Err(error) if !last && Fault::cause_of(&error) == Cause::Transient => {
                return Err(error);
            }
            Err(error) => fail(&mut outcomes[i], &error),
        }
    }
    let references: Vec<(usize, usize)> =
        work.graph.edges.iter().map(|edge| (edge.child, edge.parent)).collect();
    for place in children_first(named.len(), &references).into_iter().flatten() {
        let Some(i) = named[place] else { continue };
        begin(&mut work, place).await?;
        let deleted = delete(&mut work, place).await;
        match settle(&mut work, deleted).await {
            Ok(rows) => outcomes[i].deleted = rows,
            Err(error) if !last && Fault::cause_of(&error) == Cause::Transient => {
                return Err(error);
            }
            Err(error) => {
                fail(&mut outcomes[i], &error);
                // Its rows stay, for whoever is above them.
                let stay = format!("UPDATE {} SET fate = {}", key_table(place), Fate::Keep as i64);
                work.run(stay).await?;
            }
        }
    }
    if dry_run {
        work.session.rollback().await?;
        return Ok(outcomes);
    }
    let committed = work.session.commit().await?;
    drop(work);
    look_again(engine, subjects, &mut outcomes, committed).await;
    Ok(outcomes)
}

fn fail(outcome: &mut Outcome, error: &anyhow::Error) {
    outcome.deleted = 0;
    outcome.error = Some(log::scrub(&fault::line(error)));
}

/// Begins a step that is kept or undone alone. Tables are made before it, for they outlast it.
async fn begin<E: Engine>(work: &mut Work<'_, E>, place: usize) -> Result<()> {
    work.ensure_keys(place).await?;
    work.run("SAVEPOINT manifold").await?;
    Ok(())
}

/// Keeps what the step did, or undoes it where it failed.
async fn settle<E: Engine, T>(work: &mut Work<'_, E>, done: Result<T>) -> Result<T> {
    // Where the database has undone all of the transaction there is no savepoint any more, and what
    // it did that for is what there is to say.
    if done.is_err() && work.run("ROLLBACK TO SAVEPOINT manifold").await.is_err() {
        return done;
    }
    work.run("RELEASE SAVEPOINT manifold").await?;
    done
}

async fn delete<E: Engine>(work: &mut Work<'_, E>, place: usize) -> Result<u64> {
    if let Referrers::Hidden(why) = &work.table(place).referrers {
        return Err(Fault::config(why.clone()).into());
    }
    for edge in work.graph.into[place].clone() {
        let edge = work.graph.edges[edge].clone();
        let Some(key) = &edge.key else { continue };
        let rows = work.staying(&edge).await?;
        if rows == 0 {
            continue;
        }
        let name = edge.name(&work.catalog);
        let would = match key.on_delete {
            OnChange::Refuse | OnChange::Restrict => {
                "the database refuses to delete what they refer to"
            }
            OnChange::Cascade => "the database would delete them too",
            OnChange::SetNull | OnChange::SetDefault => "the database would change them too",
        };
        return Err(Fault::config(format!(
            "{rows} rows of {name} refer to the records, and {would}: name that store as well, or \
             use --follow"
        ))
        .into());
    }
    let planned = work.count(format!("SELECT count(*) FROM {}", key_table(place))).await?;
    let deleted = work.delete_keys(place).await?;
    if deleted != planned {
        return Err(Fault::system(format!(
            "{deleted} records were deleted where {planned} were found; nothing was kept of that"
        ))
        .into());
    }
    Ok(deleted)
}

/// Counts what is still there, on a new connection.
async fn look_again<E: Engine>(
    engine: &E,
    subjects: &[(StoreId, Subject)],
    outcomes: &mut [Outcome],
    committed: Commit,
) {
    let counted = remaining(engine, subjects).await;
    for (outcome, i) in outcomes.iter_mut().zip(0..) {
        if outcome.error.is_some() {
            continue;
        }
        match counted.as_ref().map(|counts: &Vec<Result<u64>>| &counts[i]) {
            Ok(Ok(rows)) => {
                outcome.remaining = *rows;
                if committed == Commit::Unknown && *rows > 0 {
                    outcome.error = Some(
                        "the connection broke at the commit, and whether it is done is unknown"
                            .to_owned(),
                    );
                    outcome.deleted = 0;
                }
            }
            Ok(Err(error)) | Err(error) => {
                outcome.unverifiable = Some(log::scrub(&fault::line(error)));
            }
        }
    }
}

/// How many rows the identifiers of each subject match, seen from a new connection.
pub(super) async fn remaining<E: Engine>(
    engine: &E,
    subjects: &[(StoreId, Subject)],
) -> Result<Vec<Result<u64>>> {
    let mut work = Work::begin(engine, Mode::Look, &Policy::default(), subjects).await?;
    let mut counts = Vec::with_capacity(subjects.len());
    for (id, subject) in subjects {
        let count = async { work.matching(work.place(id)?, subject).await };
        counts.push(count.await);
    }
    Ok(counts)
}
