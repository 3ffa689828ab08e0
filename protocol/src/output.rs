//! Records, files, checkpoints and progress, written to stdout as they come.
//!
//! Each store has an [`Output`] with a buffer of its own; whole lines leave it under one lock, so
//! that stores can be read side by side. A record is made once, in that buffer, between the frame's
//! constant bytes. Pushing blocks while the reader of the pipe is slow, which holds the source back.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::json::{Json, Spelling};
use crate::log;
use crate::message::{Message, Progress, State};
use crate::silo::{Cursor, StoreId};

/// How full a buffer gets before its lines are written.
const FULL: usize = 64 * 1024;

/// A buffer that one large record blew up beyond this is given back once it is written.
const LARGE: usize = 1024 * 1024;

/// How long a read goes on between two PROGRESS messages.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// How many bytes pass between two checkpoints, however few records they are.
const CHECKPOINT_BYTES: usize = 16 * 1024 * 1024;

/// The reader of stdout is gone. Not a failure of ours: the run ends quietly.
#[derive(Debug)]
pub struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of the output is gone")
    }
}

impl std::error::Error for ReaderGone {}

/// Where whole lines go, one writer at a time.
pub struct Sink {
    writer: Mutex<Box<dyn Write + Send>>,
    lines_alone: bool,
    records: AtomicU64,
    closing: AtomicBool,
}

impl Sink {
    /// A sink over `writer`. With `lines_alone` each line is a write of its own, as a terminal
    /// shared with stderr wants it.
    pub fn new(writer: Box<dyn Write + Send>, lines_alone: bool) -> Sink {
        Sink {
            writer: Mutex::new(writer),
            lines_alone,
            records: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        }
    }

    /// Writes whole lines.
    pub fn write(&self, lines: &[u8]) -> Result<()> {
        self.put(&mut **self.lock(), lines)
    }

    /// Writes lines that are made while nobody else writes, so that what they say of several
    /// stores is so where they stand.
    pub(crate) fn write_made(&self, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<()> {
        let mut writer = self.lock();
        let lines = make()?;
        self.put(&mut **writer, &lines)
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closing.load(Ordering::Acquire) {
            drop(writer);
            // The process ends any moment, and nothing may be written before it does.
            loop {
                std::thread::park();
            }
        }
        writer
    }

    fn put(&self, writer: &mut (dyn Write + Send), lines: &[u8]) -> Result<()> {
        let done = if self.lines_alone {
            lines.split_inclusive(|&byte| byte == b'\n').try_for_each(|line| writer.write_all(line))
        } else {
            writer.write_all(lines)
        };
        done.and_then(|()| writer.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => anyhow::Error::new(ReaderGone),
            _ => anyhow::Error::new(error).context("writing the output"),
        })
    }

    /// Writes one message.
    pub fn message(&self, message: &Message) -> Result<()> {
        self.write(&line(message)?)
    }

    /// How many records have been pushed, in all stores.
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Keeps every other writer out for good, waiting at most `limit` for the one at work.
    pub(crate) fn close(&self, limit: Duration) -> Option<MutexGuard<'_, Box<dyn Write + Send>>> {
        self.closing.store(true, Ordering::Release);
        let end = Instant::now() + limit;
        loop {
            match self.writer.try_lock() {
                Ok(guard) => return Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// A message and its line end.
pub(crate) fn line(message: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message).context("writing a message")?;
    line.push(b'\n');
    Ok(line)
}

/// The constant bytes before and after each record of one store.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Everything up to the record's `{`.
    pub before: Vec<u8>,
    /// Everything after its `}`, line end included.
    pub after: Vec<u8>,
    /// A number that each record bears, where the protocol tells records without a key apart so.
    pub numbered: Option<Numbered>,
}

/// A last member of each record that holds a number of its own.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// Everything from the member's name up to the number.
    pub before: &'static [u8],
    /// Everything from the number to the end of the record, its `}` included.
    pub after: &'static [u8],
    /// The number of the last record.
    pub last: Arc<AtomicU64>,
}

