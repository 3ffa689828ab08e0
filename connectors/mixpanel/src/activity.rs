//! The store `User Activity`: events, read through the raw export, line by line, and what Mixpanel
//! itself retrieves and deletes of a person.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use protocol::fault::Fault;
use protocol::http::{Projection, Request, text_at};
use protocol::message::RequestType;
use protocol::output::Output;
use protocol::silo::{
    Capabilities, Cursor, From, Handle, JobStatus, Jobs, Kind, Read, Remaining, Sample, Schema,
    Store, StoreId, Subject, Verify,
};
use protocol::{Deserialize, Result, Serialize, async_trait};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::archive::{Archive, download};
use crate::date::{self, Day};
use crate::{Mixpanel, jobs};

/// How many days one export covers: an hour allows sixty.
const DAYS: i64 = 92;

/// How many days back events that arrive late are looked for.
const LATE: i64 = 5;

/// How long Mixpanel may take until an event that it took in shows in an export.
const LAG: Duration = Duration::from_secs(300);

/// Events.
pub(crate) struct Activity<'a>(pub(crate) &'a Mixpanel);

/// Where a read got to.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// Only what was taken in at this time or later is read: milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
    /// What the next read begins with, once this one has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    /// The next day to export; none once all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    day: Option<String>,
}

fn schema() -> Value {
    json!({ "type": "object", "properties": {
        "user_id": { "type": "string" },
        "event": { "type": "string" },
        "time": { "type": "integer" },
        "insert_id": { "type": "string" },
        "properties": { "type": "object" },
    } })
}

/// Members that stand in an event's properties and are wanted beside them.
const DERIVED: &[(&str, &str)] =
    &[("user_id", "/properties/distinct_id"), ("insert_id", "/properties/$insert_id")];

