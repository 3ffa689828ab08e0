//! `query`, `delete`, `plan`, `verify`, `request-status` and `request-results`.

use std::collections::HashMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::End;
use super::arguments::Delete as DeleteArguments;
use super::input::Request;
use super::reading::{find, has, say, unknown};
use super::suggested;
use crate::config;
use crate::fault::{self, Fault};
use crate::log;
use crate::message::{
    Action, DataType, HandleData, Identifier, Message, RequestHandle, RequestResult, RequestStatus,
    RequestType, Standing, VerifiedStore, Verify, properties,
};
use crate::output::{Outputs, Sink};
use crate::silo::{
    Access, Deleting, Erase, Erasure, Handle, JobStatus, Known, Outcome, Querying, Remaining, Silo,
    Store, StoreId, Subject,
};

/// The identifiers of each store, in the order in which the stores came up first.
fn by_store<'a>(
    identifiers: impl Iterator<Item = &'a Identifier>,
) -> Vec<(StoreId, Vec<&'a Identifier>)> {
    let mut order: Vec<(StoreId, Vec<&Identifier>)> = Vec::new();
    let mut places: HashMap<StoreId, usize> = HashMap::new();
    for identifier in identifiers {
        let id = identifier.id();
        let place = *places.entry(id.clone()).or_insert_with(|| {
            order.push((id, Vec::new()));
            order.len() - 1
        });
        order[place].1.push(identifier);
    }
    order
}

/// Several identifiers of one store are a union, and so are the properties they ask for.
fn subject(identifiers: &[&Identifier]) -> Subject {
    let mut known: Vec<Known> = Vec::new();
    let mut wanted: Option<Vec<String>> = Some(Vec::new());
    for identifier in identifiers {
        let one = Known {
            property: identifier.identifier.clone(),
            value: identifier.identifier_query.clone(),
            matching: identifier.matching,
        };
        if !known.contains(&one) {
            known.push(one);
        }
        match (properties(identifier.json_schema.as_ref()), &mut wanted) {
            (Some(names), Some(wanted)) => {
                for name in names {
                    if !wanted.contains(&name) {
                        wanted.push(name);
                    }
                }
            }
            (None, _) => wanted = None,
            (_, None) => {}
        }
    }
    Subject { identifiers: known, properties: wanted }
}

/// The whole request, as an eraser takes it.
fn erasure(request: &Request) -> Erasure {
    let identifiers = request.identifiers.iter().map(|(identifier, _)| identifier);
    let subjects = by_store(identifiers)
        .into_iter()
        .map(|(id, identifiers)| (id, subject(&identifiers)))
        .collect();
    let policy = request.policy.clone();
    Erasure { subjects, follow: request.follow, policy, ..Erasure::default() }
}

fn eraser<S: Silo>(silo: &S) -> Result<&dyn Erase> {
    silo.eraser().ok_or_else(|| {
        Fault::config(
            "this connector cannot follow relations or plan; its spec lists its abilities",
        )
        .into()
    })
}

/// A closure's request, as it travels in handles.
#[derive(Serialize, Deserialize)]
struct Followed {
    identifiers: Vec<Identifier>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    policy: Map<String, Value>,
}

/// The member of a handle's data that holds a [`Followed`].
const FOLLOW: &str = "follow";

/// An identifier without the schema, which each handle carries once already.
fn bare(identifier: &Identifier) -> Identifier {
    Identifier { json_schema: None, ..identifier.clone() }
}

/// One answer, to be printed.
fn result(
    id: &StoreId,
    request_type: RequestType,
    request_status: Standing,
    data_type: Option<DataType>,
    data: HandleData,
) -> Message {
    let StoreId { group, name } = id.clone();
    let status = RequestStatus {
        schema_name: name.clone(),
        schema_group: group.clone(),
        request_status,
        data_type,
    };
    let handle =
        RequestHandle { schema_name: name, schema_group: group, request_type, data: Some(data) };
    Message::RequestResult { request: RequestResult { status, handle } }
}