impl Numbered {
    /// Puts the next number into the record at the end of `buffer`.
    fn put(&self, buffer: &mut Vec<u8>, spelling: Spelling) {
        buffer.pop();
        if buffer.last() != Some(&b'{') {
            buffer.push(b',');
        }
        buffer.extend_from_slice(self.before);
        Json::new(buffer, spelling).integer(1 + self.last.fetch_add(1, Ordering::Relaxed));
        buffer.extend_from_slice(self.after);
    }
}

/// What a protocol makes of a run's records, states and progress.
pub trait Form: Send + Sync {
    /// The bytes around each record of a store. Asked for anew for every buffer, so that a time in
    /// them is about that of the records.
    fn frame(&self, store: &StoreId) -> Frame;

    /// How values are written that JSON has no single form for.
    fn spelling(&self) -> Spelling;

    /// What ends a record, in the place of its frame's `after`, some of whose values the spelling
    /// made null: those of the properties `nulled`. `None` where the protocol has no word for it.
    fn end_of_altered(&self, nulled: &[String]) -> Option<Vec<u8>> {
        let _ = nulled;
        None
    }

    /// The lines that say that `cursor` covers all records of a store so far, `records` of which
    /// came since the last time; none where it need not be said. Nobody else writes meanwhile, so
    /// this must not log.
    fn state(&self, store: &StoreId, cursor: &Cursor, records: u64) -> Result<Vec<u8>>;

    /// The lines that say how far a read is; none where the protocol has no word for it.
    fn progress(&self, progress: &Progress) -> Result<Vec<u8>>;
}

/// The native protocol's form.
#[derive(Debug, Clone, Copy)]
pub struct Native;

impl Form for Native {
    fn frame(&self, store: &StoreId) -> Frame {
        let mut before = br#"{"type":"RECORD","record":{"schema_name":"#.to_vec();
        let mut json = Json::new(&mut before, Spelling::NATIVE);
        json.text(&store.name);
        if let Some(group) = &store.group {
            json.raw(br#","schema_group":"#);
            json.text(group);
        }
        json.raw(br#","record_type":"RECORD","data":"#);
        Frame { before, after: b"}}\n".to_vec(), numbered: None }
    }

    fn spelling(&self) -> Spelling {
        Spelling::NATIVE
    }

    fn state(&self, store: &StoreId, cursor: &Cursor, _: u64) -> Result<Vec<u8>> {
        let StoreId { group, name } = store.clone();
        let state = State { schema_name: name, schema_group: group, cursor: cursor.0.clone() };
        line(&Message::State { state })
    }

    fn progress(&self, progress: &Progress) -> Result<Vec<u8>> {
        line(&Message::Progress { progress: progress.clone() })
    }
}

/// What a run of the binary prints beside records, and where its files go.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// After how many records a checkpoint is due; `None` where no STATE or PROGRESS is wanted.
    pub checkpoint: Option<u64>,
    /// The longest line the reader takes, where it has a limit.
    pub longest_line: Option<usize>,
    /// The folder for files.
    pub files: Option<PathBuf>,
}

/// Makes the outputs of a run's stores.
#[derive(Clone)]
pub struct Outputs {
    sink: Arc<Sink>,
    shape: Arc<Shape>,
    form: Arc<dyn Form>,
}

impl Outputs {
    /// Outputs that write native messages to `sink`.
    pub fn new(sink: Arc<Sink>, shape: Shape) -> Outputs {
        Outputs::formed(sink, shape, Arc::new(Native))
    }

    /// Outputs that write another protocol's messages.
    pub fn formed(sink: Arc<Sink>, shape: Shape, form: Arc<dyn Form>) -> Outputs {
        Outputs { sink, shape: Arc::new(shape), form }
    }

