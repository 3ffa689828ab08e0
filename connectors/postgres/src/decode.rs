//! From the binary form of a value straight to JSON.
//!
//! | PostgreSQL | JSON |
//! | --- | --- |
//! | bytes of text | a string |
//! | `jsonb`, `json` | the document, on one line |
//! | an array | lists as deep as it has dimensions |

use std::net::Ipv6Addr;

use protocol::json::Json;
use protocol::{Result, bail};

use crate::time;

/// How the values of a column are read. Chosen once for a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decoder {
    Boolean,
    Int2,
    Int4,
    Int8,
    /// Unsigned, 32 bits: `oid` and its like.
    Oid,
    /// Unsigned, 64 bits.
    Xid8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytes,
    Date,
    Time,
    TimeTz,
    Timestamp,
    Instant,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Inet,
    Mac,
    Bits,
    /// An array in binary form.
    Array(Box<Decoder>),
    /// An array as text, with the character between its elements.
    Literal(u8),
}

impl Decoder {
    /// Writes a value that is not null.
    #[inline]
    pub(crate) fn write(&self, value: &[u8], json: &mut Json<'_>) -> Result<()> {
        match self {
            Decoder::Int8 => json.integer(i64::from_be_bytes(fixed(value)?)),
            Decoder::Int4 => json.integer(i32::from_be_bytes(fixed(value)?)),
            Decoder::Text => text(value, json),
            Decoder::Instant => time::instant(i64::from_be_bytes(fixed(value)?), json),
            Decoder::Boolean => json.boolean(fixed::<1>(value)? != [0]),
            Decoder::Numeric => numeric(value, json)?,
            Decoder::Uuid => uuid(fixed(value)?, json),
            // The server writes it without line breaks.
            Decoder::Jsonb => match value.split_first() {
                Some((1, document)) => json.raw(document),
                _ => bail!("a jsonb value is of a version that is not known"),
            },
            Decoder::Timestamp => time::timestamp(i64::from_be_bytes(fixed(value)?), json),
            Decoder::Date => time::date(i32::from_be_bytes(fixed(value)?), json),
            Decoder::Float8 => json.float(f64::from_be_bytes(fixed(value)?)),
            Decoder::Float4 => json.float32(f32::from_be_bytes(fixed(value)?)),
            Decoder::Int2 => json.integer(i16::from_be_bytes(fixed(value)?)),
            Decoder::Oid => json.integer(u32::from_be_bytes(fixed(value)?)),
            Decoder::Xid8 => json.integer(u64::from_be_bytes(fixed(value)?)),
            Decoder::Bytes => json.base64(value),
            Decoder::Json => document_on_one_line(value, json),
            Decoder::Time => time::time(i64::from_be_bytes(fixed(value)?), json),
            Decoder::TimeTz => {
                let mut from = Reader(value);
                time::time_with_zone(from.i64()?, from.i32()?, json);
            }
            Decoder::Interval => {
                let mut from = Reader(value);
                let (micros, days, months) = (from.i64()?, from.i32()?, from.i32()?);
                time::interval(months, days, micros, json);
            }
            Decoder::Inet => inet(value, json)?,
            Decoder::Mac => mac(value, json),
            Decoder::Bits => bits(value, json)?,
            Decoder::Array(element) => array(element, value, json)?,
            Decoder::Literal(delimiter) => literal(*delimiter, value, json)?,
        }
        Ok(())
    }
}

/// Takes numbers off the front of a value.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.0.split_at_checked(n) else { return Err(short()) };
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(fixed(self.bytes(2)?)?))
    }

    #[inline]
    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(fixed(self.bytes(4)?)?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(fixed(self.bytes(8)?)?))
    }
}

#[cold]
fn short() -> protocol::anyhow::Error {
    protocol::anyhow::anyhow!(
        "a value has another length than its type: the server's form is not known"
    )
}

#[inline]
fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N]> {
    value.try_into().map_err(|_| short())
}

