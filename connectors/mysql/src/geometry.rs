//! Geometries as text: the well-known text of their well-known binary, with the SRID before it where
//! there is one, every coordinate with all its digits.

use std::fmt::Write as _;

/// The text of a geometry as the server stores it: four bytes of SRID, then WKB. `None` where it is
/// none.
pub(crate) fn text(stored: &[u8]) -> Option<String> {
    let (srid, wkb) = stored.split_first_chunk()?;
    let mut out = String::new();
    match u32::from_le_bytes(*srid) {
        0 => {}
        srid => write!(out, "SRID={srid};").ok()?,
    }
    let mut reader = Reader(wkb);
    geometry(&mut reader, &mut out, None, 0)?;
    reader.0.is_empty().then_some(out)
}

/// Collections hold collections; a stranger's may not exhaust the stack.
const DEEPEST: u32 = 64;

const NAMES: [&str; 7] = [
    "POINT",
    "LINESTRING",
    "POLYGON",
    "MULTIPOINT",
    "MULTILINESTRING",
    "MULTIPOLYGON",
    "GEOMETRYCOLLECTION",
];

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (part, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*part)
    }

    fn number(&mut self, little: bool) -> Option<u32> {
        let bytes = self.array()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn coordinate(&mut self, little: bool) -> Option<f64> {
        let bytes = self.array()?;
        Some(if little { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) })
    }
}

/// Writes a geometry; one that is `part` of another of a kind without the name.
fn geometry(
    reader: &mut Reader<'_>,
    out: &mut String,
    part: Option<u32>,
    depth: u32,
) -> Option<()> {
    if depth > DEEPEST {
        return None;
    }
    let [order] = reader.array()?;
    let little = order == 1;
    let kind = reader.number(little)?;
    let name = NAMES.get(usize::try_from(kind).ok()?.checked_sub(1)?)?;
    match part {
        Some(part) if part != kind => return None,
        Some(_) => {}
        None => out.push_str(name),
    }
    match kind {
        1 => {
            out.push('(');
            point(reader, out, little)?;
            out.push(')');
            Some(())
        }
        2 => points(reader, out, little),
        3 => list(reader, out, little, |reader, out| points(reader, out, little)),
        4..=6 => list(reader, out, little, |reader, out| {
            geometry(reader, out, Some(kind - 3), depth + 1)
        }),
        _ => match count(reader, little)? {
            // As both servers spell it.
            0 => {
                out.push_str(" EMPTY");
                Some(())
            }
            members => {
                listed(reader, out, members, |reader, out| geometry(reader, out, None, depth + 1))
            }
        },
    }
}

fn point(reader: &mut Reader<'_>, out: &mut String, little: bool) -> Option<()> {
    let (x, y) = (reader.coordinate(little)?, reader.coordinate(little)?);
    write!(out, "{x} {y}").ok()
}

fn points(reader: &mut Reader<'_>, out: &mut String, little: bool) -> Option<()> {
    list(reader, out, little, |reader, out| point(reader, out, little))
}

fn count(reader: &mut Reader<'_>, little: bool) -> Option<u32> {
    reader.number(little)
}

fn list(
    reader: &mut Reader<'_>,
    out: &mut String,
    little: bool,
    member: impl Fn(&mut Reader<'_>, &mut String) -> Option<()>,
) -> Option<()> {
    let members = count(reader, little)?;
    listed(reader, out, members, member)
}

fn listed(
    reader: &mut Reader<'_>,
    out: &mut String,
    members: u32,
    member: impl Fn(&mut Reader<'_>, &mut String) -> Option<()>,
) -> Option<()> {
    out.push('(');
    for place in 0..members {
        if place > 0 {
            out.push(',');
        }
        member(reader, out)?;
    }
    out.push(')');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, y: f64) -> Vec<u8> {
        let mut wkb = vec![1, 1, 0, 0, 0];
        wkb.extend_from_slice(&x.to_le_bytes());
        wkb.extend_from_slice(&y.to_le_bytes());
        wkb
    }

    #[test]
    fn a_point_keeps_its_srid_and_every_digit() {
        let stored = [4326u32.to_le_bytes().to_vec(), point(0.1, -9007199254740993.0)].concat();
        assert_eq!(text(&stored).unwrap(), "SRID=4326;POINT(0.1 -9007199254740992)");
    }

    #[test]
    fn parts_of_a_multiple_are_without_names_and_those_of_a_collection_with() {
        let two = |kind: u8| {
            let mut wkb = vec![0, 0, 0, 0, 1, kind, 0, 0, 0, 2, 0, 0, 0];
            wkb.extend(point(1.0, 2.0));
            wkb.extend(point(3.0, 4.5));
            text(&wkb)
        };
        assert_eq!(two(4).unwrap(), "MULTIPOINT((1 2),(3 4.5))");
        assert_eq!(two(7).unwrap(), "GEOMETRYCOLLECTION(POINT(1 2),POINT(3 4.5))");
        assert_eq!(two(5), None, "a point is no line");
    }

    #[test]
    fn what_is_cut_off_or_too_deep_is_none() {
        let stored = [vec![0; 4], point(1.0, 2.0)].concat();
        for length in 0..stored.len() {
            assert_eq!(text(&stored[..length]), None, "{length}");
        }
        let mut deep = vec![0; 4];
        for _ in 0..100_000 {
            deep.extend_from_slice(&[1, 7, 0, 0, 0, 1, 0, 0, 0]);
        }
        assert_eq!(text(&deep), None);
    }
}
