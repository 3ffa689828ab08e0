//! One person: what the workspace holds about them, and how it goes.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use futures::stream::{self, TryStreamExt};
use protocol::fault::Fault;
use protocol::http::{Client, Pages, Place, Projection, Request, text_at};
use protocol::message::Matching;
use protocol::output::Output;
use protocol::silo::{Delete, Known, Query, Remaining, Subject, Verify};
use protocol::{Result, async_trait, log};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::stores::Object;

/// How a kind of object belongs to people.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subjects {
    /// It is a person.
    Contacts,
    /// People take part in it.
    Conversations,
    /// A person did it.
    Events,
    /// A person asked for it.
    Tickets,
}

/// How long Intercom may take until what was deleted is gone.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// How long to wait between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const SEARCH: Pages = Pages::Token {
    at: "/pages/next/starting_after",
    into: Place::Json("/pagination/starting_after"),
};

/// What is asked of one person's records.
fn search(path: &'static str, field: &str, value: &str) -> Request {
    Request::post(path).safe().private().json(json!({
        "query": { "field": field, "operator": "=", "value": value },
        "pagination": { "per_page": 150 },
    }))
}

/// A record that belongs to the subject.
struct Found {
    id: String,
    record: Box<RawValue>,
}

fn member(record: &RawValue, pointer: &str) -> Option<String> {
    text_at(record.get().as_bytes(), pointer).ok().flatten()
}

/// Whether a value can be an id at all: anything else would name another resource.
fn can_be_id(value: &str) -> bool {
    !matches!(value, "" | "." | "..") && !value.chars().any(char::is_control)
}

impl Object<'_> {
    fn subjects(&self) -> Result<Subjects> {
        let none = || Fault::config(format!("{} are nobody's", self.kind.name));
        Ok(self.kind.subjects.ok_or_else(none)?)
    }

    /// Everything that belongs to the subject, each once.
    async fn found(&self, client: &Client, subject: &Subject) -> Result<Vec<Found>> {
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for known in &subject.identifiers {
            for found in self.found_by(client, known).await? {
                if seen.insert(found.id.clone()) {
                    all.push(found);
                }
            }
        }
        Ok(all)
    }

    async fn found_by(&self, client: &Client, known: &Known) -> Result<Vec<Found>> {
        let property = known.property.as_str();
        match (self.subjects()?, property) {
            (Subjects::Contacts, "id") => one(client, "contacts/{id}", &known.value).await,
            (Subjects::Contacts, "external_id" | "email" | "phone" | "name") => {
                contacts(client, property, known).await
            }
            (Subjects::Conversations, "id") => one(client, "conversations/{id}", &known.value).await,
            (Subjects::Conversations, "contact_id" | "user_id") => {
                let people = people(client, "contact_id", "user_id", known).await?;
                let field = "contact_ids";
                let list = list(client, "conversations/search", "/conversations", field, &people).await?;
                // Only the answer for one conversation has its parts.
                let each = stream::iter(list.into_iter().map(Ok))
                    .map_ok(|found| async move { one(client, "conversations/{id}", &found.id).await })
                    .try_buffered(client.concurrency());
                Ok(each.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
            }
            (Subjects::Tickets, "id") => one(client, "tickets/{id}", &known.value).await,
            (Subjects::Tickets, "contact_id") => {
                let people = people(client, "contact_id", "", known).await?;
                list(client, "tickets/search", "/tickets", "contact_ids", &people).await
            }
            (Subjects::Events, "intercom_user_id" | "user_id" | "email") => {
                let people = people(client, "intercom_user_id", "user_id", known).await?;
                let mut all = Vec::new();
                for person in &people {
                    all.extend(events(client, person).await?);
                }
                Ok(all)
            }
            _ => Err(Fault::config(format!(
                "Intercom cannot be asked for {} by `{property}`; the connector's README lists what it can be asked by",
                self.kind.name
            ))
            .into()),
        }
    }

    /// Whether a record is still there. A search may go on finding it for minutes.
    async fn is_there(&self, client: &Client, id: &str) -> Result<bool> {
        let path = match self.subjects()? {
            Subjects::Contacts => "contacts/{id}",
            Subjects::Conversations => "conversations/{id}",
            Subjects::Tickets => "tickets/{id}",
            // Nothing but the list of its contact's events shows an event.
            Subjects::Events => return Ok(true),
        };
        Ok(client.find(&Request::get(path).part("id", id).private()).await?.is_some())
    }
}

/// The record with an id, if there is one.
async fn one(client: &Client, path: &'static str, id: &str) -> Result<Vec<Found>> {
    if !can_be_id(id) {
        log::warn("a value that cannot be an id of Intercom's matches nothing");
        return Ok(Vec::new());
    }
    let request = Request::get(path).part("id", id).private();
    let Some(reply) = client.find(&request).await? else { return Ok(Vec::new()) };
    let record: Box<RawValue> = reply.json()?;
    // Some ids are found by other spellings of them.
    let same = member(&record, "/id").is_some_and(|known| known == id);
    Ok(if same { vec![Found { id: id.to_owned(), record }] } else { Vec::new() })
}

