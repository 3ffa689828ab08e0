//! The stores: where Intercom keeps each kind of object, and what one looks like.

use std::time::Duration;

use protocol::http::{Incremental, Pages, Parent, Place, Projection, Reader, Request, Resource};
use protocol::output::Output;
use protocol::silo::{self, Capabilities, From, Read, Sample, Schema, Store, StoreId};
use protocol::{Result, async_trait};
use serde_json::{Map, Value, json};

use crate::Intercom;
use crate::subject::Subjects;

/// What is known of one kind of object.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) resource: Resource,
    properties: &'static [(&'static str, Type)],
    /// The property by which what is new can be read.
    cursor: Option<&'static str>,
    pub(crate) subjects: Option<Subjects>,
}

#[derive(Clone, Copy)]
enum Type {
    Text,
    Integer,
    Number,
    Boolean,
    Object,
    Array,
    Any,
}

use Type::{Any, Array, Boolean, Integer, Number, Object as Dict, Text};

/// How long it may take until what was changed is found by a search.
const LAG: Duration = Duration::from_secs(300);

/// What all searches go on by.
const CURSOR: Pages = Pages::Token {
    at: "/pages/next/starting_after",
    into: Place::Json("/pagination/starting_after"),
};

/// A search for everything that changed since a time. Contacts are searched by whole days, and the
/// day that is named is left out: ask for the one before.
const SINCE: Option<Incremental> = Some(Incremental {
    property: "updated_at",
    ask: |request, since| {
        request.put(Place::Json("/query/value"), &(since - 2 * 86_400).max(0).into())
    },
    lag: LAG,
});

fn search(path: &'static str) -> Request {
    Request::post(path).safe().json(json!({
        "query": { "field": "updated_at", "operator": ">", "value": 0 },
        "sort": { "field": "updated_at", "order": "ascending" },
        "pagination": { "per_page": 150 },
    }))
}

const CONTACTS: Resource = Resource {
    request: || search("contacts/search"),
    records: "/data",
    pages: CURSOR,
    derive: &[],
    parent: None,
    incremental: SINCE,
};

/// Every contact, whenever it changed: events do not change the contact they belong to.
const ALL_CONTACTS: Resource = Resource {
    request: || Request::get("contacts").query("per_page", 150),
    pages: Pages::Token { at: "/pages/next/starting_after", into: Place::Query("starting_after") },
    incremental: None,
    ..CONTACTS
};

const CONVERSATION_LIST: Resource =
    Resource { request: || search("conversations/search"), records: "/conversations", ..CONTACTS };

/// Only the answer for one conversation has its parts.
const CONVERSATIONS: Resource = Resource {
    request: || Request::get("conversations/{id}"),
    records: "",
    pages: Pages::One,
    derive: &[
        ("contact_id", "/contacts/contacts/0/id"),
        ("user_id", "/contacts/contacts/0/external_id"),
    ],
    parent: Some(Parent {
        resource: &CONVERSATION_LIST,
        key: "/id",
        into: Place::Part("id"),
        carry: &[],
    }),
    incremental: None,
};

const EVENTS: Resource = Resource {
    request: || Request::get("events").query("type", "user").query("per_page", 50),
    records: "/events",
    pages: Pages::Url { at: "/pages/next" },
    derive: &[],
    parent: Some(Parent {
        resource: &ALL_CONTACTS,
        key: "/id",
        into: Place::Query("intercom_user_id"),
        carry: &[],
    }),
    // Events cannot be asked for by time; what is older is left out as it comes.
    incremental: Some(Incremental { property: "created_at", ask: |_, _| Ok(()), lag: LAG }),
};

const COMPANIES: Resource = Resource {
    request: || Request::get("companies/scroll"),
    records: "/data",
    pages: Pages::Scroll { at: "/scroll_param", into: Place::Query("scroll_param") },
    derive: &[],
    parent: None,
    incremental: None,
};

const TICKETS: Resource = Resource {
    request: || search("tickets/search"),
    records: "/tickets",
    derive: &[("contact_id", "/contacts/contacts/0/id")],
    ..CONTACTS
};

const TAGS: Resource =
    Resource { request: || Request::get("tags"), pages: Pages::One, ..COMPANIES };

