//! Whether an answer is good, and if not, whether and when to ask again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was asked for.
    Ok,
    /// The other side is in trouble: ask again, where asking twice does no harm.
    Retry,
    /// It was too fast and nothing was done: ask again later, whatever was asked.
    Slow,
    /// What proves who asks is not accepted any more: renew it, once, and ask again.
    Renew,
    /// There is no such thing.
    Missing,
    /// It may not be done with these rights.
    Denied,
    /// The request itself is wrong.
    Broken,
}

/// What a status means where a vendor says nothing else.
pub fn judge(status: StatusCode, _: &[u8]) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Ok,
        401 => Verdict::Renew,
        402 | 403 => Verdict::Denied,
        404 | 410 => Verdict::Missing,
        408 | 425 | 500 | 502..=504 | 507..=509 | 520..=530 => Verdict::Retry,
        429 => Verdict::Slow,
        _ => Verdict::Broken,
    }
}

/// How often and how long to try.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// How many times a request is sent at most.
    pub attempts: u32,
    /// How long after the first attempt another may begin.
    pub within: Duration,
    /// The pause before the second attempt; it doubles from there.
    pub first: Duration,
    /// The longest pause that is not the other side's wish.
    pub longest: Duration,
}

impl Default for Retries {
    fn default() -> Retries {
        Retries {
            attempts: 6,
            within: Duration::from_secs(300),
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
        }
    }
}

impl Retries {
    /// How long to wait before the attempt after `attempt`: what the other side asked for and a
    /// little more, else twice as long as before, spread so that many do not come back together.
    pub(super) fn pause(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        match asked {
            // Never earlier than asked for.
            Some(asked) => asked + self.first.mul_f64(0.2 * random()),
            None => {
                let doubled = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
                doubled.min(self.longest).mul_f64(0.5 + 0.5 * random())
            }
        }
    }
}

/// A number between 0 and 1.
fn random() -> f64 {
    // Each `RandomState` has new keys, which is all the chance that jitter needs.
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// What time it is on the other side, if its answer says so.
pub(super) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// The pause that an answer asks for: seconds, or a date, which is compared with the answer's own
/// date and not with this machine's clock.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds.clamp(0.0, 1e9)).ok();
    }
    let then = httpdate::parse_http_date(text).ok()?;
    let now = date(headers).unwrap_or_else(SystemTime::now);
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(&'static str, &str)| (name.parse().unwrap(), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date_of_the_other_sides_clock() {
        let of = |pairs: &[(&'static str, &str)]| retry_after(&headers(pairs));
        assert_eq!(of(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(of(&[("retry-after", " 0.5 ")]), Some(Duration::from_millis(500)));
        assert_eq!(of(&[("retry-after", "-3")]), Some(Duration::ZERO));
        let (date, later) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:07 GMT");
        assert_eq!(of(&[("retry-after", later), ("date", date)]), Some(Duration::from_secs(30)));
        assert_eq!(of(&[("retry-after", date), ("date", later)]), Some(Duration::ZERO));
        assert_eq!(of(&[("retry-after", "soon")]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn pauses_grow_to_a_bound_and_are_never_shorter_than_asked_for() {
        let retries = Retries::default();
        for attempt in 1..100 {
            let pause = retries.pause(attempt, None);
            assert!(pause >= retries.first / 2 && pause <= retries.longest, "{pause:?}");
            let asked = Duration::from_secs(3);
            let pause = retries.pause(attempt, Some(asked));
            assert!(pause >= asked && pause < asked + retries.first, "{pause:?}");
        }
    }

    #[test]
    fn every_status_has_a_verdict() {
        for (status, verdict) in [
            (200, Verdict::Ok),
            (204, Verdict::Ok),
            (302, Verdict::Broken),
            (400, Verdict::Broken),
            (401, Verdict::Renew),
            (403, Verdict::Denied),
            (404, Verdict::Missing),
            (410, Verdict::Missing),
            (422, Verdict::Broken),
            (429, Verdict::Slow),
            (500, Verdict::Retry),
            (501, Verdict::Broken),
            (503, Verdict::Retry),
            (524, Verdict::Retry),
        ] {
            assert_eq!(judge(StatusCode::from_u16(status).unwrap(), b""), verdict, "{status}");
        }
    }
}
