//! Finds where JSON values end, and that they are JSON, without taking them in.
//!
//! What is relayed as it stands is looked at once: strings by eights of bytes, and nothing is built.
//! The text is UTF-8 already; the grammar is RFC 8259's.

/// What is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotJson;

/// How deep arrays and objects may stand in one another.
const DEPTH: u32 = 128;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The place from `at` on that is no blank space.
#[inline]
pub(crate) fn blank(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// The end of the value that begins at `at`, which no blank space stands at.
pub(crate) fn value(text: &[u8], at: usize) -> Result<usize, NotJson> {
    match text.get(at) {
        Some(b'"') => string(text, at),
        Some(b'{' | b'[') => nested(text, at),
        Some(b't') => word(text, at, b"true"),
        Some(b'f') => word(text, at, b"false"),
        Some(b'n') => word(text, at, b"null"),
        Some(b'-' | b'0'..=b'9') => number(text, at),
        _ => Err(NotJson),
    }
}

/// The end of a string that begins at `at`.
#[inline]
pub(crate) fn string(text: &[u8], at: usize) -> Result<usize, NotJson> {
    if text.get(at) != Some(&b'"') {
        return Err(NotJson);
    }
    let mut at = at + 1;
    loop {
        while let Some(eight) = text.get(at..at + 8) {
            let eight = u64::from_le_bytes(eight.try_into().expect("these are eight bytes"));
            let zero = |of: u64| of.wrapping_sub(ONES) & !of;
            // Above the first byte that is found others may be taken for one, below it none.
            let found = (zero(eight ^ (ONES * 0x22))
                | zero(eight ^ (ONES * 0x5c))
                | (eight.wrapping_sub(ONES * 0x20) & !eight))
                & HIGH;
            if found != 0 {
                at += found.trailing_zeros() as usize / 8;
                break;
            }
            at += 8;
        }
        match text.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(text, at)?,
            Some(0..0x20) | None => return Err(NotJson),
            Some(_) => at += 1,
        }
    }
}

/// The end of an escape that begins at `at`.
fn escape(text: &[u8], at: usize) -> Result<usize, NotJson> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let digits = text.get(at + 2..at + 6).ok_or(NotJson)?;
            match digits.iter().all(u8::is_ascii_hexdigit) {
                true => Ok(at + 6),
                false => Err(NotJson),
            }
        }
        _ => Err(NotJson),
    }
}

fn word(text: &[u8], at: usize, word: &[u8]) -> Result<usize, NotJson> {
    match text[at..].starts_with(word) {
        true => Ok(at + word.len()),
        false => Err(NotJson),
    }
}

/// The end of a number that begins at `at`.
fn number(text: &[u8], mut at: usize) -> Result<usize, NotJson> {
    let digits = |mut at: usize| {
        let from = at;
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        if at > from { Ok(at) } else { Err(NotJson) }
    };
    if text[at] == b'-' {
        at += 1;
    }
    at = match text.get(at) {
        Some(b'0') => at + 1,
        _ => digits(at)?,
    };
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = text.get(at) {
            at += 1;
        }
        at = digits(at)?;
    }
    Ok(at)
}

/// The end of an array or object that begins at `at`.
fn nested(text: &[u8], mut at: usize) -> Result<usize, NotJson> {
    // Which of those that are open are objects, the innermost lowest.
    let mut open: u128 = 0;
    let mut depth = 0;
    loop {
        // A value begins here.
        match text.get(at) {
            Some(&begin @ (b'{' | b'[')) => {
                if depth == DEPTH {
                    return Err(NotJson);
                }
                depth += 1;
                open = open << 1 | u128::from(begin == b'{');
                at = blank(text, at + 1);
                match (begin, text.get(at)) {
                    (b'{', Some(b'}')) | (b'[', Some(b']')) => {}
                    (b'{', _) => {
                        at = member(text, at)?;
                        continue;
                    }
                    _ => continue,
                }
            }
            _ => at = blank(text, value(text, at)?),
        }
        // One has ended: what it stands in may end too, or goes on.
        loop {
            let object = open & 1 == 1;
            match text.get(at) {
                Some(b',') => {
                    at = blank(text, at + 1);
                    if object {
                        at = member(text, at)?;
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
            at = blank(text, at + 1);
        }
    }
}

/// Where the value of the member begins whose name begins at `at`.
#[inline]
pub(crate) fn member(text: &[u8], at: usize) -> Result<usize, NotJson> {
    let at = blank(text, string(text, at)?);
    match text.get(at) {
        Some(b':') => Ok(blank(text, at + 1)),
        _ => Err(NotJson),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> bool {
        let bytes = text.as_bytes();
        let at = blank(bytes, 0);
        value(bytes, at).is_ok_and(|end| blank(bytes, end) == bytes.len())
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
