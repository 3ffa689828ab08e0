//! What `protocol::http` promises, against a server on loopback that misbehaves as real ones do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::anyhow::{self, Result};
use protocol::async_trait;
use protocol::config::Secret;
use protocol::fault::{self, Cause, Fault};
use protocol::http::{
    Auth, Basic, Bearer, Client, Draft, Grant, Hook, Incremental, Key, Limits, Next, OAuth2, Pages,
    Parent, Place, Present, Projection, Reader, Reply, Request, Resource, Retries, ServiceAccount,
    Settings, Signature, StatusCode, Told, Window,
};
use protocol::output::{Outputs, Shape, Sink};
use protocol::silo::{Cursor, From, Sample, StoreId};
use protocol::testing::http::{Answer, Call, Server};
use serde_json::{Value, json};

// --- Tools -------------------------------------------------------------------------------------

fn serve(handler: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Server {
    Server::start(handler).unwrap()
}

/// Settings that do not wait long.
fn quick(server: &Server) -> Settings {
    let retries = Retries {
        attempts: 5,
        within: Duration::from_secs(5),
        first: Duration::from_millis(2),
        longest: Duration::from_millis(20),
    };
    Settings { retries, credential: "`access_token`", ..Settings::to(server.url()) }
}

fn client(server: &Server) -> Client {
    Client::new(quick(server)).unwrap()
}

fn complaint(error: &anyhow::Error) -> String {
    let line = fault::line(error);
    assert!(!line.contains('\n') && !line.ends_with('.'), "{line}");
    line
}

fn failure<T>(result: Result<T>) -> (Cause, String) {
    let error = result.err().expect("it should have failed");
    (Fault::cause_of(&error), complaint(&error))
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The records and states that a read printed, in order.
struct Printed(Vec<Value>);

impl Printed {
    fn records(&self) -> Vec<Value> {
        let records = self.0.iter().filter(|line| line["type"] == "RECORD");
        records.map(|line| line["record"]["data"].clone()).collect()
    }

    /// The `n` of each record, sorted.
    fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<_> = self.records().iter().map(|r| r["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    fn cursor(&self) -> Cursor {
        let last = self.0.iter().rev().find(|line| line["type"] == "STATE").unwrap();
        Cursor(last["state"]["cursor"].clone())
    }
}

async fn read(
    client: &Client,
    resource: Resource,
    since: Option<&Cursor>,
    every: u64,
) -> (Result<()>, Printed) {
    let bytes = Shared::default();
    let sink = Arc::new(Sink::new(Box::new(bytes.clone()), false));
    let outputs = Outputs::new(sink, Shape { checkpoint: Some(every), ..Shape::default() });
    let mut out = outputs.store(StoreId::named("t"));
    let from = From { cursor: None, properties: None, since, parallel: 1 };
    let result = Reader::new(client, resource).read(&from, None, &mut out).await;
    out.finish().unwrap();
    (result, Printed(bytes.lines()))
}

const LIST: Resource = Resource {
    request: || Request::get("list"),
    records: "/data",
    derive: &[],
    pages: Pages::Token { at: "/next", into: Place::Query("after") },
    parent: None,
    // Records without a time count as changed, so that every list of these tests has states.
    incremental: Some(Incremental { property: "t", ask: |_, _| Ok(()), lag: Duration::ZERO }),
};

/// Records `first..last` as a page.
fn records(first: u64, last: u64) -> Value {
    (first..last).map(|n| json!({ "n": n, "pad": "é".repeat(20) })).collect()
}

const PAGE: u64 = 7;
const ALL: u64 = 100;

/// A page of the list of all, from a token on.
fn page(call: &Call) -> Answer {
    let first = call.query("after").map_or(0, |token| token.parse().unwrap());
    let last = (first + PAGE).min(ALL);
    let next = if last < ALL { json!(last.to_string()) } else { Value::Null };
    Answer::json(&json!({ "data": records(first, last), "next": next }))
}

// --- Requests and retries ----------------------------------------------------------------------

#[tokio::test]
async fn what_proves_who_asks_goes_with_each_request() {
    let server = serve(|_| Answer::json(&json!({})));
    let auths: [(Box<dyn Auth>, &str, &str); 3] = [
        (Box::new(Bearer(Secret::from("tok".to_owned()))), "authorization", "Bearer tok"),
        (
            Box::new(Basic { username: "ada".into(), password: Secret::from("pw:".to_owned()) }),
            "authorization",
            "Basic YWRhOnB3Og==",
        ),
        (
            Box::new(Key { header: "x-key".parse().unwrap(), key: Secret::from("k".to_owned()) }),
            "x-key",
            "k",
        ),
    ];
    for (auth, header, value) in auths {
        let client = Client::new(Settings { auth, ..quick(&server) }).unwrap();
        client.send(&Request::get("a")).await.unwrap();
        assert_eq!(server.calls().pop().unwrap().header(header), Some(value));
    }
}

struct Signed;

#[async_trait]
impl Auth for Signed {
    async fn sign(&self, draft: &mut Draft) -> Result<Signature> {
        let body = draft.body.as_deref().unwrap_or_default().len();
        let text = format!("{} {} {body}", draft.method, draft.url.path());
        draft.headers.insert("x-signature", text.parse()?);
        Ok(Signature::default())
    }
}

struct Stamp;

impl Hook for Stamp {
    fn request(&self, draft: &mut Draft) -> Result<()> {
        draft.url.query_pairs_mut().append_pair("project", "7");
        Ok(())
    }
    fn reply(&self, reply: &mut Reply) -> Result<()> {
        if reply.body.starts_with(b"{\"error\"") {
            reply.status = StatusCode::FORBIDDEN;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_vendors_signature_sees_the_whole_request_and_hooks_see_both_ways() {
    let server = serve(|call| match call.path.as_str() {
        "/bad" => Answer::json(&json!({ "error": "quota" })),
        _ => Answer::json(&json!({})),
    });
    let settings =
        Settings { auth: Box::new(Signed), hooks: vec![Box::new(Stamp)], ..quick(&server) };
    let client = Client::new(settings).unwrap();
    client.send(&Request::post("a/{id}").part("id", "x/y").json(json!([1]))).await.unwrap();
    let call = server.calls().pop().unwrap();
    assert_eq!(call.header("x-signature"), Some("POST /a/x%2Fy 3"));
    assert_eq!(call.target, "/a/x%2Fy?project=7");
    let (cause, _) = failure(client.send(&Request::get("bad")).await);
    assert_eq!(cause, Cause::Config, "an error that was sent as 200");
}

#[tokio::test]
async fn a_get_is_tried_again_after_every_passing_trouble() {
    let turn = AtomicUsize::new(0);
    let server = serve(move |_| match turn.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::status(503, &json!({})),
        1 => Answer::hang_up(),
        2 => Answer::json(&json!({ "data": "x".repeat(1000) })).cut(100),
        3 => Answer::status(429, &json!({})).header("retry-after", "0"),
        _ => Answer::json(&json!({ "ok": true })),
    });
    let reply = client(&server).send(&Request::get("a")).await.unwrap();
    assert_eq!(reply.json::<Value>().unwrap(), json!({ "ok": true }));
    assert_eq!(server.calls().len(), 5);
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_twice() {
    for trouble in [503, 500, 0] {
        let server = serve(move |_| match trouble {
            0 => Answer::hang_up(),
            status => Answer::status(status, &json!({})),
        });
        let client = client(&server);
        let (cause, why) = failure(client.send(&Request::post("jobs").json(json!({}))).await);
        assert_eq!((cause, server.calls().len()), (Cause::Transient, 1));
        assert!(why.contains("it may have been done"), "{why}");
        server.forget();
        failure(client.send(&Request::post("search").json(json!({})).safe()).await);
        assert_eq!(server.calls().len(), 5, "a search by POST is safe");
    }
}

#[tokio::test]
async fn a_post_that_was_refused_for_speed_is_sent_again() {
    let turn = AtomicUsize::new(0);
    let server = serve(move |_| match turn.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::status(429, &json!({})),
        _ => Answer::json(&json!({})),
    });
    client(&server).send(&Request::post("jobs")).await.unwrap();
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn retry_after_is_obeyed_and_refused_when_it_is_too_long() {
    let turn = AtomicUsize::new(0);
    let server =
        serve(move |call| match (call.path.as_str(), turn.fetch_add(1, Ordering::Relaxed)) {
            ("/long", _) => Answer::status(429, &json!({})).header("retry-after", "3600"),
            (_, 0) => Answer::status(429, &json!({})).header("retry-after", "0.3"),
            _ => Answer::json(&json!({})),
        });
    let client = client(&server);
    let began = Instant::now();
    // Both wait: the vendor would answer the second as it did the first.
    let (first, second) = (Request::get("a"), Request::get("b"));
    let (one, two) = tokio::join!(client.send(&first), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send(&second).await
    });
    one.and(two).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(server.calls().len(), 3);
    let (cause, why) = failure(client.send(&Request::get("long")).await);
    assert_eq!(cause, Cause::Transient);
    assert!(why.contains("asks to wait 3600 s"), "{why}");
}

#[tokio::test]
async fn the_vendors_word_on_what_is_left_is_heeded() {
    let server = serve(|_| Answer::json(&json!({})).header("x-left", 0).header("x-reset-ms", 250));
    let told = |headers: &protocol::http::HeaderMap| {
        let number = |name| headers.get(name)?.to_str().ok()?.parse().ok();
        Some(Told {
            remaining: number("x-left")?,
            reset: Duration::from_millis(number("x-reset-ms")?),
        })
    };
    let limits = Limits { told, ..Limits::default() };
    let client = Client::new(Settings { limits, ..quick(&server) }).unwrap();
    let began = Instant::now();
    client.send(&Request::get("a")).await.unwrap();
    client.send(&Request::get("a")).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(250));
}

#[tokio::test]
async fn the_other_side_never_sees_more_at_once_or_faster_than_allowed() {
    let under_way = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let seen = Arc::clone(&under_way);
    let server = serve(move |_| {
        let now = seen.0.fetch_add(1, Ordering::SeqCst) + 1;
        seen.1.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(10));
        seen.0.fetch_sub(1, Ordering::SeqCst);
        Answer::json(&json!({}))
    });
    const WINDOWS: &[Window] = &[Window { requests: 10, per: Duration::from_millis(300) }];
    let limits = Limits { concurrency: 3, windows: WINDOWS, ..Limits::default() };
    let client = Client::new(Settings { limits, ..quick(&server) }).unwrap();
    let began = Instant::now();
    let request = Request::get("a");
    futures::future::try_join_all((0..25).map(|_| client.send(&request))).await.unwrap();
    assert_eq!(under_way.1.load(Ordering::SeqCst), 3);
    assert!(began.elapsed() >= Duration::from_millis(600));
}

#[tokio::test]
async fn bad_answers_are_one_line_that_says_whose_move_it_is() {
    let server = serve(|call| match call.path.as_str() {
        "/401" => Answer::status(401, &json!({ "code": "token_unauthorized" })),
        "/403" => Answer::status(403, &json!({ "code": "no_scope" })),
        "/404" => Answer::status(404, &json!({})),
        "/400" => Answer::status(400, &json!({ "code": "ada@example.com is odd" })),
        "/503" => Answer::status(503, &json!({})),
        "/html" => Answer::new(200, "text/html", "<html>please log in</html>"),
        "/shape" => Answer::json(&json!({ "data": { "n": "s3cret" } })),
        "/cut" => Answer::new(200, "application/json", r#"{"data":["#),
        "/empty" => Answer::new(200, "application/json", ""),
        "/off" => Answer::status(401, &json!({})).header("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        "/away" => Answer::status(302, &json!({})).header("location", "https://evil.example/"),
        "/round" => Answer::status(302, &json!({})).header("location", "/round"),
        _ => Answer::json(&json!({})),
    });
    let explain = |body: &[u8], private: bool| {
        let body: Value = serde_json::from_slice(body).ok()?;
        let code = body["code"].as_str().map(str::to_owned);
        code.filter(|_| !private)
    };
    let auth = Box::new(Bearer(Secret::from("tok_SECRET".to_owned())));
    let client = Client::new(Settings { explain, auth, ..quick(&server) }).unwrap();
    for (path, cause, words) in [
        ("401", Cause::Config, "does not accept `access_token` (401: token_unauthorized)"),
        (
            "403",
            Cause::Config,
            "GET {p} is not allowed (403: no_scope): check `access_token` and its rights",
        ),
        ("404", Cause::System, "there is no such thing (404)"),
        ("400", Cause::System, "GET {p} was refused (400)"),
        ("503", Cause::Transient, "it was answered with 503; 5 attempts"),
        ("html", Cause::System, "answered with HTML instead of JSON"),
        ("shape", Cause::System, "JSON of another shape: `/data` must be a list"),
        ("cut", Cause::System, "something that is not JSON"),
        ("empty", Cause::System, "nothing instead of JSON"),
        ("off", Cause::Config, "this machine's clock is"),
        (
            "away",
            Cause::System,
            "points at https://evil.example, which this connector does not follow",
        ),
        ("round", Cause::System, "was sent elsewhere (302), in vain"),
    ] {
        let mut request = Request::get("{p}").part("p", path).query("email", "ada@example.com");
        if path == "400" {
            request = request.private();
        }
        let (found, why) = failure(
            async {
                let reply = client.send(&request).await?;
                reply.records("/data").map(drop)
            }
            .await,
        );
        assert!(why.contains(words), "{path}: {why}");
        assert_eq!(found, cause, "{path}: {why}");
        for hidden in ["ada@", "tok_SECRET", "s3cret"] {
            assert!(!why.contains(hidden), "{why}");
        }
    }
}

#[tokio::test]
async fn a_vendor_that_is_down_is_a_passing_trouble_with_its_name() {
    let server = serve(|_| Answer::json(&json!({})));
    let settings = quick(&server);
    drop(server);
    std::thread::sleep(Duration::from_millis(50));
    let client = Client::new(settings).unwrap();
    let (cause, why) = failure(client.send(&Request::post("a")).await);
    assert_eq!(cause, Cause::Transient);
    assert!(
        why.contains("127.0.0.1") && why.contains("refused") && why.contains("5 attempts"),
        "{why}"
    );
}

#[tokio::test]
async fn answers_that_are_too_long_or_too_slow_are_given_up() {
    let server = serve(|call| match call.path.as_str() {
        "/slow" => Answer::json(&json!({})).after(Duration::from_millis(400)),
        _ => Answer::new(200, "application/json", vec![b' '; 5000]),
    });
    let settings = Settings {
        cap: 4096,
        idle: Duration::from_millis(100),
        retries: Retries { attempts: 2, ..quick(&server).retries },
        ..quick(&server)
    };
    let client = Client::new(settings).unwrap();
    let (_, why) = failure(client.send(&Request::get("long")).await);
    assert!(why.contains("longer than 4096 bytes"), "{why}");
    let (cause, why) = failure(client.send(&Request::get("slow")).await);
    assert_eq!(cause, Cause::Transient);
    assert!(why.contains("no answer came in time"), "{why}");
}

#[tokio::test]
async fn a_file_elsewhere_is_fetched_without_anything_that_proves_who_asks() {
    let elsewhere = serve(|_| Answer::new(200, "application/zip", "zip"));
    let server = serve(|_| Answer::json(&json!({})));
    let auth = Box::new(Bearer(Secret::from("tok_SECRET".to_owned())));
    let headers = vec![("x-version".parse().unwrap(), "2".parse().unwrap())];
    let client = Client::new(Settings { auth, headers, ..quick(&server) }).unwrap();
    let mut body =
        client.open(&Request::foreign(&format!("{}/f?sig=1", elsewhere.url()))).await.unwrap();
    assert_eq!(body.piece().await.unwrap().unwrap(), b"zip");
    let call = elsewhere.calls().pop().unwrap();
    assert_eq!(call.target, "/f?sig=1");
    assert!(call.header("authorization").is_none() && call.header("x-version").is_none());
    assert!(client.open(&Request::foreign("http://h.example/f")).await.is_err());
}

#[tokio::test]
async fn a_stream_gives_whole_lines_however_they_arrive_and_says_when_it_is_cut() {
    let text = (0..1000).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>() + "\n{\"n\":1000}";
    let pieces: Vec<Vec<u8>> = text.as_bytes().chunks(13).map(<[u8]>::to_vec).collect();
    let server = serve(move |call| {
        let answer = Answer::pieces("application/x-ndjson", pieces.clone().into_iter());
        if call.path == "/cut" { answer.cut(500) } else { answer }
    });
    let client = client(&server);
    let mut body = client.open(&Request::get("all")).await.unwrap();
    let mut n = 0;
    while let Some(line) = body.line().await.unwrap() {
        assert_eq!(line, format!("{{\"n\":{n}}}").as_bytes());
        n += 1;
    }
    assert_eq!(n, 1001);
    let mut body = client.open(&Request::get("cut")).await.unwrap();
    let cut = async {
        while body.line().await?.is_some() {}
        Ok(())
    };
    let (cause, why) = failure(cut.await);
    assert_eq!(cause, Cause::Transient);
    assert!(why.contains("the answer broke off"), "{why}");
}

// --- OAuth 2 -----------------------------------------------------------------------------------

/// A server that gives tokens `t1`, `t2`, … each good for `good` requests, or for ever.
fn tokens(good: usize) -> (Server, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let used = AtomicUsize::new(0);
    let counted = Arc::clone(&given);
    let server = serve(move |call| {
        if call.path == "/token" {
            let n = counted.fetch_add(1, Ordering::SeqCst) + 1;
            used.store(0, Ordering::SeqCst);
            let refresh = format!("r{n}");
            let body = json!({ "access_token": format!("t{n}"), "expires_in": 3600, "refresh_token": refresh });
            return Answer::json(&body).after(Duration::from_millis(30));
        }
        let current = format!("Bearer t{}", counted.load(Ordering::SeqCst));
        let known = call.header("authorization") == Some(&current);
        match known && used.fetch_add(1, Ordering::SeqCst) < good {
            true => Answer::json(&json!({})),
            false => Answer::status(401, &json!({})),
        }
    });
    (server, given)
}

fn oauth(server: &Server, grant: Grant) -> OAuth2 {
    OAuth2::new(quick(server), "token", grant).unwrap()
}

#[tokio::test]
async fn a_hundred_requests_at_once_fetch_one_token_and_renew_it_once() {
    let (server, given) = tokens(100);
    let auth = Box::new(oauth(&server, Grant::ClientCredentials));
    let limits = Limits { concurrency: 100, ..Limits::default() };
    let client = Client::new(Settings { auth, limits, ..quick(&server) }).unwrap();
    let request = Request::get("a");
    futures::future::try_join_all((0..100).map(|_| client.send(&request))).await.unwrap();
    assert_eq!(given.load(Ordering::SeqCst), 1);
    // From here on the server accepts the first token no more.
    futures::future::try_join_all((0..100).map(|_| client.send(&request))).await.unwrap();
    assert_eq!(given.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_replaced_refresh_token_is_handed_out_before_it_is_used() {
    let (server, _) = tokens(1);
    let handed = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&handed);
    let url = server.url();
    let auth = oauth(&server, Grant::Refresh(Secret::from("r0".to_owned())))
        .id("me", Secret::from("shh".to_owned()), Present::Form)
        .rotated(move |token| {
            kept.lock().unwrap().push(token.reveal().to_owned());
            Ok(())
        });
    let client = Client::new(Settings { auth: Box::new(auth), ..quick(&server) }).unwrap();
    for _ in 0..3 {
        client.send(&Request::get("a")).await.unwrap();
    }
    assert_eq!(*handed.lock().unwrap(), ["r1", "r2", "r3"], "{url}");
    let asked: Vec<_> = server.calls().into_iter().filter(|call| call.path == "/token").collect();
    let sent: Vec<_> = asked.iter().map(|call| call.form("refresh_token").unwrap()).collect();
    assert_eq!(sent, ["r0", "r1", "r2"]);
    assert_eq!(asked[0].form("client_secret").unwrap(), "shh");
}

#[tokio::test]
async fn a_refused_grant_is_final_for_everybody_and_names_the_vendors_word_only() {
    let server = serve(|_| {
        Answer::status(
            400,
            &json!({ "error": "invalid_grant", "error_description": "r0 of ada@x" }),
        )
    });
    let auth = Box::new(oauth(&server, Grant::Refresh(Secret::from("r0".to_owned()))));
    let client = Client::new(Settings { auth, ..quick(&server) }).unwrap();
    let request = Request::get("a");
    let results = futures::future::join_all((0..10).map(|_| client.send(&request))).await;
    for result in results {
        let (cause, why) = failure(result);
        assert_eq!(cause, Cause::Config);
        assert!(why.contains("invalid_grant") && !why.contains("ada@"), "{why}");
    }
    assert_eq!(server.calls().len(), 1);
}

/// Made for this test, and good for nothing else.
const RSA_KEY: &str = include_str!("http/rsa-test-key.pem");

#[tokio::test]
async fn a_service_account_signs_its_claims_with_its_key() {
    let (server, _) = tokens(100);
    let claims = json!({ "iss": "svc@example.com", "aud": "https://h/token", "scope": "read" });
    let pem = Secret::from(RSA_KEY.to_owned());
    let account = ServiceAccount::new(&pem, Some("k1".into()), claims.as_object().unwrap().clone());
    let auth = Box::new(oauth(&server, Grant::Assertion(Box::new(account.unwrap()))));
    let client = Client::new(Settings { auth, ..quick(&server) }).unwrap();
    client.send(&Request::get("a")).await.unwrap();
    let call = server.calls().into_iter().find(|call| call.path == "/token").unwrap();
    assert_eq!(call.form("grant_type").unwrap(), "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let token = call.form("assertion").unwrap();
    use base64::Engine as _;
    let decode =
        |part: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, body) = signed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    let body: Value = serde_json::from_slice(&decode(body)).unwrap();
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
    assert_eq!(body["iss"], "svc@example.com");
    assert_eq!(body["exp"].as_u64().unwrap() - body["iat"].as_u64().unwrap(), 3600);
    let der = RSA_KEY.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
    let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
    let key = ring::signature::RsaKeyPair::from_pkcs8(&der).unwrap();
    let public = ring::signature::UnparsedPublicKey::new(
        &ring::signature::RSA_PKCS1_2048_8192_SHA256,
        key.public().as_ref(),
    );
    public.verify(signed.as_bytes(), &decode(signature)).unwrap();
    assert!(
        ServiceAccount::new(&Secret::from("no key".to_owned()), None, Default::default()).is_err()
    );
}

// --- Pages -------------------------------------------------------------------------------------

#[tokio::test]
async fn every_way_of_paging_gives_every_record_once() {
    let number =
        |call: &Call, name: &str| call.query(name).map_or(0, |n| n.parse::<u64>().unwrap());
    let until = |first: u64| (first + PAGE).min(ALL);
    let server = serve(move |call| match call.path.as_str() {
        "/token" => page(call),
        "/body" => {
            let first = call.json()["page"]["after"].as_str().map_or(0, |t| t.parse().unwrap());
            let mut body = json!({ "data": records(first, until(first)) });
            if until(first) < ALL {
                body["next"] = until(first).to_string().into();
            }
            Answer::json(&body)
        }
        "/header" => {
            let first = call.header("x-after").map_or(0, |t| t.parse().unwrap());
            let answer = Answer::json(&json!({ "data": records(first, until(first)) }));
            if until(first) < ALL { answer.header("x-next", until(first)) } else { answer }
        }
        "/url" => {
            let first = number(call, "after");
            let next = (until(first) < ALL).then(|| format!("?after={}&x=a%20b", until(first)));
            Answer::json(&json!({ "data": records(first, until(first)), "next": next }))
        }
        "/link" => {
            let first = number(call, "after");
            let answer = Answer::json(&json!({ "data": records(first, until(first)) }));
            let link = format!("</link>; rel=prev, </link?after={}>; rel=\"next\"", until(first));
            if until(first) < ALL { answer.header("link", link) } else { answer }
        }
        "/offset" => {
            // It gives fewer than it could now and then, as vendors do.
            let first = number(call, "offset");
            let last = if first == 14 { first + 1 } else { until(first) };
            Answer::json(&json!({ "data": records(first, last) }))
        }
        "/number" => {
            let first = (call.query("page").map_or(1, |n| n.parse::<u64>().unwrap()) - 1) * PAGE;
            Answer::json(&json!({ "data": records(first.min(ALL), until(first)) }))
        }
        "/scroll" => {
            let turn = number(call, "turn");
            Answer::json(&json!({ "data": [{ "n": turn }], "scroll": "same" }))
        }
        _ => Answer::status(404, &json!({})),
    });
    let client = client(&server);
    let ways: [(fn() -> Request, Pages); 8] = [
        (|| Request::get("token"), LIST.pages),
        (
            || Request::post("body").json(json!({})).safe(),
            Pages::Token { at: "/next", into: Place::Json("/page/after") },
        ),
        (
            || Request::get("header"),
            Pages::HeaderToken { header: "x-next", into: Place::Header("x-after") },
        ),
        (|| Request::get("url"), Pages::Url { at: "/next" }),
        (|| Request::get("link"), Pages::Link),
        (|| Request::get("offset"), Pages::Offset { into: Place::Query("offset") }),
        (|| Request::get("number"), Pages::Number { into: Place::Query("page"), first: 1 }),
        (
            || Request::get("token"),
            Pages::Custom {
                next: |page| {
                    let token = page.reply.text("/next")?;
                    Ok(token.map(|token| Next::Put(vec![token.into()])))
                },
                into: &[Place::Query("after")],
            },
        ),
    ];
    for (request, pages) in ways {
        let resource = Resource { request, pages, ..LIST };
        let (result, printed) = read(&client, resource, None, 10).await;
        let path = server.calls().pop().unwrap().path;
        result.unwrap_or_else(|error| panic!("{path}: {error:#}"));
        assert_eq!(printed.numbers(), (0..ALL).collect::<Vec<_>>(), "{path}");
    }
}

#[tokio::test]
async fn a_scroll_goes_on_under_the_same_name_until_a_page_is_empty() {
    let turn = AtomicUsize::new(0);
    let server = serve(move |call| {
        let turn = turn.fetch_add(1, Ordering::SeqCst) as u64;
        assert_eq!(call.query("scroll"), (turn > 0).then_some("same"));
        Answer::json(
            &json!({ "data": records(turn, turn + u64::from(turn < 9)), "scroll": "same" }),
        )
    });
    let pages = Pages::Scroll { at: "/scroll", into: Place::Query("scroll") };
    let (result, printed) = read(&client(&server), Resource { pages, ..LIST }, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), (0..9).collect::<Vec<_>>());
    let states = printed.0.iter().filter(|line| line["type"] == "STATE").count();
    assert_eq!(states, 1, "a place that the vendor keeps cannot be kept by us");
}

#[tokio::test]
async fn pages_without_records_do_not_end_a_list() {
    let server = serve(|call| match call.query("after") {
        None => Answer::json(&json!({ "data": [], "next": "a" })),
        Some("a") => Answer::json(&json!({ "data": null, "next": "b" })),
        _ => Answer::json(&json!({ "data": records(0, 1), "next": "" })),
    });
    let (result, printed) = read(&client(&server), LIST, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), [0]);
}

#[tokio::test]
async fn of_a_page_that_is_broken_in_its_middle_nothing_is_written() {
    let server = serve(|call| match call.query("after") {
        None => Answer::new(200, "application/json", r#"{"data":[{"n":1},{"n":2 3}],"next":"a"}"#),
        _ => Answer::json(&json!({ "data": records(7, 8), "next": null })),
    });
    let (result, printed) = read(&client(&server), LIST, None, 1).await;
    let (_, why) = failure(result);
    assert!(why.contains("something that is not JSON"), "{why}");
    assert!(printed.records().is_empty());
}

/// A reader of the output that takes nothing before it is told to.
struct Waiting(std::sync::mpsc::Receiver<()>);

impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let told = self.0.recv_timeout(Duration::from_secs(20));
        told.map_err(io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_next_page_is_asked_for_before_this_one_is_written() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = serve(move |call| match call.query("after") {
        None => Answer::json(&json!({ "data": records(0, 5_000), "next": "a" })),
        _ => {
            // Enough for every write.
            (0..100).for_each(|_| tell.send(()).unwrap_or(()));
            Answer::json(&json!({ "data": records(5_000, 5_001), "next": null }))
        }
    });
    let sink = Arc::new(Sink::new(Box::new(Waiting(told)), false));
    let mut out = Outputs::new(sink, Shape::default()).store(StoreId::named("t"));
    let from = From { cursor: None, properties: None, since: None, parallel: 1 };
    Reader::new(&client(&server), LIST).read(&from, None, &mut out).await.unwrap();
    assert_eq!(out.finish().unwrap(), 5_001);
}

#[tokio::test]
async fn a_list_without_end_is_an_error() {
    let turn = AtomicUsize::new(0);
    let server = serve(move |call| {
        let turn = turn.fetch_add(1, Ordering::SeqCst);
        let next = if call.path == "/list" { turn % 3 } else { turn };
        Answer::json(&json!({ "data": records(0, 1), "next": next.to_string() }))
    });
    let (result, _) = read(&client(&server), LIST, None, 1).await;
    let (_, why) = failure(result);
    assert!(why.contains("the same next page twice"), "{why}");
    let other = Resource { request: || Request::get("other"), ..LIST };
    let client = client(&server);
    let mut walk = protocol::http::Walk::new(&client, (other.request)(), other.pages, 20);
    let endless = async {
        while let Some(reply) = walk.page().await? {
            walk.turn(&reply, 1)?;
        }
        Ok(())
    };
    let (_, why) = failure(endless.await);
    assert!(why.contains("more than 20 pages"), "{why}");
}

/// Trouble on a schedule, before a page is given at last.
fn troubled(turn: usize, answer: Answer) -> Answer {
    match turn % 5 {
        0 => Answer::status(500, &json!({})),
        1 => Answer::status(429, &json!({})).header("retry-after", "0"),
        2 => Answer::hang_up(),
        3 => answer.cut(50),
        _ => answer,
    }
}

#[tokio::test]
async fn every_page_is_read_once_under_faults_and_from_every_checkpoint() {
    let turn = AtomicUsize::new(0);
    let server = serve(move |call| troubled(turn.fetch_add(1, Ordering::SeqCst), page(call)));
    let retries = Retries { attempts: 8, ..quick(&server).retries };
    let client = Client::new(Settings { retries, ..quick(&server) }).unwrap();
    let (result, printed) = read(&client, LIST, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), (0..ALL).collect::<Vec<_>>());
    // From each checkpoint on comes what was printed after it, and nothing else.
    let states = printed.0.iter().enumerate().filter(|(_, line)| line["type"] == "STATE");
    let states: Vec<_> = states.collect();
    assert!(states.len() > 10);
    for (place, state) in states.iter().take(states.len() - 1) {
        let cursor = Cursor(state["state"]["cursor"].clone());
        let (result, rest) = read(&client, LIST, Some(&cursor), 1).await;
        result.unwrap();
        assert_eq!(rest.numbers(), Printed(printed.0[*place..].to_vec()).numbers());
    }
}

// --- What changed ------------------------------------------------------------------------------

const CHANGING: Resource = Resource {
    request: || Request::get("list"),
    incremental: Some(Incremental {
        property: "t",
        // As coarse as real vendors are: by the day.
        ask: |request, since| request.put(Place::Query("since"), &(since - 86_400).into()),
        lag: Duration::from_secs(60),
    }),
    ..LIST
};

#[tokio::test]
async fn a_read_from_the_last_checkpoint_gives_what_changed_since_by_the_vendors_clock() {
    let changed =
        Arc::new(Mutex::new(BTreeMap::from([(0, 1_000), (1, 783_000_000), (2, 784_111_000)])));
    let current = Arc::clone(&changed);
    let server = serve(move |call| {
        let since: i64 = call.query("since").map_or(0, |since| since.parse().unwrap());
        let all = current.lock().unwrap().clone();
        let data: Vec<_> = all
            .iter()
            .filter(|(_, t)| **t > since)
            .map(|(n, t)| json!({ "n": n, "t": t }))
            .collect();
        // 784111777 by its own clock, whatever this machine thinks.
        Answer::json(&json!({ "data": data })).header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
    });
    let client = client(&server);
    let (result, first) = read(&client, CHANGING, None, 1).await;
    result.unwrap();
    assert_eq!(first.numbers(), [0, 1, 2]);
    let (result, again) = read(&client, CHANGING, Some(&first.cursor()), 1).await;
    result.unwrap();
    assert!(again.numbers().is_empty(), "nothing changed");
    changed.lock().unwrap().insert(3, 784_111_717);
    changed.lock().unwrap().insert(0, 784_111_800);
    let (result, more) = read(&client, CHANGING, Some(&first.cursor()), 1).await;
    result.unwrap();
    assert_eq!(more.numbers(), [0, 3], "what the vendor may not have shown yet is asked for again");
}

// --- Lists of lists ----------------------------------------------------------------------------

const PARENTS: Resource = Resource { request: || Request::get("parents"), ..LIST };

const CHILDREN: Resource = Resource {
    request: || Request::get("parents/{id}/children"),
    parent: Some(Parent {
        resource: &PARENTS,
        key: "/n",
        into: Place::Part("id"),
        carry: &[("parent", "/n")],
    }),
    ..LIST
};

/// Each of the parents has three children on two pages, but for those whose number ends in 9:
/// they are gone when they are asked for.
fn family(call: &Call) -> Answer {
    let Some(parent) = call.path.strip_prefix("/parents/") else { return page(call) };
    let parent: u64 = parent.strip_suffix("/children").unwrap().parse().unwrap();
    if parent % 10 == 9 {
        return Answer::status(404, &json!({}));
    }
    let child = |n: u64| json!({ "n": parent * 10 + n });
    match call.query("after") {
        None => Answer::json(&json!({ "data": [child(0), child(1)], "next": "b" })),
        Some(_) => Answer::json(&json!({ "data": [child(2)] })),
    }
}

fn grandchildren() -> Vec<u64> {
    let parents = (0..ALL).filter(|parent| parent % 10 != 9);
    parents.flat_map(|parent| (0..3).map(move |n| parent * 10 + n)).collect()
}

#[tokio::test]
async fn lists_of_many_parents_are_read_once_under_faults_and_from_every_checkpoint() {
    // Each request meets each trouble once.
    let turns: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let server = serve(move |call| {
        let mut turns = turns.lock().unwrap();
        let turn = turns.entry(call.target.clone()).or_default();
        *turn += 1;
        troubled(*turn - 1, family(call))
    });
    let steady = serve(family);
    // One more attempt for a connection that was closed while it was idle.
    let retries = Retries { attempts: 8, ..quick(&server).retries };
    let patient = Client::new(Settings { retries, ..quick(&server) }).unwrap();
    let (result, printed) = read(&patient, CHILDREN, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), grandchildren());
    let states = printed.0.iter().enumerate().filter(|(_, line)| line["type"] == "STATE");
    let client = client(&steady);
    let states: Vec<_> = states.collect();
    for (place, state) in states.iter().step_by(9) {
        if state["state"]["cursor"]["done"] == true {
            continue;
        }
        let cursor = Cursor(state["state"]["cursor"].clone());
        let (result, rest) = read(&client, CHILDREN, Some(&cursor), 1).await;
        result.unwrap();
        assert_eq!(rest.numbers(), Printed(printed.0[*place..].to_vec()).numbers(), "{cursor:?}");
    }
}

#[tokio::test]
async fn children_carry_what_they_get_from_their_parents() {
    let server = serve(family);
    let bytes = Shared::default();
    let outputs =
        Outputs::new(Arc::new(Sink::new(Box::new(bytes.clone()), false)), Shape::default());
    let mut out = outputs.store(StoreId::named("t"));
    let schema = json!({ "properties": { "n": { "type": "string" }, "parent": {}, "z": {} } });
    let sample = Sample { limit: 5, seed: 0, properties: None };
    let mut projection = Projection::new(&schema, None);
    Reader::new(&client(&server), CHILDREN)
        .sample(&sample, &mut projection, &mut out)
        .await
        .unwrap();
    out.finish().unwrap();
    let records = Printed(bytes.lines()).records();
    assert_eq!(records.len(), 5);
    assert_eq!(records[3], json!({ "parent": "1", "n": "10", "z": null }));
    assert!(server.calls().len() <= 6, "a sample asks for no more than it needs");
}

#[tokio::test]
async fn a_slow_list_holds_up_nobody_else() {
    let server = serve(|call| match call.path.as_str() {
        "/parents/3/children" => family(call).after(Duration::from_millis(700)),
        path if path.ends_with("children") => family(call).after(Duration::from_millis(2)),
        _ => family(call),
    });
    let limits = Limits { concurrency: 8, ..Limits::default() };
    let client = Client::new(Settings { limits, ..quick(&server) }).unwrap();
    let began = Instant::now();
    let (result, printed) = read(&client, CHILDREN, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), grandchildren());
    // Its two pages take 1.4 s; everything else fits into that.
    assert!(began.elapsed() < Duration::from_millis(2100), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_chain_of_three_is_read_to_its_end() {
    const LEAVES: Resource = Resource {
        request: || Request::get("leaves/{id}"),
        parent: Some(Parent {
            resource: &CHILDREN,
            key: "/n",
            into: Place::Part("id"),
            carry: &[],
        }),
        records: "",
        derive: &[],
        pages: Pages::One,
        incremental: None,
    };
    let server = serve(|call| match call.path.strip_prefix("/leaves/") {
        Some(n) => Answer::json(&json!({ "n": n.parse::<u64>().unwrap() })),
        None => family(call),
    });
    let (result, printed) = read(&client(&server), LEAVES, None, 1).await;
    result.unwrap();
    assert_eq!(printed.numbers(), grandchildren());
}
