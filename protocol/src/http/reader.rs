//! Reads a resource: page after page, and for each parent side by side.
//!
//! A resource that can say what is new prints states; any other is read whole every time, and has
//! neither key nor cursors in its schema.
//!
//! Parents are streamed; their lists are read as many at a time as the client allows, in whatever
//! order they end, so that a slow one holds nobody up. A checkpoint says where the list of parents
//! got to, and what of the parents beyond that place was read already.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use futures::future::BoxFuture;
use futures::stream::{self, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::client::{Client, PAGES};
use super::pages::{Next, Pages, Walk};
use super::pointer::text_at;
use super::projection::{Projection, derived};
use super::request::{Reply, Request};
use super::resource::{Incremental, Parent, Resource};
use super::slices::Slices;
use crate::fault::Fault;
use crate::log;
use crate::output::Output;
use crate::silo::{Cursor, From, Sample};

/// How many pages of parents may be under way: bounds what a checkpoint has to remember.
const AHEAD: usize = 16;

/// How many lists a sample looks into for its records, for each that it wants.
const LISTS_PER_RECORD: usize = 10;

/// How often a list is begun again of which no page can be asked for twice.
const AGAIN: u32 = 5;

/// Reads one resource of a client.
pub struct Reader<'a> {
    client: &'a Client,
    resource: Resource,
    cap: u64,
}

/// Where a read got to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// Only what changed at this time or later is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
    /// What the next read begins with, once this one has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    /// The next page of the list, or of the list of parents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    page: Option<Next>,
    /// The parents on that page and beyond of which something was read: up to which page of their
    /// lists, or all of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    parents: BTreeMap<String, Option<Next>>,
    /// Whether everything was read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    done: bool,
}

impl<'a> Reader<'a> {
    /// A reader of `resource`.
    pub fn new(client: &'a Client, resource: Resource) -> Reader<'a> {
        Reader { client, resource, cap: PAGES }
    }

    /// The same with another bound on the pages of one list.
    pub fn cap(self, pages: u64) -> Reader<'a> {
        Reader { cap: pages, ..self }
    }

    /// Reads everything, or what came since a checkpoint. Without `projection` records are pushed
    /// as they are.
    pub async fn read(
        &self,
        from: &From<'_>,
        projection: Option<&mut Projection>,
        out: &mut Output,
    ) -> Result<()> {
        let chain = self.resource.chain();
        let incremental = chain.iter().find_map(|level| level.incremental);
        let place = begin(incremental.as_ref(), from)?;
        let so_far = SoFar { place, incremental };
        match chain.as_slice() {
            [only] => self.list(only, so_far, projection, out).await,
            [root, rest @ ..] => self.lists(root, rest, so_far, projection, out).await,
            [] => unreachable!("a chain holds the resource itself"),
        }
    }

    /// Pushes the first records there are.
    pub async fn sample(
        &self,
        sample: &Sample,
        projection: &mut Projection,
        out: &mut Output,
    ) -> Result<()> {
        let chain = self.resource.chain();
        let mut left = sample.limit;
        let mut lists = LISTS_PER_RECORD.saturating_mul(sample.limit);
        self.sample_level(&chain, Vec::new(), None, &mut left, &mut lists, projection, out).await
    }

