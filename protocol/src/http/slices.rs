//! The records of a page as slices of its body, each with the places of its members.
//!
//! A page is looked at once: what is found here is all that writing its records needs to know.
//! Vendors write the members of a list's records in one order, so the name that comes next is known
//! before it is read, and compared instead of looked up.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::pointer::{self, Unsliced};
use crate::json;
use crate::json::scan::{NotJson, Scan};

/// How many names are told apart. Records whose members are named after what is in them have more.
const NAMES: usize = 4096;

/// The name of a member: its place among the names known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name(u32);

impl Name {
    /// One of those that are not told apart.
    const OTHER: Name = Name(u32::MAX);

    /// What comes before the first member of a record.
    const NONE: Name = Name(0);
}

/// The names that the members of a list's records have.
pub(super) struct Names {
    known: Vec<Known>,
    places: HashMap<String, Name>,
    declared: usize,
    /// How many records and members the last page had: the next has room for as many.
    room: (usize, usize),
}

struct Known {
    /// As JSON, with the colon.
    key: Vec<u8>,
    /// The name that came after this one the last time.
    next: Name,
}

impl Names {
    /// The names that are declared, in the order in which records are likely to have them.
    pub(super) fn new<'n>(declared: impl Iterator<Item = &'n str>) -> Names {
        let none = Known { key: Vec::new(), next: Name::NONE };
        let (places, room) = (HashMap::new(), (0, 0));
        let mut names = Names { known: vec![none], places, declared: 0, room };
        let mut before = Name::NONE;
        for name in declared {
            let place = names.add(name);
            names.known[before.0 as usize].next = place;
            before = place;
        }
        names.declared = names.known.len() - 1;
        names
    }

    fn add(&mut self, name: &str) -> Name {
        let place = Name(u32::try_from(self.known.len()).unwrap_or(u32::MAX));
        self.known.push(Known { key: json::key(name), next: Name::NONE });
        self.places.insert(name.to_owned(), place);
        place
    }

    /// Which of the declared names this is.
    #[inline]
    pub(super) fn declared(&self, name: Name) -> Option<usize> {
        let place = (name.0 as usize).wrapping_sub(1);
        (place < self.declared).then_some(place)
    }

    /// The place of a name, declared or seen before.
    pub(super) fn of(&self, name: &str) -> Name {
        self.places.get(name).copied().unwrap_or(Name::OTHER)
    }

    /// Goes over the object at `begin`, notes its members, and says where it ends.
    fn members(
        &mut self,
        scan: &mut Scan<'_>,
        begin: usize,
        members: &mut Vec<Member>,
    ) -> Result<usize, NotJson> {
        let mut at = scan.blank(begin + 1);
        if scan.byte(at) == Some(b'}') {
            return Ok(at + 1);
        }
        let mut before = Name::NONE;
        loop {
            let name = self.known[before.0 as usize].next;
            let key = &self.known[name.0 as usize].key;
            let (name, from) = match !key.is_empty() && scan.text()[at..].starts_with(key) {
                true => (name, scan.blank(at + key.len())),
                false => self.read(scan, at, before)?,
            };
            let end = scan.value(from)?;
            members.push(Member { name, begin: at as u32, value: from as u32, end: end as u32 });
            at = scan.blank(end);
            match scan.byte(at) {
                Some(b',') => at = scan.blank(at + 1),
                Some(b'}') => return Ok(at + 1),
                _ => return Err(NotJson),
            }
            if name != Name::OTHER {
                before = name;
            }
        }
    }

    /// The name that begins at `at` and is not the one expected after `before`, and where its
    /// value begins.
    #[inline(never)]
    fn read(
        &mut self,
        scan: &mut Scan<'_>,
        at: usize,
        before: Name,
    ) -> Result<(Name, usize), NotJson> {
        let end = scan.string(at)?;
        let from = scan.member(at)?;
        let name = std::str::from_utf8(&scan.text()[at..end]).map_err(|_| NotJson)?;
        let name = unquoted(name)?;
        let mut place = self.of(&name);
        if place == Name::OTHER && self.known.len() < NAMES {
            place = self.add(&name);
        }
        if place != Name::OTHER {
            self.known[before.0 as usize].next = place;
        }
        Ok((place, from))
    }
}

/// The text of a JSON string.
pub(super) fn unquoted(json: &str) -> Result<Cow<'_, str>, NotJson> {
    match json.contains('\\') {
        false => Ok(Cow::Borrowed(&json[1..json.len() - 1])),
        true => serde_json::from_str(json).map(Cow::Owned).map_err(|_| NotJson),
    }
}

/// A member of a record, by its places in the body.
pub(super) struct Member {
    pub(super) name: Name,
    /// Where its name begins.
    pub(super) begin: u32,
    /// Where its value begins.
    pub(super) value: u32,
    /// Where its value ends.
    pub(super) end: u32,
}

/// The records of one page.
pub(super) struct Slices {
    /// Where the list of them stands.
    pub(super) list: Range<usize>,
    /// Whether no line ends anywhere in the page.
    pub(super) one_line: bool,
    records: Vec<Record>,
    members: Vec<Member>,
}

struct Record {
    begin: u32,
    end: u32,
    /// How many members there are up to its last.
    members: u32,
}

