//! Reads a table in the order in which its rows are stored: the fastest way, by several connections
//! where it is large, and on from any state.
//!
//! A read on begins with what came or changed since the state, found by its transactions, and then
//! takes the places that are left. An updated row is stored in a new place under a new transaction,
//! so it is found wherever it went.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::try_join_all;
use protocol::fault::Fault;
use protocol::output::Output;
use protocol::silo::From;
use protocol::sql::catalog::Column;
use protocol::{Context, Result, bail, log};
use tokio_postgres::Client;

use crate::catalog::{ColumnWay, Part};
use crate::config::Settings;
use crate::copy::{Objects, copy};
use crate::fault::explain;
use crate::pool::{Lease, Snapshot, first_row};
use crate::sql;
use crate::state::{Horizon, PartState, Place, Span, State, another_way, since};
use crate::table::Rows;

/// A table of fewer blocks is read by one connection.
const LARGE: u32 = 4096;

/// How many pieces of a large table there are for each connection.
const PIECES: u32 = 8;

/// A piece has no fewer blocks, as asking for one takes a moment. Of a table of fewer it is found out
/// which unfinished transactions' neighbours were seen.
const SMALL: u32 = 1024;

/// More transactions than this are not listed in a state.
const LISTED: usize = 500;

/// Reads the table, or what a state has not seen of it.
pub(crate) async fn read(rows: &Rows<'_>, from: &From<'_>, out: &mut Output) -> Result<()> {
    let lease = rows.pool()?.lease().await?;
    let result = read_on(rows, from, &lease, out).await;
    // Locks go too, so that the table's owner can alter it while others are read.
    lease.end(&result).await;
    result
}

/// A part, with how large it is now.
struct Found<'r> {
    part: &'r Part,
    blocks: u32,
}

async fn read_on(
    rows: &Rows<'_>,
    from: &From<'_>,
    lease: &Lease<'_>,
    out: &mut Output,
) -> Result<()> {
    let settings = &*rows.silo.settings;
    let columns = rows.columns(from.properties)?;
    let found = hold(settings, rows, lease.client()).await?;
    let table = rows.relation.oid;
    let whole = |part: &Part| PartState { oid: part.oid, node: part.node, rest: vec![Span::ALL] };
    // Stores without a key say that they cannot go on from a state.
    let keyed = !rows.table.key.is_empty();
    let mut parts: Vec<PartState> = found.iter().map(|found| whole(found.part)).collect();
    match State::parse(from.since)? {
        None => {}
        Some(State::Order { .. }) => return Err(another_way()),
        Some(State::Place { horizon, parts: left }) => {
            match horizon.stale(&lease.snapshot, table) {
                Some(why) => {
                    log::warn(format_args!("{}: {why}: it is read in full", rows.table.id));
                }
                None => {
                    for (now, found) in parts.iter_mut().zip(&found) {
                        // A part that is new is read in full; so is one that was rewritten before
                        // it was read to its end, because its places are others now.
                        let known = left.iter().find(|left| {
                            left.oid == now.oid && (left.node == now.node || left.rest.is_empty())
                        });
                        let Some(known) = known else { continue };
                        now.rest.clone_from(&known.rest);
                        if !horizon.is_now(&lease.snapshot) {
                            late(settings, found.part, &horizon, &now.rest, lease, &columns, out)
                                .await?;
                        }
                    }
                }
            }
        }
    }
    if from.since.is_none() {
        let known: f64 = found.iter().map(|found| found.part.rows.max(0.0)).sum();
        if known > 0.0 {
            out.total(known as u64);
        }
    }
    let blocks: u32 = found.iter().map(|found| found.blocks).fold(0, u32::saturating_add);
    let seen = match lease.snapshot.xmin < lease.snapshot.xmax && blocks <= SMALL && keyed {
        true => seen(settings, &found, &lease.snapshot, lease.client()).await?,
        false => Vec::new(),
    };
    let horizon = Horizon::of(&lease.snapshot, table, seen);
    // Further connections, as many as the run may still have.
    let mut further = Vec::new();
    let mut permits = Vec::new();
    if blocks >= LARGE {
        while further.len() + 1 < from.parallel {
            let Ok(permit) = rows.readers(from.parallel).await.try_acquire() else { break };
            permits.push(permit);
            further.push(rows.pool()?.lease().await?);
        }
        split(&mut parts, &found, further.len() + 1);
    }
    // What `late` has read must stand before any state that covers it.
    out.flush()?;
    let outs = (0..=further.len()).map(|_| out.fork()).collect();
    let reading = Reading {
        settings,
        table: rows,
        found: &found,
        objects: Objects::of(columns.iter().map(|(column, way)| (column.name.as_str(), *way))),
        columns: &columns,
        progress: Mutex::new(Progress::new(horizon, parts, outs, keyed)),
    };
    let workers = std::iter::once(lease).chain(&further).enumerate();
    let workers = workers.map(|(number, lease)| reading.work(number, lease));
    let done = try_join_all(workers).await;
    for lease in further {
        lease.end(&done).await;
    }
    let mut progress = reading.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Of a read that failed, too, everything up to here is good.
    progress.flush()?;
    done?;
    match keyed {
        true => out.checkpoint(&progress.state().cursor()?),
        false => Ok(()),
    }
}