    #[expect(clippy::too_many_arguments, reason = "it calls itself, with all that it needs")]
    fn sample_level<'s>(
        &'s self,
        chain: &'s [Resource],
        more: Vec<(&'static str, String)>,
        key: Option<String>,
        left: &'s mut usize,
        lists: &'s mut usize,
        projection: &'s mut Projection,
        out: &'s mut Output,
    ) -> BoxFuture<'s, Result<()>> {
        Box::pin(async move {
            let Some((level, deeper)) = chain.split_first() else { return Ok(()) };
            *lists = lists.saturating_sub(1);
            let mut walk = self.walk(level, key.as_deref(), None)?;
            while *left > 0 && (key.is_none() || *lists > 0) {
                let Some(reply) = walk.page().await? else { break };
                let records = reply.slices(level.records, Some(&mut projection.names))?;
                for nth in 0..records.len() {
                    if *left == 0 || *lists == 0 {
                        break;
                    }
                    let record = reply.record(&records, nth);
                    match deeper.first().and_then(|child| child.parent) {
                        None => {
                            push(level, &reply, &records, nth, &more, Some(projection), out)?;
                            *left -= 1;
                        }
                        Some(parent) => {
                            let key = key_of(&reply, record, &parent)?;
                            let more = carried(&reply, record, &parent)?;
                            self.sample_level(
                                deeper,
                                more,
                                Some(key),
                                left,
                                lists,
                                projection,
                                out,
                            )
                            .await?;
                        }
                    }
                }
                walk.turn(&reply, records.len())?;
                if *lists == 0 {
                    break;
                }
            }
            Ok(())
        })
    }

    /// A walk over one list. Where it hangs on a parent that is gone by now, it is empty.
    fn walk(&self, level: &Resource, key: Option<&str>, since: Option<i64>) -> Result<Walk<'a>> {
        let mut request: Request = (level.request)();
        if let (Some(incremental), Some(since)) = (&level.incremental, since) {
            (incremental.ask)(&mut request, since)?;
        }
        let walk = |request| Walk::new(self.client, request, level.pages, self.cap);
        match (key, level.parent) {
            (Some(key), Some(parent)) => {
                request.put(parent.into, &key.into())?;
                Ok(walk(request).missing_ends())
            }
            _ => Ok(walk(request)),
        }
    }

    /// Reads a list that hangs on nothing.
    async fn list(
        &self,
        level: &Resource,
        mut so_far: SoFar,
        mut projection: Option<&mut Projection>,
        out: &mut Output,
    ) -> Result<()> {
        let SoFar { place, .. } = &so_far;
        let mut walk = self.walk(level, None, place.since)?.from(place.page.clone())?;
        let mut page = walk.page().await?;
        let mut again = Again::default();
        while let Some(reply) = page.take() {
            so_far.note_time(&reply);
            // The next page is asked for as early as can be: it comes while this one is written.
            let mut next = JoinSet::new();
            let early = walk.turn_early(&reply);
            if let Some(Ok(())) = early {
                next.spawn(walk.fetch());
            }
            let names = projection.as_mut().map(|projection| &mut projection.names);
            let records = reply.slices(level.records, names)?;
            let turned = early.unwrap_or_else(|| walk.turn(&reply, records.len()));
            if turned.is_ok() && next.is_empty() {
                next.spawn(walk.fetch());
            }
            let scrolls = matches!(level.pages, Pages::Scroll { .. });
            for nth in 0..records.len() {
                let record = reply.record(&records, nth);
                if scrolls && again.has(record) {
                    continue;
                }
                if so_far.wants(&reply, record, level)? {
                    let projection = projection.as_deref_mut();
                    push(level, &reply, &records, nth, &[], projection, out)?;
                }
            }
            turned?;
            let came = next.join_next().await.context("the next page was asked for")?;
            page = match came.context("asking for the next page")? {
                Err(error) if walk.is_lost_by_failure() && again.times < AGAIN => {
                    log::debug(format_args!("the list is begun again: {error:#}"));
                    again.times += 1;
                    walk = self.walk(level, None, so_far.place.since)?;
                    walk.page().await?
                }
                came => came?,
            };
            so_far.place.page = walk.position();
            if !walk.ended() && so_far.place.page.is_some() {
                so_far.checkpoint(out)?;
            }
        }
        so_far.finish(out)
    }

    /// Reads the lists of many parents side by side.
    async fn lists(
        &self,
        root: &Resource,
        rest: &[Resource],
        mut so_far: SoFar,
        mut projection: Option<&mut Projection>,
        out: &mut Output,
    ) -> Result<()> {
        let (leaf, parent) = match rest {
            [.., leaf] => (leaf, rest[0].parent.context("a resource below another has a parent")?),
            [] => unreachable!("a chain of one is read as a list"),
        };
        let limit = self.client.concurrency();
        let (send, mut receive) = mpsc::channel::<Step>(limit);
        let ahead = Arc::new(Semaphore::new(AHEAD));
        let before = so_far.place.parents.clone();
        let since = so_far.place.since;
        let walk = self.walk(root, None, since)?.from(so_far.place.page.clone())?;
        let parents = self.parents(root, parent, walk, since, send.clone(), Arc::clone(&ahead));
        let send = &send;
        let produce = parents.try_for_each_concurrent(limit, |one| {
            let known = before.get(&one.key).cloned();
            async move {
                match known {
                    // Read in an earlier run, all of it.
                    Some(None) => {}
                    Some(Some(next)) => self.below(rest, &one, since, Some(next), send).await?,
                    None => self.below(rest, &one, since, None, send).await?,
                }
                let done = Step::Done { sheet: one.sheet, key: one.root };
                send.send(done).await.map_err(|_| anyhow!("nobody reads any more"))
            }
        });
        let mut produce = pin!(async {
            produce.await?;
            send.send(Step::End).await.map_err(|_| anyhow!("nobody reads any more"))
        });
        let mut sheets: VecDeque<Sheet> = VecDeque::new();
        // Which sheet each parent of `place.parents` stands on, so that it can be forgotten.
        let mut on_sheet: HashMap<u64, Vec<String>> = HashMap::new();
        // The parents whose lists were read up to a place that cannot be kept.
        let mut partly: HashSet<String> = HashSet::new();
        let (mut producing, mut at_end) = (true, false);
        loop {
            let step = tokio::select! {
                biased;
                step = receive.recv() => step,
                made = &mut produce, if producing => {
                    producing = false;
                    made?;
                    continue;
                }
            };
            match step {
                None | Some(Step::End) => break,
                Some(Step::Sheet { number, parents, after, reply }) => {
                    so_far.note_time(&reply);
                    sheets.push_back(Sheet { number, left: parents, after });
                }
                Some(Step::Page { sheet, key, more, reply, next }) => {
                    let names = projection.as_mut().map(|projection| &mut projection.names);
                    let records = reply.slices(leaf.records, names)?;
                    for nth in 0..records.len() {
                        if so_far.wants(&reply, reply.record(&records, nth), leaf)? {
                            let projection = projection.as_deref_mut();
                            push(leaf, &reply, &records, nth, &more, projection, out)?;
                        }
                    }
                    match next {
                        None => drop(partly.insert(key)),
                        Some(next) => {
                            if so_far.place.parents.insert(key.clone(), Some(next)).is_none() {
                                on_sheet.entry(sheet).or_default().push(key);
                            }
                        }
                    }
                }
                Some(Step::Done { sheet, key }) => {
                    partly.remove(&key);
                    if so_far.place.parents.insert(key.clone(), None).is_none()
                        || before.contains_key(&key)
                    {
                        on_sheet.entry(sheet).or_default().push(key);
                    }
                    if let Some(one) = sheets.iter_mut().find(|one| one.number == sheet) {
                        one.left -= 1;
                    }
                }
            }
            while sheets.front().is_some_and(|sheet| sheet.left == 0) {
                let Some(sheet) = sheets.pop_front() else { break };
                for key in on_sheet.remove(&sheet.number).unwrap_or_default() {
                    so_far.place.parents.remove(&key);
                }
                // Without a next page the place would be the beginning.
                at_end = sheet.after.is_none();
                so_far.place.page = sheet.after;
                ahead.add_permits(1);
            }
            if root.pages.can_resume() && partly.is_empty() && !at_end {
                so_far.checkpoint(out)?;
            }
        }
        so_far.finish(out)
    }

    /// The parents, page after page, as they come.
    fn parents(
        &self,
        root: &Resource,
        parent: Parent,
        walk: Walk<'a>,
        since: Option<i64>,
        send: mpsc::Sender<Step>,
        ahead: Arc<Semaphore>,
    ) -> impl stream::Stream<Item = Result<One>> + Send {
        let (pointer, incremental) = (root.records, root.incremental);
        let pages = stream::try_unfold((walk, 0_u64), move |(mut walk, number)| {
            let (send, ahead) = (send.clone(), Arc::clone(&ahead));
            async move {
                ahead.acquire().await.context("the semaphore is never closed")?.forget();
                let Some(reply) = walk.page().await? else {
                    return Ok::<_, anyhow::Error>(None);
                };
                let records = reply.slices(pointer, None)?;
                walk.turn(&reply, records.len())?;
                let mut all = Vec::with_capacity(records.len());
                for nth in 0..records.len() {
                    let record = reply.record(&records, nth);
                    if is_wanted(&reply, record, incremental.as_ref(), since)? {
                        let key = key_of(&reply, record, &parent)?;
                        let more = carried(&reply, record, &parent)?;
                        all.push(One { sheet: number, root: key.clone(), key, more });
                    }
                }
                let after = walk.position();
                let sheet = Step::Sheet { number, parents: all.len(), after, reply };
                send.send(sheet).await.map_err(|_| anyhow!("nobody reads any more"))?;
                Ok(Some((stream::iter(all.into_iter().map(Ok)), (walk, number + 1))))
            }
        });
        pages.try_flatten()
    }

    /// Reads what hangs on one parent, at any depth, and sends it on page by page.
    fn below<'s>(
        &'s self,
        levels: &'s [Resource],
        one: &'s One,
        since: Option<i64>,
        from: Option<Next>,
        send: &'s mpsc::Sender<Step>,
    ) -> BoxFuture<'s, Result<()>> {
        Box::pin(async move {
            let Some((level, deeper)) = levels.split_first() else { return Ok(()) };
            let mut walk = self.walk(level, Some(&one.key), since)?.from(from)?;
            while let Some(reply) = walk.page().await? {
                let records = reply.slices(level.records, None)?;
                walk.turn(&reply, records.len())?;
                match deeper.first().and_then(|child| child.parent) {
                    None => {
                        let page = Step::Page {
                            sheet: one.sheet,
                            key: one.root.clone(),
                            more: one.more.clone(),
                            reply,
                            // A place in a list of a list is not kept.
                            next: walk.position().filter(|_| one.key == one.root),
                        };
                        send.send(page).await.map_err(|_| anyhow!("nobody reads any more"))?;
                    }
                    Some(parent) => {
                        let mut children = Vec::with_capacity(records.len());
                        for nth in 0..records.len() {
                            let record = reply.record(&records, nth);
                            let key = key_of(&reply, record, &parent)?;
                            children.push((key, carried(&reply, record, &parent)?));
                        }
                        for (key, more) in children {
                            let root = one.root.clone();
                            let child = One { sheet: one.sheet, root, key, more };
                            self.below(deeper, &child, since, None, send).await?;
                        }
                    }
                }
            }
            Ok(())
        })
    }
}