impl Slices {
    /// The records that a JSON pointer names in a body, which is refused from 4 GiB on. Without
    /// `names` nothing is said of their members.
    pub(super) fn of(
        body: &[u8],
        pointer: &str,
        mut names: Option<&mut Names>,
    ) -> Result<Slices, Unsliced> {
        if u32::try_from(body.len()).is_err() {
            return Err(Unsliced::Shape("it is larger than 4 GiB".to_owned()));
        }
        std::str::from_utf8(body).map_err(|_| Unsliced::Json)?;
        let room = names.as_ref().map_or((0, 0), |names| names.room);
        let (mut records, mut members) = (Vec::with_capacity(room.0), Vec::with_capacity(room.1));
        let list = pointer::each(body, pointer, |scan, begin| {
            let end = match (&mut names, scan.byte(begin)) {
                (Some(names), Some(b'{')) => names.members(scan, begin, &mut members)?,
                _ => scan.value(begin)?,
            };
            let last = members.len() as u32;
            records.push(Record { begin: begin as u32, end: end as u32, members: last });
            Ok(end)
        })?;
        if let Some(names) = names {
            names.room = (records.len(), members.len());
        }
        let one_line = memchr::memchr2(b'\n', b'\r', body).is_none();
        Ok(Slices { list, one_line, records, members })
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Where the record stands that is `nth` of them.
    pub(super) fn range(&self, nth: usize) -> Range<usize> {
        let Record { begin, end, .. } = self.records[nth];
        begin as usize..end as usize
    }

    /// Its members, in their order.
    pub(super) fn members(&self, nth: usize) -> &[Member] {
        let first = nth.checked_sub(1).map_or(0, |before| self.records[before].members);
        &self.members[first as usize..self.records[nth].members as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sliced(body: &str, pointer: &str) -> Vec<String> {
        let slices = Slices::of(body.as_bytes(), pointer, None).unwrap();
        (0..slices.len()).map(|nth| body[slices.range(nth)].to_owned()).collect()
    }

    #[test]
    fn records_are_the_very_bytes_of_the_body() {
        let body = r#"{"a":{"b":[{"x":1.10},  {"y":"\u00e9"}]},"c":null}"#;
        assert_eq!(sliced(body, "/a/b"), [r#"{"x":1.10}"#, r#"{"y":"\u00e9"}"#]);
        assert_eq!(sliced("[{},1]", ""), ["{}", "1"]);
        assert_eq!(sliced(" {\"a\":1}", ""), ["{\"a\":1}"]);
        assert!(sliced(body, "/c").is_empty(), "null is an empty list");
    }

    #[test]
    fn a_body_that_is_not_utf8_is_not_json() {
        assert!(matches!(Slices::of(b"[\"\xff\"]", "", None), Err(Unsliced::Json)));
    }

    /// The names and values of each record's members, found with names learned from those before.
    fn members(body: &str, names: &mut Names) -> Vec<Vec<(Option<usize>, String)>> {
        let slices = Slices::of(body.as_bytes(), "", Some(names)).unwrap();
        let member = |member: &Member| {
            let value = &body[member.value as usize..member.end as usize];
            (names.declared(member.name), value.to_owned())
        };
        (0..slices.len()).map(|nth| slices.members(nth).iter().map(member).collect()).collect()
    }

    #[test]
    fn members_are_found_whatever_order_they_come_in_and_however_they_are_spelled() {
        let mut names = Names::new(["id", "name"].into_iter());
        let one = |place, value: &str| (place, value.to_owned());
        let all = [one(Some(0), "1"), one(Some(1), "\"a\""), one(None, "[{\"id\":2}]")];
        let [id, name, other] = all.clone();
        for (record, expected) in [
            (r#"{"id":1,"name":"a","x":[{"id":2}]}"#, all.to_vec()),
            (r#"{"id":1,"name":"a","x":[{"id":2}]}"#, all.to_vec()),
            (r#"{ "x" : [{"id":2}] , "id" : 1 }"#, vec![other.clone(), id.clone()]),
            (r#"{"\u0069d":1,"na\u006de":"a"}"#, vec![id.clone(), name.clone()]),
            (r#"{"name":"a","id":1,"id":1}"#, vec![name, id.clone(), id]),
            ("{}", Vec::new()),
        ] {
            assert_eq!(
                members(&format!("[{record},{record}]"), &mut names),
                [expected.clone(), expected]
            );
        }
        assert_eq!(members("[1,{},[]]", &mut names), vec![Vec::new(); 3]);
    }

    #[test]
    fn names_without_end_are_not_all_remembered() {
        let mut names = Names::new(["id"].into_iter());
        for begin in 0..20 {
            let named = (0..1000).map(|n| format!("\"n{}\":{n}", begin * 1000 + n));
            let body = format!("[{{{},\"id\":7}}]", named.collect::<Vec<_>>().join(","));
            let found = members(&body, &mut names).remove(0);
            assert_eq!(found.len(), 1001);
            assert_eq!(found[1000], (Some(0), "7".to_owned()));
            assert_eq!(found[999], (None, "999".to_owned()));
        }
        assert!(names.known.len() <= NAMES);
    }
}
