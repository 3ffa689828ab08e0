//! The store `User`: profiles, as their own properties.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use protocol::fault::Fault;
use protocol::http::{Next, Pages, Place, Projection, Request, infer, text_at};
use protocol::message::RequestType;
use protocol::output::Output;
use protocol::silo::{
    Capabilities, From, Handle, JobStatus, Jobs, Kind, Known, Query, Read, Remaining, Sample,
    Schema, Store, StoreId, Subject, Verify,
};
use protocol::{Result, async_trait, bail};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::{Mixpanel, jobs, lexicon};

/// What tells a profile from the others. It stands beside its properties.
const ID: &str = "$distinct_id";

/// How a list of profiles goes on: a session that the vendor keeps, and the page's number. A page
/// that is not full is the last.
const PAGES: Pages = Pages::Custom {
    next: |page| {
        let size: usize = page.reply.text("/page_size")?.and_then(|n| n.parse().ok()).unwrap_or(0);
        let session = page.reply.text("/session_id")?;
        match session {
            Some(session) if page.records > 0 && page.records >= size => {
                Ok(Some(Next::Put(vec![session.into(), (page.number + 1).into()])))
            }
            None if page.records > 0 && page.records >= size => {
                Err(page.reply.shape("`/session_id` is missing from a page that is not the last"))
            }
            _ => Ok(None),
        }
    },
    into: &[Place::Form("session_id"), Place::Form("page")],
};

/// Profiles.
pub(crate) struct User<'a>(pub(crate) &'a Mixpanel);

/// A profile, as Mixpanel gives it.
#[derive(protocol::Deserialize)]
struct Profile<'a> {
    #[serde(rename = "$distinct_id")]
    id: Value,
    #[serde(rename = "$properties", borrow)]
    properties: &'a RawValue,
}

impl Profile<'_> {
    fn id(&self) -> String {
        match &self.id {
            Value::String(id) => id.clone(),
            other => other.to_string(),
        }
    }
}

