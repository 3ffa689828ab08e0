//! Writes JSON values straight into an output buffer, in the spelling of the run.

#[cfg(feature = "http")]
pub(crate) mod scan;

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// How values are written that JSON has no single form for. Fixed for a run; chosen by the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spelling {
    /// Exact decimals.
    pub decimals: Decimals,
    /// Numbers that are not finite.
    pub non_finite: NonFinite,
}

/// How an exact decimal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decimals {
    /// As a string with all its digits.
    Text,
    /// As a JSON number with all its digits.
    Number,
}

/// How a number is written that is not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonFinite {
    /// As `"NaN"`, `"Infinity"` or `"-Infinity"`.
    Text,
    /// As null.
    Null,
}

impl Spelling {
    /// The native protocol's: nothing is lost.
    pub const NATIVE: Spelling = Spelling { decimals: Decimals::Text, non_finite: NonFinite::Text };
}

/// Appends JSON to a buffer. Each function writes one whole value, but for [`Json::raw`].
pub struct Json<'a> {
    out: &'a mut Vec<u8>,
    spelling: Spelling,
    nulled: Vec<usize>,
}

impl<'a> Json<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>, spelling: Spelling) -> Json<'a> {
        Json { out, spelling, nulled: Vec::new() }
    }

    /// The spelling of the run.
    pub fn spelling(&self) -> Spelling {
        self.spelling
    }

    /// Where in the buffer a number that was not finite became null.
    pub(crate) fn nulled(self) -> Vec<usize> {
        self.nulled
    }

    /// Bytes that are JSON already: a key made earlier, punctuation, a value of a driver.
    #[inline]
    pub fn raw(&mut self, json: &[u8]) {
        append(self.out, json);
    }

    /// `null`.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    /// `true` or `false`.
    #[inline]
    pub fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// An integer, exact at any size.
    #[inline]
    pub fn integer(&mut self, value: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A double, as the shortest number that reads back as the same double.
    #[inline]
    pub fn float(&mut self, value: f64) {
        if value.is_finite() {
            self.out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        } else {
            self.non_finite(value.is_nan(), value.is_sign_negative());
        }
    }

    /// A single-precision float, as the shortest number that reads back as the same float.
    #[inline]
    pub fn float32(&mut self, value: f32) {
        if value.is_finite() {
            self.out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        } else {
            self.non_finite(value.is_nan(), value.is_sign_negative());
        }
    }

    /// A number that is not finite: NaN, or an infinity of either sign.
    pub fn non_finite(&mut self, nan: bool, negative: bool) {
        if self.spelling.non_finite == NonFinite::Null {
            self.nulled.push(self.out.len());
        }
        let text: &[u8] = match (self.spelling.non_finite, nan, negative) {
            (NonFinite::Null, ..) => b"null",
            (NonFinite::Text, true, _) => b"\"NaN\"",
            (NonFinite::Text, false, false) => b"\"Infinity\"",
            (NonFinite::Text, false, true) => b"\"-Infinity\"",
        };
        self.out.extend_from_slice(text);
    }

    /// An exact decimal, given as its digits (a valid JSON number).
    #[inline]
    pub fn decimal(&mut self, digits: &[u8]) {
        match self.spelling.decimals {
            Decimals::Number => self.out.extend_from_slice(digits),
            Decimals::Text => {
                self.out.push(b'"');
                self.out.extend_from_slice(digits);
                self.out.push(b'"');
            }
        }
    }

    /// A string.
    #[inline]
    pub fn text(&mut self, text: &str) {
        self.out.push(b'"');
        escape(self.out, text.as_bytes());
        self.out.push(b'"');
    }

    /// A string of characters that need no escape: digits, letters, `-:.+TZ` and the like.
    #[inline]
    pub fn plain(&mut self, ascii: &[u8]) {
        self.out.push(b'"');
        self.out.extend_from_slice(ascii);
        self.out.push(b'"');
    }

    /// A string made by `Display`, escaped.
    pub fn display(&mut self, value: impl fmt::Display) {
        struct Escaping<'a>(&'a mut Vec<u8>);
        impl fmt::Write for Escaping<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                escape(self.0, text.as_bytes());
                Ok(())
            }
        }
        self.out.push(b'"');
        // The buffer cannot refuse; a `Display` that does has written what it could.
        write!(Escaping(self.out), "{value}").unwrap_or(());
        self.out.push(b'"');
    }

    /// Bytes as base64 with padding (RFC 4648, section 4).
    pub fn base64(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        let start = self.out.len();
        self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        let written = BASE64.encode_slice(bytes, &mut self.out[start..]);
        self.out.truncate(start + written.expect("the room was made for the whole of it"));
        self.out.push(b'"');
    }
}

/// Appends a few bytes, such as the key of a member. A copy whose length is known here is one
/// instruction, so that two which overlap cost less than a call for one of any length.
#[inline]
pub(crate) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(head), Some(tail)) if bytes.len() <= 16 => {
            out.extend_from_slice(head);
            out.truncate(out.len() - (16 - bytes.len()));
            out.extend_from_slice(tail);
        }
        _ => out.extend_from_slice(bytes),
    }
}

/// The key of an object's member, ready to be written: `"name":`.
pub fn key(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 3);
    Json::new(&mut out, Spelling::NATIVE).text(name);
    out.push(b':');
    out
}

