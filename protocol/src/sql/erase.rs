//! Erasure over the foreign keys of a database: what belongs to a subject, what would be done, doing
//! it all or not at all, and proving it.
//!
//! A database brings an [`engine::Engine`]; everything else is here and the same for all:
//!
//! | module | is about |
//! | --- | --- |
//! | `policy`, `persons` | what a person says, and what names say, of stores |
//! | `relations` | what refers to what, and what that means |
//! | `closure` | the rows that belong to the subject |
//! | `decide`, `references`, `circles`, `sequence` | what becomes of them, and in which order |
//! | `mask`, `strategies`, `clashes`, `rekey`, `trial` | what masks make of them, and whether that can hold |
//! | `plan`, `seal` | the plan and the hash that stands for it |
//! | `plain`, `execute`, `carry`, `verify` | doing it, and looking again |
//! | `residue`, `evidence` | what else is there, and what can be shown of it later |
//!
//! Nothing here holds rows in memory: keys are in temporary tables of the database, and what is
//! read of them comes in pages.

mod carry;
mod circles;
mod clashes;
mod closure;
mod decide;
pub mod engine;
pub mod evidence;
mod execute;
pub mod fold;
mod mask;
pub mod persons;
mod plain;
mod plan;
pub mod policy;
mod references;
mod rekey;
pub mod relations;
mod residue;
mod review;
mod seal;
pub mod sequence;
mod strategies;
pub mod suggest;
mod trial;
mod verify;
mod work;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::config::Secret;
use crate::fault::{self, Cause, Fault};
use crate::log;
use crate::message::{Action, POLICY_MEMBERS, Plan, Step, VerifiedStore, Verify};
use crate::output::Outputs;
use crate::silo::{Erase, Erasure, Outcome, StoreId, Subject};
use carry::{Unsettled, carry_out};
use engine::{Engine, Mode};
use evidence::Journal;
use mask::Key;
use plan::{Intent, Prepared};
use policy::{Date, Policy};
use seal::Seal;

/// A silo of SQL databases. It erases by what its databases bring.
pub trait Databases: Send + Sync {
    /// What they bring.
    type Engine: Engine;

    /// The databases.
    fn databases(&self) -> Vec<&Self::Engine>;

    /// The place among them of the one that a store is in.
    fn database(&self, _store: &StoreId) -> usize {
        0
    }

    /// What the configuration says.
    fn settings(&self) -> Settings<'_>;
}

/// What a configuration says of erasure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings<'s> {
    /// The text of a policy, JSON or YAML.
    pub policy: Option<&'s str>,
    /// The key that seals plans and evidence.
    pub evidence_key: Option<&'s Secret>,
}

/// How often an erasure that others got in the way of is begun anew.
const TRIES: u32 = 3;

/// A request, made ready for each database.
struct Prepare {
    policy: Policy,
    key: Option<Key>,
    today: Date,
}

impl Settings<'_> {
    /// The policy of the configuration.
    pub fn policy(&self) -> Result<Policy> {
        match self.policy.filter(|text| !text.trim().is_empty()) {
            Some(text) => Policy::of(&members(text)?),
            None => Ok(Policy::default()),
        }
    }
}

impl Prepare {
    fn of(silo: &impl Databases, request: &Erasure) -> Result<Prepare> {
        let settings = silo.settings();
        let policy = settings.policy()?.and(Policy::of(&request.policy)?);
        let key = settings.evidence_key.map(|key| key.reveal().as_bytes().to_vec());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let today = Date::of_seconds(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        Ok(Prepare { policy, key: key.filter(|key| !key.is_empty()), today })
    }
}

/// The members of a policy's text.
pub fn members(text: &str) -> Result<Map<String, Value>> {
    // JSON is YAML too.
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map(|at| format!(", line {}", at.line())).unwrap_or_default();
        Fault::config(format!("the policy is neither JSON nor YAML{place}"))
    })?;
    match value {
        Value::Object(members) => {
            let unknown = members.keys().find(|name| !POLICY_MEMBERS.contains(&name.as_str()));
            match unknown {
                Some(name) => Err(Fault::config(format!(
                    "the policy has a member `{name}`; it may have {}",
                    POLICY_MEMBERS.join(", ")
                ))
                .into()),
                None => Ok(members),
            }
        }
        _ => Err(Fault::config("a policy must be an object").into()),
    }
}

/// The subjects of each database that has any, with its place.
fn by_database<S: Databases>(
    silo: &S,
    subjects: &[(StoreId, Subject)],
) -> BTreeMap<usize, Vec<(StoreId, Subject)>> {
    let mut found: BTreeMap<usize, Vec<(StoreId, Subject)>> = BTreeMap::new();
    for (id, subject) in subjects {
        found.entry(silo.database(id)).or_default().push((id.clone(), subject.clone()));
    }
    found
}

