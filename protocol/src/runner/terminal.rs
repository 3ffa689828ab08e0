//! Where the output goes, what that changes, and how a run ends from outside.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::log::Style;
use crate::output::Sink;
use crate::wire::foreign;

/// How long a connector lives at least when a host reads it through a terminal: such a host starts
/// to wait for the end only after it has started the program, and misses an end that came sooner.
const SHORTEST_LIFE: Duration = Duration::from_millis(300);

/// The longest line that such a host's reader takes, without the line end.
pub(super) const LONGEST_LINE: usize = 65_534;

/// How long a signal waits for a write that is under way.
const LAST_WRITE: Duration = Duration::from_millis(800);

/// What stdout and stderr are.
#[derive(Clone, Copy)]
pub(crate) struct Terminal {
    stdout: bool,
    stderr: bool,
    started: Instant,
}

impl Terminal {
    pub(crate) fn look() -> Terminal {
        Terminal {
            stdout: std::io::stdout().is_terminal(),
            stderr: std::io::stderr().is_terminal(),
            started: Instant::now(),
        }
    }

    /// Whether a host reads both streams as one.
    fn shared(self) -> bool {
        self.stdout && self.stderr
    }

    /// Whether a person watches stderr while the output goes elsewhere.
    fn watched(self) -> bool {
        self.stderr && !self.stdout
    }

    pub(super) fn style(self) -> Style {
        if self.watched() { Style::Text } else { Style::Json }
    }

    pub(super) fn longest_line(self) -> Option<usize> {
        self.shared().then_some(LONGEST_LINE)
    }

    pub(crate) fn sink(self) -> Result<Sink> {
        // Not `Stdout`: it would look for line ends in every buffer once more.
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().context("opening stdout")?;
        Ok(Sink::new(Box::new(File::from(stdout)), self.stdout))
    }

    /// Waits for the shortest life to be over.
    pub(super) fn linger(self) {
        if self.shared() {
            std::thread::sleep(SHORTEST_LIFE.saturating_sub(self.started.elapsed()));
        }
    }

    /// Shows a person how far the run is.
    pub(super) fn display(self, sink: Arc<Sink>) -> Display {
        if !self.watched() {
            return Display(None);
        }
        let over = Arc::new(AtomicBool::new(false));
        let watch = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut shown = false;
            while !watch.load(Ordering::Acquire) {
                std::thread::park_timeout(Duration::from_millis(500));
                let records = sink.records();
                let elapsed = self.started.elapsed().as_secs_f64();
                // Short work needs no display.
                if records > 0 && elapsed > 1.5 {
                    let rate = records as f64 / elapsed;
                    let line = format!("\r{records} records, {rate:.0}/s, {elapsed:.0} s\x1b[K");
                    drop(std::io::stderr().lock().write_all(line.as_bytes()));
                    shown = true;
                }
            }
            if shown {
                drop(std::io::stderr().lock().write_all(b"\n"));
            }
        });
        Display(Some((over, thread)))
    }
}

/// A progress display at work, or none.
pub(super) struct Display(Option<(Arc<AtomicBool>, JoinHandle<()>)>);

impl Display {
    pub(super) fn end(self) {
        if let Some((over, thread)) = self.0 {
            over.store(true, Ordering::Release);
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

/// Ends the process on SIGTERM and SIGINT, within a second, after the line being written: status
/// 143 and 130. What a transaction had not committed is rolled back by its database.
pub(crate) fn end_on_signals(sink: Arc<Sink>) {
    end_on_signals_with(sink, |signal| (Vec::new(), 128 + signal));
}

/// The same with last lines, and a status of its own.
pub(crate) fn end_on_signals_with(
    sink: Arc<Sink>,
    last: impl FnOnce(i32) -> (Vec<u8>, i32) + Send + 'static,
) {
    let Ok(mut signals) = Signals::new([SIGTERM, SIGINT]) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Held until the process is gone, so that no line is cut.
            let mut closed = sink.close(LAST_WRITE);
            let (lines, status) = last(signal);
            if let Some(writer) = &mut closed {
                drop(writer.write_all(&lines));
            }
            foreign::end_all();
            std::process::exit(status);
        }
    });
}
