//! Carrying a plan out: every database is written to, then all are committed one after the other, and
//! each is looked at again.

use anyhow::Result;
use serde_json::Value;

use super::engine::{Commit, Engine, Mode, Residue, Session};
use super::execute::execute;
use super::mask::Key;
use super::plan::{self, Intent, Prepared};
use super::residue::Values;
use super::seal::Seal;
use super::verify::{self, Done};
use super::work::Work;
use crate::fault;
use crate::log;
use crate::message::Action;
use crate::silo::{Erasure, Outcome, StoreId};
use crate::sql::catalog::Table;

/// What became of one database.
pub(super) struct Carried {
    /// Which one.
    pub(super) identity: String,
    /// Whether it is done, or why not.
    pub(super) fate: Settled,
    /// Its stores.
    pub(super) outcomes: Vec<Outcome>,
    /// What is left outside its tables.
    pub(super) residue: Vec<Residue>,
}

/// Whether a database is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    /// All of it.
    Done,
    /// Nothing of it: others were committed before it failed.
    Undone,
    /// It is not known.
    Unknown,
}

impl Settled {
    /// As evidence has it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Settled::Done => "done",
            Settled::Undone => "failed",
            Settled::Unknown => "unknown",
        }
    }
}

/// A database that was written to, and what is needed to look at it again.
struct Written<'e, E: Engine> {
    prepared: Prepared<'e, E>,
    done: Done,
    values: Option<Values>,
    identity: String,
}

/// Writes in every database; then commits, and looks again in each. Fails where nothing was
/// committed. Once one database is, the others that fail say so in their outcomes.
pub(super) async fn carry_out<E: Engine>(
    prepared: Vec<Prepared<'_, E>>,
    intents: &[(&E, Intent)],
    request: &Erasure,
    key: Option<&Key>,
    seal: &Seal,
) -> Result<Vec<Carried>> {
    let mut all = Vec::new();
    for (mut one, (engine, intent)) in prepared.into_iter().zip(intents) {
        let values = match request.search_values {
            true => Some(one.work.values(&intent.subjects).await?),
            false => None,
        };
        execute(&mut one, &intent.policy, key).await?;
        if let Some(sql) = engine.check_now() {
            one.work.run(sql).await?;
        }
        let done = one.work.remember(&one.decision, seal).await?;
        let identity = engine.identity().await?;
        all.push(Written { prepared: one, done, values, identity });
    }
    let mut carried = Vec::new();
    for (mut one, (engine, intent)) in all.into_iter().zip(intents) {
        let mut outcomes = outcomes_of(&one.prepared, intent);
        let (identity, fate, residue) = (one.identity.clone(), Settled::Done, Vec::new());
        if request.dry_run {
            one.prepared.work.session.rollback().await?;
            carried.push(Carried { identity, fate, outcomes, residue });
            continue;
        }
        let tables = one.prepared.written();
        let settled = finish(*engine, &mut one, intent, seal, &mut outcomes).await;
        let alone = carried.iter().all(|one: &Carried| one.fate == Settled::Undone);
        let fate = match settled {
            Ok(()) => Settled::Done,
            Err(error) if alone => return Err(error),
            Err(error) => {
                let why = log::scrub(&fault::line(&error));
                for outcome in &mut outcomes {
                    *outcome = Outcome {
                        error: Some(format!(
                            "other databases are done, and this one is not: {why}"
                        )),
                        ..Outcome::of(outcome.store.clone())
                    };
                }
                match error.is::<Unsettled>() {
                    true => Settled::Unknown,
                    false => Settled::Undone,
                }
            }
        };
        if let (Settled::Done, Some(values)) = (&fate, &one.values) {
            search(&mut one.prepared.work, intent, values, &mut outcomes).await;
        }
        let tables: Vec<&Table> = tables.iter().collect();
        let residue = match request.evidence.is_some() {
            true => engine.residue(&tables).await.unwrap_or_else(|error| {
                log::warn(format_args!("what remains: {}", log::scrub(&fault::line(&error))));
                vec![Residue { what: "everything".to_owned(), found: "unknown".to_owned() }]
            }),
            false => residue,
        };
        carried.push(Carried { identity, fate, outcomes, residue });
    }
    Ok(carried)
}

