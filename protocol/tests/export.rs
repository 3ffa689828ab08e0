//! An export far larger than memory should be: it is read in memory that does not follow its size.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use protocol::http::{Client, Request, Settings};
use protocol::testing::http::{Answer, Server};

/// Pieces of a mebibyte, of lines that do not end where a piece does.
const PIECES: usize = 1024;
const PIECE: usize = 1 << 20;
const LINE: usize = 1000;

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

// The one test of its process, so that the memory is its own.
#[tokio::test]
async fn a_gibibyte_of_lines_is_read_in_a_few_mebibytes() {
    let server = Server::start(|_| {
        let line = format!("{{\"n\":\"{}\"}}\n", "x".repeat(LINE - 9));
        let text = line.repeat(PIECE / LINE + 2);
        let piece = move |i: usize| {
            let from = i * PIECE % LINE;
            text.as_bytes()[from..from + PIECE].to_vec()
        };
        Answer::pieces("application/x-ndjson", (0..PIECES).map(piece))
    })
    .unwrap();
    let client = Client::new(Settings::to(server.url())).unwrap();
    let mut body = client.open(&Request::get("export")).await.unwrap();
    let before = peak();
    let mut bytes = 0;
    while let Some(line) = body.line().await.unwrap() {
        assert!(line.len() < LINE);
        bytes += line.len() + 1;
    }
    assert!(bytes >= PIECES * PIECE, "{bytes}");
    // The server's pieces and the buffers of both sides.
    let grown = peak() - before;
    assert!(grown < 32 << 10, "it took {grown} KiB more");
}
