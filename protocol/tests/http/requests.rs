//! Requests: what goes with them, when they are sent again, and what their failures say.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use protocol::anyhow::Result;
use protocol::async_trait;
use protocol::config::Secret;
use protocol::fault::Cause;
use protocol::http::{
    Auth, Basic, Bearer, Client, Draft, Hook, Key, Limits, Reply, Request, Retries, Settings,
    Signature, StatusCode, Told, Window,
};
use protocol::testing::http::Answer;
use serde_json::{Value, json};

use crate::tools::{client, failure, quick, serve};

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
