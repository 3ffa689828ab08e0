//! The store of guests: where they are, what one looks like, and how one is found and goes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use protocol::fault::Fault;
use protocol::http::{
    Client, Incremental, Pages, Place, Projection, Reader, Request, Resource, text_at,
};
use protocol::output::Output;
use protocol::silo::{
    Capabilities, Delete, From, Known, Query, Read, Remaining, Sample, Schema, Store, StoreId,
    Subject, Verify,
};
use protocol::{JsonSchema, Result, async_trait, config};
use serde_json::value::RawValue;

use crate::Guestbook;

pub(crate) const GUESTS: Resource = Resource {
    request: || Request::get("v1/guests").query("limit", 100),
    records: "/guests",
    pages: AFTER,
    derive: &[],
    parent: None,
    incremental: Some(Incremental {
        property: "updated_at",
        ask: |request, since| request.put(Place::Query("updated_since"), &since.into()),
        lag: Duration::from_secs(60),
    }),
};

const AFTER: Pages = Pages::Token { at: "/next", into: Place::Query("after") };

/// What a guest looks like.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "records pass as the vendor wrote them; this is their schema")]
struct Guest {
    id: String,
    name: Option<String>,
    email: Option<String>,
    /// Seconds since 1970.
    updated_at: i64,
}

fn projection(properties: Option<&[String]>) -> Projection {
    Projection::new(&config::schema::<Guest>(), properties)
}

pub(crate) struct Guests<'a>(pub(crate) &'a Guestbook);

/// Records by their ids.
type Found = BTreeMap<String, Box<RawValue>>;

/// Everything that belongs to a subject.
async fn found(client: &Client, subject: &Subject) -> Result<Found> {
    let mut all = Found::new();
    for known in &subject.identifiers {
        match known.property.as_str() {
            "id" => by_id(client, known, &mut all).await?,
            "email" => by_email(client, known, &mut all).await?,
            other => {
                let why = format!("guests can be asked for by `id` and `email`, not by `{other}`");
                return Err(Fault::config(why).into());
            }
        }
    }
    Ok(all)
}

async fn by_id(client: &Client, known: &Known, all: &mut Found) -> Result<()> {
    // As a part of a path these would name something else.
    if matches!(known.value.as_str(), "" | "." | "..") {
        return Ok(());
    }
    // `private` keeps a person's value out of every log line.
    let request = Request::get("v1/guests/{id}").part("id", &known.value).private();
    if let Some(reply) = client.find(&request).await? {
        keep(&reply.json::<Box<RawValue>>()?, "/id", known, all);
    }
    Ok(())
}

async fn by_email(client: &Client, known: &Known, all: &mut Found) -> Result<()> {
    let request = Request::get("v1/guests").query("email", &known.value).private();
    let visit = |record: &RawValue| {
        keep(record, "/email", known, all);
        Ok(ControlFlow::Continue(()))
    };
    client.each(request, AFTER, "/guests", visit).await
}

/// Keeps what has the value itself: a vendor may match without case, or parts of a text.
fn keep(record: &RawValue, property: &str, known: &Known, all: &mut Found) {
    let member = |pointer| text_at(record.get().as_bytes(), pointer).ok().flatten();
    if member(property).as_ref() == Some(&known.value)
        && let Some(id) = member("/id")
    {
        all.insert(id, record.to_owned());
    }
}

#[async_trait]
impl Store for Guests<'_> {
    fn id(&self) -> StoreId {
        StoreId::named("guests")
    }

    async fn schema(&self) -> Result<Schema> {
        Ok(Schema::of::<Guest>().key(&["id"]).cursors(&["updated_at"]))
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        let mut projection = projection(sample.properties.as_deref());
        Reader::new(&self.0.client, GUESTS).sample(sample, &mut projection, out).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::default().read(self).query(self).delete(self)
    }
}

#[async_trait]
impl Read for Guests<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        let mut projection = projection(from.properties);
        Reader::new(&self.0.client, GUESTS).read(from, Some(&mut projection), out).await
    }
}

#[async_trait]
impl Query for Guests<'_> {
    async fn query(&self, subject: &Subject, out: &mut Output) -> Result<()> {
        let mut projection = projection(subject.properties.as_deref());
        let found = found(&self.0.client, subject).await?;
        found.values().try_for_each(|record| projection.push(record, &[], out))
    }
}

#[async_trait]
impl Verify for Guests<'_> {
    async fn remaining(&self, subject: &Subject) -> Result<Remaining> {
        // Connections of its own, to look past whatever the others remember.
        let client = Guestbook::client(&self.0.config)?;
        Ok(Remaining::Records(found(&client, subject).await?.len() as u64))
    }
}

#[async_trait]
impl Delete for Guests<'_> {
    async fn delete(&self, subject: &Subject) -> Result<u64> {
        let mut deleted = 0;
        for id in found(&self.0.client, subject).await?.keys() {
            let request = Request::delete("v1/guests/{id}").part("id", id).private();
            // A host that repeats a delete may find that it is done.
            deleted += u64::from(self.0.client.find(&request).await?.is_some());
        }
        Ok(deleted)
    }
}
