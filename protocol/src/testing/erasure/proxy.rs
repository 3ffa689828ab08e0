//! A proxy between a connector and its server that breaks connections where a test says. It knows
//! nothing of what the two say but the word COMMIT: a piece is what comes at once.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Where connections break. After that none is taken any more.
#[derive(Debug)]
pub enum Cut {
    /// Before so many pieces of what the client says were passed on, all connections together.
    Pieces(usize),
    /// Nothing breaks: what is to run then runs, and the piece is passed on.
    Nowhere(usize),
    /// Before the COMMIT of the transaction is passed on.
    BeforeCommit,
    /// After it, and before its answer.
    AfterCommit,
}

/// The proxy, until the test ends.
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// How many pieces were passed on.
    passed: Arc<AtomicUsize>,
    shared: Arc<Shared>,
}

struct Shared {
    cut: Mutex<Option<Cut>>,
    /// Whether connections after the break are taken.
    again: bool,
    /// What runs at the break, before the connections go.
    at: Box<dyn Fn() + Send + Sync>,
    broken: AtomicBool,
    /// Whether what the server says is kept from the client.
    mute: AtomicBool,
    /// Whether it said something that is.
    answered: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens, and passes on to the server's port. `at` runs where it is cut, and connections after
    /// that are taken where it says `again`.
    pub fn new(
        server: u16,
        cut: Option<Cut>,
        again: bool,
        at: impl Fn() + Send + Sync + 'static,
    ) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let passed = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Shared {
            cut: Mutex::new(cut),
            again,
            at: Box::new(at),
            broken: false.into(),
            mute: false.into(),
            answered: false.into(),
            open: Mutex::default(),
        });
        let (count, all) = (Arc::clone(&passed), Arc::clone(&shared));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                if all.broken.load(Ordering::SeqCst) && !all.again {
                    continue;
                }
                let Ok(up) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                for stream in [&client, &up] {
                    stream.set_nodelay(true).unwrap();
                    all.open.lock().unwrap().push(stream.try_clone().unwrap());
                }
                let (from, to) = (up.try_clone().unwrap(), client.try_clone().unwrap());
                let mute = Arc::clone(&all);
                std::thread::spawn(move || {
                    pass(from, to, |_| mute.kept(), |_| false);
                });
                let (count, before, after) =
                    (Arc::clone(&count), Arc::clone(&all), Arc::clone(&all));
                std::thread::spawn(move || {
                    let number = |_: &[u8]| count.fetch_add(1, Ordering::SeqCst);
                    pass(
                        client,
                        up,
                        move |bytes| before.breaks(bytes, number(bytes), true),
                        move |bytes| after.breaks(bytes, 0, false),
                    );
                });
            }
        });
        Proxy { port, passed, shared }
    }

    /// How many pieces of what clients say it has passed on.
    pub fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }

    /// Whether it broke the connections.
    pub fn broke(&self) -> bool {
        self.shared.broken.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Whether the connections break at this piece; `early` before it is passed on.
    fn breaks(&self, bytes: &[u8], number: usize, early: bool) -> bool {
        let mut cut = self.cut.lock().unwrap();
        if matches!(&*cut, Some(Cut::Nowhere(pieces)) if early && number >= *pieces) {
            *cut = None;
            (self.at)();
            return false;
        }
        let commit = bytes.windows(6).any(|word| word == b"COMMIT");
        if commit && early && matches!(*cut, Some(Cut::AfterCommit)) {
            self.mute.store(true, Ordering::SeqCst);
        }
        let breaks = match (&*cut, early) {
            (Some(Cut::Pieces(pieces)), true) => number >= *pieces,
            (Some(Cut::BeforeCommit), true) | (Some(Cut::AfterCommit), false) => commit,
            _ => false,
        };
        if breaks {
            // Its answer says that the server has done it.
            while !early && !self.answered.load(Ordering::SeqCst) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            *cut = None;
            self.broken.store(true, Ordering::SeqCst);
            (self.at)();
            for stream in self.open.lock().unwrap().drain(..) {
                stream.shutdown(Shutdown::Both).ok();
            }
            self.mute.store(false, Ordering::SeqCst);
        }
        breaks
    }

    /// Whether what the server says now is kept from the client: then until the connections are gone,
    /// so that the client does not connect anew before that.
    fn kept(&self) -> bool {
        let kept = self.mute.load(Ordering::SeqCst);
        self.answered.fetch_or(kept, Ordering::SeqCst);
        while self.mute.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        kept
    }
}

/// Passes on what comes, until it ends or one of the two says so.
fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    before: impl Fn(&[u8]) -> bool,
    after: impl Fn(&[u8]) -> bool,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                let bytes = &buffer[..length];
                if before(bytes) || to.write_all(bytes).is_err() || after(bytes) {
                    break;
                }
            }
        }
    }
    to.shutdown(Shutdown::Both).ok();
    from.shutdown(Shutdown::Both).ok();
}
