//! The one way to send a request: signed, in turn, judged, and tried again where that is safe.

use std::error::Error as _;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use reqwest::header::{
    ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use reqwest::{Method, StatusCode, Url};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use super::auth::{Auth, NoAuth, Signature};
use super::pages::{Pages, Walk};
use super::rate::{Gate, Limits};
use super::request::{Content, Reply, Request, Target, form_body};
use super::retry::{self, Retries, Verdict};
use super::stream::Body;
use super::url::{self, Base};
use crate::fault::Fault;
use crate::log;

/// How many pages a list has at most, unless it is known to be longer.
pub(super) const PAGES: u64 = 1_000_000;

/// How far the clocks may be apart before it is worth saying.
const SKEW: Duration = Duration::from_secs(120);

/// How often an answer may send a request elsewhere.
const HOPS: u32 = 5;

/// How a silo is reached. Make it with [`Settings::to`] and change what differs.
pub struct Settings {
    /// The base URL. HTTPS, but for this machine.
    pub base: String,
    /// Origins that the vendor's links name and that stand for the base.
    pub aliases: Vec<String>,
    /// What proves who asks.
    pub auth: Box<dyn Auth>,
    /// The configuration's field that holds it, for faults.
    pub credential: &'static str,
    /// Headers of every request, such as the version of the API.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How fast it may be asked.
    pub limits: Limits,
    /// How often to try.
    pub retries: Retries,
    /// How long a connection may take to come about.
    pub connect: Duration,
    /// How long nothing at all may arrive.
    pub idle: Duration,
    /// How long an answer that is read whole may take.
    pub whole: Duration,
    /// How long an answer that is read whole, or a line of a stream, may be, decompressed.
    pub cap: usize,
    /// What an answer means.
    pub judge: fn(StatusCode, &[u8]) -> Verdict,
    /// What the vendor says of a request that failed, in a few words. For a private request it
    /// must be a word of the vendor's own vocabulary, never free text.
    pub explain: fn(body: &[u8], private: bool) -> Option<String>,
    /// What else is done to requests and answers.
    pub hooks: Vec<Box<dyn Hook>>,
}

impl Settings {
    /// The usual ones, for a base URL.
    pub fn to(base: impl Into<String>) -> Settings {
        Settings {
            base: base.into(),
            aliases: Vec::new(),
            auth: Box::new(NoAuth),
            credential: "the credentials",
            headers: Vec::new(),
            limits: Limits::default(),
            retries: Retries::default(),
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            whole: Duration::from_secs(120),
            cap: 64 << 20,
            judge: retry::judge,
            explain: |_, _| None,
            hooks: Vec::new(),
        }
    }
}

/// Sees each attempt before it is signed, and each answer before it is judged.
pub trait Hook: Send + Sync {
    /// May change what is about to be sent.
    fn request(&self, draft: &mut Draft) -> Result<()> {
        let _: &mut Draft = draft;
        Ok(())
    }

    /// May change what was answered, such as the status of an error that was sent as 200.
    fn reply(&self, reply: &mut Reply) -> Result<()> {
        let _: &mut Reply = reply;
        Ok(())
    }
}

/// One attempt, as it will go over the wire.
pub struct Draft {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: Url,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Vec<u8>>,
}

/// The client of one silo. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    base: Base,
    settings: Settings,
    gate: Gate,
    transport: reqwest::Client,
}

/// An answer of which the head has arrived.
struct Head {
    response: reqwest::Response,
    permit: OwnedSemaphorePermit,
}

/// Why an attempt brought no answer.
struct Broken {
    /// Whether it cannot have reached the other side.
    unsent: bool,
    why: String,
}

impl Client {
    /// A client of the silo that `settings` describe.
    pub fn new(settings: Settings) -> Result<Client> {
        let base = Base::parse(&settings.base, &settings.aliases)?;
        let gate = Gate::new(settings.limits);
        let transport = transport(&settings)?;
        Ok(Client { shared: Arc::new(Shared { base, settings, gate, transport }) })
    }

    /// The host, for people.
    pub fn host(&self) -> &str {
        self.shared.base.host()
    }

    /// How many requests may be under way.
    pub fn concurrency(&self) -> usize {
        self.shared.settings.limits.concurrency.max(1)
    }

