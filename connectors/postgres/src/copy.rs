//! `COPY … TO STDOUT (FORMAT binary)`: the fastest way out of a server, row by row into records.

use std::pin::Pin;
use std::task::Poll;

use futures::{Stream as _, future::poll_fn};
use protocol::json::{Json, members};
use protocol::output::Output;
use protocol::{Result, bail};
use tokio_postgres::{Client, CopyOutStream};

use crate::catalog::ColumnWay;
use crate::config::Settings;
use crate::decode::Decoder;
use crate::fault::explain;

/// What every stream begins with; two 32-bit numbers and as many bytes as the second says follow.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Writes rows as objects of some columns.
pub(crate) struct Objects(Vec<(Vec<u8>, Decoder)>);

impl Objects {
    pub(crate) fn of<'a>(columns: impl IntoIterator<Item = (&'a str, &'a ColumnWay)>) -> Objects {
        let columns: Vec<(&str, &ColumnWay)> = columns.into_iter().collect();
        let ways = columns.iter().map(|(_, way)| way.resolved.decoder.clone());
        Objects(members(columns.iter().map(|(name, _)| *name)).zip(ways).collect())
    }

    /// Pushes the row that stands at the beginning of `fields`, and returns what follows it.
    #[inline]
    pub(crate) fn push<'r>(&self, fields: Fields<'r>, out: &mut Output) -> Result<Fields<'r>> {
        let mut fields = fields;
        out.row(|json| self.write(|_| fields.next(), json))?;
        Ok(fields)
    }

    /// Pushes a row whose fields `field` gives by their places.
    pub(crate) fn push_row<'r>(
        &self,
        field: impl FnMut(usize) -> Result<Option<&'r [u8]>>,
        out: &mut Output,
    ) -> Result<()> {
        out.row(|json| self.write(field, json))
    }

    #[inline]
    fn write<'r>(
        &self,
        mut field: impl FnMut(usize) -> Result<Option<&'r [u8]>>,
        json: &mut Json<'_>,
    ) -> Result<()> {
        for (place, (before, decoder)) in self.0.iter().enumerate() {
            json.raw(before);
            match field(place)? {
                None => json.null(),
                Some(value) => decoder.write(value, json)?,
            }
        }
        json.raw(if self.0.is_empty() { b"{}" } else { b"}" });
        Ok(())
    }
}

/// The fields of a row that have not been taken.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'r>(&'r [u8]);

impl<'r> Fields<'r> {
    /// The next field; `None` for null.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<&'r [u8]>> {
        let Some((length, rest)) = self.0.split_first_chunk::<4>() else { return cut() };
        let length = i32::from_be_bytes(*length);
        if length < 0 {
            self.0 = rest;
            return Ok(None);
        }
        let Some((value, rest)) = rest.split_at_checked(length as usize) else { return cut() };
        self.0 = rest;
        Ok(Some(value))
    }
}

#[cold]
fn cut<T>() -> Result<T> {
    bail!("a row of the server's stream is cut")
}

/// Runs `COPY (query) TO STDOUT` and calls `row` with each row. `begin` is called each time rows
/// have come in and what it returns lives while they are taken: a lock is taken once for many.
pub(crate) async fn copy<G>(
    settings: &Settings,
    client: &Client,
    query: &str,
    mut begin: impl FnMut() -> G,
    mut row: impl FnMut(&mut G, Fields<'_>) -> Result<()>,
) -> Result<()> {
    let text = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
    let stream = client.copy_out(&text).await.map_err(|error| explain(&settings.server, error))?;
    let mut stream: Pin<Box<CopyOutStream>> = Box::pin(stream);
    let mut headed = false;
    poll_fn(|context| {
        let mut guard = begin();
        loop {
            let chunk = match stream.as_mut().poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(explain(&settings.server, error)));
                }
                Poll::Ready(Some(Ok(chunk))) => chunk,
            };
            let mut bytes = &chunk[..];
            if !headed {
                headed = true;
                bytes = match header(bytes) {
                    Ok(rest) => rest,
                    Err(error) => return Poll::Ready(Err(error)),
                };
            }
            // The server sends a row as one message, and the header as one or before the first.
            let Some((count, fields)) = bytes.split_first_chunk::<2>() else { continue };
            if i16::from_be_bytes(*count) == -1 {
                continue;
            }
            if let Err(error) = row(&mut guard, Fields(fields)) {
                return Poll::Ready(Err(error));
            }
        }
    })
    .await
}

fn header(bytes: &[u8]) -> Result<&[u8]> {
    let after = bytes.strip_prefix(SIGNATURE).and_then(|rest| rest.split_at_checked(8));
    let Some((numbers, rest)) = after else { bail!("the server's stream has no header") };
    let extension = numbers.last_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length));
    match rest.get(extension as usize..) {
        Some(rest) => Ok(rest),
        None => cut(),
    }
}
