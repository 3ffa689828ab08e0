//! Finds where JSON values end, and that they are JSON, without taking them in.
//!
//! What is relayed as it stands is looked at once: strings by eights of bytes, and nothing is built.
//! The text is UTF-8 already; the grammar is RFC 8259's.

/// What is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotJson;

/// How deep arrays and objects may stand in one another.
const DEPTH: u32 = 128;

/// How many bytes of strings are looked at together.
const BLOCK: usize = 64;

/// A look over a text from its beginning to its end. Places that come later may be looked at first,
/// which costs time only.
pub(crate) struct Scan<'t> {
    text: &'t [u8],
    /// The block that `marks` are of.
    block: usize,
    /// Which bytes of the block cannot stand in a string as they are, the first lowest.
    marks: u64,
}

impl<'t> Scan<'t> {
    /// A look over `text`.
    pub(crate) fn new(text: &'t [u8]) -> Scan<'t> {
        Scan { text, block: usize::MAX, marks: 0 }
    }

    /// The text.
    pub(crate) fn text(&self) -> &'t [u8] {
        self.text
    }

    /// The byte at a place.
    #[inline]
    pub(crate) fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    /// The place from `at` on that is no blank space.
    #[inline]
    pub(crate) fn blank(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.byte(at) {
            at += 1;
        }
        at
    }

    /// The end of the value that begins at `at`, which no blank space stands at.
    #[inline]
    pub(crate) fn value(&mut self, at: usize) -> Result<usize, NotJson> {
        match self.byte(at) {
            Some(b'{' | b'[') => self.nested(at),
            _ => self.scalar(at),
        }
    }

