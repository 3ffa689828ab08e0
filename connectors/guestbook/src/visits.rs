//! The store of visits: a list for each guest, so many lists at once.

use protocol::http::{Parent, Place, Projection, Reader, Request, Resource};
use protocol::output::Output;
use protocol::silo::{Capabilities, From, Read, Sample, Schema, Store, StoreId};
use protocol::{JsonSchema, Result, async_trait, config};

use crate::Guestbook;
use crate::guests::GUESTS;

const VISITS: Resource = Resource {
    request: || Request::get("v1/guests/{guest}/visits"),
    records: "/visits",
    parent: Some(Parent {
        resource: &Resource { incremental: None, ..GUESTS },
        key: "/id",
        into: Place::Part("guest"),
        carry: &[("guest_id", "/id")],
    }),
    // A visit does not change its guest, and cannot be asked for by time: all are read each time.
    incremental: None,
    ..GUESTS
};

/// What a visit looks like.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "records pass as the vendor wrote them; this is their schema")]
struct Visit {
    guest_id: String,
    id: String,
    /// Seconds since 1970.
    at: i64,
}

fn projection(properties: Option<&[String]>) -> Projection {
    Projection::new(&config::schema::<Visit>(), properties)
}

pub(crate) struct Visits<'a>(pub(crate) &'a Guestbook);

#[async_trait]
impl Store for Visits<'_> {
    fn id(&self) -> StoreId {
        StoreId::named("visits")
    }

    async fn schema(&self) -> Result<Schema> {
        // What cannot be read on from a state has nothing to be ordered by.
        Ok(Schema::of::<Visit>())
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        let mut projection = projection(sample.properties.as_deref());
        Reader::new(&self.0.client, VISITS).sample(sample, &mut projection, out).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::default().read(self)
    }
}

#[async_trait]
impl Read for Visits<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        let mut projection = projection(from.properties);
        Reader::new(&self.0.client, VISITS).read(from, Some(&mut projection), out).await
    }
}