    /// The output of one store.
    pub fn store(&self, store: StoreId) -> Output {
        Output {
            sink: Arc::clone(&self.sink),
            shape: Arc::clone(&self.shape),
            form: Arc::clone(&self.form),
            frame: self.form.frame(&store),
            spelling: self.form.spelling(),
            store,
            chosen: None,
            buffer: Vec::with_capacity(FULL + 4096),
            counts: Arc::default(),
            unseen: 0,
            nulled: 0,
            since_checkpoint: 0,
            bytes_since_checkpoint: 0,
            total: None,
            last_progress: Instant::now(),
        }
    }
}

/// Where a store puts what it reads.
pub struct Output {
    sink: Arc<Sink>,
    shape: Arc<Shape>,
    form: Arc<dyn Form>,
    frame: Frame,
    spelling: Spelling,
    store: StoreId,
    /// The properties that a pushed record keeps; `None` for all.
    chosen: Option<Arc<[String]>>,
    buffer: Vec<u8>,
    /// Shared by the parts of a store that is read side by side.
    counts: Arc<Counts>,
    /// Records pushed that are not in `counts` yet.
    unseen: u64,
    /// Numbers that became null and are not in `counts` yet.
    nulled: u64,
    since_checkpoint: u64,
    bytes_since_checkpoint: usize,
    total: Option<u64>,
    last_progress: Instant,
}

/// What was written of one store.
#[derive(Default)]
struct Counts {
    records: AtomicU64,
    /// How many of them the last checkpoint covered.
    covered: AtomicU64,
    /// Numbers that are not finite, written as null.
    nulled: AtomicU64,
}

impl Output {
    /// Chooses the properties that records keep which are pushed with [`Output::push`] and
    /// [`Output::push_raw`]; `None` for all. A store that writes with [`Output::row`] chooses
    /// itself, best in its source.
    pub fn choose(&mut self, properties: Option<&[String]>) {
        self.chosen = properties.map(Arc::from);
    }

    /// Pushes a record: anything that serializes to a JSON object.
    ///
    /// serde has no form for a float that is not finite and writes null for it; a source that has
    /// such floats pushes them with [`Output::row`].
    pub fn push(&mut self, record: &(impl Serialize + ?Sized)) -> Result<()> {
        if self.chosen.is_some() {
            let whole = serde_json::to_vec(record).context("writing a record")?;
            return self.push_chosen(&whole);
        }
        self.framed(|buffer, _| {
            serde_json::to_writer(&mut *buffer, record).context("writing a record")?;
            Ok(Vec::new())
        })
    }

    /// Pushes a record that is JSON already, such as a slice of a response body.
    pub fn push_raw(&mut self, record: &RawValue) -> Result<()> {
        self.push_json(record.get().as_bytes())
    }

    /// The same of a text that is JSON.
    pub(crate) fn push_json(&mut self, record: &[u8]) -> Result<()> {
        if self.chosen.is_some() {
            return self.push_chosen(record);
        }
        self.framed(|buffer, _| {
            on_one_line(buffer, record);
            Ok(Vec::new())
        })
    }

    /// The same with members after the record's own, each with its comma: `,"a":null`.
    pub(crate) fn push_raw_with(&mut self, record: &RawValue, members: &[u8]) -> Result<()> {
        if members.is_empty() {
            return self.push_raw(record);
        }
        let own = record.get().as_bytes().trim_ascii_end();
        let own = own.strip_suffix(b"}").context("a record is no object")?.trim_ascii_end();
        let members = if own.ends_with(b"{") { &members[1..] } else { members };
        if self.chosen.is_some() {
            return self.push_chosen(&[own, members, b"}"].concat());
        }
        self.framed(|buffer, _| {
            on_one_line(buffer, own);
            buffer.extend_from_slice(members);
            buffer.push(b'}');
            Ok(Vec::new())
        })
    }

