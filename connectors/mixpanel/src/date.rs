//! Days, as Mixpanel writes them: `2026-11-21`.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::Result;
use protocol::fault::Fault;

/// A day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(pub(crate) i64);

/// Mixpanel has no events from before.
const FIRST: Day = Day(15_165);

/// The first day whose events are wanted.
pub(crate) fn start(text: Option<&str>) -> Result<Day> {
    let Some(text) = text else { return Ok(FIRST) };
    let day = Day::parse(text)
        .ok_or_else(|| Fault::config("`start_date` must be a day such as 2024-01-31"))?;
    Ok(day.max(FIRST))
}

impl Day {
    /// The day of a time.
    pub(crate) fn of(time: SystemTime) -> Day {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Day(i64::try_from(seconds / 86_400).unwrap_or(i64::MAX))
    }

    pub(crate) fn parse(text: &str) -> Option<Day> {
        let mut parts = text.splitn(3, '-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        // The days before a month of a year that begins in March (Howard Hinnant's algorithm).
        let moved = if month <= 2 { year - 1 } else { year };
        let (era, year_of_era) = (moved.div_euclid(400), moved.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let parsed = Day(era * 146_097 + day_of_era - 719_468);
        // What is no day of the calendar reads back as another.
        (parsed.to_string() == text).then_some(parsed)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0 + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let moved = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * moved + 2) / 5 + 1;
        let month = if moved < 10 { moved + 3 } else { moved - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_written_and_what_is_none_is_refused() {
        for (text, day) in [("1970-01-01", 0), ("2000-02-29", 11_016), ("2026-11-21", 20_778)] {
            assert_eq!(Day::parse(text), Some(Day(day)));
            assert_eq!(Day(day).to_string(), text);
        }
        for day in 0..40_000 {
            assert_eq!(Day::parse(&Day(day).to_string()), Some(Day(day)));
        }
        for text in ["2026-02-30", "2026-1-1", "2026-13-01", "today", "", "2026-11-21T00"] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
        assert_eq!(start(None).unwrap().to_string(), "2011-07-10");
    }
}
