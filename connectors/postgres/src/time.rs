//! Dates and times: counts since 2000 written as calendar text.
//!
//! Years have four digits or more. Before the year 1 they count as PostgreSQL counts them, with
//! ` BC` at the end, and what is not finite is `infinity` or `-infinity`: both read back.

use protocol::json::Json;

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH: i64 = 10_957;
const DAY: i64 = 86_400_000_000;

/// The longest text: a time stamp of year 294276 with a fraction and a zone, or of BC.
struct Text {
    bytes: [u8; 48],
    end: usize,
}

impl Text {
    fn new() -> Text {
        Text { bytes: [0; 48], end: 0 }
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes[self.end] = byte;
        self.end += 1;
    }

    fn all(&mut self, text: &[u8]) {
        self.bytes[self.end..self.end + text.len()].copy_from_slice(text);
        self.end += text.len();
    }

    /// Two digits.
    #[inline]
    fn two(&mut self, n: u32) {
        self.push(b'0' + (n / 10) as u8);
        self.push(b'0' + (n % 10) as u8);
    }

    /// `2024-02-29`; whether the year is before 1.
    #[inline]
    fn date(&mut self, days: i64) -> bool {
        let (year, month, day) = civil(days + EPOCH);
        let before = year < 1;
        let year = if before { 1 - year } else { year };
        if year < 10_000 {
            let year = year as u32;
            self.two(year / 100);
            self.two(year % 100);
        } else {
            self.all(itoa::Buffer::new().format(year).as_bytes());
        }
        self.push(b'-');
        self.two(month);
        self.push(b'-');
        self.two(day);
        before
    }

    /// `13:05:00.25`, without zeros at the end of the fraction.
    #[inline]
    fn clock(&mut self, micros: i64) {
        let seconds = (micros / 1_000_000) as u32;
        self.two(seconds / 3600);
        self.push(b':');
        self.two(seconds / 60 % 60);
        self.push(b':');
        self.two(seconds % 60);
        self.fraction((micros % 1_000_000) as u32);
    }

    #[inline]
    fn fraction(&mut self, micros: u32) {
        if micros == 0 {
            return;
        }
        self.push(b'.');
        self.two(micros / 10_000);
        self.two(micros / 100 % 100);
        self.two(micros % 100);
        while self.bytes[self.end - 1] == b'0' {
            self.end -= 1;
        }
    }

    #[inline]
    fn write(&self, json: &mut Json<'_>) {
        json.plain(&self.bytes[..self.end]);
    }
}

/// Year, month and day of a count of days since 1970-01-01: the proleptic Gregorian calendar, in
/// years of 400, each beginning in March so that the leap day is its last.
#[inline]
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097) as u32;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (i64::from(year) + era * 400 + i64::from(month <= 2), month, day)
}

pub(crate) fn date(days: i32, json: &mut Json<'_>) {
    match days {
        i32::MAX => json.plain(b"infinity"),
        i32::MIN => json.plain(b"-infinity"),
        days => {
            let mut text = Text::new();
            if text.date(days.into()) {
                text.all(b" BC");
            }
            text.write(json);
        }
    }
}

pub(crate) fn time(micros: i64, json: &mut Json<'_>) {
    let mut text = Text::new();
    text.clock(micros);
    text.write(json);
}

/// A time of day, and how many seconds its zone is west of Greenwich.
pub(crate) fn time_with_zone(micros: i64, west: i32, json: &mut Json<'_>) {
    let mut text = Text::new();
    text.clock(micros);
    text.push(if west > 0 { b'-' } else { b'+' });
    let seconds = west.unsigned_abs();
    text.two(seconds / 3600);
    text.push(b':');
    text.two(seconds / 60 % 60);
    if !seconds.is_multiple_of(60) {
        text.push(b':');
        text.two(seconds % 60);
    }
    text.write(json);
}

#[inline]
fn moment(micros: i64, zone: &[u8], json: &mut Json<'_>) {
    match micros {
        i64::MAX => json.plain(b"infinity"),
        i64::MIN => json.plain(b"-infinity"),
        micros => {
            let mut text = Text::new();
            let before = text.date(micros.div_euclid(DAY));
            text.push(b'T');
            text.clock(micros.rem_euclid(DAY));
            text.all(zone);
            if before {
                text.all(b" BC");
            }
            text.write(json);
        }
    }
}

#[inline]
pub(crate) fn timestamp(micros: i64, json: &mut Json<'_>) {
    moment(micros, b"", json);
}

