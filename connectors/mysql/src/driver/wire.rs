//! Packets over a socket, in the clear or encrypted.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// A packet of this length goes on in the next one.
const WHOLE: usize = 0xff_ffff;

/// What is read at once. The server sends pieces of 16 KiB, and waking up for each costs both sides.
const BUFFER: usize = 256 * 1024;

/// A read that gave this much is part of a long result, of which more is to come.
const BULK: usize = 8 * 1024;

/// How long to let more of a long result arrive before reading on. The kernel's buffer holds what
/// comes meanwhile.
const PAUSE: Duration = Duration::from_millis(1);

/// A buffer that grew beyond this for one row is given back.
const LARGE: usize = 1024 * 1024;

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// Between the two.
    None,
}

/// One side of a conversation in packets.
pub(super) struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
    /// What of the buffer was received and not yet handed out.
    start: usize,
    end: usize,
    /// Whether to let more arrive before the next read.
    bulk: bool,
    sequence: u8,
    /// A payload that came in several packets.
    joined: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Wire {
        Wire {
            stream: Stream::Plain(stream),
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            bulk: false,
            sequence: 0,
            joined: Vec::new(),
        }
    }

    /// Encrypts what comes from here on.
    pub(super) fn encrypt(&mut self, config: Arc<ClientConfig>, host: &str) -> io::Result<()> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::None) else {
            return Err(io::Error::other("the connection is encrypted already"));
        };
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// Whether what is said now is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The socket below.
    pub(super) fn socket(&self) -> Option<&TcpStream> {
        match &self.stream {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(stream) => Some(&stream.sock),
            Stream::None => None,
        }
    }

    /// Begins a new exchange with a command.
    pub(super) fn command(&mut self, payload: &[u8]) -> io::Result<()> {
        self.sequence = 0;
        self.send(payload)
    }

    /// Sends a payload as the next packet of the exchange, or several.
    pub(super) fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(payload.len().min(WHOLE) + 4);
        let mut rest = payload;
        loop {
            let (part, more) = rest.split_at(rest.len().min(WHOLE));
            out.clear();
            out.extend_from_slice(&(part.len() as u32).to_le_bytes()[..3]);
            out.push(self.sequence);
            out.extend_from_slice(part);
            self.sequence = self.sequence.wrapping_add(1);
            match &mut self.stream {
                Stream::Plain(stream) => stream.write_all(&out)?,
                Stream::Tls(stream) => {
                    stream.write_all(&out)?;
                    stream.flush()?;
                }
                Stream::None => return Err(io::ErrorKind::NotConnected.into()),
            }
            rest = more;
            // One that is exactly full is followed by an empty one.
            if part.len() < WHOLE {
                return Ok(());
            }
        }
    }

    /// The next payload. Mostly a piece of the buffer, so that nothing is copied.
    #[inline]
    pub(super) fn packet(&mut self) -> io::Result<&[u8]> {
        let length = self.header()?;
        if length < WHOLE {
            if !self.joined.is_empty() {
                self.joined = Vec::new();
            }
            let from = self.take(length)?;
            return Ok(&self.buffer[from..from + length]);
        }
        self.joined = Vec::with_capacity(2 * WHOLE);
        let mut length = length;
        loop {
            let from = self.take(length)?;
            self.joined.extend_from_slice(&self.buffer[from..from + length]);
            if length < WHOLE {
                return Ok(&self.joined);
            }
            length = self.header()?;
        }
    }

    /// The length that the next packet's header tells.
    #[inline]
    fn header(&mut self) -> io::Result<usize> {
        let from = self.take(4)?;
        let header = &self.buffer[from..from + 4];
        self.sequence = header[3].wrapping_add(1);
        Ok(usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16)
    }

    /// Where the next `length` bytes stand in the buffer, which are received if need be.
    #[inline]
    fn take(&mut self, length: usize) -> io::Result<usize> {
        if self.end - self.start < length {
            self.receive(length)?;
        }
        let from = self.start;
        self.start += length;
        Ok(from)
    }

    #[cold]
    fn receive(&mut self, length: usize) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        } else if self.buffer.len() > LARGE && length < BUFFER && self.end < BUFFER {
            self.buffer.truncate(BUFFER);
            self.buffer.shrink_to_fit();
        }
        while self.end < length {
            if std::mem::take(&mut self.bulk) {
                thread::sleep(PAUSE);
            }
            let room = &mut self.buffer[self.end..];
            let received = match &mut self.stream {
                Stream::Plain(stream) => stream.read(room),
                Stream::Tls(stream) => stream.read(room),
                Stream::None => return Err(io::ErrorKind::NotConnected.into()),
            };
            match received {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.bulk = n >= BULK && n < room.len();
                    self.end += n;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Takes a payload apart. What is not there is a broken payload.
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

impl<'a> Parts<'a> {
    #[inline]
    pub(super) fn bytes(&mut self, n: usize) -> io::Result<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(n).ok_or_else(broken)?;
        self.0 = rest;
        Ok(part)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (part, rest) = self.0.split_first_chunk().ok_or_else(broken)?;
        self.0 = rest;
        Ok(*part)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> io::Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Up to a NUL, or to the end where there is none.
    pub(super) fn until_nul(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        let part = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        part
    }

    /// A length-encoded integer.
    #[inline]
    pub(super) fn length(&mut self) -> io::Result<u64> {
        Ok(match self.byte()? {
            0xfc => u16::from_le_bytes(self.array()?).into(),
            0xfd => {
                let [a, b, c] = self.array()?;
                u32::from_le_bytes([a, b, c, 0]).into()
            }
            0xfe => u64::from_le_bytes(self.array()?),
            small => small.into(),
        })
    }

    /// Bytes after their length.
    #[inline]
    pub(super) fn prefixed(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.length()?).map_err(|_| broken())?;
        self.bytes(length)
    }
}

/// Appends a length-encoded integer.
pub(super) fn push_length(out: &mut Vec<u8>, length: usize) {
    match length {
        0..0xfb => out.push(length as u8),
        0xfb..0x1_0000 => {
            out.push(0xfc);
            out.extend_from_slice(&(length as u16).to_le_bytes());
        }
        0x1_0000..0x100_0000 => {
            out.push(0xfd);
            out.extend_from_slice(&(length as u32).to_le_bytes()[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&(length as u64).to_le_bytes());
        }
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the server sent a packet that ends too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_reads_back_at_every_size() {
        for length in [0, 250, 251, 65535, 65536, 0xff_ffff, 0x100_0000] {
            let mut out = Vec::new();
            push_length(&mut out, length);
            let mut parts = Parts(&out);
            assert_eq!(parts.length().unwrap(), length as u64);
            assert!(parts.0.is_empty());
        }
        assert!(Parts(&[0xfc, 1]).length().is_err());
    }

    #[test]
    fn a_payload_of_several_packets_arrives_whole() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for length in [0, 5, BUFFER + 1, WHOLE - 1, WHOLE, WHOLE + 7] {
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let sent = payload.clone();
            let sender = std::thread::spawn(move || {
                let mut wire = Wire::new(TcpStream::connect(address).unwrap());
                wire.command(&sent).unwrap();
                wire.send(b"after").unwrap();
            });
            let mut wire = Wire::new(listener.accept().unwrap().0);
            assert!(wire.packet().unwrap() == payload, "{length}");
            assert_eq!(wire.packet().unwrap(), b"after");
            sender.join().unwrap();
        }
    }
}