    /// Sends a request and reads the answer whole.
    pub async fn send(&self, request: &Request) -> Result<Reply> {
        match self.find(request).await? {
            Some(reply) => Ok(reply),
            None => {
                let name = self.name(request);
                Err(Fault::system(format!("{name}: there is no such thing (404)")).into())
            }
        }
    }

    /// Sends a request whose answer may be that there is no such thing.
    pub async fn find(&self, request: &Request) -> Result<Option<Reply>> {
        match self.exchange(request, true).await? {
            None => Ok(None),
            Some(Answer::Whole(reply)) => Ok(Some(*reply)),
            Some(Answer::Begun(_)) => unreachable!("asked for the whole of it"),
        }
    }

    /// Sends a request and leaves its answer to be read piece by piece. What breaks off later is
    /// not tried again here: what was read is out of our hands.
    pub async fn open(&self, request: &Request) -> Result<Body> {
        match self.exchange(request, false).await? {
            Some(Answer::Begun(head)) => {
                let Head { response, permit } = *head;
                Ok(Body::new(response, permit, self.name(request), self.shared.settings.cap))
            }
            _ => {
                let name = self.name(request);
                Err(Fault::system(format!("{name}: there is no such thing (404)")).into())
            }
        }
    }

    /// A walk over the pages of what `request` lists.
    pub fn walk(&self, request: Request, pages: Pages) -> Walk<'_> {
        Walk::new(self, request, pages, PAGES)
    }

    /// Visits each record of a list, on all its pages, until `visit` breaks off. `records` is the
    /// JSON pointer to a page's array of them.
    pub async fn each(
        &self,
        request: Request,
        pages: Pages,
        records: &str,
        mut visit: impl FnMut(&RawValue) -> Result<ControlFlow<()>> + Send,
    ) -> Result<()> {
        let mut walk = self.walk(request, pages);
        while let Some(reply) = walk.page().await? {
            let records = reply.records(records)?;
            for record in &records {
                if visit(record)?.is_break() {
                    return Ok(());
                }
            }
            walk.turn(&reply, records.len())?;
        }
        Ok(())
    }

    /// The URL that a link in an answer names.
    pub(super) fn follow(&self, reply: &Reply, link: &str) -> Result<Url> {
        self.shared.base.follow(&reply.url, link)
    }

    fn name(&self, request: &Request) -> String {
        format!("{}: {} {}", self.host(), request.method, request.name)
    }

    fn url(&self, request: &Request) -> Result<Url> {
        let base = &self.shared.base;
        let url = match &request.target {
            Target::Path { template, parts } => {
                return base.join(&url::fill(template, parts)?, &request.query);
            }
            Target::Link(link) => base.follow(base.url(), link)?,
            Target::Foreign(link) => base.foreign(link)?,
        };
        if request.query.is_empty() {
            return Ok(url);
        }
        let mut url = url;
        let more = url::form(&request.query);
        let query = url.query().filter(|query| !query.is_empty());
        let query = query.map_or(more.clone(), |query| format!("{query}&{more}"));
        url.set_query(Some(&query));
        Ok(url)
    }

    fn draft(&self, request: &Request, url: Url) -> Result<Draft> {
        let mut headers = HeaderMap::new();
        let (kind, body) = match &request.content {
            Content::Nothing => (None, None),
            Content::Json(body) => (Some("application/json"), Some(serde_json::to_vec(body)?)),
            Content::Form(fields) => {
                (Some("application/x-www-form-urlencoded"), Some(form_body(fields)))
            }
        };
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let agent = concat!("manifold/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let foreign = matches!(request.target, Target::Foreign(_));
        let all = if foreign { &[][..] } else { &self.shared.settings.headers };
        for (name, value) in all.iter().chain(&request.headers) {
            headers.insert(name.clone(), value.clone());
        }
        Ok(Draft { method: request.method.clone(), url, headers, body })
    }

    /// Sends a request until there is an answer to keep, or a reason not to go on.
    async fn exchange(&self, request: &Request, whole: bool) -> Result<Option<Answer>> {
        let Shared { base, settings, gate, .. } = &*self.shared;
        let foreign = matches!(request.target, Target::Foreign(_));
        let mut url = self.url(request)?;
        let began = Instant::now();
        let (mut attempt, mut hops, mut renewed) = (0, 0, false);
        loop {
            attempt += 1;
            let mut draft = self.draft(request, url.clone())?;
            let mut signature = Signature::default();
            if !foreign {
                settings.hooks.iter().try_for_each(|hook| hook.request(&mut draft))?;
                signature = settings.auth.sign(&mut draft).await?;
            }
            let permit = gate.enter().await;
            let sent = Instant::now();
            let (verdict, status, pause) = match self.attempt(draft, permit, whole).await {
                Err(broken) => {
                    log::debug(format_args!("{} failed: {}", self.name(request), broken.why));
                    if !(request.safe || broken.unsent) {
                        let why = format!(
                            "{}: {}; it was not tried again, because it may have been done",
                            self.name(request),
                            broken.why
                        );
                        return Err(Fault::transient(why).into());
                    }
                    let pause = settings.retries.pause(attempt, None);
                    self.pause(request, attempt, began, pause, &broken.why).await?;
                    continue;
                }
                Ok(mut answer) => {
                    if !foreign {
                        gate.learn(answer.headers());
                        if let Answer::Whole(reply) = &mut answer {
                            reply.name = self.name(request);
                            settings.hooks.iter().try_for_each(|hook| hook.reply(reply))?;
                        }
                    }
                    let (status, length, body) = answer.facts();
                    log::debug(format_args!(
                        "{} {} in {} ms, {length}, attempt {attempt}",
                        self.name(request),
                        status.as_u16(),
                        sent.elapsed().as_millis(),
                    ));
                    if status.is_redirection() {
                        hops += 1;
                        let link = answer.headers().get(LOCATION).and_then(|l| l.to_str().ok());
                        let kept =
                            request.method == Method::GET || matches!(status.as_u16(), 307 | 308);
                        let Some(link) = link.filter(|_| kept && hops <= HOPS) else {
                            let name = self.name(request);
                            let why =
                                format!("{name} was sent elsewhere ({}), in vain", status.as_u16());
                            return Err(Fault::system(why).into());
                        };
                        url = if foreign {
                            base.foreign(url.join(link)?.as_str())?
                        } else {
                            base.follow(&url, link)?
                        };
                        attempt -= 1;
                        continue;
                    }
                    let verdict = (settings.judge)(status, body);
                    match verdict {
                        Verdict::Ok => return Ok(Some(answer)),
                        Verdict::Missing => return Ok(None),
                        Verdict::Denied | Verdict::Broken => {
                            return Err(self
                                .refused(request, verdict, status, answer.headers(), body)
                                .into());
                        }
                        Verdict::Renew if renewed || foreign => {
                            return Err(self
                                .refused(request, verdict, status, answer.headers(), body)
                                .into());
                        }
                        Verdict::Renew => {
                            renewed = true;
                            let refused =
                                self.refused(request, verdict, status, answer.headers(), body);
                            if !settings.auth.renew(signature).await? {
                                return Err(refused.into());
                            }
                            attempt -= 1;
                            continue;
                        }
                        Verdict::Slow | Verdict::Retry => {}
                    }
                    let asked = retry::retry_after(answer.headers());
                    (verdict, status, settings.retries.pause(attempt, asked))
                }
            };
            let why = format!("it was answered with {}", status.as_u16());
            if verdict == Verdict::Slow {
                // Whoever else asks now would get the same answer.
                gate.close(pause);
            } else if !request.safe {
                let name = self.name(request);
                let why =
                    format!("{name}: {why}; it was not tried again, because it may have been done");
                return Err(Fault::transient(why).into());
            }
            self.pause(request, attempt, began, pause, &why).await?;
        }
    }

    /// Waits before the next attempt, or says why there is none.
    async fn pause(
        &self,
        request: &Request,
        attempt: u32,
        began: Instant,
        pause: Duration,
        why: &str,
    ) -> Result<()> {
        let Retries { attempts, within, .. } = self.shared.settings.retries;
        let name = self.name(request);
        if attempt >= attempts {
            let spent = began.elapsed().as_secs_f32();
            let why = format!("{name}: {why}; {attempt} attempts in {spent:.0} s");
            return Err(Fault::transient(why).into());
        }
        if began.elapsed() + pause > within {
            let why = format!(
                "{name}: {why}, and asks to wait {:.0} s more, longer than this connector waits",
                pause.as_secs_f32()
            );
            return Err(Fault::transient(why).into());
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Sends it once.
    async fn attempt(
        &self,
        draft: Draft,
        permit: OwnedSemaphorePermit,
        whole: bool,
    ) -> Result<Answer, Broken> {
        let settings = &self.shared.settings;
        let mut request = self.shared.transport.request(draft.method, draft.url.clone());
        request = request.headers(draft.headers);
        if whole {
            request = request.timeout(settings.whole);
        }
        if let Some(body) = draft.body {
            request = request.body(body);
        }
        let mut response = request.send().await?;
        // What is not an answer to keep is read whole: it says why.
        if !whole && response.status().is_success() {
            return Ok(Answer::Begun(Box::new(Head { response, permit })));
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            if body.len() + piece.len() > settings.cap {
                let why = format!("the answer is longer than {} bytes", settings.cap);
                return Err(Broken { unsent: false, why });
            }
            body.extend_from_slice(&piece);
        }
        drop(permit);
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let name = String::new();
        let list = OnceLock::new();
        Ok(Answer::Whole(Box::new(Reply { status, headers, body, list, url: draft.url, name })))
    }

    fn refused(
        &self,
        request: &Request,
        verdict: Verdict,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Fault {
        let settings = &self.shared.settings;
        let said = (settings.explain)(body, request.private)
            .map(|said| said.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|said| !said.is_empty())
            .map(|said| format!(": {}", said.chars().take(200).collect::<String>()))
            .unwrap_or_default();
        let (status, credential, off) = (status.as_u16(), settings.credential, clock_off(headers));
        match verdict {
            Verdict::Renew => Fault::config(format!(
                "{} does not accept {credential} ({status}{said}){off}",
                self.host()
            )),
            Verdict::Denied => Fault::config(format!(
                "{} is not allowed ({status}{said}): check {credential} and its rights{off}",
                self.name(request)
            )),
            _ => Fault::system(format!("{} was refused ({status}{said})", self.name(request))),
        }
    }
}

/// A clock that is off makes signatures and tokens look wrong, which nobody would guess.
fn clock_off(headers: &HeaderMap) -> String {
    let Some(there) = retry::date(headers) else { return String::new() };
    let here = SystemTime::now();
    let off = here.duration_since(there).unwrap_or_else(|before| before.duration());
    match off > SKEW {
        true => format!("; this machine's clock is {} s off theirs", off.as_secs()),
        false => String::new(),
    }
}

/// An answer, whole or begun.
enum Answer {
    Whole(Box<Reply>),
    Begun(Box<Head>),
}

impl Answer {
    fn headers(&self) -> &HeaderMap {
        match self {
            Answer::Whole(reply) => &reply.headers,
            Answer::Begun(head) => head.response.headers(),
        }
    }

    /// The status, the length in words, and what has been read of the body.
    fn facts(&self) -> (StatusCode, String, &[u8]) {
        match self {
            Answer::Whole(reply) => {
                (reply.status, format!("{} bytes", reply.body.len()), &reply.body)
            }
            Answer::Begun(head) => (head.response.status(), "streamed".to_owned(), &[]),
        }
    }
}

/// What went wrong on the way, without the URL, which may hold a person's data.
pub(super) fn broken(error: reqwest::Error) -> String {
    let unsent = error.is_connect();
    let mut deepest: &dyn std::error::Error = &error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    if error.is_timeout() && !unsent {
        "no answer came in time".to_owned()
    } else if error.is_timeout() {
        "no connection came about in time".to_owned()
    } else if error.source().is_none() {
        error.without_url().to_string()
    } else {
        deepest.to_string()
    }
}

impl From<reqwest::Error> for Broken {
    fn from(error: reqwest::Error) -> Broken {
        Broken { unsent: error.is_connect(), why: broken(error) }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
fn transport(settings: &Settings) -> Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // Built in: reading the machine's own would cost every start some milliseconds.
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("preparing TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(settings.connect)
        .read_timeout(settings.idle)
        // Servers close idle connections; one that is about to be closed is better not used.
        .pool_idle_timeout(Duration::from_secs(20))
        .pool_max_idle_per_host(settings.limits.concurrency.max(1))
        .build()
        .context("preparing the HTTP client")
}