/// Keeps the table from being altered, and looks whether it was since its catalog was read.
async fn hold<'r>(settings: &Settings, rows: &Rows<'r>, client: &Client) -> Result<Vec<Found<'r>>> {
    let explain = |error| explain(&settings.server, error);
    let relation = rows.relation;
    // What takes the lock of a read from a table takes it from a materialized view as well, which
    // LOCK TABLE does not.
    let locks: Vec<String> = relation
        .parts
        .iter()
        .map(|part| format!("SELECT FROM {} LIMIT 0;", sql::part(part)))
        .collect();
    let oids: Vec<String> = relation.parts.iter().map(|part| part.oid.to_string()).collect();
    let text = format!(
        "{} SELECT json_agg(json_build_array(oid::int8, pg_relation_filenode(oid)::int8, \
             pg_relation_size(oid) / current_setting('block_size')::int8)) \
         FROM unnest('{{{}}}'::oid[]) oid",
        locks.concat(),
        oids.join(",")
    );
    let messages = client.simple_query(&text).await.map_err(explain)?;
    let row = first_row(&messages).into_iter().next().flatten().unwrap_or_default();
    let now: Vec<(u32, Option<u32>, u32)> =
        serde_json::from_str(&row).context("reading the size of the table")?;
    let found = relation.parts.iter().map(|part| {
        match now.iter().find(|(oid, ..)| *oid == part.oid) {
            Some((_, node, blocks)) if *node == part.node => Ok(Found { part, blocks: *blocks }),
            // Rows that were rewritten after the snapshot may be invisible to it.
            _ => {
                Err(Fault::transient("the table was rewritten while the read began: run it again")
                    .into())
            }
        }
    });
    found.collect()
}

