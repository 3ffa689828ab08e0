//! An answer that is read piece by piece, so that its length does not matter.

use anyhow::Result;
use reqwest::header::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;

use super::client::broken;
use crate::fault::Fault;

/// The body of an answer, as it arrives, decompressed.
pub struct Body {
    response: reqwest::Response,
    /// Its place among the requests under way.
    _permit: OwnedSemaphorePermit,
    name: String,
    cap: usize,
    buffer: Vec<u8>,
    /// What was handed out already.
    start: usize,
    /// Up to where there is no line end.
    searched: usize,
    ended: bool,
}

impl Body {
    pub(super) fn new(
        response: reqwest::Response,
        permit: OwnedSemaphorePermit,
        name: String,
        cap: usize,
    ) -> Body {
        let buffer = Vec::new();
        Body { response, _permit: permit, name, cap, buffer, start: 0, searched: 0, ended: false }
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next piece, however long it is; `None` at the end.
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>> {
        let piece = self.response.chunk().await;
        Ok(piece.map_err(|error| self.cut(error))?.map(|piece| piece.to_vec()))
    }

    /// The next line that is not blank, without its end; `None` at the end.
    pub async fn line(&mut self) -> Result<Option<&[u8]>> {
        loop {
            let found = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n');
            let (end, next) = match found {
                Some(place) => (self.searched + place, self.searched + place + 1),
                None if self.ended && self.start < self.buffer.len() => {
                    (self.buffer.len(), self.buffer.len())
                }
                None if self.ended => return Ok(None),
                None => {
                    self.fill().await?;
                    continue;
                }
            };
            let start = std::mem::replace(&mut self.start, next);
            self.searched = next;
            if !self.buffer[start..end].trim_ascii().is_empty() {
                return Ok(Some(self.buffer[start..end].trim_ascii()));
            }
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.searched = self.buffer.len();
        if self.buffer.len() > self.cap {
            let why = format!("{}: a line is longer than {} bytes", self.name, self.cap);
            return Err(Fault::system(why).into());
        }
        match self.response.chunk().await {
            Ok(Some(piece)) => self.buffer.extend_from_slice(&piece),
            Ok(None) => self.ended = true,
            Err(error) => return Err(self.cut(error)),
        }
        Ok(())
    }

    fn cut(&self, error: reqwest::Error) -> anyhow::Error {
        let fault = Fault::transient(format!("{}: the answer broke off", self.name));
        anyhow::anyhow!(broken(error)).context(fault)
    }
}
