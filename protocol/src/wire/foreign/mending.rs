//! Reads messages out of the lines that a program prints, among which are others.

use anyhow::Result;
use serde::Deserialize;

use crate::fault::Fault;
use crate::json::{NonFinite, Spelling};
use crate::log;
use crate::silo::StoreId;

/// Reads lines as messages, and keeps count of those that were none.
pub(super) struct Mending<'p> {
    program: &'p str,
    spelling: Spelling,
    /// Lines that were read once they were mended.
    mended: u64,
    /// Whether a line was a record that nobody can read.
    garbled: bool,
}

impl<'p> Mending<'p> {
    pub(super) fn of(program: &'p str, spelling: Spelling) -> Mending<'p> {
        Mending { program, spelling, mended: 0, garbled: false }
    }

    /// The message of a line; `None` where it is none. `text` holds a line that had to be mended.
    pub(super) fn read<'a, T: Deserialize<'a>>(
        &mut self,
        line: &'a [u8],
        text: &'a mut String,
    ) -> Option<T> {
        if let Ok(message) = serde_json::from_slice(line) {
            return Some(message);
        }
        *text = mended(line, self.spelling.non_finite);
        match serde_json::from_str(text) {
            Ok(message) => {
                self.mended += 1;
                Some(message)
            }
            Err(_) => {
                self.garbled |= was_record(line);
                noise(self.program, line);
                None
            }
        }
    }

    /// Whether a record was lost, which is a failure.
    pub(super) fn is_garbled(&self) -> bool {
        self.garbled
    }

    /// Says what was mended, and fails where something could not be.
    pub(super) fn end(&self, store: &StoreId) -> Result<()> {
        if self.mended > 0 {
            log::warn(format_args!(
                "{store}: {} lines were no JSON: numbers that are not finite are spelled as this \
                 protocol does, and bytes that are no text are U+FFFD",
                self.mended
            ));
        }
        match self.garbled {
            false => Ok(()),
            true => {
                let what = format!("{} printed a record that is cut or garbled", self.program);
                Err(Fault::system(what).into())
            }
        }
    }
}

/// What a line says that is no message: shown to whoever looks for a fault, and cut.
pub(super) fn noise(program: &str, line: &[u8]) {
    let text = String::from_utf8_lossy(&line[..line.len().min(500)]);
    if !text.trim().is_empty() {
        log::debug(format_args!("{program} printed what is no message: {}", text.trim()));
    }
}

/// Whether a line that cannot be read was a record: to pass over it would lose it.
fn was_record(line: &[u8]) -> bool {
    let word = |word: &[u8]| word.eq_ignore_ascii_case(b"\"RECORD\"");
    line.trim_ascii_start().starts_with(b"{") && line.windows(8).any(word)
}

/// A line that is no JSON, mended: numbers that are not finite, which Python writes as bare words,
/// in the spelling of the run, and bytes that are no UTF-8 as U+FFFD. What changed is for the caller
/// to say.
fn mended(line: &[u8], spelling: NonFinite) -> String {
    let text = String::from_utf8_lossy(line);
    let mut mended = String::with_capacity(text.len() + 16);
    let mut rest = &*text;
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        mended.push_str(&rest[..at]);
        rest = &rest[at..];
        let word = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| rest.starts_with(word));
        let length = match (word, spelling) {
            (Some(word), NonFinite::Null) => {
                mended.push_str("null");
                rest = &rest[word.len()..];
                continue;
            }
            (Some(word), NonFinite::Text) => {
                mended.push('"');
                mended.push_str(word);
                mended.push('"');
                rest = &rest[word.len()..];
                continue;
            }
            (None, _) if rest.starts_with('"') => string(rest),
            (None, _) => 1,
        };
        mended.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    mended.push_str(rest);
    mended
}

/// How long the string is that `text` begins with, its quotes included.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_words_for_numbers_become_json_and_texts_stay() {
        let line = br#"{"a": NaN, "b": [-Infinity,Infinity], "NaN": "Infinity \" NaN", "c": -1}"#;
        let text = mended(line, NonFinite::Text);
        assert_eq!(
            text,
            r#"{"a": "NaN", "b": ["-Infinity","Infinity"], "NaN": "Infinity \" NaN", "c": -1}"#
        );
        let nulls = mended(line, NonFinite::Null);
        assert!(nulls.starts_with(r#"{"a": null, "b": [null,null], "NaN""#), "{nulls}");
        assert_eq!(mended(b"{\"a\":\"\xff\"}", NonFinite::Text), "{\"a\":\"\u{fffd}\"}");
        assert_eq!(mended(b"\"cut NaN", NonFinite::Text), "\"cut NaN");
    }
}
