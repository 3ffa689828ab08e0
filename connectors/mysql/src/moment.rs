//! Dates and times: how they are spelled, and read back from text.

use crate::driver::{Moment, Span};

/// Characters of one value, on the stack.
pub(crate) struct Spelled {
    bytes: [u8; 32],
    length: usize,
}

impl Spelled {
    fn new() -> Spelled {
        Spelled { bytes: [0; 32], length: 0 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    /// Two digits, and then what separates them from the next.
    #[inline]
    fn two(&mut self, number: u8) {
        self.push(b'0' + number / 10 % 10);
        self.push(b'0' + number % 10);
    }

    /// `.25`, nothing where there is none.
    fn fraction(&mut self, micros: u32) {
        if micros == 0 {
            return;
        }
        self.push(b'.');
        let (mut rest, mut unit) = (micros, 100_000);
        while rest > 0 && unit > 0 {
            self.push(b'0' + (rest / unit % 10) as u8);
            rest %= unit;
            unit /= 10;
        }
    }
}

/// `2024-02-29`.
#[inline]
pub(crate) fn date(moment: &Moment) -> Spelled {
    let mut spelled = Spelled::new();
    spelled.two((moment.year / 100) as u8);
    spelled.two((moment.year % 100) as u8);
    spelled.push(b'-');
    spelled.two(moment.month);
    spelled.push(b'-');
    spelled.two(moment.day);
    spelled
}

/// `2024-02-29T13:05:00.25`, with a `Z` where it is a point in time.
#[inline]
pub(crate) fn timestamp(moment: &Moment, instant: bool) -> Spelled {
    let mut spelled = date(moment);
    spelled.push(b'T');
    spelled.two(moment.hour);
    spelled.push(b':');
    spelled.two(moment.minute);
    spelled.push(b':');
    spelled.two(moment.second);
    spelled.fraction(moment.micros);
    if instant {
        spelled.push(b'Z');
    }
    spelled
}

/// `13:05:00.25`, `-838:59:59`.
pub(crate) fn time(span: &Span) -> Spelled {
    let mut spelled = Spelled::new();
    if span.negative {
        spelled.push(b'-');
    }
    if span.hours > 99 {
        spelled.push(b'0' + (span.hours / 100 % 10) as u8);
    }
    spelled.two((span.hours % 100) as u8);
    spelled.push(b':');
    spelled.two(span.minutes);
    spelled.push(b':');
    spelled.two(span.seconds);
    spelled.fraction(span.micros);
    spelled
}

/// A date that `text` spells.
pub(crate) fn parse_date(text: &str) -> Option<Moment> {
    let mut parts = text.splitn(3, '-');
    let year: u16 = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    let moment = Moment { year, month, day, ..Moment::default() };
    (month <= 12 && day <= 31).then_some(moment)
}

/// A date and time that `text` spells, without a zone.
pub(crate) fn parse_timestamp(text: &str) -> Option<Moment> {
    let (day, time) = text.split_once(['T', ' '])?;
    let moment = parse_date(day)?;
    let span = parse_time(time)?;
    if span.negative || span.hours > 23 {
        return None;
    }
    let Span { hours, minutes: minute, seconds: second, micros, .. } = span;
    Some(Moment { hour: u8::try_from(hours).ok()?, minute, second, micros, ..moment })
}

/// A point in time that `text` spells, in UTC. Without a zone it is taken to be in UTC.
pub(crate) fn parse_instant(text: &str) -> Option<Moment> {
    if let Some(text) = text.strip_suffix(['Z', 'z']) {
        return parse_timestamp(text);
    }
    let time = text.split_once(['T', ' '])?.1;
    let Some(sign) = time.find(['+', '-']) else { return parse_timestamp(text) };
    let (local, offset) = text.split_at(text.len() - time.len() + sign);
    let east = offset.starts_with('+');
    let offset = &offset[1..];
    let (hours, minutes): (i64, i64) = match (offset.split_once(':'), offset.split_at_checked(2)) {
        (Some((hours, minutes)), _) => (digits(hours, 2)?, digits(minutes, 2)?),
        (None, Some((hours, ""))) => (digits(hours, 2)?, 0),
        (None, Some((hours, minutes))) => (digits(hours, 2)?, digits(minutes, 2)?),
        (None, None) => return None,
    };
    let minutes = hours * 60 + minutes;
    Some(earlier(parse_timestamp(local)?, if east { minutes } else { -minutes }))
}

/// A time that `text` spells.
pub(crate) fn parse_time(text: &str) -> Option<Span> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(3, ':');
    let hours = parts.next()?;
    if !(2..=3).contains(&hours.len()) {
        return None;
    }
    let hours: u32 = digits(hours, hours.len())?;
    let minutes = digits(parts.next()?, 2)?;
    let (seconds, fraction) = match parts.next()? {
        seconds if seconds.contains('.') => seconds.split_once('.')?,
        seconds => (seconds, ""),
    };
    let seconds = digits(seconds, 2)?;
    // What a microsecond cannot hold is no value of a column here.
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 6 || minutes > 59 || seconds > 59 {
        return None;
    }
    let micros = match fraction {
        "" => 0,
        _ => digits::<u32>(fraction, fraction.len())? * 10u32.pow(6 - fraction.len() as u32),
    };
    Some(Span { negative, hours, minutes, seconds, micros })
}

fn digits<T: std::str::FromStr>(text: &str, length: usize) -> Option<T> {
    let right = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    right.then(|| text.parse().ok()).flatten()
}

/// So many minutes before a moment.
fn earlier(moment: Moment, minutes: i64) -> Moment {
    let day = days(moment.year.into(), moment.month.into(), moment.day.into());
    let minute = day * 1440 + i64::from(moment.hour) * 60 + i64::from(moment.minute) - minutes;
    let (year, month, day) = civil(minute.div_euclid(1440));
    let rest = minute.rem_euclid(1440);
    Moment {
        // A year that no column holds is equal to none.
        year: u16::try_from(year).unwrap_or(0),
        month,
        day,
        hour: (rest / 60) as u8,
        minute: (rest % 60) as u8,
        ..moment
    }
}

/// Days since 1970-01-01 in the Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The way back from [`days`].
fn civil(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(spelled: Spelled) -> String {
        String::from_utf8(spelled.bytes().to_vec()).unwrap()
    }

    #[test]
    fn what_is_spelled_reads_back() {
        for instant in
            ["2024-02-29T13:05:00.25Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59.999999Z"]
        {
            assert_eq!(text(timestamp(&parse_instant(instant).unwrap(), true)), instant);
        }
        for span in ["-838:59:59", "13:05:00.000001", "00:00:00", "100:00:00.5"] {
            assert_eq!(text(time(&parse_time(span).unwrap())), span);
        }
        assert_eq!(text(date(&parse_date("0000-00-00").unwrap())), "0000-00-00");
    }

    #[test]
    fn an_offset_is_taken_off() {
        let utc = |given| text(timestamp(&parse_instant(given).unwrap(), true));
        assert_eq!(utc("2024-03-01 00:30:00+02:00"), "2024-02-29T22:30:00Z");
        assert_eq!(utc("1999-12-31T23:30:00-0100"), "2000-01-01T00:30:00Z");
        assert_eq!(utc("2024-01-01T00:00:00"), "2024-01-01T00:00:00Z");
        for day in [-719_468, -1, 0, 59, 60, 19_782] {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month.into(), of_month.into()), day);
        }
    }

    #[test]
    fn what_is_no_date_or_time_is_none() {
        for text in ["", "2024-1-1", "2024-13-01", "24-01-01", "2024-01-32", "2024-01-01x"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
        for text in ["12:00", "12:60:00", "1:00:00", "12:00:00.1234567", "+1:00:00", "12:00:00 "] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        assert_eq!(parse_timestamp("2024-01-01T24:00:00"), None);
        assert_eq!(parse_instant("2024-01-01T00:00:00+é1:0"), None);
    }
}