/// The transactions from the snapshot's first unfinished one on whose rows can be seen.
async fn seen(
    settings: &Settings,
    found: &[Found<'_>],
    snapshot: &Snapshot,
    client: &Client,
) -> Result<Vec<u32>> {
    let mut seen = Vec::new();
    for Found { part, .. } in found {
        let text = format!(
            "SELECT DISTINCT t.xmin::text FROM {} WHERE {} LIMIT {}",
            sql::part(part),
            since(snapshot.xmin),
            LISTED + 1
        );
        let messages =
            client.simple_query(&text).await.map_err(|error| explain(&settings.server, error))?;
        for message in messages {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message
                && let Some(number) = row.get(0).and_then(|text| text.parse::<u32>().ok())
                && !seen.contains(&number)
            {
                seen.push(number);
            }
        }
    }
    // To see their rows twice loses nothing; a long list in every state does.
    Ok(if seen.len() > LISTED { Vec::new() } else { seen })
}

/// Reads what came or changed since a state in the places that were read before it.
async fn late(
    settings: &Settings,
    part: &Part,
    horizon: &Horizon,
    rest: &[Span],
    lease: &Lease<'_>,
    columns: &[(&Column, &ColumnWay)],
    out: &mut Output,
) -> Result<()> {
    if rest.contains(&Span::ALL) {
        return Ok(());
    }
    let mut text = format!("{} WHERE {}", select(columns, part, ""), horizon.condition());
    for span in rest {
        if let Some(condition) = span.condition() {
            text.push_str(&format!(" AND NOT ({condition})"));
        }
    }
    let objects = Objects::of(columns.iter().map(|(column, way)| (column.name.as_str(), *way)));
    let push = |(): &mut (), fields: crate::copy::Fields<'_>| objects.push(fields, out).map(|_| ());
    copy(settings, lease.client(), &text, || (), push).await
}

fn select(columns: &[(&Column, &ColumnWay)], part: &Part, further: &str) -> String {
    let names: Vec<String> =
        columns.iter().map(|(column, way)| sql::expression(column, way)).collect();
    let comma = if names.is_empty() || further.is_empty() { "" } else { ", " };
    format!("SELECT {}{comma}{further} FROM {}", sql::list(&names), sql::part(part))
}

/// Cuts what is left of large parts into pieces for the workers, so many that whoever is done early
/// finds another.
fn split(parts: &mut [PartState], found: &[Found<'_>], workers: usize) {
    let pieces = u32::try_from(workers).unwrap_or(u32::MAX).saturating_mul(PIECES);
    for (part, found) in parts.iter_mut().zip(found) {
        let mut spans = Vec::new();
        for &Span(from, end) in &part.rest {
            let last = end.unwrap_or(found.blocks);
            let each = last.saturating_sub(from.block).div_ceil(pieces).max(SMALL);
            let mut start = from;
            while workers > 1 && last.saturating_sub(start.block) > each {
                let next = start.block + each;
                spans.push(Span(start, Some(next)));
                start = Place::first(next);
            }
            spans.push(Span(start, end));
        }
        part.rest = spans;
    }
}

/// What is left, those side by side as one.
fn left(rest: &[Span]) -> Vec<Span> {
    let mut left: Vec<Span> = Vec::new();
    for &Span(from, end) in rest.iter().filter(|span| **span != DONE) {
        match left.last_mut() {
            Some(before) if before.1.map(Place::first) == Some(from) => before.1 = end,
            _ => left.push(Span(from, end)),
        }
    }
    left
}

/// What is left, and who is at work on it.
struct Progress {
    horizon: Horizon,
    parts: Vec<PartState>,
    /// The pieces that nobody has taken: part, and place in its rest.
    open: Vec<(usize, usize)>,
    /// What each worker writes to. A state covers what is in all of them.
    outs: Vec<Output>,
    /// Whether states are printed.
    keyed: bool,
}

impl Progress {
    fn new(horizon: Horizon, parts: Vec<PartState>, outs: Vec<Output>, keyed: bool) -> Progress {
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (place, part) in parts.iter().enumerate() {
            open.extend((0..part.rest.len()).map(|piece| (place, piece)));
        }
        open.reverse();
        Progress { horizon, parts, open, outs, keyed }
    }

    fn flush(&mut self) -> Result<()> {
        self.outs.iter_mut().try_for_each(Output::flush)
    }

    /// Writes a state by one of the outputs, if that is worth its line.
    #[inline]
    fn checkpoint(&mut self, number: usize) -> Result<()> {
        if !self.keyed || !self.outs[number].due() {
            return Ok(());
        }
        self.flush()?;
        let cursor = self.state().cursor()?;
        self.outs[number].checkpoint(&cursor)
    }

    fn state(&self) -> State {
        let parts = self.parts.iter().map(|part| PartState { rest: left(&part.rest), ..*part });
        State::Place { horizon: self.horizon.clone(), parts: parts.collect() }
    }
}

/// A piece that was read.
const DONE: Span = Span(Place { block: u32::MAX, row: u16::MAX }, Some(0));

/// A read by several connections.
struct Reading<'r, 's> {
    settings: &'r Settings,
    table: &'r Rows<'s>,
    found: &'r [Found<'r>],
    columns: &'r [(&'r Column, &'r ColumnWay)],
    objects: Objects,
    progress: Mutex<Progress>,
}

impl Reading<'_, '_> {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes pieces until there are none.
    async fn work(&self, number: usize, lease: &Lease<'_>) -> Result<()> {
        log::debug(format_args!("{}: reader {number} begins", self.table.table.id));
        loop {
            let Some((part, piece, span)) = self.take() else { return Ok(()) };
            let mut text = select(self.columns, self.found[part].part, "t.ctid");
            if let Some(condition) = span.condition() {
                text.push_str(&format!(" WHERE {condition}"));
            }
            let mut last = span.0;
            let begin = || self.progress();
            let row = |progress: &mut MutexGuard<'_, Progress>, fields: crate::copy::Fields<'_>| {
                let mut fields = self.objects.push(fields, &mut progress.outs[number])?;
                let place = fields.next()?.and_then(Place::decode);
                let place = place.context("a row came without its place")?;
                if place <= last {
                    bail!("rows came in another order than that of their places");
                }
                last = place;
                progress.parts[part].rest[piece].0 = place;
                progress.checkpoint(number)
            };
            copy(self.settings, lease.client(), &text, begin, row).await?;
            self.progress().parts[part].rest[piece] = DONE;
        }
    }

    fn take(&self) -> Option<(usize, usize, Span)> {
        let mut progress = self.progress();
        let (part, piece) = progress.open.pop()?;
        let span = progress.parts[part].rest[piece];
        Some((part, piece, span))
    }
}