impl User<'_> {
    fn engage(&self, fields: Vec<(String, String)>) -> Result<Request> {
        let project = &self.0.api.account()?.project;
        Ok(Request::post("api/query/engage").query("project_id", project).form(fields).safe())
    }

    async fn each(
        &self,
        request: Request,
        mut visit: impl FnMut(&Profile<'_>) -> Result<ControlFlow<()>> + Send,
    ) -> Result<()> {
        let client = &self.0.api.account()?.query;
        let mut parse = |record: &RawValue| {
            let profile: Profile<'_> = serde_json::from_str(record.get())
                .map_err(|_| Fault::system("Mixpanel gave a profile of another shape"))?;
            visit(&profile)
        };
        client.each(request, PAGES, "/results", &mut parse).await
    }

    /// What the lexicon says of profiles, and whatever else the first of them have; asked for once.
    async fn json_schema(&self) -> Result<&Value> {
        self.0.profiles.get_or_try_init(|| self.inferred()).await
    }

    async fn inferred(&self) -> Result<Value> {
        let mut properties = serde_json::Map::new();
        properties.insert(ID.to_owned(), json!({ "type": "string" }));
        for entry in lexicon::entries(&self.0.api.account()?.lexicon)? {
            let entry: Value = serde_json::from_str(entry.get())?;
            let known = entry.pointer("/schemaJson/properties").and_then(Value::as_object);
            for (name, property) in
                known.into_iter().flatten().filter(|_| entry["entityType"] == "profile")
            {
                let kind = property["type"].as_str().filter(|&kind| kind != "null");
                let schema = kind.map_or(json!({}), |kind| json!({ "type": kind }));
                properties.entry(name.as_str()).or_insert(schema);
            }
        }
        let mut sample: Vec<Box<RawValue>> = Vec::new();
        let mut seen = 0;
        self.each(self.engage(Vec::new())?, |profile| {
            sample.push(profile.properties.to_owned());
            seen += 1;
            // The first page: another would cost one of sixty requests an hour.
            Ok(if seen < 1000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
        .await?;
        let found = infer(sample.iter().map(|properties| &**properties));
        for (name, schema) in found["properties"].as_object().into_iter().flatten() {
            properties.entry(name.as_str()).or_insert_with(|| schema.clone());
        }
        Ok(json!({ "type": "object", "properties": properties }))
    }

    async fn push(
        &self,
        request: Request,
        limit: usize,
        wanted: Option<&[String]>,
        out: &mut Output,
    ) -> Result<()> {
        let mut projection = Projection::new(self.json_schema().await?, wanted);
        let mut left = limit;
        if left == 0 {
            return Ok(());
        }
        self.each(request, |profile| {
            projection.push(profile.properties, &[(ID, profile.id())], out)?;
            left -= 1;
            Ok(if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
        .await
    }

    /// Visits each profile that an identifier means, once.
    async fn found(
        &self,
        subject: &Subject,
        mut visit: impl FnMut(&Profile<'_>) -> Result<()> + Send,
    ) -> Result<()> {
        // One request for all ids and one for all else: an hour allows sixty.
        let (ids, others): (Vec<_>, Vec<_>) =
            subject.identifiers.iter().partition(|known| known.property == ID);
        let mut requests = Vec::new();
        if !ids.is_empty() {
            let ids: Vec<&str> = ids.iter().map(|known| known.value.as_str()).collect();
            requests.push(("distinct_ids", json!(ids).to_string()));
        }
        if !others.is_empty() {
            // Names and values are spelled as JSON strings, and cannot end their quotes.
            let is = |known: &&Known| {
                format!("properties[{}] == {}", json!(known.property), json!(known.value))
            };
            requests.push(("where", others.iter().map(is).collect::<Vec<_>>().join(" or ")));
        }
        let mut seen = BTreeSet::new();
        for (field, value) in requests {
            let request = self.engage(vec![(field.to_owned(), value)])?.private();
            self.each(request, |profile| {
                let meant = subject.identifiers.iter().any(|known| is_meant(profile, known));
                if meant && seen.insert(profile.id()) {
                    visit(profile)?;
                }
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        }
        Ok(())
    }
}

/// Whether a profile is spelled as it was asked for.
fn is_meant(profile: &Profile<'_>, known: &Known) -> bool {
    if !known.matching.is_exact() {
        return true;
    }
    if known.property == ID {
        return profile.id() == known.value;
    }
    let pointer = format!("/{}", known.property);
    let value = text_at(profile.properties.get().as_bytes(), &pointer).ok().flatten();
    value.is_some_and(|value| value == known.value)
}

#[async_trait]
impl Store for User<'_> {
    fn id(&self) -> StoreId {
        self.0.id("User")
    }

    async fn schema(&self) -> Result<Schema> {
        Ok(Schema {
            json_schema: self.json_schema().await?.clone(),
            kind: Kind::Object,
            // Profiles can only be read whole, so there is nothing to read on by.
            key: Vec::new(),
            cursors: Vec::new(),
            relations: Vec::new(),
        })
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        self.push(self.engage(Vec::new())?, sample.limit, sample.properties.as_deref(), out).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::default().read(self).query(self).delete_by_job(self)
    }
}

#[async_trait]
impl Read for User<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        self.push(self.engage(Vec::new())?, usize::MAX, from.properties, out).await
    }
}

#[async_trait]
impl Query for User<'_> {
    async fn query(&self, subject: &Subject, out: &mut Output) -> Result<()> {
        let mut projection =
            Projection::new(self.json_schema().await?, subject.properties.as_deref());
        self.found(subject, |profile| {
            projection.push(profile.properties, &[(ID, profile.id())], out)
        })
        .await
    }
}

#[async_trait]
impl Verify for User<'_> {
    async fn remaining(&self, subject: &Subject) -> Result<Remaining> {
        let mut records = 0;
        self.found(subject, |_| {
            records += 1;
            Ok(())
        })
        .await?;
        Ok(Remaining::Records(records))
    }
}

/// Mixpanel deletes a person's profile and events together.
#[async_trait]
impl Jobs for User<'_> {
    async fn start(&self, request: RequestType, subject: &Subject) -> Result<Handle> {
        let mut ids = Vec::new();
        self.found(subject, |profile| {
            ids.push(profile.id());
            Ok(())
        })
        .await?;
        jobs::start(self.0, request, &ids).await
    }

    async fn status(&self, request: RequestType, handle: &Handle) -> Result<JobStatus> {
        jobs::status(self.0, request, handle).await
    }

    async fn results(&self, _: &Handle, _: &mut Output) -> Result<()> {
        bail!("profiles are searched at once, and no job has any")
    }
}