/// Commits, and looks again.
async fn finish<E: Engine>(
    engine: &E,
    one: &mut Written<'_, E>,
    intent: &Intent,
    seal: &Seal,
    outcomes: &mut [Outcome],
) -> Result<()> {
    let prepared = &mut one.prepared;
    let looked = match prepared.work.session.commit().await? {
        Commit::Done => {
            let identified = prepared.identified.clone();
            verify::look_again(&mut prepared.work, &one.done, intent, &identified, seal).await.map(
                |found| {
                    let name = |(place, rows)| (prepared.work.store(place).clone(), rows);
                    found.into_iter().map(name).collect::<Vec<_>>()
                },
            )
        }
        Commit::Lost => open_steps(engine, intent).await,
        Commit::Unknown => {
            // What the answer would have been shows in what is there.
            let open =
                open_steps(engine, intent).await.map_err(|error| error.context(Unsettled))?;
            if !open.is_empty() {
                // Or it may still be at work.
                return Err(Unsettled.into());
            }
            Ok(open)
        }
    };
    match looked {
        Ok(remaining) => {
            for (id, rows) in remaining {
                if let Some(outcome) = outcomes.iter_mut().find(|outcome| outcome.store == id) {
                    outcome.remaining = rows;
                }
            }
        }
        Err(error) => {
            let why = log::scrub(&fault::line(&error));
            for outcome in outcomes {
                outcome.unverifiable = Some(why.clone());
            }
        }
    }
    Ok(())
}

/// How many rows of which stores a new plan would still change.
async fn open_steps<E: Engine>(engine: &E, intent: &Intent) -> Result<Vec<(StoreId, u64)>> {
    let again = plan::prepare(engine, Mode::Look, intent).await?;
    let open = again.decision.steps.iter().filter(|step| {
        matches!(step.action, Action::Delete | Action::Mask | Action::Null) && step.rows > 0
    });
    Ok(open.map(|step| (again.work.store(step.place).clone(), step.rows)).collect())
}

/// Tells where values still stand in texts: each store with any is not done.
async fn search<E: Engine>(
    before: &mut Work<'_, E>,
    intent: &Intent,
    values: &Values,
    outcomes: &mut Vec<Outcome>,
) {
    let searched = async {
        let mut now =
            Work::begin(before.engine, Mode::Look, &intent.policy, &intent.subjects).await?;
        if let Err(error) = now.adopt(before).await {
            // It went with its connection: then all rows of persons are taken for others'.
            log::debug(format_args!("whose rows are whose: {error:#}"));
        }
        now.search(values).await
    };
    match searched.await {
        Ok(searched) => {
            for one in searched.found {
                let id = StoreId::new(one.schema_group, one.schema_name);
                let place = match outcomes.iter().position(|outcome| outcome.store == id) {
                    Some(place) => place,
                    None => {
                        outcomes.push(Outcome::of(id));
                        outcomes.len() - 1
                    }
                };
                outcomes[place].skipped.push(format!(
                    "{} rows hold a value of the subject in `{}`{}",
                    one.rows,
                    one.column,
                    if one.others { ", and are another person's" } else { "" }
                ));
            }
            if let Some(first) = outcomes.first_mut() {
                let gaps = searched.gaps.into_iter();
                first.skipped.extend(gaps.map(|gap| format!("not all texts were searched: {gap}")));
            }
        }
        Err(error) => {
            let why = log::scrub(&fault::line(&error));
            if let Some(first) = outcomes.first_mut() {
                first.skipped.push(format!("texts could not be searched: {why}"));
            }
        }
    }
}

/// Whether something was erased is not known.
#[derive(Debug)]
pub(super) struct Unsettled;

impl std::fmt::Display for Unsettled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "the connection broke at the commit, and whether anything was erased is unknown: run \
             verify once the database can be reached",
        )
    }
}

impl std::error::Error for Unsettled {}

/// One outcome for each store named or reached.
fn outcomes_of<E: Engine>(one: &Prepared<'_, E>, intent: &Intent) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> =
        intent.subjects.iter().map(|(id, _)| Outcome::of(id.clone())).collect();
    for step in &one.decision.steps {
        let id = one.work.store(step.place);
        let place = match outcomes.iter().position(|outcome| outcome.store == *id) {
            Some(place) => place,
            None => {
                outcomes.push(Outcome::of(id.clone()));
                outcomes.len() - 1
            }
        };
        let outcome = &mut outcomes[place];
        let mut add = |member: &str| {
            let before = outcome.more.get(member).and_then(Value::as_u64).unwrap_or(0);
            outcome.more.insert(member.to_owned(), (before + step.rows).into());
        };
        match step.action {
            Action::Delete => outcome.deleted += step.rows,
            Action::Mask => add("masked"),
            Action::Null => add("nulled"),
            Action::Keep => add("kept"),
            Action::Near => add("near"),
            Action::Left => add("left"),
            Action::Undecided | Action::Blocked | Action::Denied | Action::Unknown => {}
        }
        let why = step.reason.as_deref().unwrap_or_default();
        match step.action {
            Action::Near => outcome.skipped.push(format!("{} rows are near: {why}", step.rows)),
            Action::Left => outcome.skipped.push(format!("{} rows are left: {why}", step.rows)),
            Action::Unknown => outcome.skipped.push(format!("what refers to it is unknown: {why}")),
            _ => {}
        }
    }
    outcomes
}
