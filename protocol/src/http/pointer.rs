//! Finds what stands at a JSON pointer of a body, without taking the body in.

use std::ops::Range;

use crate::json::scan::{NotJson, Scan};

/// Why a body could not be sliced.
#[derive(Debug)]
pub enum Unsliced {
    /// It is not JSON.
    Json,
    /// It is JSON, but not as it was said to be, and how.
    Shape(String),
}

impl From<NotJson> for Unsliced {
    fn from(_: NotJson) -> Unsliced {
        Unsliced::Json
    }
}

/// Calls `record` with the place where each element of the array at a JSON pointer begins; it
/// returns where that one ends. Says where the array stands. With an empty pointer the body is an
/// array of records, or one record. Null is an empty list; nothing there is not.
pub(super) fn each(
    body: &[u8],
    pointer: &str,
    mut record: impl FnMut(&mut Scan<'_>, usize) -> Result<usize, NotJson>,
) -> Result<Range<usize>, Unsliced> {
    let mut scan = Scan::new(body);
    let whole = scan.blank(0);
    if pointer.is_empty() && scan.byte(whole) == Some(b'{') {
        let end = record(&mut scan, whole)?;
        ended(&scan, end)?;
        return Ok(whole..end);
    }
    let mut list = None;
    find(&mut scan, pointer, None, "a list", &mut |scan, begin| {
        let end = match scan.byte(begin) {
            Some(b'[') => elements(scan, begin, |scan, begin| Ok(record(scan, begin)?))?,
            Some(b'n') => scan.value(begin)?,
            _ => return Err(misfit(scan, begin, pointer, "a list")),
        };
        list = Some(begin..end);
        Ok(end)
    })?;
    list.ok_or_else(|| Unsliced::Shape(format!("`{pointer}` is missing")))
}

/// The scalar at a JSON pointer as text; `None` where there is none, or it is null or empty.
pub fn text_at(body: &[u8], pointer: &str) -> Result<Option<String>, Unsliced> {
    text_beside(body, pointer, None)
}

/// The same of a body of which a part is known to be one value that nothing is looked for in.
pub(super) fn text_beside(
    body: &[u8],
    pointer: &str,
    known: Option<&Range<usize>>,
) -> Result<Option<String>, Unsliced> {
    let mut text = None;
    find(&mut Scan::new(body), pointer, known, "a text or number", &mut |scan, begin| {
        if let Some(b'{' | b'[') = scan.byte(begin) {
            return Err(misfit(scan, begin, pointer, "a text or number"));
        }
        let end = scan.value(begin)?;
        text = scalar(std::str::from_utf8(&body[begin..end]).map_err(|_| Unsliced::Json)?);
        Ok(end)
    })?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// How far from its end a body is searched before it is looked at as a whole.
const END: usize = 4096;

/// What [`text_at`] finds, where that stands near the end of a body that is an object, or where the
/// whole object is that short; `None` where this does not tell.
///
/// In JSON a quote that is outside of a string, read from the end, ends one; and the next before it
/// that no backslash escapes begins it. So this is right of every body that is JSON.
pub(super) fn text_at_end(body: &[u8], pointer: &str) -> Option<Option<String>> {
    let (first, deeper) = match pointer.strip_prefix('/')?.split_once('/') {
        Some((first, _)) => (first, &pointer[1 + first.len()..]),
        None => (&pointer[1..], ""),
    };
    let back = Back { body, from: body.len().saturating_sub(END) };
    let mut at = back.over(back.blank(body.len()), b'}')?;
    loop {
        let end = back.blank(at);
        let begin = back.value(end)?;
        let name = back.blank(back.over(back.blank(begin), b':')?);
        at = back.string(name)?;
        if named(&body[at..name], first) {
            return text_at(&body[begin..end], deeper).ok();
        }
        at = back.blank(at);
        match body.get(at.checked_sub(1)?)? {
            b',' => at -= 1,
            // The first member.
            b'{' if back.blank(at - 1) == 0 => return Some(None),
            _ => return None,
        }
    }
}

/// A look at a body from its end; no further than a bound.
struct Back<'b> {
    body: &'b [u8],
    from: usize,
}

impl Back<'_> {
    /// The byte before a place.
    fn byte(&self, at: usize) -> Option<u8> {
        (at > self.from).then(|| self.body[at - 1])
    }

    fn blank(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.byte(at) {
            at -= 1;
        }
        at
    }

    /// The place before a byte that must end at `at`.
    fn over(&self, at: usize, byte: u8) -> Option<usize> {
        (self.byte(at)? == byte).then(|| at - 1)
    }

    /// The beginning of the string that ends at `at`.
    fn string(&self, at: usize) -> Option<usize> {
        let mut at = self.over(at, b'"')?;
        loop {
            at = self.from + memchr::memrchr(b'"', &self.body[self.from..at])?;
            let escapes = self.body[self.from..at].iter().rev().take_while(|&&b| b == b'\\');
            if escapes.count() % 2 == 0 {
                return Some(at);
            }
        }
    }

    /// The beginning of the value that ends at `at`.
    fn value(&self, mut at: usize) -> Option<usize> {
        let mut depth = 0;
        loop {
            match self.byte(at)? {
                b'"' => at = self.string(at)?,
                b'}' | b']' => {
                    depth += 1;
                    at -= 1;
                }
                b'{' | b'[' if depth > 0 => {
                    depth -= 1;
                    at -= 1;
                }
                b',' | b':' | b' ' | b'\n' | b'\t' | b'\r' if depth > 0 => at -= 1,
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.' => {
                    let scalar = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
                    while self.byte(at).is_some_and(scalar) {
                        at -= 1;
                    }
                }
                _ => return None,
            }
            if depth == 0 {
                return Some(at);
            }
        }
    }
}