/// The properties that identify the subject.
fn identifying(subject: &Subject) -> impl Iterator<Item = &String> {
    subject.identifiers.iter().map(|known| &known.property)
}

/// What became of one store: data to go into the handles of all its identifiers.
struct Answer {
    standing: Standing,
    data_type: Option<DataType>,
    data: HandleData,
}

impl Answer {
    fn failed(error: &anyhow::Error) -> Answer {
        let why = log::scrub(&fault::line(error));
        let data = HandleData { error: Some(why), ..HandleData::default() };
        Answer { standing: Standing::Failed, data_type: None, data }
    }
}

/// Prints one result for each identifier, in order, then one for each store that was only reached.
fn print(
    request: &Request,
    kind: RequestType,
    answers: &HashMap<StoreId, Answer>,
    reached: &[StoreId],
    sink: &Sink,
) -> Result<()> {
    let mut siblings: HashMap<StoreId, Vec<Identifier>> = HashMap::new();
    for (identifier, _) in &request.identifiers {
        siblings.entry(identifier.id()).or_default().push(bare(identifier));
    }
    for (identifier, raw) in &request.identifiers {
        let id = identifier.id();
        let Some(answer) = answers.get(&id) else { continue };
        let all = &siblings[&id];
        let data = HandleData {
            query: Some(raw.clone()),
            identifiers: if all.len() > 1 { all.clone() } else { Vec::new() },
            ..answer.data.clone()
        };
        sink.message(&result(&id, kind, answer.standing, answer.data_type, data))?;
    }
    for id in reached.iter().filter(|id| !siblings.contains_key(*id)) {
        let Some(answer) = answers.get(id) else { continue };
        let data = answer.data.clone();
        sink.message(&result(id, kind, answer.standing, answer.data_type, data))?;
    }
    Ok(())
}

pub(super) async fn query<S: Silo>(silo: &S, request: &Request, sink: &Sink) -> Result<End> {
    let mut answers = HashMap::new();
    if request.follow {
        let reached = eraser(silo)?.reach(&erasure(request)).await?;
        let identifiers = request.identifiers.iter().map(|(one, _)| bare(one)).collect();
        let followed = Followed { identifiers, policy: request.policy.clone() };
        let mut data = HandleData::default();
        data.more.insert(FOLLOW.to_owned(), serde_json::to_value(followed)?);
        for id in &reached {
            let data_type = Some(DataType::Records);
            let answer = Answer { standing: Standing::Complete, data_type, data: data.clone() };
            answers.insert(id.clone(), answer);
        }
        print(request, RequestType::Query, &answers, &reached, sink)?;
        return Ok(End::Done);
    }
    let stores = silo.stores().await?;
    for (id, identifiers) in by_store(request.identifiers.iter().map(|(one, _)| one)) {
        let asked = ask(find(&stores, &id), &subject(&identifiers)).await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => {
                let answer = Answer::failed(&error);
                say(&id, error)?;
                answer
            }
        };
        answers.insert(id, answer);
    }
    print(request, RequestType::Query, &answers, &[], sink)?;
    Ok(End::Done)
}

async fn ask(store: Option<&dyn Store>, subject: &Subject) -> Result<Answer> {
    let store = store.ok_or_else(unknown)?;
    has(store, identifying(subject).chain(subject.properties.iter().flatten())).await?;
    match store.capabilities().query {
        None => Err(Fault::config("this store cannot be searched for a subject").into()),
        Some(Querying::Now(query)) => {
            let mut data = HandleData::default();
            if query.reads_everything() {
                data.more.insert("full_read".to_owned(), Value::Bool(true));
            }
            let data_type = Some(DataType::Records);
            Ok(Answer { standing: Standing::Complete, data_type, data })
        }
        Some(Querying::Job(jobs)) => started(jobs.start(RequestType::Query, subject).await?),
    }
}

fn started(job: Handle) -> Result<Answer> {
    let data = HandleData { job: Some(job.0), ..HandleData::default() };
    Ok(Answer { standing: Standing::Progress, data_type: None, data })
}

