//! Whether a text is a date or time of just one type. The server takes much else: words such as
//! `today`, dates in other orders, and what a type has no place for, which it drops.

use protocol::sql::types::Type;

/// The last years that the server has room for.
const LAST_DATE: u32 = 5_874_897;
const LAST_TIMESTAMP: u32 = 294_276;

/// Whether `text` spells a value of the type `of`, as records do.
pub(crate) fn is(of: &Type, text: &str) -> bool {
    let endless = matches!(text, "infinity" | "-infinity");
    match of {
        Type::Date => endless || date(text, LAST_DATE),
        Type::Time => clock(text),
        Type::TimeTz => zoned(text, true),
        Type::Timestamp => endless || stamp(text, clock),
        Type::Instant => endless || stamp(text, |time| zoned(time, false)),
        _ => false,
    }
}

/// `2024-02-29`, `10000-01-01`, `0044-03-15 BC`.
fn date(text: &str, last: u32) -> bool {
    let (text, before) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut parts = text.split('-');
    let (Some(year), Some(month), Some(day), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let number = |part: &str, length: std::ops::RangeInclusive<usize>| {
        let plain = length.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| part.parse::<u32>().ok()).flatten()
    };
    let (Some(year), Some(month), Some(day)) =
        (number(year, 4..=7), number(month, 2..=2), number(day, 2..=2))
    else {
        return false;
    };
    // The year before 1 is 1 BC, which would be 0.
    let counted = if before { i64::from(year) - 1 } else { i64::from(year) };
    let leap = counted % 4 == 0 && (counted % 100 != 0 || counted % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    };
    let most = if before { 4713 } else { last };
    (1..=most).contains(&year) && (1..=days).contains(&day)
}

/// `13:05:00.25`, `13:05`, `24:00:00`.
fn clock(text: &str) -> bool {
    let (text, fraction) = match text.split_once('.') {
        Some((text, fraction)) => (text, Some(fraction)),
        None => (text, None),
    };
    let parts: Option<Vec<u32>> = text
        .split(':')
        .map(|part| {
            let plain = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| part.parse().ok()).flatten()
        })
        .collect();
    let fine = fraction.is_none_or(|digits| {
        (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    });
    let whole = fraction.is_none_or(|digits| digits.bytes().all(|b| b == b'0'));
    match parts.as_deref() {
        Some(&[24, 0]) => fraction.is_none(),
        Some(&[24, 0, 0]) => whole,
        Some(&[hours, minutes]) => fraction.is_none() && hours < 24 && minutes < 60,
        Some(&[hours, minutes, seconds]) => fine && hours < 24 && minutes < 60 && seconds < 60,
        _ => false,
    }
}

/// A time of day with `Z`, `+02` or `+02:00` behind it.
fn zoned(text: &str, needed: bool) -> bool {
    if let Some(time) = text.strip_suffix('Z') {
        return clock(time);
    }
    let Some(place) = text.rfind(['+', '-']) else { return !needed && clock(text) };
    let (time, zone) = text.split_at(place);
    let zone = zone.get(1..).unwrap_or_default();
    let parts: Vec<&str> = zone.split(':').collect();
    let two = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    let hours = parts.first().and_then(|part| part.parse::<u32>().ok()).unwrap_or(99);
    let rest = parts.iter().skip(1).all(|part| part.parse::<u32>().is_ok_and(|n| n < 60));
    clock(time) && parts.len() <= 3 && parts.iter().all(two) && hours < 16 && rest
}

/// A date and a time, with `T` or a blank between them.
fn stamp(text: &str, time: impl Fn(&str) -> bool) -> bool {
    let (text, before) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    match text.split_once(['T', ' ']) {
        Some((day, rest)) => date(&format!("{day}{before}"), LAST_TIMESTAMP) && time(rest),
        None => date(&format!("{text}{before}"), LAST_TIMESTAMP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_records_spell_them_are_taken() {
        for (of, text) in [
            (Type::Date, "2024-02-29"),
            (Type::Date, "0044-03-15 BC"),
            (Type::Date, "-infinity"),
            (Type::Time, "24:00:00"),
            (Type::TimeTz, "13:05:00.25+02:00"),
            (Type::TimeTz, "13:05:00-01:00:01"),
            (Type::Timestamp, "2024-02-29T13:05:00.25"),
            (Type::Timestamp, "10000-01-01T00:00:00"),
            (Type::Instant, "2024-02-29T13:05:00.25Z"),
            (Type::Instant, "2024-02-29 13:05:00+05:30"),
            (Type::Instant, "0001-12-31T00:00:00Z BC"),
        ] {
            assert!(is(&of, text), "{of:?}: {text}");
        }
    }

    #[test]
    fn what_the_server_would_bend_or_refuse_is_not() {
        for (of, texts) in [
            (
                Type::Date,
                &["today", "2024-01-01 10:00", "2023-02-29", " 2024-01-01", "1/2/2024", "20240101"]
                    [..],
            ),
            (Type::Time, &["2024-01-01 10:00", "10:00+05", "allballs", "25:00", "24:00:01"]),
            (Type::TimeTz, &["10:00", "10:00+99"]),
            (
                Type::Timestamp,
                &["2024-01-01T00:00:00Z", "2024-01-01 00:00:00+05", "2024-01-01T00:00:00.1234567"],
            ),
            (Type::Instant, &["tomorrow", "10:00", "300000-01-01T00:00:00Z"]),
        ] {
            for text in texts {
                assert!(!is(&of, text), "{of:?}: {text:?}");
            }
        }
    }
}
