//! A server on loopback that stands in for a vendor: what it answers is a function of the test's.
//!
//! It speaks HTTP/1.1 with threads and blocking sockets, so that it needs no runtime and can serve
//! both tests in this process and a connector's binary. It can also be slow, stop in the middle of
//! an answer, and hang up, as real servers do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// The path and query as they came.
    pub target: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Call {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        value_of(&self.headers, name)
    }

    /// The first query parameter of a name.
    pub fn query(&self, name: &str) -> Option<&str> {
        value_of(&self.query, name)
    }

    /// The first field of a name in a form.
    pub fn form(&self, name: &str) -> Option<String> {
        let pairs = pairs(&String::from_utf8_lossy(&self.body));
        value_of(&pairs, name).map(str::to_owned)
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The method and path, for a `match`.
    pub fn line(&self) -> (&str, &str) {
        (&self.method, &self.path)
    }
}

fn value_of<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (decode(name, true), decode(value, true))).collect()
}

fn decode(text: &str, form: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let hex = |at: usize| after.get(at).and_then(|&b| char::from(b).to_digit(16));
        match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            (b'+', ..) if form => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is answered.
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Content,
    wait: Duration,
    end: End,
}

enum Content {
    Whole(Arc<[u8]>),
    Pieces(Box<dyn Iterator<Item = Vec<u8>> + Send>),
}

enum End {
    Proper,
    /// After so many bytes of the body the connection is closed.
    Cut(usize),
    /// Nothing is answered at all.
    HangUp,
}

impl Answer {
    /// An answer of one status with a body.
    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer::shared(status, kind, body.into().into())
    }

    /// The same with a body that several answers share.
    pub fn shared(status: u16, kind: &str, body: Arc<[u8]>) -> Answer {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        let body = Content::Whole(body);
        Answer { status, headers, body, wait: Duration::ZERO, end: End::Proper }
    }

    /// JSON.
    pub fn json(body: &Value) -> Answer {
        Answer::new(200, "application/json", body.to_string())
    }

    /// A status with a JSON body.
    pub fn status(status: u16, body: &Value) -> Answer {
        Answer { status, ..Answer::json(body) }
    }

    /// A body that is made while it is sent.
    pub fn pieces(kind: &str, pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Answer {
        Answer { body: Content::Pieces(Box::new(pieces)), ..Answer::new(200, kind, "") }
    }

    /// Nothing: the connection is closed.
    pub fn hang_up() -> Answer {
        Answer { end: End::HangUp, ..Answer::new(200, "text/plain", "") }
    }

    /// The same with a header.
    pub fn header(mut self, name: &str, value: impl ToString) -> Answer {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// The same, later.
    pub fn after(self, wait: Duration) -> Answer {
        Answer { wait, ..self }
    }

    /// The same, but the connection is closed after so many bytes of the body.
    pub fn cut(self, bytes: usize) -> Answer {
        Answer { end: End::Cut(bytes), ..self }
    }
}

/// A server on loopback. It stops when it is dropped.
pub struct Server {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// Starts a server that answers by `handler`, which may be called from many threads at once.
    pub fn start(handler: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> io::Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let server = Server { address, calls: Arc::default(), stopped: Arc::default() };
        let (calls, stopped) = (Arc::clone(&server.calls), Arc::clone(&server.stopped));
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let (calls, handler) = (Arc::clone(&calls), Arc::clone(&handler));
                // A client that goes away in the middle is none of the server's business.
                std::thread::spawn(move || drop(serve(connection, &calls, &*handler)));
            }
        });
        Ok(server)
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What came in so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what came in so far.
    pub fn forget(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    connection: TcpStream,
    calls: &Mutex<Vec<Call>>,
    handler: &dyn Fn(&Call) -> Answer,
) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut writer = connection;
    while let Some(call) = read(&mut reader)? {
        calls.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
        let answer = handler(&call);
        std::thread::sleep(answer.wait);
        if !write(&mut writer, answer)? {
            break;
        }
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Call>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut call = Call {
        method: method.to_owned(),
        path: decode(path, false),
        target: target.to_owned(),
        query: pairs(query),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        call.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = call.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    call.body.resize(length, 0);
    reader.read_exact(&mut call.body)?;
    Ok(Some(call))
}

/// Whether the connection can go on.
fn write(writer: &mut TcpStream, answer: Answer) -> io::Result<bool> {
    let Answer { status, headers, body, end, .. } = answer;
    if matches!(end, End::HangUp) {
        return Ok(false);
    }
    let mut head = format!("HTTP/1.1 {status} \r\n");
    let dated = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date"));
    if !dated {
        head.push_str(&format!("date: {}\r\n", httpdate::fmt_http_date(SystemTime::now())));
    }
    for (name, value) in &headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match body {
        Content::Whole(body) => {
            head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
            writer.write_all(head.as_bytes())?;
            match end {
                End::Cut(bytes) => {
                    writer.write_all(&body[..bytes.min(body.len())])?;
                    Ok(false)
                }
                _ => writer.write_all(&body).map(|()| true),
            }
        }
        Content::Pieces(pieces) => {
            head.push_str("transfer-encoding: chunked\r\n\r\n");
            writer.write_all(head.as_bytes())?;
            let mut left = match end {
                End::Cut(bytes) => bytes,
                _ => usize::MAX,
            };
            for piece in pieces.filter(|piece| !piece.is_empty()) {
                if left < piece.len() {
                    return Ok(false);
                }
                left -= piece.len();
                writer.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
                writer.write_all(&piece)?;
                writer.write_all(b"\r\n")?;
            }
            writer.write_all(b"0\r\n\r\n")?;
            Ok(true)
        }
    }
}