const DATA_ATTRIBUTES: Resource = Resource {
    request: || Request::get("data_attributes").query("include_archived", true),
    pages: Pages::One,
    ..COMPANIES
};

pub(crate) const ALL: &[Kind] = &[
    Kind {
        name: "Contact",
        resource: CONTACTS,
        properties: &[
            ("type", Text),
            ("id", Text),
            ("workspace_id", Text),
            ("external_id", Text),
            ("role", Text),
            ("email", Text),
            ("phone", Text),
            ("name", Text),
            ("avatar", Text),
            ("owner_id", Number),
            ("social_profiles", Dict),
            ("has_hard_bounced", Boolean),
            ("marked_email_as_spam", Boolean),
            ("unsubscribed_from_emails", Boolean),
            ("created_at", Integer),
            ("updated_at", Integer),
            ("signed_up_at", Integer),
            ("last_seen_at", Integer),
            ("last_replied_at", Integer),
            ("last_contacted_at", Integer),
            ("last_email_opened_at", Integer),
            ("last_email_clicked_at", Integer),
            ("language_override", Text),
            ("browser", Text),
            ("browser_version", Text),
            ("browser_language", Text),
            ("os", Text),
            ("location", Dict),
            ("android_app_name", Text),
            ("android_app_version", Text),
            ("android_device", Text),
            ("android_os_version", Text),
            ("android_sdk_version", Text),
            ("android_last_seen_at", Integer),
            ("ios_app_name", Text),
            ("ios_app_version", Text),
            ("ios_device", Text),
            ("ios_os_version", Text),
            ("ios_sdk_version", Text),
            ("ios_last_seen_at", Integer),
            ("custom_attributes", Dict),
            ("tags", Dict),
            ("notes", Dict),
            ("opted_out_subscription_types", Dict),
            ("opted_in_subscription_types", Dict),
            ("companies", Dict),
            ("email_domain", Text),
            ("formatted_phone", Text),
            ("unsubscribed_from_sms", Boolean),
            ("sms_consent", Boolean),
            ("referrer", Text),
            ("utm_campaign", Text),
            ("utm_content", Text),
            ("utm_medium", Text),
            ("utm_source", Text),
            ("utm_term", Text),
        ],
        cursor: Some("updated_at"),
        subjects: Some(Subjects::Contacts),
    },
    Kind {
        name: "Conversation",
        resource: CONVERSATIONS,
        properties: &[
            ("type", Text),
            ("id", Text),
            ("user_id", Text),
            ("created_at", Integer),
            ("updated_at", Integer),
            ("source", Dict),
            ("contacts", Dict),
            ("teammates", Dict),
            ("title", Text),
            ("admin_assignee_id", Integer),
            ("team_assignee_id", Text),
            ("custom_attributes", Dict),
            ("open", Boolean),
            ("state", Text),
            ("read", Boolean),
            ("waiting_since", Integer),
            ("snoozed_until", Integer),
            ("tags", Dict),
            ("first_contact_reply", Dict),
            ("priority", Text),
            ("sla_applied", Dict),
            ("conversation_rating", Dict),
            ("statistics", Dict),
            ("conversation_parts", Dict),
            ("contact_id", Text),
            ("company_id", Text),
            ("linked_objects", Dict),
            ("ai_agent", Dict),
            ("ai_agent_participated", Boolean),
        ],
        cursor: Some("updated_at"),
        subjects: Some(Subjects::Conversations),
    },
    Kind {
        name: "Event",
        resource: EVENTS,
        properties: &[
            ("event_name", Text),
            ("created_at", Integer),
            ("user_id", Text),
            ("id", Text),
            ("email", Text),
            ("metadata", Dict),
            ("type", Text),
            ("intercom_user_id", Text),
        ],
        cursor: Some("created_at"),
        subjects: Some(Subjects::Events),
    },
    Kind {
        name: "Company",
        resource: COMPANIES,
        properties: &[
            ("type", Text),
            ("id", Text),
            ("company_id", Text),
            ("name", Text),
            ("app_id", Text),
            ("plan", Dict),
            ("remote_created_at", Integer),
            ("created_at", Integer),
            ("updated_at", Integer),
            ("last_request_at", Integer),
            ("size", Integer),
            ("website", Text),
            ("industry", Text),
            ("monthly_spend", Number),
            ("session_count", Integer),
            ("user_count", Integer),
            ("custom_attributes", Dict),
            ("tags", Dict),
            ("segments", Dict),
            ("notes", Dict),
        ],
        cursor: None,
        subjects: None,
    },
    Kind {
        name: "Ticket",
        resource: TICKETS,
        properties: &[
            ("type", Text),
            ("id", Text),
            ("ticket_id", Text),
            ("contact_id", Text),
            ("category", Text),
            ("ticket_attributes", Dict),
            // A word in older versions of the API, an object in newer ones.
            ("ticket_state", Any),
            ("ticket_state_internal_label", Text),
            ("ticket_state_external_label", Text),
            ("ticket_type", Dict),
            ("contacts", Dict),
            ("admin_assignee_id", Text),
            ("team_assignee_id", Text),
            ("created_at", Integer),
            ("updated_at", Integer),
            ("open", Boolean),
            ("snoozed_until", Integer),
            ("linked_objects", Dict),
            ("ticket_parts", Dict),
            ("is_shared", Boolean),
            ("company_id", Text),
        ],
        cursor: Some("updated_at"),
        subjects: Some(Subjects::Tickets),
    },
    Kind {
        name: "Tag",
        resource: TAGS,
        properties: &[
            ("type", Text),
            ("id", Text),
            ("name", Text),
            ("applied_at", Integer),
            ("applied_by", Dict),
        ],
        cursor: None,
        subjects: None,
    },
    Kind {
        name: "Data Attribute",
        resource: DATA_ATTRIBUTES,
        properties: &[
            ("type", Text),
            ("id", Integer),
            ("model", Text),
            ("name", Text),
            ("full_name", Text),
            ("label", Text),
            ("description", Text),
            ("data_type", Text),
            ("options", Array),
            ("api_writable", Boolean),
            ("messenger_writable", Boolean),
            ("ui_writable", Boolean),
            ("custom", Boolean),
            ("archived", Boolean),
            ("created_at", Integer),
            ("updated_at", Integer),
            ("admin_id", Text),
        ],
        cursor: None,
        subjects: None,
    },
];