/// All contacts with a value: a search of Intercom's takes no heed of case.
async fn contacts(client: &Client, field: &str, known: &Known) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    let mut others = 0;
    let pointer = format!("/{field}");
    client
        .each(search("contacts/search", field, &known.value), SEARCH, "/data", |record| {
            let exact = member(record, &pointer).is_some_and(|value| value == known.value);
            if exact || known.matching == Matching::Collation {
                let id =
                    member(record, "/id").ok_or_else(|| Fault::system("a contact without `id`"))?;
                all.push(Found { id, record: record.to_owned() });
            } else {
                others += 1;
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
    if others > 0 {
        log::warn(format_args!(
            "Intercom takes {others} contacts for the one asked for by `{field}` whose value is spelled \
             otherwise; they were left alone"
        ));
    }
    Ok(all)
}

/// The ids of the contacts that an identifier of another store means: `direct` holds one itself,
/// `external` the workspace's own id of one.
async fn people(
    client: &Client,
    direct: &str,
    external: &str,
    known: &Known,
) -> Result<Vec<String>> {
    if known.property == direct {
        return Ok(vec![known.value.clone()]);
    }
    let field = if known.property == external { "external_id" } else { known.property.as_str() };
    Ok(contacts(client, field, known).await?.into_iter().map(|contact| contact.id).collect())
}

/// What a search finds for some contacts.
async fn list(
    client: &Client,
    path: &'static str,
    records: &str,
    field: &str,
    people: &[String],
) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    for person in people {
        client
            .each(search(path, field, person), SEARCH, records, |record| {
                // It finds by parts of words as well.
                let theirs = participants(record).contains(person);
                let id = member(record, "/id");
                all.extend(id.filter(|_| theirs).map(|id| Found { id, record: record.to_owned() }));
                Ok(ControlFlow::Continue(()))
            })
            .await?;
    }
    Ok(all)
}

/// The ids of the contacts in a conversation or ticket.
fn participants(record: &RawValue) -> BTreeSet<String> {
    #[derive(protocol::Deserialize)]
    struct Record {
        contacts: Option<Contacts>,
    }
    #[derive(protocol::Deserialize)]
    struct Contacts {
        #[serde(default)]
        contacts: Vec<Contact>,
    }
    #[derive(protocol::Deserialize)]
    struct Contact {
        id: String,
    }
    let record: Option<Record> = serde_json::from_str(record.get()).ok();
    let contacts = record.and_then(|record| record.contacts);
    contacts.into_iter().flat_map(|list| list.contacts).map(|contact| contact.id).collect()
}

async fn events(client: &Client, person: &str) -> Result<Vec<Found>> {
    let request = Request::get("events")
        .query("type", "user")
        .query("intercom_user_id", person)
        .query("per_page", 50)
        .private();
    let mut all = Vec::new();
    let mut walk = client.walk(request, Pages::Url { at: "/pages/next" }).missing_ends();
    while let Some(reply) = walk.page().await? {
        let records = reply.records("/events")?;
        for &record in &records {
            let id = member(record, "/id");
            // An event without an id is told from others by where it stands.
            let id = id.unwrap_or_else(|| format!("{person} {}", all.len()));
            all.push(Found { id, record: record.to_owned() });
        }
        walk.turn(&reply, records.len())?;
    }
    Ok(all)
}

#[async_trait]
impl Query for Object<'_> {
    async fn query(&self, subject: &Subject, out: &mut Output) -> Result<()> {
        let mut projection = self.projection(subject.properties.as_deref());
        for found in self.found(&self.silo.client, subject).await? {
            let more = Projection::derived(&found.record, self.kind.resource.derive);
            projection.push(&found.record, &more, out)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Verify for Object<'_> {
    async fn remaining(&self, subject: &Subject) -> Result<Remaining> {
        let client = self.silo.fresh()?;
        let mut records = 0;
        for found in self.found(&client, subject).await? {
            records += u64::from(self.is_there(&client, &found.id).await?);
        }
        Ok(Remaining::Records(records))
    }
}

#[async_trait]
impl Delete for Object<'_> {
    async fn delete(&self, subject: &Subject) -> Result<u64> {
        let client = &self.silo.client;
        let path = match self.subjects()? {
            Subjects::Contacts => "contacts/{id}",
            Subjects::Conversations => "conversations/{id}",
            Subjects::Tickets => "tickets/{id}",
            Subjects::Events => return self.without_events(client, subject).await,
        };
        let found = self.found(client, subject).await?;
        let by_id = |found: &Found| subject.has("id", &found.id);
        // What others take part in is theirs too, unless it is named by its own id.
        let (theirs, shared): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|found| by_id(found) || participants(&found.record).len() < 2);
        let mut deleted = 0;
        for found in &theirs {
            let request = Request::delete(path).part("id", found.id.as_str()).private();
            // A host that repeats a delete may find that it is done.
            deleted += u64::from(client.find(&request).await?.is_some());
        }
        self.wait_until_gone(client, subject, &theirs).await?;
        match shared.len() {
            0 => Ok(deleted),
            left => Err(Fault::config(format!(
                "{deleted} were deleted, and {left} were left because other people take part in them; \
                 name those to delete all the same by `id`"
            ))
            .into()),
        }
    }
}

impl Object<'_> {
    /// Waits, for a while, until neither a look nor a search shows what was deleted.
    async fn wait_until_gone(
        &self,
        client: &Client,
        subject: &Subject,
        deleted: &[Found],
    ) -> Result<()> {
        let until = Instant::now() + GONE_WITHIN;
        let mut shown: BTreeSet<&str> = deleted.iter().map(|found| found.id.as_str()).collect();
        while !shown.is_empty() {
            let found = self.found(client, subject).await?;
            let mut still = BTreeSet::new();
            for &id in &shown {
                if found.iter().any(|found| found.id == id) || self.is_there(client, id).await? {
                    still.insert(id);
                }
            }
            shown = still;
            if shown.is_empty() || Instant::now() >= until {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Intercom deletes events with their contact, and in no other way.
    async fn without_events(&self, client: &Client, subject: &Subject) -> Result<u64> {
        match self.found(client, subject).await?.len() {
            0 => Ok(0),
            left => Err(Fault::config(format!(
                "Intercom deletes events only together with their contact, and {left} are there: delete \
                 the Contact first"
            ))
            .into()),
        }
    }
}