pub(super) async fn delete<S: Silo>(
    silo: &S,
    request: &Request,
    arguments: &DeleteArguments,
    sink: &Sink,
) -> Result<End> {
    let erasure = Erasure {
        approved: arguments.plan.clone(),
        dry_run: arguments.dry_run,
        evidence: arguments.evidence.clone(),
        search_values: arguments.search_values,
        ..erasure(request)
    };
    // Not what a Monoid host asks for: whatever was not done shows in the status.
    let strict = request.follow || arguments.plan.is_some() || arguments.dry_run;
    let mut answers: HashMap<StoreId, Answer> = HashMap::new();
    let mut reached = Vec::new();
    let mut missed = false;
    if request.follow || arguments.plan.is_some() {
        for outcome in eraser(silo)?.erase(&erasure).await? {
            reached.push(outcome.store.clone());
            missed |= settle(outcome, arguments.dry_run, &mut answers);
        }
    } else {
        let stores = silo.stores().await?;
        let mut together: Option<&dyn Erase> = None;
        let mut subjects = Vec::new();
        for (id, subject) in &erasure.subjects {
            let mut outcome = Outcome::of(id.clone());
            let deleted = match find(&stores, id) {
                None => Err(unknown()),
                Some(store) => match has(store, identifying(subject)).await {
                    Err(error) => Err(error),
                    Ok(()) => match store.capabilities().delete {
                        None => Err(Fault::config("nothing can be deleted from this store").into()),
                        Some(Deleting::Silo(eraser)) => {
                            together = Some(eraser);
                            subjects.push((id.clone(), subject.clone()));
                            continue;
                        }
                        Some(Deleting::Now(store)) => {
                            delete_now(store, subject, erasure.dry_run, &mut outcome).await
                        }
                        Some(Deleting::Job(..)) if erasure.dry_run => Err(Fault::config(
                            "the vendor deletes by a job of its own and offers no dry run",
                        )
                        .into()),
                        Some(Deleting::Job(jobs, _)) => {
                            match jobs.start(RequestType::Delete, subject).await {
                                Ok(job) => {
                                    answers.insert(id.clone(), started(job)?);
                                    continue;
                                }
                                Err(error) => Err(error),
                            }
                        }
                    },
                },
            };
            if let Err(error) = deleted {
                outcome.error = Some(log::scrub(&fault::line(&error)));
            }
            missed |= settle(outcome, arguments.dry_run, &mut answers);
        }
        if let Some(eraser) = together {
            for outcome in eraser.erase(&Erasure { subjects, ..erasure.clone() }).await? {
                missed |= settle(outcome, arguments.dry_run, &mut answers);
            }
        }
    }
    print(request, RequestType::Delete, &answers, &reached, sink)?;
    Ok(End::missed(strict && missed))
}

async fn delete_now(
    store: &dyn crate::silo::Delete,
    subject: &Subject,
    dry_run: bool,
    outcome: &mut Outcome,
) -> Result<()> {
    if dry_run {
        return match store.remaining(subject).await? {
            Remaining::Records(records) => {
                outcome.deleted = records;
                Ok(())
            }
            Remaining::Unknown(why) => Err(Fault::config(why).into()),
        };
    }
    outcome.deleted = store.delete(subject).await?;
    match store.remaining(subject).await {
        Ok(Remaining::Records(records)) => outcome.remaining = records,
        Ok(Remaining::Unknown(why)) => outcome.unverifiable = Some(why),
        Err(error) => outcome.unverifiable = Some(log::scrub(&fault::line(&error))),
    }
    Ok(())
}

