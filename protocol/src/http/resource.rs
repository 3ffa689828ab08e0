//! A resource: where the records of a store are, as a constant.

use std::time::Duration;

use anyhow::Result;

use super::pages::Pages;
use super::request::{Place, Request};

/// Where the records of a store are.
#[derive(Clone, Copy)]
pub struct Resource {
    /// Asks for the first page.
    pub request: fn() -> Request,
    /// The JSON pointer to the array of records in a page; empty where the answer is one record
    /// or the array itself.
    pub records: &'static str,
    /// How the list goes on.
    pub pages: Pages,
    /// Members that each record gets out of its own depths: name, and JSON pointer.
    pub derive: &'static [(&'static str, &'static str)],
    /// The records that this one's are asked for by, one list for each.
    pub parent: Option<Parent>,
    /// How to ask for what came since a time: here, or in the resource at the other end of the
    /// chain of parents.
    pub incremental: Option<Incremental>,
}

/// The records that a resource's lists hang on.
#[derive(Clone, Copy)]
pub struct Parent {
    /// Where they are.
    pub resource: &'static Resource,
    /// The JSON pointer to what tells a parent from the others.
    pub key: &'static str,
    /// Where that goes in the request for its list.
    pub into: Place,
    /// Members that each record of the list gets from its parent: name, and JSON pointer.
    pub carry: &'static [(&'static str, &'static str)],
}

/// How to ask for what came since a time.
#[derive(Clone, Copy)]
pub struct Incremental {
    /// The property that says when a record last changed, in whole seconds since 1970.
    pub property: &'static str,
    /// Changes a request so that it gives what changed at `since` or later. It may give more:
    /// what is older is left out here.
    pub ask: fn(request: &mut Request, since: i64) -> Result<()>,
    /// How long the vendor may take until a change shows in its lists.
    pub lag: Duration,
}

impl Resource {
    /// The resources from the one without a parent down to this one.
    pub(super) fn chain(&self) -> Vec<Resource> {
        let mut chain = match self.parent {
            Some(parent) => parent.resource.chain(),
            None => Vec::new(),
        };
        chain.push(*self);
        chain
    }
}
