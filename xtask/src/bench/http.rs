//! The HTTP kit, through its smallest connector, beside curl fetching the same bytes and keeping none.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Bench, Contest, Suite};

pub(super) const SUITE: Suite =
    Suite { name: "http", connector: "guestbook", programs: &["curl"], services: &[], contests };

/// How many records a page has.
const PAGE: usize = 1_000;

/// Parents, and how many requests the connector has under way.
const PARENTS: usize = 10_000;
const AT_ONCE: usize = 16;

/// One parent's list in so many is slow.
const SLOW: usize = 100;

fn contests(bench: &Bench<'_>) -> Result<Vec<Contest>> {
    let mut spec = Command::new(bench.binary);
    spec.arg("spec");
    Ok(vec![
        Contest { name: "spec", ours: spec, peer: None, rounds: 51, toll: None },
        pages(bench, "100 pages of 1,000 records", 100, 7)?,
        pages(bench, "1,000 pages of 1,000 records", 1_000, 5)?,
        lists(bench)?,
    ])
}

/// Relaying a long list.
fn pages(bench: &Bench<'_>, name: &'static str, pages: usize, rounds: usize) -> Result<Contest> {
    let records: Vec<String> = (0..PAGE).map(guest).collect();
    let records = records.join(",");
    let server = serve(move |target| {
        let page = after(target);
        let next = if page + 1 < pages { format!("\"{}\"", page + 1) } else { "null".to_owned() };
        (Duration::ZERO, format!("{{\"guests\":[{records}],\"next\":{next}}}"))
    })?;
    let ours = read(bench, &format!("pages-{pages}"), server, "guests")?;
    let peer = curl(&[], format!("http://{server}/v1/guests?limit=100&after=[0-{}]", pages - 1));
    Ok(Contest { name, ours, peer: Some(("curl", peer)), rounds, toll: None })
}

/// A list of each of many parents, some of which are slow.
fn lists(bench: &Bench<'_>) -> Result<Contest> {
    let server = serve(|target| match target.strip_suffix("/visits") {
        Some(parent) => {
            let number: usize =
                parent.rsplit('/').next().and_then(|it| it.parse().ok()).unwrap_or(0);
            let wait = Duration::from_millis(if number.is_multiple_of(SLOW) { 300 } else { 1 });
            (wait, r#"{"visits":[{"id":"a","at":1},{"id":"b","at":2}],"next":null}"#.to_owned())
        }
        None => {
            let first = after(target);
            let guests: Vec<String> = (first..first + PAGE).map(guest).collect();
            let next = first + PAGE;
            let next = if next < PARENTS { format!("\"{next}\"") } else { "null".to_owned() };
            (Duration::ZERO, format!("{{\"guests\":[{}],\"next\":{next}}}", guests.join(",")))
        }
    })?;
    let ours = read(bench, "lists", server, "visits")?;
    let lists = format!("http://{server}/v1/guests/[0-{}]/visits", PARENTS - 1);
    let at_once = AT_ONCE.to_string();
    let peer = curl(&["--parallel", "--parallel-immediate", "--parallel-max", &at_once], lists);
    let name = "10,000 lists, one in 100 slow";
    Ok(Contest { name, ours, peer: Some(("curl --parallel", peer)), rounds: 3, toll: None })
}

/// Reading one store of the API at an address.
fn read(bench: &Bench<'_>, name: &str, server: SocketAddr, store: &str) -> Result<Command> {
    let write = |end: &str, content: serde_json::Value| {
        let path = bench.folder.join(format!("{name}.{end}.json"));
        fs::write(&path, content.to_string())
            .with_context(|| format!("writing {}", path.display()))
            .map(|()| path)
    };
    let config =
        write("config", json!({"api_key": "none", "base_url": format!("http://{server}")}))?;
    let stores = write("stores", json!({"schemas": [{"name": store}]}))?;
    let mut ours = Command::new(bench.binary);
    ours.arg("read").arg("-c").arg(config).arg("-s").arg(stores);
    Ok(ours)
}

fn curl(arguments: &[&str], urls: String) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--output", "/dev/null"]).args(arguments).arg(urls);
    curl
}

/// A record like those of many an API.
fn guest(number: usize) -> String {
    json!({
        "id": number.to_string(),
        "name": format!("Guest \"{number}\""),
        "email": format!("guest{number}@example.com"),
        "updated_at": 1_600_000_000 + number,
        "tags": ["of", "no", "consequence"],
        "address": {"street": format!("{number} Long Road"), "city": "Springfield", "country": null},
        "note": "said something on a day in spring, and something else in the autumn after it",
    })
    .to_string()
}

/// What the request's `after` says, 0 where there is none.
fn after(target: &str) -> usize {
    let (_, query) = target.split_once('?').unwrap_or_default();
    let after = query.split('&').find_map(|pair| pair.strip_prefix("after="));
    after.and_then(|after| after.parse().ok()).unwrap_or(0)
}

/// Serves answers, each after a while, as long as this process lives.
fn serve(
    answer: impl Fn(&str) -> (Duration, String) + Send + Sync + 'static,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on loopback")?;
    let address = listener.local_addr().context("listening on loopback")?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // A client that goes away in the middle is none of the server's business.
            thread::spawn(move || drop(converse(connection, &*answer)));
        }
    });
    Ok(address)
}

fn converse(
    mut connection: TcpStream,
    answer: &dyn Fn(&str) -> (Duration, String),
) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let (wait, body) = answer(head.split(' ').nth(1).unwrap_or_default());
        thread::sleep(wait);
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        connection.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    }
}