/// Text. A database without an encoding may hold bytes that are none; they become U+FFFD.
#[inline]
fn text(value: &[u8], json: &mut Json<'_>) {
    match std::str::from_utf8(value) {
        Ok(text) => json.text(text),
        Err(_) => json.text(&String::from_utf8_lossy(value)),
    }
}

/// A JSON document. Between its tokens `json` keeps line breaks as they were written; within its
/// strings there can be none.
fn document_on_one_line(document: &[u8], json: &mut Json<'_>) {
    let document = match std::str::from_utf8(document) {
        Ok(text) => std::borrow::Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(document),
    };
    let document = document.as_bytes();
    let mut rest = document;
    while let Some(place) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        json.raw(&rest[..place]);
        json.raw(b" ");
        rest = &rest[place + 1..];
    }
    json.raw(rest);
}

/// An exact decimal: groups of four digits, the first of weight 10000^weight, and how many digits
/// are shown after the point.
fn numeric(value: &[u8], json: &mut Json<'_>) -> Result<()> {
    let mut from = Reader(value);
    let (groups, weight, sign, scale) = (from.i16()?, from.i16()?, from.i16()?, from.i16()?);
    match sign.cast_unsigned() {
        0x0000 | 0x4000 => {}
        special @ (0xc000 | 0xd000 | 0xf000) => {
            json.non_finite(special == 0xc000, special == 0xf000);
            return Ok(());
        }
        _ => bail!("a numeric value has a sign that is not known"),
    }
    let groups = from.bytes(usize::try_from(groups)? * 2)?;
    let group = |place: i32| -> u16 {
        let place = usize::try_from(place).ok();
        place
            .and_then(|place| groups.get(place * 2..place * 2 + 2))
            .map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]))
    };
    let (weight, scale) = (i32::from(weight), usize::try_from(scale)?);
    // Money and measures fit on the stack.
    let mut small = [0u8; 64];
    let length =
        usize::try_from(weight.max(0)).unwrap_or(0) * 4 + 4 + 2 + scale.next_multiple_of(4);
    let mut large = Vec::new();
    let digits: &mut [u8] = if length <= small.len() {
        &mut small
    } else {
        large.resize(length, 0);
        &mut large
    };
    let mut end = 0;
    if sign.cast_unsigned() == 0x4000 {
        digits[end] = b'-';
        end += 1;
    }
    // The whole part, without leading zeros.
    if weight < 0 {
        digits[end] = b'0';
        end += 1;
    } else {
        let first = itoa::Buffer::new().format(group(0)).len();
        let mut buffer = itoa::Buffer::new();
        digits[end..end + first].copy_from_slice(buffer.format(group(0)).as_bytes());
        end += first;
        for place in 1..=weight {
            four(group(place), &mut digits[end..end + 4]);
            end += 4;
        }
    }
    if scale > 0 {
        digits[end] = b'.';
        end += 1;
        let point = end;
        let mut place = weight + 1;
        while end - point < scale {
            four(group(place), &mut digits[end..end + 4]);
            end += 4;
            place += 1;
        }
        end = point + scale;
    }
    json.decimal(&digits[..end]);
    Ok(())
}

#[inline]
fn four(group: u16, to: &mut [u8]) {
    let pair = |n: u16| [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
    to[..2].copy_from_slice(&pair(group / 100));
    to[2..4].copy_from_slice(&pair(group % 100));
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[inline]
fn uuid(bytes: [u8; 16], json: &mut Json<'_>) {
    let mut text = [b'-'; 36];
    let mut place = 0;
    for (n, byte) in bytes.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            place += 1;
        }
        text[place] = HEX[usize::from(byte >> 4)];
        text[place + 1] = HEX[usize::from(byte & 15)];
        place += 2;
    }
    json.plain(&text);
}

