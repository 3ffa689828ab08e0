//! The store `Lexicon`: what the project says of its events and profiles.

use protocol::http::Projection;
use protocol::output::Output;
use protocol::silo::{Capabilities, From, Kind, Read, Sample, Schema, Store, StoreId};
use protocol::{Result, async_trait};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Mixpanel;

/// What the project says of its events and profiles.
pub(crate) struct Lexicon<'a>(pub(crate) &'a Mixpanel);

/// The entries of a lexicon.
pub(crate) fn entries(body: &[u8]) -> Result<Vec<&RawValue>> {
    #[derive(protocol::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        results: Vec<&'a RawValue>,
    }
    Ok(serde_json::from_slice::<Body<'_>>(body)?.results)
}

fn schema() -> Value {
    json!({ "type": "object", "properties": {
        "entityType": { "type": "string" },
        "name": { "type": "string" },
        "schemaJson": { "type": "object" },
    } })
}

impl Lexicon<'_> {
    fn push(&self, limit: usize, wanted: Option<&[String]>, out: &mut Output) -> Result<()> {
        let mut projection = Projection::new(&schema(), wanted);
        for entry in entries(&self.0.api.account()?.lexicon)?.into_iter().take(limit) {
            projection.push(entry, &[], out)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Lexicon<'_> {
    fn id(&self) -> StoreId {
        self.0.id("Lexicon")
    }

    async fn schema(&self) -> Result<Schema> {
        Ok(Schema {
            json_schema: schema(),
            kind: Kind::Object,
            key: Vec::new(),
            cursors: Vec::new(),
            relations: Vec::new(),
        })
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        self.push(sample.limit, sample.properties.as_deref(), out)
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::default().read(self)
    }
}

#[async_trait]
impl Read for Lexicon<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        self.push(usize::MAX, from.properties, out)
    }
}
