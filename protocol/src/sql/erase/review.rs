//! What a query shows of a subject: its closure, its parts, and what is undecided, for a person to
//! look at.

use anyhow::Result;

use super::closure::{Walk, candidate_table};
use super::engine::{Engine, Mode, Session};
use super::plan::Intent;
use super::work::{Fate, Phase, Work, into_columns, key_table};
use crate::output::Outputs;
use crate::silo::StoreId;
use crate::sql::catalog::Column;
use crate::sql::statement::Statement;

/// The stores that hold something of the subject.
pub(super) async fn reach<E: Engine>(engine: &E, intent: &Intent) -> Result<Vec<StoreId>> {
    let mut work = closure(engine, intent).await?;
    let mut stores = Vec::new();
    for place in work.reached() {
        if work.count(format!("SELECT count(*) FROM {}", key_table(place))).await? > 0 {
            stores.push(work.store(place).clone());
        }
    }
    Ok(stores)
}

/// Pushes the subject's records of some stores.
pub(super) async fn collect<E: Engine>(
    engine: &E,
    intent: &Intent,
    stores: &[StoreId],
    outputs: &Outputs,
) -> Result<()> {
    let mut work = closure(engine, intent).await?;
    for id in stores {
        let Some(place) = super::work::place(&work.catalog, id) else { continue };
        if !work.has_keys(place) {
            continue;
        }
        let table = work.table(place).clone();
        let columns: Vec<&Column> = table.columns.iter().collect();
        let sql = format!(
            "SELECT {} FROM {} k {} {} t ON {}",
            work.all_columns(place, "t"),
            key_table(place),
            engine.join(),
            work.path(place),
            work.on_key(place, "t", "k")?
        );
        let mut out = outputs.store(id.clone());
        let subject = intent.subjects.iter().find(|(other, _)| other == id);
        out.choose(subject.and_then(|(_, subject)| subject.properties.as_deref()));
        work.session.push(&table, &columns, &Statement::plain(sql), &mut out).await?;
        out.finish()?;
    }
    Ok(())
}

async fn closure<'e, E: Engine>(engine: &'e E, intent: &Intent) -> Result<Work<'e, E>> {
    let mut work = Work::begin(engine, Mode::Look, &intent.policy, &intent.subjects).await?;
    let mut named = Vec::new();
    for (id, subject) in &intent.subjects {
        let place = work.place(id)?;
        work.identify(place, subject).await?;
        named.push(place);
    }
    if !intent.follow {
        return Ok(work);
    }
    let n = work.catalog.tables.len();
    let round = work.spread(Walk::from(Phase::Owned, 0, &named, n), false).await?;
    work.set_theirs_aside().await?;
    let stores = work.reached();
    let round = work.spread(Walk::from(Phase::Part, round + 1, &stores, n), true).await?;
    let round = round + 1;
    let mut undecided = Vec::new();
    for place in 0..n {
        let waiting = candidate_table(place);
        // Another person's row is never shown, also where it is in doubt whose it is.
        if !work.has_made(&waiting) || work.graph.persons[place] || work.graph.looks[place] {
            continue;
        }
        let columns = into_columns(&work.key_parts(place)?);
        let select = format!(
            "SELECT {}, {round}, {}, {}, via FROM {waiting} \
             WHERE phase = 0 AND NOT (other = 1 AND subject = 0)",
            work.temp_key(place, None)?,
            Phase::Review as i64,
            Fate::Delete as i64
        );
        let keys = key_table(place);
        let statement = Statement::plain(engine.insert_new(&keys, &columns, &select));
        if work.fill(&keys, statement).await? > 0 {
            undecided.push(place);
        }
    }
    work.spread(Walk::from(Phase::Review, round, &undecided, n), false).await?;
    Ok(work)
}