/// What is wanted of each database, with its engine.
fn intents<'s, S: Databases>(
    silo: &'s S,
    request: &Erasure,
    prepare: &'s Prepare,
) -> Result<Vec<(&'s S::Engine, Intent)>> {
    let engines = silo.databases();
    let mut intents = Vec::new();
    for (place, subjects) in by_database(silo, &request.subjects) {
        let engine = engines.get(place).copied().ok_or_else(|| {
            let id = subjects.first().map(|(id, _)| id.to_string()).unwrap_or_default();
            Fault::config(format!("there is no store {id}; discover lists what there is"))
        })?;
        let policy =
            prepare.policy.clone().only(|id| id.group.is_none() || silo.database(id) == place);
        intents.push((
            engine,
            Intent {
                subjects,
                follow: request.follow,
                policy,
                key: prepare.key.clone(),
                today: prepare.today,
            },
        ));
    }
    Ok(intents)
}

#[async_trait]
impl<S: Databases> Erase for S {
    async fn plan(&self, request: &Erasure) -> Result<Plan> {
        let prepare = Prepare::of(self, request)?;
        let intents = intents(self, request, &prepare)?;
        let seal = Seal::new(prepare.key.as_ref())?;
        let mut prepared = Vec::new();
        let mut sealed = Vec::new();
        for (engine, intent) in &intents {
            let mut one = plan::prepare(*engine, Mode::Look, intent).await?;
            sealed.push(one.sealed(intent, &seal).await?);
            prepared.push(one);
        }
        Ok(plan::message(&prepared, plan::hash(&seal, &sealed)))
    }

    async fn erase(&self, request: &Erasure) -> Result<Vec<Outcome>> {
        if !request.follow && request.approved.is_none() && request.evidence.is_none() {
            let engines = self.databases();
            let mut outcomes = Vec::new();
            for (place, subjects) in by_database(self, &request.subjects) {
                match engines.get(place) {
                    Some(engine) => {
                        let done =
                            anew(|last| plain::erase(*engine, &subjects, request.dry_run, last));
                        outcomes.extend(done.await?);
                    }
                    None => outcomes.extend(subjects.into_iter().map(|(id, _)| Outcome {
                        error: Some("there is no such store".to_owned()),
                        ..Outcome::of(id)
                    })),
                }
            }
            return Ok(outcomes);
        }
        let prepare = Prepare::of(self, request)?;
        let intents = intents(self, request, &prepare)?;
        anew(|_| all_or_nothing(&intents, request, &prepare)).await
    }

    async fn verify(&self, request: &Erasure) -> Result<Verify> {
        let prepare = Prepare::of(self, request)?;
        let mut verify = Verify::default();
        for (engine, intent) in &intents(self, request, &prepare)? {
            let mut prepared = plan::prepare(*engine, Mode::Look, intent).await?;
            if request.search_values {
                let values = prepared.work.values(&intent.subjects).await?;
                let searched = prepared.work.search(&values).await?;
                verify.residue.extend(searched.found);
                for gap in searched.gaps {
                    log::warn(format_args!("not all texts were searched: {gap}"));
                    verify.unverifiable += 1;
                }
            }
            let mut stores: BTreeMap<usize, VerifiedStore> = BTreeMap::new();
            let mut order: Vec<usize> = Vec::new();
            let entry = |place: usize| {
                let StoreId { group, name } = prepared.work.store(place).clone();
                VerifiedStore {
                    schema_name: name,
                    schema_group: group,
                    remaining: 0,
                    kept: 0,
                    near: 0,
                    unverifiable: None,
                }
            };
            let named = prepared.identified.iter().map(|(place, _)| *place);
            for place in named.chain(prepared.decision.steps.iter().map(|step| step.place)) {
                if !order.contains(&place) {
                    order.push(place);
                    stores.insert(place, entry(place));
                }
            }
            for step in &prepared.decision.steps {
                let Some(store) = stores.get_mut(&step.place) else { continue };
                match step.action {
                    Action::Delete | Action::Mask | Action::Null => store.remaining += step.rows,
                    Action::Keep => store.kept += step.rows,
                    Action::Near => store.near += step.rows,
                    // The rows that it is about are counted as rows that are to go.
                    Action::Blocked => {}
                    Action::Undecided | Action::Left | Action::Denied | Action::Unknown => {
                        let why = step.reason.as_deref().unwrap_or_default();
                        store.unverifiable = Some(match step.action {
                            Action::Undecided => format!("{} rows are undecided: {why}", step.rows),
                            Action::Left => format!("{} rows are left: {why}", step.rows),
                            Action::Unknown => format!("what refers to it is unknown: {why}"),
                            _ => format!("denied: {why}"),
                        });
                    }
                }
            }
            for place in order {
                let Some(store) = stores.remove(&place) else { continue };
                verify.remaining += store.remaining;
                verify.kept += store.kept;
                verify.unverifiable += u64::from(store.unverifiable.is_some());
                verify.stores.push(store);
            }
        }
        Ok(verify)
    }

