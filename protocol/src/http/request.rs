//! A request as data, and the answer to it.

use std::ops::Range;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, Result};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::pointer::{self, Unsliced};
use super::slices::{Names, Slices};
use super::{retry, url};
use crate::config::complaint;
use crate::fault::Fault;

/// A request that has not been sent: where to, with what.
#[derive(Clone)]
pub struct Request {
    pub(super) method: Method,
    /// What log lines and faults call it: a path with names in braces, never values.
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) content: Content,
    /// Whether sending it twice is the same as sending it once.
    pub(super) safe: bool,
    /// Whether it carries a person's data, which an answer may repeat.
    pub(super) private: bool,
}

#[derive(Clone)]
pub(super) enum Target {
    Path { template: &'static str, parts: Vec<(&'static str, String)> },
    Link(String),
    Foreign(String),
}

#[derive(Clone)]
pub(super) enum Content {
    Nothing,
    Json(Value),
    Form(Vec<(String, String)>),
}

/// Where in a request a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A `{name}` of the path.
    Part(&'static str),
    /// A query parameter.
    Query(&'static str),
    /// A JSON pointer into the body, such as `/pagination/starting_after`.
    Json(&'static str),
    /// A field of the form in the body.
    Form(&'static str),
    /// A header.
    Header(&'static str),
}

impl Request {
    /// A request for a path below the base URL. `{name}` stands for a [`Request::part`].
    pub fn new(method: Method, path: &'static str) -> Request {
        let safe = method.is_idempotent();
        Request {
            method,
            name: path.to_owned(),
            target: Target::Path { template: path, parts: Vec::new() },
            query: Vec::new(),
            headers: Vec::new(),
            content: Content::Nothing,
            safe,
            private: false,
        }
    }

    /// GET.
    pub fn get(path: &'static str) -> Request {
        Request::new(Method::GET, path)
    }

    /// POST. Sent again only where nothing was done, unless it is [`Request::safe`].
    pub fn post(path: &'static str) -> Request {
        Request::new(Method::POST, path)
    }

    /// DELETE.
    pub fn delete(path: &'static str) -> Request {
        Request::new(Method::DELETE, path)
    }

    /// GET of a file that the vendor keeps on another host: by a link of its own making, without
    /// anything that proves who asks.
    pub fn foreign(link: &str) -> Request {
        let mut request = Request::get("the file that the vendor made").private();
        request.target = Target::Foreign(link.to_owned());
        request
    }

    /// Fills `{name}` in the path, as one segment.
    pub fn part(mut self, name: &'static str, value: impl Into<String>) -> Request {
        if let Target::Path { parts, .. } = &mut self.target {
            parts.push((name, value.into()));
        }
        self
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: impl Into<String>, value: impl ToString) -> Request {
        self.query.push((name.into(), value.to_string()));
        self
    }

    /// Sets the body to JSON.
    pub fn json(mut self, body: Value) -> Request {
        self.content = Content::Json(body);
        self
    }

    /// Sets the body to a form.
    pub fn form(mut self, fields: Vec<(String, String)>) -> Request {
        self.content = Content::Form(fields);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Request {
        self.headers.push((name, value));
        self
    }

    /// Says that sending it twice does no harm, such as a search by POST.
    pub fn safe(mut self) -> Request {
        self.safe = true;
        self
    }

    /// Says that it carries a person's data: nothing the vendor answers is quoted.
    pub fn private(mut self) -> Request {
        self.private = true;
        self
    }

    /// Puts a value in its place, whatever stood there.
    pub fn put(&mut self, place: Place, value: &Value) -> Result<()> {
        let text = || match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match place {
            Place::Part(name) => {
                if let Target::Path { parts, .. } = &mut self.target {
                    parts.retain(|(known, _)| *known != name);
                    parts.push((name, text()));
                }
            }
            Place::Query(name) => replace(&mut self.query, name, text()),
            Place::Form(name) => {
                if let Content::Nothing = self.content {
                    self.content = Content::Form(Vec::new());
                }
                match &mut self.content {
                    Content::Form(fields) => replace(fields, name, text()),
                    _ => return Err(Fault::system("a form field in a body that is no form").into()),
                }
            }
            Place::Header(name) => {
                let value = HeaderValue::from_str(&text())
                    .ok()
                    .context(Fault::system(format!("a value that cannot stand in `{name}`")))?;
                let name = HeaderName::from_static(name);
                self.headers.retain(|(known, _)| *known != name);
                self.headers.push((name, value));
            }
            Place::Json(pointer) => {
                if let Content::Nothing = self.content {
                    self.content = Content::Json(Value::Object(serde_json::Map::new()));
                }
                match &mut self.content {
                    Content::Json(body) => set(body, pointer, value.clone()),
                    _ => return Err(Fault::system("a JSON member in a body that is a form").into()),
                }
            }
        }
        Ok(())
    }

    /// Where the request goes instead: a link out of an answer.
    pub(super) fn link(&mut self, link: Url) {
        self.target = Target::Link(link.into());
        // The link says all of it.
        self.query.clear();
    }
}

fn replace(pairs: &mut Vec<(String, String)>, name: &str, value: String) {
    match pairs.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value,
        None => pairs.push((name.to_owned(), value)),
    }
}

/// Sets a member by its JSON pointer, making the objects on the way.
fn set(body: &mut Value, pointer: &str, value: Value) {
    let mut at = body;
    for name in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = Value::Object(serde_json::Map::new());
        }
        at = &mut at[name];
    }
    *at = value;
}

/// An answer that was read whole.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decompressed.
    pub body: Vec<u8>,
    /// Where the records stand in it, once they were looked for: nothing else is there.
    pub(super) list: OnceLock<Range<usize>>,
    /// The URL that answered, for relative links.
    pub(super) url: Url,
    /// What faults call it: `host: GET path`.
    pub(super) name: String,
}

impl Reply {
    /// The body as a `T`. What is not JSON, or JSON of another shape, is a fault that says where.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let mut deserializer = serde_json::Deserializer::from_slice(&self.body);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            if error.inner().is_data() { self.shape(&complaint(&error)) } else { self.not_json() }
        })
    }

    /// The records in the body: the elements of the array at a JSON pointer, or the whole body
    /// where the pointer is empty and names no array.
    pub fn records(&self, pointer: &str) -> Result<Vec<&RawValue>> {
        let slices = self.slices(pointer, None)?;
        let records = (0..slices.len()).map(|nth| self.record(&slices, nth));
        Ok(records.map(serde_json::from_slice).collect::<serde_json::Result<_>>()?)
    }

    /// The places of the records, and of their members where their names are given.
    pub(super) fn slices(&self, pointer: &str, names: Option<&mut Names>) -> Result<Slices> {
        let slices =
            Slices::of(&self.body, pointer, names).map_err(|error| self.unsliced(&error))?;
        // What was found there before is found again.
        self.list.get_or_init(|| slices.list.clone());
        Ok(slices)
    }

    /// The record that is `nth` of its `slices`, as JSON.
    pub(super) fn record(&self, slices: &Slices, nth: usize) -> &[u8] {
        &self.body[slices.range(nth)]
    }

    /// What [`Reply::text`] gives, where the body's end tells before its records are looked for.
    pub(super) fn text_at_end(&self, pointer: &str) -> Option<Option<String>> {
        pointer::text_at_end(&self.body, pointer)
    }

    /// The scalar at a JSON pointer as text; `None` where there is none, or it is null or empty.
    pub fn text(&self, pointer: &str) -> Result<Option<String>> {
        let text = pointer::text_beside(&self.body, pointer, self.list.get());
        text.map_err(|error| self.unsliced(&error))
    }

    fn unsliced(&self, error: &Unsliced) -> anyhow::Error {
        match error {
            Unsliced::Json => self.not_json(),
            Unsliced::Shape(what) => self.shape(what),
        }
    }

    /// What time it was on the other side.
    pub fn date(&self) -> Option<SystemTime> {
        retry::date(&self.headers)
    }

    /// A fault that says the answer is JSON of another shape than was promised.
    pub fn shape(&self, what: &str) -> anyhow::Error {
        let name = &self.name;
        Fault::system(format!("{name} answered with JSON of another shape: {what}")).into()
    }

    fn not_json(&self) -> anyhow::Error {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let html = kind.is_some_and(|kind| kind.contains("html"))
            || self.body.trim_ascii_start().starts_with(b"<");
        let name = &self.name;
        let why = if html {
            format!("{name} answered with HTML instead of JSON: is something else in its place?")
        } else if self.body.trim_ascii().is_empty() {
            format!("{name} answered with nothing instead of JSON")
        } else {
            format!("{name} answered with something that is not JSON")
        };
        Fault::system(why).into()
    }
}

/// A form body.
pub(super) fn form_body(fields: &[(String, String)]) -> Vec<u8> {
    url::form(fields).into_bytes()
}