/// Turns an outcome into an answer, says what is wrong with it, and whether anything is.
fn settle(outcome: Outcome, dry_run: bool, answers: &mut HashMap<StoreId, Answer>) -> bool {
    let Outcome { store, deleted, remaining, unverifiable, skipped, error, more } = outcome;
    for what in &skipped {
        log::warn(format_args!("{store}: {what}"));
    }
    let error = error.or_else(|| {
        (remaining > 0).then(|| format!("{remaining} records are still there after the delete"))
    });
    match (&error, &unverifiable) {
        (Some(error), _) => log::error(format_args!("{store}: {error}")),
        (None, Some(why)) => {
            log::warn(format_args!("{store}: deleted, but this cannot be verified: {why}"));
        }
        (None, None) if dry_run => {
            log::info(format_args!("{store}: {deleted} records would be deleted"));
        }
        (None, None) => log::info(format_args!("{store}: {deleted} records deleted")),
    }
    let looked = error.is_none() && unverifiable.is_none() && !dry_run;
    let missed = error.is_some() || unverifiable.is_some() || !skipped.is_empty();
    let (standing, data_type) = match error {
        Some(_) => (Standing::Failed, None),
        None => (Standing::Complete, Some(DataType::None)),
    };
    let data = HandleData {
        deleted: Some(deleted),
        dry_run,
        remaining: (looked || remaining > 0).then_some(remaining),
        unverifiable,
        error,
        more,
        ..HandleData::default()
    };
    answers.insert(store, Answer { standing, data_type, data });
    missed
}

pub(super) async fn plan<S: Silo>(
    silo: &S,
    request: &Request,
    suggest: bool,
    sink: &Sink,
) -> Result<End> {
    let mut plan = eraser(silo)?.plan(&erasure(request)).await?;
    plan.policy = suggest.then(|| suggested::policy(&plan, &request.policy));
    let stops = [
        Action::Undecided,
        Action::Blocked,
        Action::Denied,
        Action::Left,
        Action::Near,
        Action::Unknown,
    ];
    let stopped = plan.steps.iter().any(|step| stops.contains(&step.action));
    sink.message(&Message::Plan { plan })?;
    Ok(End::missed(stopped))
}

pub(super) async fn verify<S: Silo>(
    silo: &S,
    request: &Request,
    search_values: bool,
    sink: &Sink,
) -> Result<End> {
    let verify = match silo.eraser() {
        Some(eraser) => eraser.verify(&Erasure { search_values, ..erasure(request) }).await?,
        None if search_values => {
            return Err(Fault::config("this connector cannot search all text for values").into());
        }
        None if request.follow => return Err(eraser(silo).err().unwrap_or_else(unknown)),
        None => look_again(silo, request).await?,
    };
    let missed = verify.remaining > 0
        || verify.unverifiable > 0
        || !verify.residue.is_empty()
        || verify.stores.iter().any(|store| store.near > 0);
    sink.message(&Message::Verify { verify })?;
    Ok(End::missed(missed))
}

async fn look_again<S: Silo>(silo: &S, request: &Request) -> Result<Verify> {
    let stores = silo.stores().await?;
    let mut verify = Verify::default();
    for (id, identifiers) in by_store(request.identifiers.iter().map(|(one, _)| one)) {
        let subject = subject(&identifiers);
        let looked = async {
            let store = find(&stores, &id).ok_or_else(unknown)?;
            has(store, identifying(&subject)).await?;
            match store.capabilities().delete {
                Some(Deleting::Now(store)) => store.remaining(&subject).await,
                Some(Deleting::Job(_, store)) => store.remaining(&subject).await,
                Some(Deleting::Silo(_)) | None => {
                    Ok(Remaining::Unknown("this store cannot be looked at afresh".to_owned()))
                }
            }
        };
        let (remaining, unverifiable) = match looked.await {
            Ok(Remaining::Records(records)) => (records, None),
            Ok(Remaining::Unknown(why)) => (0, Some(why)),
            Err(error) => (0, Some(log::scrub(&fault::line(&error)))),
        };
        if let Some(why) = &unverifiable {
            log::error(format_args!("{id}: {why}"));
            verify.unverifiable += 1;
        }
        verify.remaining += remaining;
        let StoreId { group, name } = id;
        verify.stores.push(VerifiedStore {
            schema_name: name,
            schema_group: group,
            remaining,
            kept: 0,
            near: 0,
            unverifiable,
        });
    }
    Ok(verify)
}

