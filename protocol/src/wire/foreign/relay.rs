//! Hands the records and states of one stream on.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::record::{Shape, is_of};
use crate::fault::Fault;
use crate::log;
use crate::output::Output;
use crate::silo::{Cursor, Subject};

/// How long records go without a checkpoint at most, however few they are.
const CHECKPOINT: Duration = Duration::from_secs(5);

/// Which records of a stream are wanted.
#[derive(Clone, Copy)]
pub(super) enum Want<'a> {
    /// All, with states.
    All,
    /// So many.
    First(usize),
    /// Those of a subject.
    Of(&'a Subject),
}

/// Where a foreign program got to. What it said is kept as it was written, digit by digit.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    /// The program's own state.
    pub(super) state: String,
    /// The property that the read goes by, where the user chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<String>,
}

impl Saved {
    /// What an earlier read said.
    pub(super) fn read(cursor: Option<&Cursor>) -> Result<Option<Saved>> {
        let saved: Option<Saved> = cursor.map(Cursor::parse).transpose()?;
        if let Some(saved) = &saved {
            serde_json::from_str::<&RawValue>(&saved.state).map_err(|_| {
                Fault::config("the state's cursor holds no state of a foreign program")
            })?;
        }
        Ok(saved)
    }
}

/// The records of one stream on their way, and how far they reach.
pub(super) struct Relay<'a> {
    out: &'a mut Output,
    shape: Shape,
    want: Want<'a>,
    /// The property that the read goes by, for its states.
    cursor: Option<String>,
    /// Whether a record or a state came.
    heard: bool,
    /// How many were handed on.
    given: usize,
    /// The program's last state, and whether a record came after it.
    state: Option<(String, bool)>,
    /// The last one that was handed on.
    said: Option<String>,
    checkpointed: Instant,
    /// Whether states are to be had: not those of a read that has failed.
    trusted: bool,
}

impl<'a> Relay<'a> {
    /// Records go to `out`, with those of `properties` that they lack as null.
    pub(super) fn new(out: &'a mut Output, properties: Vec<String>, want: Want<'a>) -> Relay<'a> {
        Relay {
            out,
            shape: Shape::new(properties),
            want,
            cursor: None,
            heard: false,
            given: 0,
            state: None,
            said: None,
            checkpointed: Instant::now(),
            trusted: true,
        }
    }

    /// The same for a read that goes by a property and on from a state.
    pub(super) fn on_from(mut self, cursor: Option<&str>, saved: Option<&Saved>) -> Relay<'a> {
        self.cursor = cursor.map(str::to_owned);
        self.state = saved.map(|saved| (saved.state.clone(), false));
        self
    }

    /// Where the records go.
    pub(super) fn out(&mut self) -> &mut Output {
        self.out
    }

    /// Takes up properties that the program speaks of only now.
    pub(super) fn extend(&mut self, properties: impl IntoIterator<Item = String>) {
        self.shape.extend(properties);
    }

    /// Hands a record on; whether more are wanted.
    pub(super) fn record(&mut self, record: &RawValue) -> Result<bool> {
        self.heard = true;
        self.shape.look(record)?;
        if let Want::Of(subject) = self.want
            && !is_of(subject, record)?
        {
            return Ok(true);
        }
        // The state that stands before this record, at the last moment: that of a program which
        // fails after it is never handed on.
        if let Some((_, followed @ false)) = &mut self.state {
            *followed = true;
            if self.trusted && (self.out.due() || self.checkpointed.elapsed() >= CHECKPOINT) {
                self.checkpoint()?;
            }
        }
        self.out.push_raw_with(record, self.shape.lacking())?;
        self.given += 1;
        Ok(!matches!(self.want, Want::First(limit) if self.given >= limit))
    }

    /// Takes a state of the program's, as it wrote it.
    pub(super) fn state(&mut self, state: &str) {
        self.heard = true;
        if self.trusted && matches!(self.want, Want::All) {
            match &mut self.state {
                Some((last, followed)) => {
                    last.clear();
                    last.push_str(state);
                    *followed = false;
                }
                None => self.state = Some((state.to_owned(), false)),
            }
        }
    }

    /// Hands on no state from now on: the read has failed.
    pub(super) fn distrust(&mut self) {
        self.trusted = false;
    }

    /// Whether anything came.
    pub(super) fn heard(&self) -> bool {
        self.heard
    }

    /// Ends a read that succeeded.
    pub(super) fn done(mut self) -> Result<()> {
        if matches!(self.want, Want::All) && self.trusted {
            self.checkpoint()?;
        }
        self.tell();
        Ok(())
    }

    /// Says what was odd about the records.
    pub(super) fn tell(&self) {
        let strange = self.shape.strange();
        if !strange.is_empty() {
            let names: Vec<&str> = strange.iter().take(10).map(String::as_str).collect();
            log::warn(format_args!(
                "{}: records have members that their schema has not: {}{}",
                self.out.store(),
                names.join(", "),
                if strange.len() > 10 { " and others" } else { "" }
            ));
        }
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.checkpointed = Instant::now();
        let Some((state, _)) = &self.state else { return Ok(()) };
        if self.said.as_ref() == Some(state) {
            return Ok(());
        }
        let saved = Saved { state: state.clone(), cursor: self.cursor.clone() };
        self.out.checkpoint(&Cursor::new(&saved)?)?;
        self.said = Some(saved.state);
        Ok(())
    }
}