/// Family, length of the prefix, whether it is a network, and the address.
fn inet(value: &[u8], json: &mut Json<'_>) -> Result<()> {
    let mut from = Reader(value);
    let &[_, bits, network, length] = from.bytes(4)? else { return Err(short()) };
    let address = from.bytes(length.into())?;
    let text = match address.len() {
        4 => {
            let bytes: [u8; 4] = fixed(address)?;
            std::net::Ipv4Addr::from(bytes).to_string()
        }
        16 => Ipv6Addr::from(fixed::<16>(address)?).to_string(),
        _ => return Err(short()),
    };
    let whole = usize::from(bits) == address.len() * 8;
    if whole && network == 0 {
        json.plain(text.as_bytes());
    } else {
        json.plain(format!("{text}/{bits}").as_bytes());
    }
    Ok(())
}

fn mac(value: &[u8], json: &mut Json<'_>) {
    let pairs: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
    json.plain(pairs.join(":").as_bytes());
}

fn bits(value: &[u8], json: &mut Json<'_>) -> Result<()> {
    let mut from = Reader(value);
    let length = usize::try_from(from.i32()?)?;
    if from.0.len() * 8 < length {
        return Err(short());
    }
    let bit = |n: usize| b'0' + ((from.0[n / 8] >> (7 - n % 8)) & 1);
    let text: Vec<u8> = (0..length).map(bit).collect();
    json.plain(&text);
    Ok(())
}

/// Number of dimensions, flags, type of the elements; length and first subscript of each
/// dimension; then the elements.
fn array(element: &Decoder, value: &[u8], json: &mut Json<'_>) -> Result<()> {
    let mut from = Reader(value);
    let dimensions = usize::try_from(from.i32()?)?;
    from.bytes(8)?;
    let mut lengths = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        lengths.push(usize::try_from(from.i32()?)?);
        from.bytes(4)?;
    }
    if lengths.is_empty() {
        json.raw(b"[]");
        return Ok(());
    }
    elements(element, &lengths, &mut from, json)
}

fn elements(
    element: &Decoder,
    lengths: &[usize],
    from: &mut Reader<'_>,
    json: &mut Json<'_>,
) -> Result<()> {
    let Some((&length, inner)) = lengths.split_first() else {
        return match from.i32()? {
            -1 => {
                json.null();
                Ok(())
            }
            n => element.write(from.bytes(usize::try_from(n)?)?, json),
        };
    };
    json.raw(b"[");
    for n in 0..length {
        if n > 0 {
            json.raw(b",");
        }
        elements(element, inner, from, json)?;
    }
    json.raw(b"]");
    Ok(())
}