    async fn reach(&self, request: &Erasure) -> Result<Vec<StoreId>> {
        let prepare = Prepare::of(self, request)?;
        let mut stores: Vec<StoreId> = request.subjects.iter().map(|(id, _)| id.clone()).collect();
        for (engine, intent) in &intents(self, request, &prepare)? {
            for id in review::reach(*engine, intent).await? {
                if !stores.contains(&id) {
                    stores.push(id);
                }
            }
        }
        Ok(stores)
    }

    async fn collect(
        &self,
        request: &Erasure,
        stores: &[StoreId],
        outputs: &Outputs,
    ) -> Result<()> {
        let prepare = Prepare::of(self, request)?;
        for (engine, intent) in &intents(self, request, &prepare)? {
            review::collect(*engine, intent, stores, outputs).await?;
        }
        Ok(())
    }
}

/// Plans, compares and writes in one transaction of each database, and looks again.
async fn all_or_nothing<E: Engine>(
    intents: &[(&E, Intent)],
    request: &Erasure,
    prepare: &Prepare,
) -> Result<Vec<Outcome>> {
    let mode = Mode::Change;
    let seal = match &request.approved {
        Some(hash) => Seal::of_hash(hash, prepare.key.as_ref())?,
        None => Seal::new(prepare.key.as_ref())?,
    };
    let mut prepared = Vec::new();
    let mut sealed = Vec::new();
    for (engine, intent) in intents {
        let mut one = plan::prepare(*engine, mode, intent).await?;
        if let Some(stop) = one.stop() {
            return Err(Fault::config(format!("nothing was erased: {stop}")).into());
        }
        if request.approved.is_some() {
            sealed.push(one.sealed(intent, &seal).await?);
        } else if let Some(id) = &one.several {
            return Err(Fault::config(format!(
                "nothing was erased: the identifiers match several rows of {id}; look at the plan \
                 and pass its hash with --plan"
            ))
            .into());
        }
        prepared.push(one);
    }
    if let Some(hash) = &request.approved
        && !seal::same(hash, &plan::hash(&seal, &sealed))
    {
        return Err(Fault::config(
            "nothing was erased: the plan is another than the approved one, because the data, the \
             schema, the policy or the request has changed; look at the new plan",
        )
        .into());
    }
    let mut journal = match &request.evidence {
        Some(path) if !request.dry_run => {
            let mut journal = Journal::open(path, prepare.key.as_ref())?;
            let steps: Vec<Step> = prepared.iter().flat_map(Prepared::steps).collect();
            if sealed.is_empty() {
                for (one, (_, intent)) in prepared.iter_mut().zip(intents) {
                    sealed.push(one.sealed(intent, &seal).await?);
                }
            }
            journal.begin(&plan::hash(&seal, &sealed), &request.subjects, &steps)?;
            Some(journal)
        }
        _ => None,
    };
    let written = carry_out(prepared, intents, request, prepare.key.as_ref(), &seal).await;
    let mut outcomes: Vec<Outcome> = match (written, &mut journal) {
        (Ok(databases), Some(journal)) => {
            journal.done(&databases)?;
            databases.into_iter().flat_map(|one| one.outcomes).collect()
        }
        (Err(error), Some(journal)) => {
            let why = log::scrub(&fault::line(&error));
            match error.is::<Unsettled>() {
                true => journal.unknown(&why)?,
                false => journal.failed(&why)?,
            }
            return Err(error);
        }
        (written, None) => written?.into_iter().flat_map(|one| one.outcomes).collect(),
    };
    // Those that were named, first.
    let named = |id: &StoreId| request.subjects.iter().position(|(other, _)| other == id);
    outcomes.sort_by_key(|outcome| named(&outcome.store).unwrap_or(usize::MAX));
    Ok(outcomes)
}

/// Makes an attempt that leaves nothing behind when it fails, and makes it anew where that may help.
/// An attempt is told whether it is the last.
async fn anew<T, F>(attempt: impl Fn(bool) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut pause = Duration::from_millis(100);
    for _ in 1..TRIES {
        match attempt(false).await {
            // What may have been done is not done again before somebody looked.
            Err(error)
                if Fault::cause_of(&error) == Cause::Transient && !error.is::<Unsettled>() =>
            {
                log::warn(format_args!("begun anew: {}", log::scrub(&fault::line(&error))));
                tokio::time::sleep(pause).await;
                pause *= 4;
            }
            done => return done,
        }
    }
    attempt(true).await
}
