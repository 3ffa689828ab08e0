//! How a list goes on, as data, and the one loop over it.

use std::collections::HashSet;

use anyhow::Result;
use reqwest::Url;
use reqwest::header::LINK;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::Client;
use super::request::{Place, Reply, Request};
use crate::fault::Fault;

/// How a list goes on after a page.
#[derive(Clone, Copy)]
pub enum Pages {
    /// It does not.
    One,
    /// By a token in the body, put into the next request. No token ends the list.
    Token {
        /// Where the token is: a JSON pointer.
        at: &'static str,
        /// Where it goes.
        into: Place,
    },
    /// By a token in a header, put into the next request. No token ends the list.
    HeaderToken {
        /// The header's name, in lower case.
        header: &'static str,
        /// Where it goes.
        into: Place,
    },
    /// By a place that the vendor keeps for us under a name that may stay the same, and moves on
    /// whenever it is asked: no page can be asked for twice. An empty page ends the list.
    Scroll {
        /// Where the name is: a JSON pointer.
        at: &'static str,
        /// Where it goes.
        into: Place,
    },
    /// By a URL in the body, absolute or relative. No URL ends the list.
    Url {
        /// Where the URL is: a JSON pointer.
        at: &'static str,
    },
    /// By the `Link` header's `next`. None ends the list.
    Link,
    /// By how many records came before. An empty page ends the list: a short one does not, because
    /// vendors give fewer than they are asked for.
    Offset {
        /// Where the offset goes.
        into: Place,
    },
    /// By the page's number. An empty page ends the list.
    Number {
        /// Where the number goes.
        into: Place,
        /// The number of the first page.
        first: u64,
    },
    /// By a function of the vendor's own.
    Custom {
        /// Works out how the list goes on.
        next: fn(&Page<'_>) -> Result<Option<Next>>,
        /// Where the values of its [`Next::Put`] go, by their number.
        into: &'static [Place],
    },
}

/// A page that was read.
pub struct Page<'a> {
    /// The answer.
    pub reply: &'a Reply,
    /// How many records it holds.
    pub records: usize,
    /// How many pages came before.
    pub number: u64,
}

/// What asks for the next page. It can be kept, and the list read on from there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// The same request with these values in these places, by their number.
    Put(Vec<Value>),
    /// This URL.
    Url(String),
}

impl Pages {
    /// Where the values of [`Next::Put`] go.
    fn places(&self) -> &[Place] {
        match self {
            Pages::Token { into, .. }
            | Pages::HeaderToken { into, .. }
            | Pages::Scroll { into, .. }
            | Pages::Offset { into }
            | Pages::Number { into, .. } => std::slice::from_ref(into),
            Pages::Custom { into, .. } => into,
            Pages::One | Pages::Url { .. } | Pages::Link => &[],
        }
    }

    /// Where in the body it says how the list goes on.
    fn token(&self) -> Option<&'static str> {
        match self {
            Pages::Token { at, .. } | Pages::Scroll { at, .. } | Pages::Url { at } => Some(at),
            _ => None,
        }
    }

    /// Whether a page's records have a say in how the list goes on.
    fn count_records(&self) -> bool {
        match self {
            Pages::One
            | Pages::Token { .. }
            | Pages::HeaderToken { .. }
            | Pages::Url { .. }
            | Pages::Link => false,
            Pages::Scroll { .. }
            | Pages::Offset { .. }
            | Pages::Number { .. }
            | Pages::Custom { .. } => true,
        }
    }

    /// Whether a place in the list can be kept for another process.
    pub fn can_resume(&self) -> bool {
        !matches!(self, Pages::One | Pages::Scroll { .. } | Pages::Custom { .. })
    }
}

/// A walk over the pages of a list.
pub struct Walk<'c> {
    client: &'c Client,
    request: Request,
    pages: Pages,
    cap: u64,
    number: u64,
    records: u64,
    seen: HashSet<String>,
    /// What asks for the page that comes next; the first needs nothing.
    next: Option<Next>,
    ended: bool,
    missing_ends: bool,
}

impl<'c> Walk<'c> {
    /// A walk over what `request` lists, of at most `cap` pages.
    pub fn new(client: &'c Client, request: Request, pages: Pages, cap: u64) -> Walk<'c> {
        let seen = HashSet::new();
        Walk {
            client,
            request,
            pages,
            cap,
            number: 0,
            records: 0,
            seen,
            next: None,
            ended: false,
            missing_ends: false,
        }
    }

    /// The same, where there may be no such list, which is as good as an empty one.
    pub fn missing_ends(self) -> Walk<'c> {
        Walk { missing_ends: true, ..self }
    }

