//! The fields of a row on their way in, spelled for COPY; what a column could only hold by bending it
//! is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{BufMut as _, BytesMut};
use protocol::sql::catalog::Column;
use protocol::sql::types::Type;
use serde_json::value::RawValue;

use crate::catalog::ColumnWay;
use crate::decode::Decoder;
use crate::identify::hex;
use crate::moment;
use crate::types::Ask;

/// What most countries' money has after the point.
const MONEY_DIGITS: i64 = 2;

/// How the values of one column are spelled, and what it has room for: the server would cut blanks
/// and round digits off without a word.
pub(crate) struct Field<'t> {
    column: &'t Column,
    /// What stands between the elements of its arrays.
    between: char,
    /// The most characters of a text.
    characters: Option<usize>,
    /// The most digits after the point.
    digits: Option<i64>,
}

impl<'t> Field<'t> {
    pub(crate) fn of(column: &'t Column, way: &ColumnWay) -> Field<'t> {
        let mut element = &column.of;
        while let Type::Array(inner) = element {
            element = inner;
        }
        let modifier = way.resolved.modifier;
        let digits = match element {
            Type::Decimal if matches!(way.resolved.ask, Ask::Numeric | Ask::Numerics) => {
                Some(MONEY_DIGITS)
            }
            // Eleven bits, of which one is the sign.
            Type::Decimal if modifier >= 4 => Some((((modifier - 4) & 0x7ff) ^ 0x400) - 0x400),
            Type::Time | Type::TimeTz | Type::Timestamp | Type::Instant if modifier >= 0 => {
                Some(modifier)
            }
            _ => None,
        };
        let characters = match element {
            Type::Text => usize::try_from(modifier - 4).ok(),
            _ => None,
        };
        let between = match way.resolved.decoder {
            Decoder::Literal(delimiter) => char::from(delimiter),
            _ => ',',
        };
        Field { column, between, characters, digits }
    }

    /// Writes a value in COPY's text form, or says why the column cannot hold it unchanged.
    /// `scratch` is room to work in.
    pub(crate) fn write(
        &self,
        value: &RawValue,
        scratch: &mut String,
        out: &mut BytesMut,
    ) -> Result<(), String> {
        if value.get() == "null" {
            out.put_slice(b"\\N");
            return Ok(());
        }
        scratch.clear();
        self.value(&self.column.of, value.get(), scratch)?;
        if matches!(self.column.declared.as_str(), "int2vector" | "oidvector") {
            // These are lists of numbers between blanks.
            *scratch = scratch.trim_matches(['{', '}']).replace(',', " ");
        }
        escape(scratch, out);
        Ok(())
    }

    /// A value that is not null, as the server reads one of the type.
    fn value(&self, of: &Type, json: &str, to: &mut String) -> Result<(), String> {
        match (json.as_bytes().first().copied().unwrap_or_default(), of) {
            (_, Type::Json) => to.push_str(json),
            (b'"', _) => {
                let string: String =
                    serde_json::from_str(json).map_err(|_| "is no text".to_owned())?;
                self.string(of, &string, to)?;
            }
            (b'[', Type::Array(element)) => self.list(element, json, to)?,
            (b'{' | b'[', Type::Text | Type::Any) => to.push_str(json),
            (b'{' | b'[', _) => {
                return Err("is a list or an object, which the column cannot hold".to_owned());
            }
            (b't' | b'f', Type::Boolean) => to.push_str(json),
            (b't' | b'f', Type::Text) => {
                return Err("is true or false, and the column holds text".to_owned());
            }
            (_, Type::Boolean) => return Err("is a number, and the column is boolean".to_owned()),
            (_, Type::Text | Type::Uuid | Type::Date | Type::Timestamp | Type::Instant) => {
                return Err(format!("is a number, and the column is {}", self.column.declared));
            }
            (_, Type::Number) => {
                if !is_float(json, self.column.declared.starts_with("real")) {
                    return Err(format!("has more digits than {} holds", self.column.declared));
                }
                to.push_str(json);
            }
            _ => {
                self.check(of, json)?;
                to.push_str(json);
            }
        }
        Ok(())
    }

    fn string(&self, of: &Type, string: &str, to: &mut String) -> Result<(), String> {
        if string.contains('\0') {
            return Err("holds U+0000, which PostgreSQL has no place for".to_owned());
        }
        match of {
            Type::Bytes => {
                let bytes = BASE64.decode(string);
                let bytes =
                    bytes.map_err(|_| "is not base64, and the column holds bytes".to_owned())?;
                to.push_str(&hex(&bytes));
            }
            Type::Date | Type::Time | Type::TimeTz | Type::Timestamp | Type::Instant
                if !moment::is(of, string) =>
            {
                // The server would take more, and drop what the type has no place for.
                return Err(format!(
                    "is no value of {} as records spell one",
                    self.column.declared
                ));
            }
            _ => {
                self.check(of, string)?;
                to.push_str(string);
            }
        }
        Ok(())
    }

    /// A list as the server reads an array, in braces.
    fn list(&self, element: &Type, json: &str, to: &mut String) -> Result<(), String> {
        let items: Vec<&RawValue> =
            serde_json::from_str(json).map_err(|_| "is no list".to_owned())?;
        to.push('{');
        let mut item = String::new();
        for (place, value) in items.into_iter().map(RawValue::get).enumerate() {
            if place > 0 {
                to.push(self.between);
            }
            // Values may have more dimensions than their column is declared with.
            let (inner, nested) = match element {
                Type::Array(inner) => (&**inner, true),
                Type::Json => (element, false),
                other => (other, value.starts_with('[')),
            };
            if value == "null" {
                to.push_str("NULL");
            } else if nested && value.starts_with('[') {
                self.list(inner, value, to)?;
            } else {
                item.clear();
                self.value(inner, value, &mut item)?;
                let bare = *inner != Type::Json && !value.starts_with(['"', '{', '[']);
                if bare { to.push_str(&item) } else { quote(&item, to) }
            }
        }
        to.push('}');
        Ok(())
    }

    fn check(&self, of: &Type, text: &str) -> Result<(), String> {
        if let Some(room) = self.characters
            && *of == Type::Text
            && text.len() > room
            && text.chars().count() > room
        {
            return Err(format!("is longer than the {room} characters there is room for"));
        }
        if let Some(room) = self.digits
            && digits_after_the_point(text) > room
        {
            return Err(format!("has more than {room} digits after the point"));
        }
        Ok(())
    }
}

/// How many digits a number or time has after its point, without zeros at the end: `125e-2` has two.
fn digits_after_the_point(text: &str) -> i64 {
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // A zone may follow.
    let fraction = fraction.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let digits = format!("{whole}{fraction}");
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let places = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let exponent = exponent.parse::<i64>().unwrap_or(0);
    places(fraction.len()).saturating_sub(places(zeros)).saturating_sub(exponent)
}

/// Whether a number is what a float of double or single precision reads back as: a whole number
/// must be exact, and single precision must spell it the same.
fn is_float(text: &str, single: bool) -> bool {
    let Ok(value) = text.parse::<f64>() else { return false };
    if let Ok(whole) = text.parse::<i128>()
        && (value as i128 != whole || value.abs() >= 1e30)
    {
        return false;
    }
    // Its shortest spelling is what a record has of a single float.
    !single || (value as f32).to_string().parse() == Ok(value)
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// A text with what means something to COPY escaped.
fn escape(text: &str, out: &mut BytesMut) {
    out.reserve(text.len() + 8);
    let mut rest = text.as_bytes();
    let special = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t');
    while let Some(place) = rest.iter().position(special) {
        out.put_slice(&rest[..place]);
        out.put_slice(match rest[place] {
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\t",
        });
        rest = &rest[place + 1..];
    }
    out.put_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_after_the_point_count_however_the_number_is_written() {
        for (text, digits) in [
            ("1.25", 2),
            ("1.250", 2),
            ("125e-2", 2),
            ("1.25E1", 1),
            ("1000", -3),
            ("13:05:00.25+02:00", 2),
            ("NaN", 0),
        ] {
            assert_eq!(digits_after_the_point(text), digits, "{text}");
        }
    }

    #[test]
    fn a_float_holds_what_it_spells_the_same() {
        for text in ["0.1", "-3", "9007199254740992", "1e300", "16777217"] {
            assert!(is_float(text, false), "{text}");
        }
        assert!(!is_float("9007199254740993", false));
        for text in ["0.1", "-3", "16777216", "1e30"] {
            assert!(is_float(text, true), "{text}");
        }
        for text in ["16777217", "0.123456789", "1e300"] {
            assert!(!is_float(text, true), "{text}");
        }
    }
}