#[inline]
pub(crate) fn instant(micros: i64, json: &mut Json<'_>) {
    moment(micros, b"Z", json);
}

/// A span of time as ISO 8601 with signs, as PostgreSQL spells it.
pub(crate) fn interval(months: i32, days: i32, micros: i64, json: &mut Json<'_>) {
    match (months, days, micros) {
        (i32::MAX, i32::MAX, i64::MAX) => return json.plain(b"infinity"),
        (i32::MIN, i32::MIN, i64::MIN) => return json.plain(b"-infinity"),
        (0, 0, 0) => return json.plain(b"PT0S"),
        _ => {}
    }
    let mut text = String::from("P");
    let mut part = |n: i64, unit: char| {
        if n != 0 {
            text.push_str(itoa::Buffer::new().format(n));
            text.push(unit);
        }
    };
    part((months / 12).into(), 'Y');
    part((months % 12).into(), 'M');
    part(days.into(), 'D');
    if micros != 0 {
        text.push('T');
        let mut part = |n: i64, unit: char| {
            if n != 0 {
                text.push_str(itoa::Buffer::new().format(n));
                text.push(unit);
            }
        };
        let seconds = micros / 1_000_000;
        part(seconds / 3600, 'H');
        part(seconds / 60 % 60, 'M');
        let fraction = micros % 1_000_000;
        if seconds % 60 != 0 || fraction != 0 {
            if micros < 0 {
                text.push('-');
            }
            text.push_str(itoa::Buffer::new().format((seconds % 60).unsigned_abs()));
            if fraction != 0 {
                let digits = format!(".{:06}", fraction.unsigned_abs());
                text.push_str(digits.trim_end_matches('0'));
            }
            text.push('S');
        }
    }
    json.plain(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::json::Spelling;

    fn written(write: impl FnOnce(&mut Json<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Json::new(&mut out, Spelling::NATIVE));
        String::from_utf8(out).unwrap().trim_matches('"').to_owned()
    }

    #[test]
    fn days_are_counted_through_leap_years_and_back_before_the_year_1() {
        for (days, text) in [
            (0, "2000-01-01"),
            (59, "2000-02-29"),
            (60, "2000-03-01"),
            (8825, "2024-02-29"),
            (-36_525 + 31 + 28, "1900-02-28"),
            (-36_525 + 31 + 28 + 1, "1900-03-01"),
            (-730_119, "0001-01-01"),
            (-730_120, "0001-12-31 BC"),
            (2_921_940, "10000-01-01"),
            (i32::MAX, "infinity"),
        ] {
            assert_eq!(written(|json| date(days, json)), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = civil(-800_000);
        for days in -799_999..800_000 {
            let (year, month, day) = civil(days);
            let next = (year, month, day) == (last.0, last.1, last.2 + 1)
                || (year, month, day) == (last.0, last.1 + 1, 1)
                || (year, month, day) == (last.0 + 1, 1, 1);
            assert!(next && day <= 31, "{last:?} {year}-{month}-{day}");
            last = (year, month, day);
        }
    }

    #[test]
    fn moments_are_exact_to_the_microsecond() {
        assert_eq!(written(|json| instant(0, json)), "2000-01-01T00:00:00Z");
        assert_eq!(written(|json| instant(-1, json)), "1999-12-31T23:59:59.999999Z");
        assert_eq!(written(|json| timestamp(250_000, json)), "2000-01-01T00:00:00.25");
        assert_eq!(written(|json| instant(i64::MIN, json)), "-infinity");
        let bc = written(|json| instant(-730_120 * DAY, json));
        assert_eq!(bc, "0001-12-31T00:00:00Z BC");
        assert_eq!(written(|json| time(DAY, json)), "24:00:00");
        assert_eq!(written(|json| time_with_zone(0, -19_800, json)), "00:00:00+05:30");
        assert_eq!(written(|json| time_with_zone(0, 3601, json)), "00:00:00-01:00:01");
    }

    #[test]
    fn spans_keep_months_days_and_time_apart() {
        let span = |months, days, micros| written(|json| interval(months, days, micros, json));
        assert_eq!(span(14, 3, 14_706_700_000), "P1Y2M3DT4H5M6.7S");
        assert_eq!(span(0, 0, 0), "PT0S");
        assert_eq!(span(-1, 0, -500_000), "P-1MT-0.5S");
        assert_eq!(span(0, -1, 3_600_000_000), "P-1DT1H");
    }
}