    /// Pushes the chosen properties of a record, in the record's own order and bytes.
    fn push_chosen(&mut self, record: &[u8]) -> Result<()> {
        let Members(members) = serde_json::from_slice(record).context("a record is no object")?;
        let chosen = self.chosen.clone();
        self.framed(|buffer, spelling| {
            buffer.push(b'{');
            let start = buffer.len();
            for (name, value) in members {
                if chosen.as_ref().is_some_and(|chosen| !chosen.contains(&name)) {
                    continue;
                }
                if buffer.len() > start {
                    buffer.push(b',');
                }
                Json::new(buffer, spelling).text(&name);
                buffer.push(b':');
                on_one_line(buffer, value.get().as_bytes());
            }
            buffer.push(b'}');
            Ok(Vec::new())
        })
    }

    /// Pushes a record that `write` writes: one JSON object. If it fails, nothing of it stays.
    #[inline]
    pub fn row(&mut self, write: impl FnOnce(&mut Json<'_>) -> Result<()>) -> Result<()> {
        self.framed(|buffer, spelling| {
            let mut json = Json::new(buffer, spelling);
            write(&mut json)?;
            Ok(json.nulled())
        })
    }

    /// Pushes what `write` writes, which returns where it had to write null for a number.
    #[inline]
    fn framed(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, Spelling) -> Result<Vec<usize>>,
    ) -> Result<()> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&self.frame.before);
        let record = self.buffer.len();
        let nulled = match write(&mut self.buffer, self.spelling) {
            Ok(nulled) => nulled,
            Err(error) => {
                self.buffer.truncate(start);
                return Err(error);
            }
        };
        let mut end = None;
        if !nulled.is_empty() {
            self.nulled += nulled.len() as u64;
            end = self.form.end_of_altered(&holders(&self.buffer, record, &nulled)?);
        }
        if let Some(numbered) = &self.frame.numbered {
            numbered.put(&mut self.buffer, self.spelling);
        }
        self.buffer.extend_from_slice(end.as_ref().unwrap_or(&self.frame.after));
        self.unseen += 1;
        self.since_checkpoint += 1;
        let length = self.buffer.len() - start;
        if self.shape.longest_line.is_some_and(|longest| length - 1 > longest) {
            log::warn(format_args!(
                "a record of {} is a line of {length} bytes, longer than the reader of this terminal takes",
                self.store
            ));
        }
        if self.buffer.len() >= FULL { self.flush() } else { Ok(()) }
    }

    /// Writes what is in the buffer.
    pub fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.sink.write(&self.buffer)?;
        self.bytes_since_checkpoint += self.buffer.len();
        self.buffer.clear();
        if self.buffer.capacity() > LARGE {
            self.buffer.shrink_to(FULL + 4096);
        }
        self.counts.records.fetch_add(self.unseen, Ordering::Relaxed);
        self.sink.records.fetch_add(self.unseen, Ordering::Relaxed);
        self.unseen = 0;
        self.counts.nulled.fetch_add(self.nulled, Ordering::Relaxed);
        self.nulled = 0;
        self.frame = self.form.frame(&self.store);
        if self.shape.checkpoint.is_some() && self.last_progress.elapsed() >= PROGRESS_EVERY {
            self.progress()?;
        }
        Ok(())
    }

    /// Whether enough was pushed since the last checkpoint for another to be worth its line.
    #[inline]
    pub fn due(&self) -> bool {
        self.shape.checkpoint.is_some_and(|every| {
            self.since_checkpoint >= every || self.bytes_since_checkpoint >= CHECKPOINT_BYTES
        })
    }

    /// Says that `cursor` covers every record pushed so far, by this output.
    pub fn checkpoint(&mut self, cursor: &Cursor) -> Result<()> {
        self.since_checkpoint = 0;
        self.bytes_since_checkpoint = 0;
        if self.shape.checkpoint.is_none() {
            return Ok(());
        }
        self.flush()?;
        let records = self.counts.records.load(Ordering::Relaxed);
        let news = records - self.counts.covered.swap(records, Ordering::Relaxed);
        self.sink.write_made(|| self.form.state(&self.store, cursor, news))
    }

    /// Says how many records there are, where that is known or estimated.
    pub fn total(&mut self, records: u64) {
        self.total = Some(records);
    }

    /// The store this output belongs to.
    pub fn store(&self) -> &StoreId {
        &self.store
    }

    /// The spelling of the run.
    pub fn spelling(&self) -> Spelling {
        self.spelling
    }

    /// Another output of the same store, for a part of it that is read side by side. It has a
    /// buffer of its own: flush it before a checkpoint of this one claims its records.
    pub fn fork(&self) -> Output {
        Output {
            sink: Arc::clone(&self.sink),
            shape: Arc::clone(&self.shape),
            form: Arc::clone(&self.form),
            frame: self.frame.clone(),
            spelling: self.spelling,
            store: self.store.clone(),
            chosen: self.chosen.clone(),
            buffer: Vec::with_capacity(FULL + 4096),
            counts: Arc::clone(&self.counts),
            unseen: 0,
            nulled: 0,
            since_checkpoint: 0,
            bytes_since_checkpoint: 0,
            total: self.total,
            last_progress: Instant::now(),
        }
    }

    /// Ends the output: writes what is left, and how many records there were.
    pub fn finish(mut self) -> Result<u64> {
        self.flush()?;
        if self.shape.checkpoint.is_some() {
            self.progress()?;
        }
        let nulled = self.counts.nulled.load(Ordering::Relaxed);
        if nulled > 0 {
            log::warn(format_args!(
                "{}: {nulled} numbers are NaN or infinite, which this protocol cannot say, and are null",
                self.store
            ));
        }
        Ok(self.counts.records.load(Ordering::Relaxed))
    }

    fn progress(&mut self) -> Result<()> {
        self.last_progress = Instant::now();
        let progress = Progress {
            schema_name: self.store.name.clone(),
            schema_group: self.store.group.clone(),
            records: self.counts.records.load(Ordering::Relaxed),
            total: self.total,
        };
        let lines = self.form.progress(&progress)?;
        if lines.is_empty() { Ok(()) } else { self.sink.write(&lines) }
    }

    /// The folder that [`Output::file`] names are relative to.
    pub fn files(&self) -> Result<&Path> {
        self.shape.files.as_deref().ok_or_else(|| {
            Fault::config("results of this store are files: name a folder for them with -p").into()
        })
    }

    /// Pushes a file: a gzip-compressed tar below [`Output::files`], by its path relative to it.
    pub fn file(&mut self, path: &Path) -> Result<()> {
        let path = path.to_str().context("a file's name is not UTF-8")?;
        // The frame of a record, with the type and payload of a file.
        #[derive(Serialize)]
        struct Line<'a> {
            r#type: &'static str,
            record: File<'a>,
        }
        #[derive(Serialize)]
        struct File<'a> {
            schema_name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            schema_group: Option<&'a str>,
            record_type: &'static str,
            file: &'a str,
        }
        let record = File {
            schema_name: &self.store.name,
            schema_group: self.store.group.as_deref(),
            record_type: "FILE",
            file: path,
        };
        serde_json::to_writer(&mut self.buffer, &Line { r#type: "RECORD", record })?;
        self.buffer.push(b'\n');
        self.flush()
    }
}

