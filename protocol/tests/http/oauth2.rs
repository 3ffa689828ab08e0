//! Tokens: fetched once for many, renewed, handed out when they are replaced.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::config::Secret;
use protocol::fault::Cause;
use protocol::http::{Client, Grant, Limits, OAuth2, Present, Request, ServiceAccount, Settings};
use protocol::testing::http::{Answer, Server};
use serde_json::{Value, json};

use crate::tools::{failure, quick, serve};

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
const RSA_KEY: &str = include_str!("rsa-test-key.pem");

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