/// What stands before the value of each member of an object: `{"a":`, and then `,"b":`.
pub fn members<'n>(names: impl IntoIterator<Item = &'n str>) -> impl Iterator<Item = Vec<u8>> {
    names.into_iter().enumerate().map(|(place, name)| {
        let mut before = if place == 0 { b"{".to_vec() } else { b",".to_vec() };
        before.extend(key(name));
        before
    })
}

/// What stands after the backslash for each byte that must be escaped in a JSON string; 0 for the
/// others, `u` for those that have no short form.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 0x20 {
        table[i] = b'u';
        i += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// The high bit of each byte of `word` that must be escaped.
#[inline]
fn must_escape(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    // Sums of seven bits each, so that no byte carries into the next.
    let low = word & !HIGH;
    let differs = |byte: u8| (low ^ (u64::from(byte) * EACH)) + 0x7f * EACH;
    let no_control = low + 0x60 * EACH;
    !(word | (differs(b'"') & differs(b'\\') & no_control)) & HIGH
}

/// The first eight of the last `left` bytes of a text, as a little-endian word; where there are
/// fewer, blanks follow them. And how many there are.
#[inline]
fn word_of(text: &[u8], left: usize) -> (u64, usize) {
    const BLANKS: u64 = 0x2020_2020_2020_2020;
    if let Some(word) = text[text.len() - left..].first_chunk::<8>() {
        return (u64::from_le_bytes(*word), 8);
    }
    let word = match text.last_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word) >> (64 - 8 * left),
        None => text.iter().rev().take(left).fold(0, |word, &byte| (word << 8) | u64::from(byte)),
    };
    (word | (BLANKS << (8 * left)), left)
}

/// Appends the bytes of a UTF-8 text, escaped for a JSON string, without the quotes.
#[inline]
pub fn escape(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 8);
    let mut left = text.len();
    while left > 0 {
        let (word, length) = word_of(text, left);
        if must_escape(word) == 0 {
            // Copied whole and cut back, because a copy of a fixed length is one instruction.
            out.extend_from_slice(&word.to_le_bytes());
            out.truncate(out.len() - (8 - length));
            left -= length;
        } else {
            left -= spell(out, text, left);
        }
    }
}

/// Appends some of the last `left` bytes of a text and returns how many. Where one word has bytes to
/// escape, the next often has too.
#[inline(never)]
fn spell(out: &mut Vec<u8>, text: &[u8], left: usize) -> usize {
    /// Of four words or a few more, each byte with a backslash before it.
    const ROOM: usize = 72;
    let start = out.len();
    out.resize(start + ROOM, 0);
    let room = &mut out[start..];
    let (mut written, mut read) = (0, 0);
    while read < left && written <= ROOM - 24 {
        let (word, length) = word_of(text, left - read);
        room[written..written + 8].copy_from_slice(&word.to_le_bytes());
        let mut inserted = 0;
        let mut marks = must_escape(word);
        while marks != 0 {
            let bits = marks.trailing_zeros() & !7;
            let rest = (word >> bits).to_le_bytes();
            let escape = ESCAPES[usize::from(rest[0])];
            if escape == b'u' {
                out.truncate(start + written);
                word.to_le_bytes()[..length].iter().for_each(|&byte| spell_byte(out, byte));
                return read + length;
            }
            // What follows the byte moves up by one, over what of it was written before.
            let place = written + (bits / 8) as usize + inserted;
            room[place] = b'\\';
            room[place + 1..place + 9].copy_from_slice(&rest);
            room[place + 1] = escape;
            inserted += 1;
            marks &= marks - 1;
        }
        written += length + inserted;
        read += length;
    }
    out.truncate(start + written);
    read
}

/// Appends a byte, escaped if it must be.
fn spell_byte(out: &mut Vec<u8>, byte: u8) {
    match ESCAPES[usize::from(byte)] {
        0 => out.push(byte),
        b'u' => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let low = HEX[usize::from(byte & 15)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), low]);
        }
        short => out.extend_from_slice(&[b'\\', short]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Json<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Json::new(&mut out, Spelling::NATIVE));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_text_reads_back_as_itself() {
        let all: String = (0..0x250).filter_map(char::from_u32).collect();
        let shifted = (0..9).map(|n| format!("{}\u{1}\"\\\u{1f}é", "x".repeat(n)));
        let mut texts: Vec<String> = shifted.collect();
        texts.extend(["", "a", &all, &all.repeat(3), "\u{2028}😀\\"].map(str::to_owned));
        for text in &texts {
            let json = written(|json| json.text(text));
            assert!(!json.contains('\n'), "a line break in a line-based stream");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), *text);
        }
    }

    #[test]
    fn floats_read_back_as_the_same_bits_and_the_rest_is_spelled_out() {
        for value in [0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, f64::MAX, 123_456_789.123_456_79] {
            let json = written(|json| json.float(value));
            let back: f64 = json.parse().unwrap();
            assert_eq!(back.to_bits(), value.to_bits(), "{json}");
            assert!(serde_json::from_str::<f64>(&json).is_ok(), "{json} is no JSON number");
        }
        assert_eq!(written(|json| json.float(f64::NAN)), "\"NaN\"");
        assert_eq!(written(|json| json.float(f64::NEG_INFINITY)), "\"-Infinity\"");
        assert_eq!(written(|json| json.float32(0.1)), "0.1");
    }

    #[test]
    fn base64_pads_as_the_standard_shows() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(written(|json| json.base64(bytes.as_bytes())), format!("\"{text}\""));
        }
    }
}