/// The identifiers that a handle stands for.
fn identifiers_of(handle: &RequestHandle) -> Result<Vec<Identifier>> {
    let Some(data) = &handle.data else { return Ok(Vec::new()) };
    let mut identifiers = data.identifiers.clone();
    for one in &identifiers {
        log::hide_word(&one.identifier_query);
    }
    if let Some(query) = &data.query {
        let mut deserializer = serde_json::Deserializer::from_str(query.get());
        let one: Identifier = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| Fault::config(format!("the handle: {}", config::complaint(&error))))?;
        log::hide_word(&one.identifier_query);
        // It carries the properties, which the list of all does not.
        let schema = one.json_schema.clone();
        match identifiers.iter_mut().find(|other| {
            other.identifier == one.identifier && other.identifier_query == one.identifier_query
        }) {
            Some(other) => other.json_schema = schema,
            None => identifiers.push(one),
        }
        for other in &mut identifiers {
            if other.json_schema.is_none() {
                other.json_schema = identifiers_schema(query.get());
            }
        }
    }
    Ok(identifiers)
}

/// The schema in a handle's `query`; identifiers of one store share it.
fn identifiers_schema(query: &str) -> Option<Value> {
    #[derive(Deserialize)]
    struct Only {
        json_schema: Option<Value>,
    }
    serde_json::from_str::<Only>(query).ok()?.json_schema
}

pub(super) async fn status<S: Silo>(
    handles: &[RequestHandle],
    config: S::Config,
    sink: &Sink,
) -> Result<End> {
    let job = |handle: &RequestHandle| handle.data.as_ref().and_then(|data| data.job.clone());
    // Only a vendor's job is asked for; the others say themselves how they stand.
    let silo = match handles.iter().any(|handle| job(handle).is_some()) {
        true => Some(S::connect(config, Access::Read).await?),
        false => None,
    };
    let stores = match &silo {
        Some(silo) => silo.stores().await?,
        None => Vec::new(),
    };
    for handle in handles {
        let id = handle.id();
        let failed = handle.data.as_ref().is_some_and(|data| data.error.is_some());
        let (standing, data_type) = match (job(handle), handle.request_type) {
            _ if failed => (Standing::Failed, None),
            (None, RequestType::Query) => (Standing::Complete, Some(DataType::Records)),
            (None, RequestType::Delete) => (Standing::Complete, Some(DataType::None)),
            (Some(job), request) => {
                match job_status(find(&stores, &id), handle, request, &Handle(job)).await {
                    Ok(status) => status,
                    Err(error) => {
                        say(&id, error)?;
                        (Standing::Failed, None)
                    }
                }
            }
        };
        let StoreId { group, name } = id;
        let request_status = RequestStatus {
            schema_name: name,
            schema_group: group,
            request_status: standing,
            data_type,
        };
        sink.message(&Message::RequestStatus { request_status })?;
    }
    Ok(End::Done)
}

async fn job_status(
    store: Option<&dyn Store>,
    handle: &RequestHandle,
    request: RequestType,
    job: &Handle,
) -> Result<(Standing, Option<DataType>)> {
    let capabilities = store.ok_or_else(unknown)?.capabilities();
    let (jobs, verify) = match (request, capabilities.query, capabilities.delete) {
        (RequestType::Query, Some(Querying::Job(jobs)), _) => (jobs, None),
        (RequestType::Delete, _, Some(Deleting::Job(jobs, verify))) => (jobs, Some(verify)),
        _ => return Err(Fault::config("the handle names a job, and this store has none").into()),
    };
    match (jobs.status(request, job).await?, verify) {
        (JobStatus::Running, _) => Ok((Standing::Progress, None)),
        (JobStatus::Failed(why), _) => Err(Fault::system(why).into()),
        (JobStatus::Complete(data_type), None) => Ok((Standing::Complete, Some(data_type))),
        // The vendor's word is not enough: look.
        (JobStatus::Complete(_), Some(verify)) => {
            let identifiers = identifiers_of(handle)?;
            let subject = subject(&identifiers.iter().collect::<Vec<_>>());
            match verify.remaining(&subject).await? {
                Remaining::Records(0) => Ok((Standing::Complete, Some(DataType::None))),
                Remaining::Records(records) => Err(Fault::system(format!(
                    "the vendor says the deletion is done, but {records} records are still there"
                ))
                .into()),
                Remaining::Unknown(why) => {
                    let id = handle.id();
                    log::warn(format_args!("{id}: deleted, but this cannot be verified: {why}"));
                    Ok((Standing::Complete, Some(DataType::None)))
                }
            }
        }
    }
}