/// One parent.
struct One {
    /// The page of parents it stands on.
    sheet: u64,
    /// The key of the topmost parent it hangs on: itself, but in a chain of more than two.
    root: String,
    key: String,
    more: Vec<(&'static str, String)>,
}

/// A page of parents of which some are still being read.
struct Sheet {
    number: u64,
    left: usize,
    after: Option<Next>,
}

/// What those who read tell the one who writes.
enum Step {
    /// A page of parents has come.
    Sheet { number: u64, parents: usize, after: Option<Next>, reply: Reply },
    /// A page of a parent's list has come; `next` is where that list goes on.
    Page {
        sheet: u64,
        key: String,
        more: Vec<(&'static str, String)>,
        reply: Reply,
        next: Option<Next>,
    },
    /// A parent's list was read to its end.
    Done { sheet: u64, key: String },
    /// There are no more parents.
    End,
}

/// Where a read begins, from the checkpoint of an earlier one.
fn begin(incremental: Option<&Incremental>, from: &From<'_>) -> Result<Place> {
    if let Some(cursor) = from.cursor
        && incremental.is_none_or(|incremental| incremental.property != cursor)
    {
        let why = format!("this store cannot be read by `{cursor}`; discover lists its cursors");
        return Err(Fault::config(why).into());
    }
    let Some(cursor) = from.since else { return Ok(Place::default()) };
    Ok(match cursor.parse()? {
        Place { done: true, until, .. } => Place { since: until, ..Place::default() },
        unfinished => unfinished,
    })
}

/// What was written of a list that may have to be begun again, as 64-bit hashes of its records.
#[derive(Default)]
struct Again {
    times: u32,
    written: HashSet<u64>,
}

impl Again {
    /// Whether a record was written before the list was begun again; notes that it will be.
    fn has(&mut self, record: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        record.hash(&mut hasher);
        !self.written.insert(hasher.finish()) && self.times > 0
    }
}

/// How far a read is.
struct SoFar {
    place: Place,
    incremental: Option<Incremental>,
}

impl SoFar {
    /// Notes, at the first answer, from when on the next read has to look: by the vendor's clock,
    /// and before whatever it may not have shown yet.
    fn note_time(&mut self, reply: &Reply) {
        if let (Some(incremental), None) = (&self.incremental, self.place.until) {
            let now = reply.date().unwrap_or_else(SystemTime::now);
            let then = now.checked_sub(incremental.lag).unwrap_or(UNIX_EPOCH);
            let seconds = then.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            self.place.until = i64::try_from(seconds).ok();
        }
    }