/// A scalar's text; `None` for null.
fn scalar(json: &str) -> Option<String> {
    match json.as_bytes() {
        b"null" => None,
        [b'"', ..] => serde_json::from_str(json).ok(),
        number if number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) => {
            let number = json.parse::<f64>().ok();
            Some(number.map_or_else(|| json.to_owned(), |number| number.to_string()))
        }
        _ => Some(json.to_owned()),
    }
}

/// Says where the value ends whose beginning it is given.
type Found<'f> = &'f mut dyn FnMut(&mut Scan<'_>, usize) -> Result<usize, Unsliced>;

/// Calls `found` with the place where each value at a JSON pointer begins. All of the text is looked
/// at, but for the part that is `known`.
fn find(
    scan: &mut Scan<'_>,
    pointer: &str,
    known: Option<&Range<usize>>,
    what: &str,
    found: Found<'_>,
) -> Result<(), Unsliced> {
    let path: Vec<&str> = pointer.split('/').skip(1).collect();
    let begin = scan.blank(0);
    let end = Way { known, pointer, what }.down(scan, begin, &path, found)?;
    ended(scan, end)
}

/// A search for what stands at a JSON pointer.
struct Way<'w> {
    known: Option<&'w Range<usize>>,
    pointer: &'w str,
    what: &'w str,
}

impl Way<'_> {
    /// Goes on from the value that begins at `begin`, and says where it ends.
    fn down(
        &self,
        scan: &mut Scan<'_>,
        begin: usize,
        path: &[&str],
        found: Found<'_>,
    ) -> Result<usize, Unsliced> {
        let Some((first, rest)) = path.split_first() else { return found(scan, begin) };
        match scan.byte(begin) {
            Some(b'{') => members(scan, begin, |scan, name, begin| match named(name, first) {
                true => self.down(scan, begin, rest, found),
                false => self.over(scan, begin),
            }),
            Some(b'[') => {
                let wanted = first.parse::<usize>().ok();
                let mut place = 0;
                elements(scan, begin, |scan, begin| {
                    place += 1;
                    match wanted == Some(place - 1) {
                        true => self.down(scan, begin, rest, found),
                        false => self.over(scan, begin),
                    }
                })
            }
            Some(b'n') => Ok(scan.value(begin)?),
            _ => Err(misfit(scan, begin, self.pointer, self.what)),
        }
    }

    /// The end of a value that is not on the way.
    fn over(&self, scan: &mut Scan<'_>, begin: usize) -> Result<usize, Unsliced> {
        match self.known {
            Some(known) if known.start == begin => Ok(known.end),
            _ => Ok(scan.value(begin)?),
        }
    }
}

/// What to say of a value that begins at `begin` and is not what was to be there.
fn misfit(scan: &mut Scan<'_>, begin: usize, pointer: &str, what: &str) -> Unsliced {
    match scan.value(begin) {
        Ok(_) => Unsliced::Shape(format!("`{pointer}` must be {what}")),
        Err(NotJson) => Unsliced::Json,
    }
}

/// Nothing but blank space may stand behind a body.
fn ended(scan: &Scan<'_>, end: usize) -> Result<(), Unsliced> {
    match scan.blank(end) == scan.text().len() {
        true => Ok(()),
        false => Err(Unsliced::Json),
    }
}

/// Whether a member's name, with its quotes, is this one.
fn named(json: &[u8], name: &str) -> bool {
    match json.contains(&b'\\') {
        false => json.get(1..json.len() - 1) == Some(name.as_bytes()),
        true => serde_json::from_slice::<String>(json).is_ok_and(|json| json == name),
    }
}

