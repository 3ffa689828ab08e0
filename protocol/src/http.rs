//! What HTTP silos share: one client with its rules, paging, resources and records. No vendors.
//!
//! A [`Client`] is the only way to send a request. It signs, waits for its turn, sends, judges the
//! answer, and tries again where that is safe. [`Pages`] says as data how a list goes on, and the
//! loop over it is written once, in [`Walk`]. A [`Resource`] is a constant that says where a
//! store's records are; [`Reader`] reads it. What fits none of these is a store written by hand
//! with the client.

mod auth;
mod client;
mod infer;
mod jwt;
mod oauth2;
mod pages;
mod pointer;
mod projection;
mod rate;
mod reader;
mod request;
mod resource;
mod retry;
mod slices;
mod stream;
mod url;

pub use auth::{Auth, Basic, Bearer, Key, NoAuth, Signature};
pub use client::{Client, Draft, Hook, Settings};
pub use infer::infer;
pub use jwt::ServiceAccount;
pub use oauth2::{Grant, OAuth2, Present};
pub use pages::{Next, Page, Pages, Walk};
pub use pointer::text_at;
pub use projection::Projection;
pub use rate::{Limits, Told, Window};
pub use reader::Reader;
pub use request::{Place, Reply, Request};
pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode};
pub use resource::{Incremental, Parent, Resource};
pub use retry::{Retries, Verdict, judge};
pub use stream::Body;
