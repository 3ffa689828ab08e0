//! A client for the wire protocol of MySQL and MariaDB: just what a connector needs of it, so that a
//! row goes from the socket into the output without a copy or an allocation in between.
//!
//! Statements with rows are prepared and executed: their rows come in the binary form, in which
//! every number is exact, one after the other as the server finds them.

mod login;
mod refusal;
mod value;
mod wire;

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use protocol::Result;
use protocol::fault::Fault;

pub(crate) use login::Login;
pub(crate) use refusal::{Place, Refusal, explain};
pub(crate) use value::{Cell, Form, Moment, Span, Value};
use wire::{Parts, Wire};

mod command {
    pub(super) const QUERY: u8 = 0x03;
    pub(super) const PREPARE: u8 = 0x16;
    pub(super) const EXECUTE: u8 = 0x17;
    pub(super) const CLOSE: u8 = 0x19;
}

/// A connection that is logged in.
pub(crate) struct Client {
    wire: Wire,
    /// Whether the conversation was left in the middle of a result.
    broken: bool,
}

/// A prepared statement, good on the connection that prepared it.
#[derive(Clone, Copy)]
pub(crate) struct Prepared {
    id: u32,
    parameters: u16,
}

impl Client {
    /// Connects and logs in, each address of the host in turn, within `timeout`.
    pub(crate) fn connect(port: u16, login: &Login<'_>, timeout: Duration) -> Result<Client> {
        let until = Instant::now() + timeout;
        let addresses = (login.host, port).to_socket_addrs().map_err(|error| {
            Fault::config(format!("`hostname`: {} is not known: {error}", login.host))
        })?;
        let mut last: io::Error = io::ErrorKind::AddrNotAvailable.into();
        for address in addresses {
            let left =
                until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    // A server that accepts and then says nothing must not hold us for ever.
                    stream.set_read_timeout(Some(left))?;
                    let mut wire = Wire::new(stream);
                    login::login(&mut wire, login)?;
                    if let Some(socket) = wire.socket() {
                        socket.set_read_timeout(None)?;
                    }
                    return Ok(Client { wire, broken: false });
                }
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// Runs a statement without parameters and rows.
    pub(crate) fn run(&mut self, text: &str) -> Result<u64> {
        self.ready()?;
        self.say(command::QUERY, text.as_bytes())?;
        match self.head()? {
            Head::Done(affected) => Ok(affected),
            Head::Rows(columns) => {
                self.broken = true;
                self.skip_definitions(columns)?;
                while !ends(self.wire.packet()?)? {}
                self.broken = false;
                Ok(0)
            }
        }
    }

    /// Prepares a statement.
    pub(crate) fn prepare(&mut self, text: &str) -> Result<Prepared> {
        self.ready()?;
        self.say(command::PREPARE, text.as_bytes())?;
        let mut parts = Parts(self.wire.packet()?);
        if parts.byte()? == 0xff {
            return Err(refusal::parse(parts.0).into());
        }
        let id = u32::from_le_bytes(parts.array()?);
        let columns = u16::from_le_bytes(parts.array()?);
        let parameters = u16::from_le_bytes(parts.array()?);
        self.skip_definitions(parameters.into())?;
        self.skip_definitions(columns.into())?;
        Ok(Prepared { id, parameters })
    }

    /// Forgets a prepared statement.
    pub(crate) fn close(&mut self, prepared: Prepared) -> Result<()> {
        // It has no answer; a connection that is in the middle of a result keeps the statement.
        if !self.broken {
            self.say(command::CLOSE, &prepared.id.to_le_bytes())?;
        }
        Ok(())
    }

    /// Executes a prepared statement without rows; how many rows it found and changed.
    pub(crate) fn execute(&mut self, prepared: Prepared, values: &[Value]) -> Result<u64> {
        let mut none = |_: &mut Row<'_>| Ok(());
        self.executed(prepared, values, &mut none)
    }

    /// Executes a statement once, and hands each row of its result to `each`.
    pub(crate) fn rows(
        &mut self,
        text: &str,
        values: &[Value],
        mut each: impl FnMut(&mut Row<'_>) -> Result<()>,
    ) -> Result<u64> {
        let prepared = self.prepare(text)?;
        let done = self.executed(prepared, values, &mut each);
        self.close(prepared)?;
        done
    }

    fn executed(
        &mut self,
        prepared: Prepared,
        values: &[Value],
        each: &mut impl FnMut(&mut Row<'_>) -> Result<()>,
    ) -> Result<u64> {
        self.ready()?;
        if usize::from(prepared.parameters) != values.len() {
            return Err(Fault::system("a statement's values are not those of its text").into());
        }
        let mut payload = Vec::with_capacity(16 + 16 * values.len());
        payload.push(command::EXECUTE);
        payload.extend_from_slice(&prepared.id.to_le_bytes());
        // No cursor: the rows come as they are found. One iteration.
        payload.extend_from_slice(&[0, 1, 0, 0, 0]);
        value::push_all(&mut payload, values);
        self.wire.command(&payload)?;
        let columns = match self.head()? {
            Head::Done(affected) => return Ok(affected),
            Head::Rows(columns) => columns,
        };
        self.broken = true;
        let mut forms = Vec::new();
        for _ in 0..columns {
            forms.push(form(self.wire.packet()?)?);
        }
        // The end of the definitions.
        self.wire.packet()?;
        // Two bits are never used.
        let nulls = (usize::try_from(columns)? + 9) / 8;
        loop {
            let packet = self.wire.packet()?;
            if ends(packet).inspect_err(|_| self.broken = false)? {
                self.broken = false;
                return Ok(0);
            }
            let mut parts = Parts(packet);
            parts.byte()?;
            let nulls = parts.bytes(nulls)?;
            each(&mut Row { forms: &forms, nulls, rest: parts, place: 0 })?;
        }
    }

    fn ready(&self) -> Result<()> {
        if self.broken {
            return Err(
                Fault::transient("the connection was left in the middle of a result").into()
            );
        }
        Ok(())
    }

    fn say(&mut self, command: u8, rest: &[u8]) -> io::Result<()> {
        let mut payload = Vec::with_capacity(rest.len() + 1);
        payload.push(command);
        payload.extend_from_slice(rest);
        self.wire.command(&payload)
    }

    /// The first packet of an answer.
    fn head(&mut self) -> Result<Head> {
        let packet = self.wire.packet()?;
        let mut parts = Parts(packet);
        match packet.first() {
            Some(0x00) => {
                parts.byte()?;
                Ok(Head::Done(parts.length()?))
            }
            Some(0xff) => Err(refusal::parse(&packet[1..]).into()),
            Some(0xfb) => {
                // It would be a file of this machine that a server asks for.
                self.broken = true;
                Err(Fault::system("the server asks for a file").into())
            }
            _ => Ok(Head::Rows(parts.length()?)),
        }
    }

    /// Passes over definitions of columns or parameters, and the packet that ends them.
    fn skip_definitions(&mut self, count: u64) -> Result<()> {
        if count > 0 {
            for _ in 0..count + 1 {
                self.wire.packet()?;
            }
        }
        Ok(())
    }
}

/// What an answer begins with.
enum Head {
    /// It is all: so many rows were found.
    Done(u64),
    /// Rows of so many columns follow.
    Rows(u64),
}

/// Whether a packet ends a result's rows.
#[inline]
fn ends(packet: &[u8]) -> Result<bool> {
    match packet.first() {
        Some(0xfe) if packet.len() < 9 => Ok(true),
        Some(0xff) => Err(refusal::parse(&packet[1..]).into()),
        _ => Ok(false),
    }
}

/// The form of a column's values, from its definition.
fn form(packet: &[u8]) -> io::Result<Form> {
    let mut parts = Parts(packet);
    // Catalog, schema, table, original table, name, original name.
    for _ in 0..6 {
        parts.prefixed()?;
    }
    parts.length()?;
    let charset = u16::from_le_bytes(parts.array()?);
    // The length that it is shown in.
    parts.bytes(4)?;
    let kind = parts.byte()?;
    let flags = u16::from_le_bytes(parts.array()?);
    Ok(Form::of(kind, charset, flags))
}

/// A row of a result, whose cells are taken in order.
pub(crate) struct Row<'a> {
    forms: &'a [Form],
    nulls: &'a [u8],
    rest: Parts<'a>,
    place: usize,
}

impl<'a> Row<'a> {
    /// The next cell.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Cell<'a>> {
        let place = self.place;
        let form = self
            .forms
            .get(place)
            .ok_or_else(|| Fault::system("a row has fewer cells than were asked for"))?;
        self.place += 1;
        let bit = place + 2;
        if self.nulls[bit / 8] & (1 << (bit % 8)) != 0 {
            return Ok(Cell::Null);
        }
        Ok(form.take(&mut self.rest)?)
    }

    /// The form of each cell.
    pub(crate) fn forms(&self) -> &'a [Form] {
        self.forms
    }

    /// The next cell as text; `None` where it is null.
    pub(crate) fn text(&mut self) -> Result<Option<String>> {
        Ok(match self.next()? {
            Cell::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Cell::Integer(integer) => Some(integer.to_string()),
            Cell::Unsigned(integer) => Some(integer.to_string()),
            _ => None,
        })
    }

    /// The next cell as a count; `None` where it is null.
    pub(crate) fn count(&mut self) -> Result<Option<u64>> {
        Ok(match self.next()? {
            Cell::Integer(integer) => u64::try_from(integer).ok(),
            Cell::Unsigned(integer) => Some(integer),
            _ => None,
        })
    }
}
