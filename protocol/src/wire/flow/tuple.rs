//! Packed tuples, in which older runtimes send keys and values: FoundationDB's layer, of which Flow
//! uses null, texts, integers, doubles, booleans, and bytes for lists and objects.

use serde_json::Value;

/// The elements of a packed tuple, each as JSON. `None` for what is no such tuple.
pub(super) fn unpack(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut elements = Vec::new();
    while let Some((&code, rest)) = bytes.split_first() {
        let (element, rest) = element(code, rest)?;
        elements.push(element);
        bytes = rest;
    }
    Some(elements)
}

fn element(code: u8, bytes: &[u8]) -> Option<(String, &[u8])> {
    Some(match code {
        0x00 => ("null".to_owned(), bytes),
        // Lists and objects are packed as the bytes of their JSON.
        0x01 => {
            let (json, rest) = escaped(bytes)?;
            let json = String::from_utf8(json).ok()?;
            serde_json::from_str::<&serde_json::value::RawValue>(&json).ok()?;
            (json, rest)
        }
        0x02 => {
            let (text, rest) = escaped(bytes)?;
            (Value::from(String::from_utf8(text).ok()?).to_string(), rest)
        }
        0x0c..=0x1c => {
            let length = usize::from(code.abs_diff(0x14));
            let (digits, rest) = bytes.split_at_checked(length)?;
            let number = digits.iter().fold(0, |number, &digit| number << 8 | u128::from(digit));
            // A negative number of n bytes stands as its sum with 256 to the n, less one.
            let json = match code < 0x14 {
                true => format!("-{}", (1_u128 << (8 * length)) - 1 - number),
                false => number.to_string(),
            };
            (json, rest)
        }
        0x21 => {
            let (bits, rest) = bytes.split_first_chunk::<8>()?;
            let bits = u64::from_be_bytes(*bits);
            let sign = 1 << 63;
            let double = f64::from_bits(if bits & sign == 0 { !bits } else { bits ^ sign });
            let json = match double.is_finite() {
                true => Value::from(double).to_string(),
                false if double.is_nan() => "\"NaN\"".to_owned(),
                false if double < 0.0 => "\"-Infinity\"".to_owned(),
                false => "\"Infinity\"".to_owned(),
            };
            (json, rest)
        }
        0x26 => ("false".to_owned(), bytes),
        0x27 => ("true".to_owned(), bytes),
        _ => return None,
    })
}

/// Bytes up to a zero that no 0xff follows.
fn escaped(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut content = Vec::new();
    let mut place = 0;
    loop {
        match (bytes.get(place)?, bytes.get(place + 1)) {
            (0, Some(0xff)) => {
                content.push(0);
                place += 2;
            }
            (0, _) => return Some((content, &bytes[place + 1..])),
            (byte, _) => {
                content.push(*byte);
                place += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_element_is_read() {
        for (bytes, expected) in [
            (&b"\x15\x01"[..], &["1"][..]),
            (b"\x02a\x00", &["\"a\""]),
            (b"\x02a\x00\xff\"\x00\x00", &["\"a\\u0000\\\"\"", "null"]),
            (b"\x14\x13\xfe\x13\x00\x12\xfe\xff", &["0", "-1", "-255", "-256"]),
            (b"\x1c\xff\xff\xff\xff\xff\xff\xff\xff", &["18446744073709551615"]),
            (b"\x0c\x7f\xff\xff\xff\xff\xff\xff\xff", &["-9223372036854775808"]),
            (b"\x26\x27\x01[1, 2]\x00", &["false", "true", "[1, 2]"]),
            (b"\x21\xbf\xf8\x00\x00\x00\x00\x00\x00", &["1.5"]),
            (b"\x21\x40\x07\xff\xff\xff\xff\xff\xff", &["-1.5"]),
            (b"", &[]),
        ] {
            assert_eq!(unpack(bytes).unwrap(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_cut_or_unknown_is_refused() {
        for bytes in [&b"\x02a"[..], b"\x15", b"\x21\x00", b"\x33", b"\x01[1\x00", b"\x02\xff\x00"]
        {
            assert_eq!(unpack(bytes), None, "{bytes:?}");
        }
    }
}
