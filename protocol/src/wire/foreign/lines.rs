//! Lines as they come, of any length.

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::fault::Fault;

/// How much is read at once: what a pipe holds.
const PIECE: usize = 64 * 1024;

/// A buffer that one long line blew up beyond this is given back.
const LARGE: usize = 1024 * 1024;

/// The longest line that is taken.
const LONGEST: usize = 512 * 1024 * 1024;

/// Lines of a stream, each in the buffer it was read into.
pub(super) struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// How far it is known to hold no line end.
    seen: usize,
    /// How far the buffer holds what was read.
    end: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R) -> Lines<R> {
        Lines { from, buffer: vec![0; PIECE], start: 0, seen: 0, end: 0 }
    }

    /// Whether there is a whole line to [`Lines::take`].
    pub(super) fn more(&mut self) -> Result<bool> {
        match memchr::memchr(b'\n', &self.buffer[self.seen..self.end]) {
            Some(at) => {
                self.seen += at;
                Ok(true)
            }
            None => {
                self.seen = self.end;
                match self.end - self.start > LONGEST {
                    true => Err(Fault::system("the program prints a line without an end").into()),
                    false => Ok(false),
                }
            }
        }
    }

    /// Reads more, and returns how much: nothing at the end. What was read is not lost when this is
    /// given up on.
    pub(super) async fn fill(&mut self) -> std::io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.seen -= self.start;
            self.start = 0;
            if self.buffer.len() > LARGE && self.end < PIECE {
                self.buffer.truncate(2 * PIECE);
                self.buffer.shrink_to_fit();
            }
        }
        if self.buffer.len() - self.end < PIECE / 2 {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let read = self.from.read(&mut self.buffer[self.end..]).await?;
        self.end += read;
        Ok(read)
    }

    /// The line up to the end that was found, or what is left after the last one.
    pub(super) fn take(&mut self) -> Option<&[u8]> {
        let (start, end) = (self.start, self.seen);
        let found = end < self.end;
        if !found && start == end {
            return None;
        }
        self.start = if found { end + 1 } else { end };
        self.seen = self.start;
        let line = &self.buffer[start..end];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Throws away what was read and not taken.
    pub(super) fn forget(&mut self) {
        (self.start, self.seen, self.end) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Lines::new(bytes);
        let mut all = Vec::new();
        loop {
            while !lines.more().unwrap() && lines.fill().await.unwrap() > 0 {}
            match lines.take() {
                Some(line) => all.push(line.to_vec()),
                None => return all,
            }
        }
    }

    #[tokio::test]
    async fn lines_of_any_length_and_ending_are_taken_whole() {
        let long = vec![b'x'; 5 * LARGE];
        let text = [b"a\n\r\nb\r\n", &long[..], b"\nc\n", b"last"].concat();
        let expected: [&[u8]; 6] = [b"a", b"", b"b", &long, b"c", b"last"];
        assert!(all(&text).await == expected);
        assert!(all(b"").await.is_empty());
        let short: Vec<u8> = (0..100_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        assert_eq!(all(&short).await.len(), 100_000);
    }
}