    /// The same, from a place that [`Walk::position`] gave.
    pub fn from(mut self, position: Option<Next>) -> Result<Walk<'c>> {
        if let (Pages::Offset { .. }, Some(Next::Put(values))) = (&self.pages, &position) {
            self.records = values.first().and_then(Value::as_u64).unwrap_or(0);
        }
        if let (Pages::Number { first, .. }, Some(Next::Put(values))) = (&self.pages, &position) {
            let number = values.first().and_then(Value::as_u64).unwrap_or(*first);
            self.number = number.saturating_sub(*first);
        }
        if let Some(next) = &position {
            self.prepare(next)?;
        }
        self.next = position;
        Ok(self)
    }

    /// Where the walk is: what the next page would be asked for with. `None` before the first and
    /// where the place cannot be kept.
    pub fn position(&self) -> Option<Next> {
        self.next.clone().filter(|_| self.pages.can_resume())
    }

    /// Whether the last page was read.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The next page; `None` at the end. Each must be followed by [`Walk::turn`].
    pub async fn page(&self) -> Result<Option<Reply>> {
        self.fetch().await
    }

    /// The same, for a task of its own.
    pub(super) fn fetch(&self) -> impl Future<Output = Result<Option<Reply>>> + Send + 'static {
        let Walk { number, cap, ended, missing_ends, .. } = *self;
        let (client, request) = (self.client.clone(), self.request.clone());
        async move {
            if ended {
                return Ok(None);
            }
            if number >= cap {
                let (host, name) = (client.host(), &request.name);
                let why =
                    format!("{host}: {name} has more than {cap} pages; it seems to have no end");
                return Err(Fault::system(why).into());
            }
            match missing_ends {
                true => client.find(&request).await,
                false => client.send(&request).await.map(Some),
            }
        }
    }

    /// Says how many records a page held, and works out how the list goes on.
    pub fn turn(&mut self, reply: &Reply, records: usize) -> Result<()> {
        let token = match self.pages.token() {
            Some(at) => reply.text(at)?,
            None => None,
        };
        self.records += records as u64;
        let next = self.following(reply, records, token)?;
        self.go_on(reply, next)
    }

    /// Does what [`Walk::turn`] does, where the next page is known before this one's records are.
    pub(super) fn turn_early(&mut self, reply: &Reply) -> Option<Result<()>> {
        if self.pages.count_records() {
            return None;
        }
        let token = match self.pages.token() {
            Some(at) => reply.text_at_end(at)?,
            None => None,
        };
        let next = self.following(reply, 0, token);
        Some(next.and_then(|next| self.go_on(reply, next)))
    }

    fn go_on(&mut self, reply: &Reply, next: Option<Next>) -> Result<()> {
        self.number += 1;
        let Some(next) = next else {
            self.ended = true;
            self.next = None;
            return Ok(());
        };
        let scrolls = matches!(self.pages, Pages::Scroll { .. });
        if !scrolls && !self.seen.insert(serde_json::to_string(&next)?) {
            let why = format!("{} gave the same next page twice; the list has no end", reply.name);
            return Err(Fault::system(why).into());
        }
        self.prepare(&next)?;
        if scrolls {
            self.request.safe = false;
        }
        self.next = Some(next);
        Ok(())
    }

    /// Whether the next page can be asked for but once, so that after a failure only the list's
    /// beginning is left.
    pub(super) fn is_lost_by_failure(&self) -> bool {
        matches!(self.pages, Pages::Scroll { .. }) && self.next.is_some()
    }

    /// What asks for the page after one with so many records, and this token in its body.
    fn following(
        &self,
        reply: &Reply,
        records: usize,
        token: Option<String>,
    ) -> Result<Option<Next>> {
        let put = |value: Value| Next::Put(vec![value]);
        Ok(match &self.pages {
            Pages::One => None,
            Pages::Scroll { .. } if records == 0 => None,
            Pages::Token { .. } | Pages::Scroll { .. } => token.map(|token| put(token.into())),
            Pages::HeaderToken { header, .. } => {
                let token = reply.headers.get(*header).and_then(|token| token.to_str().ok());
                token.filter(|token| !token.is_empty()).map(|token| put(token.into()))
            }
            Pages::Url { .. } => self.link(reply, token)?,
            Pages::Link => {
                let links = reply.headers.get_all(LINK).iter().filter_map(|l| l.to_str().ok());
                let next = links.filter_map(next_of).next().map(str::to_owned);
                self.link(reply, next)?
            }
            Pages::Offset { .. } | Pages::Number { .. } if records == 0 => None,
            Pages::Offset { .. } => Some(put(self.records.into())),
            Pages::Number { first, .. } => Some(put((first + self.number + 1).into())),
            Pages::Custom { next, .. } => next(&Page { reply, records, number: self.number })?,
        })
    }

    fn link(&self, reply: &Reply, link: Option<String>) -> Result<Option<Next>> {
        let Some(link) = link else { return Ok(None) };
        let url: Url = self.client.follow(reply, &link)?;
        Ok(Some(Next::Url(url.into())))
    }

    fn prepare(&mut self, next: &Next) -> Result<()> {
        match next {
            Next::Put(values) => {
                let places = self.pages.places().to_vec();
                for (place, value) in places.into_iter().zip(values) {
                    self.request.put(place, value)?;
                }
            }
            Next::Url(url) => {
                let url = Url::parse(url).map_err(|_| {
                    Fault::config("the state's cursor was not written by this connector or version")
                })?;
                self.request.link(url);
            }
        }
        Ok(())
    }
}

/// The target of `rel="next"` in a `Link` header (RFC 8288).
fn next_of(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some(start) = rest.find('<') {
        let (target, after) = rest.get(start + 1..)?.split_once('>')?;
        // The parameters reach up to the next link.
        let end = after.find('<').unwrap_or(after.len());
        let is_next = after.get(..end)?.split([';', ',']).any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else { return false };
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel")
                && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = after.get(end..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_is_found_among_others() {
        for (header, next) in [
            ("<https://h/a?page=2>; rel=\"next\"", Some("https://h/a?page=2")),
            (
                "<https://h/a>; rel=prev, <https://h/b,c>; title=\"x\"; rel=next",
                Some("https://h/b,c"),
            ),
            ("<b>; REL=\"last next\"", Some("b")),
            ("<b>; rel=\"nextish\"", None),
            ("<b>", None),
            ("", None),
        ] {
            assert_eq!(next_of(header), next, "{header}");
        }
    }
}