/// One kind of object of a workspace.
pub(crate) struct Object<'a> {
    pub(crate) silo: &'a Intercom,
    pub(crate) kind: &'static Kind,
}

impl Object<'_> {
    pub(crate) fn json_schema(&self) -> Value {
        let property = |(name, kind): &(&str, Type)| {
            let schema = match kind {
                Text => json!({ "type": "string" }),
                Integer => json!({ "type": "integer" }),
                Number => json!({ "type": "number" }),
                Boolean => json!({ "type": "boolean" }),
                Dict => json!({ "type": "object" }),
                Array => json!({ "type": "array" }),
                Any => json!({}),
            };
            ((*name).to_owned(), schema)
        };
        let properties: Map<String, Value> = self.kind.properties.iter().map(property).collect();
        json!({ "type": "object", "properties": properties })
    }

    pub(crate) fn projection(&self, wanted: Option<&[String]>) -> Projection {
        Projection::new(&self.json_schema(), wanted)
    }
}

#[async_trait]
impl Store for Object<'_> {
    fn id(&self) -> StoreId {
        StoreId::new(Some(self.silo.config.workspace.clone()), self.kind.name)
    }

    async fn schema(&self) -> Result<Schema> {
        // What cannot be read on from a state has nothing to be ordered by.
        let (key, cursors) = match &self.kind.cursor {
            Some(cursor) => (vec!["id".to_owned()], vec![(*cursor).to_owned()]),
            None => (Vec::new(), Vec::new()),
        };
        let kind = silo::Kind::Object;
        Ok(Schema { json_schema: self.json_schema(), kind, key, cursors, relations: Vec::new() })
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        let mut projection = self.projection(sample.properties.as_deref());
        Reader::new(&self.silo.client, self.kind.resource)
            .sample(sample, &mut projection, out)
            .await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        let capabilities = Capabilities::default().read(self);
        match self.kind.subjects {
            Some(_) => capabilities.query(self).delete(self),
            None => capabilities,
        }
    }
}

#[async_trait]
impl Read for Object<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        let mut projection = self.projection(from.properties);
        Reader::new(&self.silo.client, self.kind.resource)
            .read(from, Some(&mut projection), out)
            .await
    }
}