pub(super) async fn results<S: Silo>(
    silo: &S,
    handles: &[RequestHandle],
    outputs: &Outputs,
) -> Result<End> {
    let mut direct: Vec<Identifier> = Vec::new();
    let mut jobs: Vec<(StoreId, Value, Option<Vec<String>>)> = Vec::new();
    let mut followed: Vec<(Value, Vec<StoreId>)> = Vec::new();
    for handle in handles.iter().filter(|handle| handle.request_type == RequestType::Query) {
        let id = handle.id();
        let Some(data) = &handle.data else { continue };
        if data.error.is_some() {
            continue;
        }
        if let Some(job) = &data.job {
            if !jobs.iter().any(|(other, known, _)| *other == id && known == job) {
                let identifiers = identifiers_of(handle)?;
                let chosen = subject(&identifiers.iter().collect::<Vec<_>>()).properties;
                jobs.push((id, job.clone(), chosen.filter(|names| !names.is_empty())));
            }
        } else if let Some(request) = data.more.get(FOLLOW) {
            match followed.iter_mut().find(|(known, _)| known == request) {
                Some((_, stores)) if stores.contains(&id) => {}
                Some((_, stores)) => stores.push(id),
                None => followed.push((request.clone(), vec![id])),
            }
        } else {
            let identifiers = identifiers_of(handle)?;
            if identifiers.is_empty() {
                let why = "the handle holds neither `query` nor `job`; pass it as query printed it";
                return Err(Fault::config(format!("{id}: {why}")).into());
            }
            direct.extend(identifiers);
        }
    }
    let mut missed = false;
    for (request, ids) in followed {
        let Followed { identifiers, policy } = serde_path_to_error::deserialize(request)
            .map_err(|error| Fault::config(format!("the handle: {}", config::complaint(&error))))?;
        identifiers.iter().for_each(|one| log::hide_word(&one.identifier_query));
        let subjects = by_store(identifiers.iter())
            .into_iter()
            .map(|(id, identifiers)| (id, subject(&identifiers)))
            .collect();
        let erasure = Erasure { subjects, follow: true, policy, ..Erasure::default() };
        eraser(silo)?.collect(&erasure, &ids, outputs).await?;
    }
    let stores = silo.stores().await?;
    for (id, job, chosen) in jobs {
        let fetched = async {
            let Some(Querying::Job(jobs)) =
                find(&stores, &id).ok_or_else(unknown)?.capabilities().query
            else {
                return Err(Fault::config("the handle names a job, and this store has none").into());
            };
            let mut out = outputs.store(id.clone());
            out.choose(chosen.as_deref());
            jobs.results(&Handle(job), &mut out).await?;
            out.finish()
        };
        if let Err(error) = fetched.await {
            say(&id, error)?;
            missed = true;
        }
    }
    for (id, identifiers) in by_store(direct.iter()) {
        let subject = subject(&identifiers);
        let found = async {
            let store = find(&stores, &id).ok_or_else(unknown)?;
            has(store, identifying(&subject).chain(subject.properties.iter().flatten())).await?;
            let mut out = outputs.store(id.clone());
            out.choose(subject.properties.as_deref());
            match store.capabilities().query {
                Some(Querying::Now(query)) => query.query(&subject, &mut out).await?,
                Some(Querying::Job(jobs)) => {
                    jobs.results(&jobs.adopt(&subject).await?, &mut out).await?;
                }
                None => {
                    let what = "this store cannot be searched for a subject";
                    return Err(Fault::config(what).into());
                }
            }
            out.finish()
        };
        if let Err(error) = found.await {
            say(&id, error)?;
            missed = true;
        }
    }
    Ok(End::missed(missed))
}
