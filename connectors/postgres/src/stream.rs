//! The socket, read in large pieces: a server sends 8 KB at a time, and waking up for each is most
//! of what a fast read costs.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::yield_now;

/// How much is taken from the socket at once.
const BUFFER: usize = 256 * 1024;

/// A read that gave this much is part of a bulk transfer, in which more is to come.
const BULK: usize = 8 * 1024;

/// How long to let more of a bulk transfer arrive before looking again. The kernel's buffer holds
/// what comes meanwhile; whoever waits for the last piece waits this much longer, once.
///
/// The thread sleeps and not the task: a task that sleeps leaves the socket to the runtime, which
/// the kernel wakes for each piece all the same, and that is the greater part of the cost.
const PAUSE: Duration = Duration::from_millis(1);

/// A socket.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket whose reads are coalesced.
pub(crate) struct Coalesced {
    socket: Socket,
    buffer: Box<[u8]>,
    /// What of the buffer has not been handed on.
    filled: std::ops::Range<usize>,
    /// Whether to let whoever takes the rows come first: the driver keeps what they have not taken,
    /// and where they have taken all, it fills the same memory anew.
    behind: bool,
    /// Whether to let more arrive before the next read.
    bulk: bool,
}

impl Coalesced {
    pub(crate) fn new(socket: Socket) -> Coalesced {
        Coalesced {
            socket,
            buffer: vec![0; BUFFER].into(),
            filled: 0..0,
            behind: false,
            bulk: false,
        }
    }

    /// Fills the empty buffer; at the end of the stream it stays empty.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.behind) {
            ready!(pin!(yield_now()).poll(context));
        }
        if std::mem::take(&mut self.bulk) {
            std::thread::sleep(PAUSE);
        }
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(context, &mut buffer),
            Socket::Unix(socket) => Pin::new(socket).poll_read(context, &mut buffer),
        })?;
        let n = buffer.filled().len();
        self.filled = 0..n;
        self.behind = n >= BULK;
        self.bulk = self.behind && n < BUFFER;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Coalesced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.filled.is_empty() {
            ready!(this.poll_fill(context))?;
        }
        let n = this.filled.len().min(target.remaining());
        target.put_slice(&this.buffer[this.filled.start..this.filled.start + n]);
        this.filled.start += n;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Coalesced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            Socket::Unix(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket keeps nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