/// Goes through the members of the object at `begin`, each by its name with its quotes and the
/// place of its value, of which `visit` returns the end; and returns the object's end.
fn members(
    scan: &mut Scan<'_>,
    begin: usize,
    mut visit: impl FnMut(&mut Scan<'_>, &[u8], usize) -> Result<usize, Unsliced>,
) -> Result<usize, Unsliced> {
    let mut place = scan.blank(begin + 1);
    if scan.byte(place) == Some(b'}') {
        return Ok(place + 1);
    }
    loop {
        let end = scan.string(place)?;
        let begin = scan.member(place)?;
        let end = visit(scan, &scan.text()[place..end], begin)?;
        place = scan.blank(end);
        match scan.byte(place) {
            Some(b',') => place = scan.blank(place + 1),
            Some(b'}') => return Ok(place + 1),
            _ => return Err(Unsliced::Json),
        }
    }
}

/// The same with the elements of the array at `begin`.
fn elements(
    scan: &mut Scan<'_>,
    begin: usize,
    mut visit: impl FnMut(&mut Scan<'_>, usize) -> Result<usize, Unsliced>,
) -> Result<usize, Unsliced> {
    let mut place = scan.blank(begin + 1);
    if scan.byte(place) == Some(b']') {
        return Ok(place + 1);
    }
    loop {
        let end = visit(scan, place)?;
        place = scan.blank(end);
        match scan.byte(place) {
            Some(b',') => place = scan.blank(place + 1),
            Some(b']') => return Ok(place + 1),
            _ => return Err(Unsliced::Json),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_another_shape_is_told_from_one_that_is_no_json() {
        let shape =
            |body: &str, pointer: &str| match each(body.as_bytes(), pointer, |scan, begin| {
                scan.value(begin)
            })
            .unwrap_err()
            {
                Unsliced::Shape(what) => what,
                Unsliced::Json => "no JSON".to_owned(),
            };
        assert_eq!(shape("{}", "/data"), "`/data` is missing");
        assert_eq!(shape(r#"{"data":{}}"#, "/data"), "`/data` must be a list");
        assert_eq!(shape("[]", "/data"), "`/data` is missing");
        assert_eq!(shape(r#"{"data":[{}"#, "/data"), "no JSON");
        assert_eq!(shape(r#"{"data":[]} x"#, "/data"), "no JSON");
        assert_eq!(shape("<html>", "/data"), "no JSON");
    }

    #[test]
    fn tokens_are_texts_or_numbers_and_nothing_is_none() {
        let body = br#"{"a":{"s":"x","n":12345678901234567,"e":"","z":null,"o":{},"l":[{"i":1},{"i":2}]}}"#;
        assert_eq!(text_at(body, "/a/l/1/i").unwrap().unwrap(), "2");
        assert_eq!(text_at(body, "/a/s").unwrap().unwrap(), "x");
        assert_eq!(text_at(body, "/a/n").unwrap().unwrap(), "12345678901234567");
        for nothing in ["/a/e", "/a/z", "/a/q", "/q/r", "/a/z/r", "/a/l/2/i", "/a/l/x"] {
            assert_eq!(text_at(body, nothing).unwrap(), None, "{nothing}");
        }
        assert!(text_at(body, "/a/o").is_err());
    }

    #[test]
    fn what_stands_at_the_end_is_found_there_as_it_is_in_the_whole() {
        let long = format!("[{}]", vec![r#"{"next":"no"}"#; 1000].join(","));
        for end in [
            r#""next":"x""#,
            r#""next" : 17 , "more":[{"next":[]},"}",true]"#,
            r#""next":null,"a":{}"#,
            r#""pages":{"total":1,"next":{"after":"x"}},"next":"y","z":"\\\"]\\" "#,
            r#""n\u0065xt":"x\\""#,
            r#""next":"a","next":"b""#,
            "\"next\"\n:\n-1.5e3\n",
        ] {
            let body = format!("{{\"list\":{long},{end}}}\n");
            for pointer in ["/next", "/pages/next/after", "/pages/none"] {
                let whole = text_at(body.as_bytes(), pointer).unwrap();
                match text_at_end(body.as_bytes(), pointer) {
                    Some(found) => assert_eq!(found, whole, "{end} {pointer}"),
                    None => assert_eq!(whole, None, "{end} {pointer}"),
                }
            }
            assert!(text_at_end(body.as_bytes(), "/next").is_some(), "{end}");
        }
        let body = format!("{{\"next\":\"x\",\"list\":{long}}}");
        assert_eq!(text_at_end(body.as_bytes(), "/next"), None, "it is too far");
        assert_eq!(text_at_end(br#"{"list":[],"n":1}"#, "/next"), Some(None), "it is not there");
        for other in ["", "[]", "{}", "}", "\"}", "{\"next\":{}}", "<html>", "{\"next\" 1}", ":1}"]
        {
            assert_eq!(text_at_end(other.as_bytes(), "/next"), None, "{other}");
        }
    }
}