    /// Whether a record of `level` changed since the time that was asked for.
    fn wants(&self, reply: &Reply, record: &[u8], level: &Resource) -> Result<bool> {
        is_wanted(reply, record, level.incremental.as_ref(), self.place.since)
    }

    fn checkpoint(&self, out: &mut Output) -> Result<()> {
        match self.incremental.is_some() && out.due() {
            true => out.checkpoint(&Cursor::new(&self.place)?),
            false => Ok(()),
        }
    }

    fn finish(self, out: &mut Output) -> Result<()> {
        if self.incremental.is_none() {
            return Ok(());
        }
        let Place { since, until, .. } = self.place;
        let place = Place { since, until, done: true, ..Place::default() };
        out.checkpoint(&Cursor::new(&place)?)
    }
}

/// Whether a record changed since a time. One without a time did.
fn is_wanted(
    reply: &Reply,
    record: &[u8],
    incremental: Option<&Incremental>,
    since: Option<i64>,
) -> Result<bool> {
    let (Some(incremental), Some(since)) = (incremental, since) else { return Ok(true) };
    let pointer = format!("/{}", incremental.property);
    let text = text_at(record, &pointer)
        .map_err(|_| reply.shape(&format!("`{}` must be a time", incremental.property)))?;
    Ok(text.and_then(|text| text.parse::<i64>().ok()).is_none_or(|changed| changed >= since))
}

fn key_of(reply: &Reply, record: &[u8], parent: &Parent) -> Result<String> {
    let key = text_at(record, parent.key).ok().flatten();
    key.ok_or_else(|| reply.shape(&format!("a record has no `{}`", parent.key)))
}

fn carried(reply: &Reply, record: &[u8], parent: &Parent) -> Result<Vec<(&'static str, String)>> {
    let mut more = Vec::with_capacity(parent.carry.len());
    for (name, pointer) in parent.carry {
        let value = text_at(record, pointer)
            .map_err(|_| reply.shape(&format!("`{pointer}` must be a text or number")))?;
        more.extend(value.map(|value| (*name, value)));
    }
    Ok(more)
}

/// Pushes the record of a page that is `nth` of its `slices`.
fn push(
    level: &Resource,
    reply: &Reply,
    slices: &Slices,
    nth: usize,
    more: &[(&'static str, String)],
    projection: Option<&mut Projection>,
    out: &mut Output,
) -> Result<()> {
    match projection {
        Some(projection) if level.derive.is_empty() => {
            projection.push_slice(&reply.body, slices, nth, more, out)
        }
        Some(projection) => {
            let mut all = derived(reply.record(slices, nth), level.derive);
            all.extend_from_slice(more);
            projection.push_slice(&reply.body, slices, nth, &all, out)
        }
        None => out.push_json(reply.record(slices, nth)),
    }
}