impl Activity<'_> {
    /// Exports days, both included, and visits each event.
    async fn export(
        &self,
        (first, last): (Day, Day),
        limit: Option<usize>,
        mut visit: impl FnMut(&RawValue) -> Result<ControlFlow<()>> + Send,
    ) -> Result<()> {
        let account = self.0.api.account()?;
        let mut request = Request::get("api/2.0/export")
            .query("project_id", &account.project)
            .query("from_date", first)
            .query("to_date", last);
        if let Some(limit) = limit {
            request = request.query("limit", limit.clamp(1, 100_000));
        }
        let mut body = account.export.open(&request).await?;
        while let Some(line) = body.line().await? {
            let event: &RawValue = serde_json::from_slice(line).map_err(|_| {
                Fault::transient("a line of Mixpanel's export is no JSON: it broke off")
            })?;
            if visit(event)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn push(projection: &mut Projection, event: &RawValue, out: &mut Output) -> Result<()> {
    let more = Projection::derived(event, DERIVED);
    let time = text_at(event.get().as_bytes(), "/properties/time").ok().flatten();
    projection.push_with(event, &more, &[("time", time.as_deref().unwrap_or("null"))], out)
}

/// When Mixpanel took an event in, in milliseconds; when it happened, where it does not say.
fn taken_in(event: &RawValue) -> Option<i64> {
    let number = |pointer| {
        let text = text_at(event.get().as_bytes(), pointer).ok().flatten()?;
        text.parse::<i64>().ok()
    };
    number("/properties/mp_processing_time_ms")
        .or_else(|| number("/properties/time").map(|seconds| seconds * 1000))
}

#[async_trait]
impl Store for Activity<'_> {
    fn id(&self) -> StoreId {
        self.0.id("User Activity")
    }

    async fn schema(&self) -> Result<Schema> {
        Ok(Schema {
            json_schema: schema(),
            kind: Kind::Object,
            key: Vec::new(),
            cursors: vec!["time".to_owned()],
            relations: Vec::new(),
        })
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        let mut projection = Projection::new(&schema(), sample.properties.as_deref());
        let mut left = sample.limit;
        if left == 0 {
            return Ok(());
        }
        let today = Day::of(self.0.api.account()?.now());
        let days = (date::start(self.0.config.start_date.as_deref())?, today);
        self.export(days, Some(sample.limit), |event| {
            push(&mut projection, event, out)?;
            left -= 1;
            Ok(if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
        .await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        let jobs = Capabilities::default().query_by_job(self).delete_by_job(self);
        match self.0.api.account() {
            Ok(_) => jobs.read(self),
            Err(_) => jobs,
        }
    }
}

#[async_trait]
impl Read for Activity<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        let mut projection = Projection::new(&schema(), from.properties);
        if let Some(cursor) = from.cursor
            && cursor != "time"
        {
            let why =
                format!("this store cannot be read by `{cursor}`; discover lists its cursors");
            return Err(Fault::config(why).into());
        }
        let mut place: Place = from.since.map(Cursor::parse).transpose()?.unwrap_or_default();
        let start = date::start(self.0.config.start_date.as_deref())?;
        let now = self.0.api.account()?.now();
        let today = Day::of(now);
        let mut day = match (place.day.as_deref().map(Day::parse), place.until) {
            (Some(Some(day)), _) => day,
            (Some(None), _) => {
                return Err(Fault::config("the state's cursor names no day").into());
            }
            // A read that ended: what was taken in since, also for days before.
            (None, Some(until)) => {
                place = Place { since: Some(until), ..Place::default() };
                Day(until / 86_400_000 - LATE).max(start)
            }
            (None, None) => start,
        };
        if place.until.is_none() {
            let now = now.checked_sub(LAG).unwrap_or(UNIX_EPOCH);
            let passed = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            place.until = i64::try_from(passed.as_millis()).ok();
        }
        while day <= today {
            let last = Day(day.0 + DAYS - 1).min(today);
            self.export((day, last), None, |event| {
                let wanted = place
                    .since
                    .is_none_or(|since| taken_in(event).is_none_or(|taken_in| taken_in >= since));
                if wanted {
                    push(&mut projection, event, out)?;
                }
                Ok(ControlFlow::Continue(()))
            })
            .await?;
            day = Day(last.0 + 1);
            place.day = Some(day.to_string());
            if day <= today && out.due() {
                out.checkpoint(&Cursor::new(&place)?)?;
            }
        }
        let Place { since, until, .. } = place;
        out.checkpoint(&Cursor::new(&Place { since, until, day: None })?)
    }
}

fn ids(subject: &Subject) -> Result<Vec<String>> {
    let mut ids: Vec<String> = Vec::new();
    for known in &subject.identifiers {
        if known.property != "user_id" {
            let why =
                format!("Mixpanel cannot be asked by `{}`, only by `user_id`", known.property);
            return Err(Fault::config(why).into());
        }
        if !known.value.is_empty() && !ids.contains(&known.value) {
            ids.push(known.value.clone());
        }
    }
    Ok(ids)
}

#[async_trait]
impl Jobs for Activity<'_> {
    async fn start(&self, request: RequestType, subject: &Subject) -> Result<Handle> {
        jobs::start(self.0, request, &ids(subject)?).await
    }

    async fn status(&self, request: RequestType, handle: &Handle) -> Result<JobStatus> {
        jobs::status(self.0, request, handle).await
    }

    async fn results(&self, handle: &Handle, out: &mut Output) -> Result<()> {
        let links = jobs::links(self.0, handle).await?;
        let folder = out.files()?.to_owned();
        // A name that no other run has, and that says nothing about anybody.
        let temporary = tempfile::Builder::new()
            .prefix("user-activity-")
            .suffix(".tar.gz")
            .tempfile_in(&folder)?;
        let path = temporary.path().to_owned();
        drop(temporary);
        let mut archive = Archive::create(&path)?;
        for (number, link) in links.iter().enumerate() {
            let body = self.0.api.gdpr.open(&Request::foreign(link)).await?;
            let file = download(body, &folder).await?;
            let below = if links.len() > 1 { format!("{}", number + 1) } else { String::new() };
            archive.add(file, &below, &self.0.config.api_secret)?;
        }
        archive.finish(links.is_empty())?;
        out.file(Path::new(path.file_name().unwrap_or_default()))
    }
}

#[async_trait]
impl Verify for Activity<'_> {
    async fn remaining(&self, subject: &Subject) -> Result<Remaining> {
        let ids = ids(subject)?;
        let Ok(account) = self.0.api.account() else {
            let why = "events can only be looked for with a service account";
            return Ok(Remaining::Unknown(why.to_owned()));
        };
        let request = Request::get("api/query/stream/query")
            .query("project_id", &account.project)
            .query("distinct_ids", json!(ids))
            .query("from_date", date::start(None)?)
            .query("to_date", Day::of(account.now()))
            .private();
        let reply = account.query.send(&request).await?;
        Ok(Remaining::Records(reply.records("/results/events")?.len() as u64))
    }
}