    #[inline]
    fn scalar(&mut self, at: usize) -> Result<usize, NotJson> {
        match self.byte(at) {
            Some(b'"') => self.rest_of_string(at + 1),
            Some(b't') => self.word(at, b"true"),
            Some(b'f') => self.word(at, b"false"),
            Some(b'n') => self.word(at, b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(at),
            _ => Err(NotJson),
        }
    }

    /// The end of a string that begins at `at`.
    #[inline]
    pub(crate) fn string(&mut self, at: usize) -> Result<usize, NotJson> {
        match self.byte(at) {
            Some(b'"') => self.rest_of_string(at + 1),
            _ => Err(NotJson),
        }
    }

    #[inline]
    fn rest_of_string(&mut self, mut at: usize) -> Result<usize, NotJson> {
        loop {
            if at / BLOCK != self.block {
                self.mark(at / BLOCK);
            }
            let marks = self.marks >> (at % BLOCK);
            if marks == 0 {
                at = (at / BLOCK + 1) * BLOCK;
                continue;
            }
            at += marks.trailing_zeros() as usize;
            match self.byte(at) {
                Some(b'"') => return Ok(at + 1),
                Some(b'\\') => at = self.escape(at)?,
                _ => return Err(NotJson),
            }
        }
    }

    /// Looks at a block. Behind the text everything is marked.
    #[inline(never)]
    fn mark(&mut self, block: usize) {
        self.block = block;
        let rest = self.text.get(block * BLOCK..).unwrap_or_default();
        self.marks = match rest.first_chunk::<BLOCK>() {
            Some(block) => marks(block),
            None => {
                let mut last = [0; BLOCK];
                last[..rest.len()].copy_from_slice(rest);
                marks(&last)
            }
        };
    }

    /// The end of an escape that begins at `at`.
    fn escape(&self, at: usize) -> Result<usize, NotJson> {
        match self.byte(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => {
                let digits = self.text.get(at + 2..at + 6).ok_or(NotJson)?;
                match digits.iter().all(u8::is_ascii_hexdigit) {
                    true => Ok(at + 6),
                    false => Err(NotJson),
                }
            }
            _ => Err(NotJson),
        }
    }

    fn word(&self, at: usize, word: &[u8]) -> Result<usize, NotJson> {
        match self.text[at..].starts_with(word) {
            true => Ok(at + word.len()),
            false => Err(NotJson),
        }
    }

    /// The end of a number that begins at `at`.
    fn number(&self, mut at: usize) -> Result<usize, NotJson> {
        let digits = |mut at: usize| {
            let from = at;
            while self.byte(at).is_some_and(|byte| byte.is_ascii_digit()) {
                at += 1;
            }
            if at > from { Ok(at) } else { Err(NotJson) }
        };
        if self.text[at] == b'-' {
            at += 1;
        }
        at = match self.byte(at) {
            Some(b'0') => at + 1,
            _ => digits(at)?,
        };
        if self.byte(at) == Some(b'.') {
            at = digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = self.byte(at) {
            at += 1;
            if let Some(b'+' | b'-') = self.byte(at) {
                at += 1;
            }
            at = digits(at)?;
        }
        Ok(at)
    }

    /// The end of an array or object that begins at `at`.
    fn nested(&mut self, mut at: usize) -> Result<usize, NotJson> {
        // Which of those that are open are objects, the innermost lowest.
        let mut open: u128 = 0;
        let mut depth = 0;
        loop {
            // A value begins here.
            match self.byte(at) {
                Some(begin @ (b'{' | b'[')) => {
                    if depth == DEPTH {
                        return Err(NotJson);
                    }
                    depth += 1;
                    open = open << 1 | u128::from(begin == b'{');
                    at = self.blank(at + 1);
                    match (begin, self.byte(at)) {
                        (b'{', Some(b'}')) | (b'[', Some(b']')) => {}
                        (b'{', _) => {
                            at = self.member(at)?;
                            continue;
                        }
                        _ => continue,
                    }
                }
                _ => {
                    let end = self.scalar(at)?;
                    at = self.blank(end);
                }
            }
            // One has ended: what it stands in may end too, or goes on.
            loop {
                let object = open & 1 == 1;
                match self.byte(at) {
                    Some(b',') => {
                        at = self.blank(at + 1);
                        if object {
                            at = self.member(at)?;
                        }
                        break;
                    }
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    _ => return Err(NotJson),
                }
                open >>= 1;
                depth -= 1;
                if depth == 0 {
                    return Ok(at + 1);
                }
                at = self.blank(at + 1);
            }
        }
    }

    /// Where the value of the member begins whose name begins at `at`.
    #[inline]
    pub(crate) fn member(&mut self, at: usize) -> Result<usize, NotJson> {
        let end = self.string(at)?;
        let at = self.blank(end);
        match self.byte(at) {
            Some(b':') => Ok(self.blank(at + 1)),
            _ => Err(NotJson),
        }
    }
}

/// Which bytes are a quote, a backslash or a control character, the first lowest.
#[inline]
fn marks(block: &[u8; BLOCK]) -> u64 {
    // Many at once in the machine's wide registers.
    let found = block.map(|byte| u8::from((byte == b'"') | (byte == b'\\') | (byte < 0x20)));
    let (words, _) = found.as_chunks::<8>();
    words.iter().enumerate().fold(0, |marks, (place, word)| {
        // The product brings the low bits of the eight bytes side by side.
        let eight = u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        marks | eight << (place * 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> bool {
        let mut scan = Scan::new(text.as_bytes());
        let at = scan.blank(0);
        scan.value(at).is_ok_and(|end| scan.blank(end) == text.len())
    }

    #[test]
    fn what_is_json_ends_where_it_ends() {
        for text in [
            "{}",
            "[]",
            " [1, -0.5e+10,0 , {\"a\":{\"b\":[[],{}]}} ]",
            "\"\"",
            "\"a\\u00e9\\n\\\\\"",
            "true",
            "null",
            "false",
            "-1",
            "0",
            "{\"a\" : 1 , \"b\":\"}\"}",
            "\"\u{e9}\u{1f600} long enough to be looked at by eights\"",
        ] {
            assert!(whole(text), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_told() {
        for text in [
            "",
            "{",
            "[",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1 2]",
            "{1:2}",
            "\"",
            "\"\n\"",
            "\"abcdefgh\tabc\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "tru",
            "nul",
            "01",
            "-",
            "1.",
            "1e",
            ".5",
            "+1",
            "[}",
            "{]",
            "[1}",
            "{\"a\":1]",
            "]",
            "1 2",
            "{} {}",
        ] {
            assert!(!whole(text), "{text}");
        }
        assert!(whole(&("[".repeat(128) + &"]".repeat(128))));
        assert!(!whole(&("[".repeat(129) + &"]".repeat(129))));
    }
}