/// The members of the record at the end of `buffer` that hold the given places.
fn holders(buffer: &[u8], record: usize, places: &[usize]) -> Result<Vec<String>> {
    let Members(members) =
        serde_json::from_slice(&buffer[record..]).context("a record is no object")?;
    let holds = |value: &RawValue| {
        let start = value.get().as_ptr() as usize - buffer.as_ptr() as usize;
        places.iter().any(|place| (start..start + value.get().len()).contains(place))
    };
    Ok(members.into_iter().filter(|(_, value)| holds(value)).map(|(name, _)| name).collect())
}

/// Appends JSON without its line breaks: between tokens one is blank space, and inside a string it
/// cannot stand.
fn on_one_line(buffer: &mut Vec<u8>, json: &[u8]) {
    if json.contains(&b'\n') || json.contains(&b'\r') {
        buffer.extend(json.iter().map(|&b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }));
    } else {
        buffer.extend_from_slice(json);
    }
}

/// The members of an object in their order, each value as it stands.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::with_capacity(map.size_hint().unwrap_or_default());
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn outputs(shape: Shape) -> (Outputs, Shared) {
        let bytes = Shared::default();
        let sink = Sink::new(Box::new(bytes.clone()), false);
        (Outputs::new(Arc::new(sink), shape), bytes)
    }

    fn lines(bytes: &Shared) -> Vec<Value> {
        let text = String::from_utf8(bytes.0.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_record_is_framed_with_its_store_and_absent_members_are_left_out() {
        let (outputs, bytes) = outputs(Shape::default());
        let mut out = outputs.store(StoreId::new(Some("a\"b".into()), "t\n"));
        out.push(&json!({"x": 1})).unwrap();
        out.finish().unwrap();
        let mut out = outputs.store(StoreId::new(Some(String::new()), "u"));
        out.push_raw(&RawValue::from_string("{\n\"x\":\r\n2}".into()).unwrap()).unwrap();
        assert_eq!(out.finish().unwrap(), 1);
        assert_eq!(
            lines(&bytes),
            [
                json!({"type":"RECORD","record":{"schema_name":"t\n","schema_group":"a\"b","record_type":"RECORD","data":{"x":1}}}),
                json!({"type":"RECORD","record":{"schema_name":"u","record_type":"RECORD","data":{"x":2}}}),
            ]
        );
    }

    #[test]
    fn of_a_record_that_fails_half_way_nothing_stays() {
        let (outputs, bytes) = outputs(Shape::default());
        let mut out = outputs.store(StoreId::named("t"));
        let failed = out.row(|json| {
            json.raw(b"{\"x\":");
            anyhow::bail!("no value")
        });
        assert!(failed.is_err());
        out.push(&json!({})).unwrap();
        out.finish().unwrap();
        assert_eq!(lines(&bytes).len(), 1);
    }

    #[test]
    fn a_checkpoint_stands_after_the_records_it_covers() {
        let (outputs, bytes) = outputs(Shape { checkpoint: Some(2), ..Shape::default() });
        let mut out = outputs.store(StoreId::named("t"));
        for n in 0..3 {
            out.push(&json!({"n": n})).unwrap();
            if out.due() {
                out.checkpoint(&Cursor(json!({"n": n}))).unwrap();
            }
        }
        out.finish().unwrap();
        let types: Vec<_> = lines(&bytes).iter().map(|line| line["type"].clone()).collect();
        assert_eq!(types, ["RECORD", "RECORD", "STATE", "RECORD", "PROGRESS"]);
    }

    #[test]
    fn of_a_pushed_record_only_the_chosen_properties_are_written_and_unchanged() {
        let (outputs, bytes) = outputs(Shape::default());
        let mut out = outputs.store(StoreId::named("t"));
        out.choose(Some(&["c".into(), "a\"".into()]));
        out.push(&json!({"a\"": [1], "b": 2, "c": null})).unwrap();
        out.push_raw(&RawValue::from_string("{\"b\":{},\n\"c\": 1.00 }".into()).unwrap()).unwrap();
        assert!(out.push(&json!([1])).is_err());
        out.finish().unwrap();
        let text = String::from_utf8(bytes.0.lock().unwrap().clone()).unwrap();
        let data: Vec<_> = text.lines().filter_map(|l| l.split_once("\"data\":")).collect();
        assert_eq!(data[0].1, r#"{"a\"":[1],"c":null}}}"#);
        assert_eq!(data[1].1, r#"{"c":1.00}}}"#);
    }

    #[test]
    fn a_reader_that_is_gone_is_told_apart_from_other_failures() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::new(Box::new(Gone), false);
        assert!(sink.write(b"x\n").unwrap_err().is::<ReaderGone>());
    }
}