/// An array as the server spells it, such as `[0:1]={"a b",NULL}`, as lists of strings.
fn literal(delimiter: u8, value: &[u8], json: &mut Json<'_>) -> Result<()> {
    // The subscripts, where they do not begin with 1.
    let mut rest = match value.first() {
        Some(b'[') => {
            let place = value.iter().position(|&byte| byte == b'=').ok_or_else(short)?;
            &value[place + 1..]
        }
        _ => value,
    };
    let mut word = Vec::new();
    // Whether an element or a list has ended, so that what comes next needs a comma.
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        match byte {
            b'{' => json.raw(b"["),
            b'}' => json.raw(b"]"),
            _ if byte == delimiter => json.raw(b","),
            b'"' => {
                word.clear();
                loop {
                    let (&byte, more) = rest.split_first().ok_or_else(short)?;
                    rest = more;
                    match byte {
                        b'"' => break,
                        b'\\' => {
                            let (&escaped, more) = rest.split_first().ok_or_else(short)?;
                            word.push(escaped);
                            rest = more;
                        }
                        _ => word.push(byte),
                    }
                }
                text(&word, json);
            }
            _ => {
                let end = rest.iter().position(|&b| b == delimiter || b == b'}');
                let end = end.ok_or_else(short)?;
                word.clear();
                word.push(byte);
                word.extend_from_slice(&rest[..end]);
                rest = &rest[end..];
                match word.as_slice() {
                    b"NULL" => json.null(),
                    word => text(word, json),
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::json::Spelling;

    fn written(decoder: &Decoder, value: &[u8]) -> String {
        let mut out = Vec::new();
        decoder.write(value, &mut Json::new(&mut out, Spelling::NATIVE)).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn decimal(weight: i16, sign: u16, scale: i16, groups: &[i16]) -> String {
        let mut value = Vec::new();
        value.extend(i16::try_from(groups.len()).unwrap().to_be_bytes());
        value.extend(weight.to_be_bytes());
        value.extend(sign.to_be_bytes());
        value.extend(scale.to_be_bytes());
        groups.iter().for_each(|group| value.extend(group.to_be_bytes()));
        written(&Decoder::Numeric, &value)
    }

    #[test]
    fn decimals_keep_every_digit() {
        assert_eq!(decimal(0, 0, 0, &[]), "\"0\"");
        assert_eq!(decimal(0, 0, 2, &[]), "\"0.00\"");
        assert_eq!(decimal(0, 0, 2, &[1, 5000]), "\"1.50\"");
        assert_eq!(decimal(1, 0x4000, 0, &[12, 3]), "\"-120003\"");
        assert_eq!(decimal(2, 0, 0, &[7]), "\"700000000\"");
        assert_eq!(decimal(-1, 0, 5, &[12, 3000]), "\"0.00123\"");
        assert_eq!(decimal(-2, 0x4000, 8, &[1]), "\"-0.00000001\"");
        assert_eq!(decimal(0, 0xc000, 0, &[]), "\"NaN\"");
        assert_eq!(decimal(0, 0xf000, 0, &[]), "\"-Infinity\"");
        let long = decimal(99, 0, 100, &vec![9999; 125]);
        assert_eq!(long, format!("\"{}.{}\"", "9".repeat(400), "9".repeat(100)));
    }

    #[test]
    fn arrays_as_text_become_lists() {
        let list = |text: &str| written(&Decoder::Literal(b','), text.as_bytes());
        assert_eq!(list("{}"), "[]");
        assert_eq!(list(r#"{a,NULL,"NULL","b \"c\\",""}"#), r#"["a",null,"NULL","b \"c\\",""]"#);
        assert_eq!(list("[0:1][2:2]={{a},{b}}"), r#"[["a"],["b"]]"#);
        assert_eq!(
            written(&Decoder::Literal(b';'), b"{(1,2),(3,4);(5,6),(7,8)}"),
            r#"["(1,2),(3,4)","(5,6),(7,8)"]"#
        );
    }

    #[test]
    fn documents_are_on_one_line_and_otherwise_as_they_are() {
        assert_eq!(
            written(&Decoder::Json, b"{\"a\":\n 1.00,\r\n\"a\":2}"),
            "{\"a\":  1.00,  \"a\":2}"
        );
        assert_eq!(written(&Decoder::Jsonb, b"\x01[1]"), "[1]");
        let mut out = Vec::new();
        let mut json = Json::new(&mut out, Spelling::NATIVE);
        assert!(Decoder::Jsonb.write(b"\x02[1]", &mut json).is_err());
    }

    #[test]
    fn addresses_and_bits_are_spelled_as_the_server_does() {
        assert_eq!(written(&Decoder::Inet, &[2, 32, 0, 4, 10, 0, 0, 1]), "\"10.0.0.1\"");
        assert_eq!(written(&Decoder::Inet, &[2, 8, 1, 4, 10, 0, 0, 0]), "\"10.0.0.0/8\"");
        assert_eq!(written(&Decoder::Inet, &[2, 32, 1, 4, 10, 0, 0, 1]), "\"10.0.0.1/32\"");
        assert_eq!(written(&Decoder::Mac, &[8, 0, 43, 1, 2, 255]), "\"08:00:2b:01:02:ff\"");
        assert_eq!(
            written(&Decoder::Bits, &[0, 0, 0, 9, 0b1010_0000, 0b1000_0000]),
            "\"101000001\""
        );
    }
}
