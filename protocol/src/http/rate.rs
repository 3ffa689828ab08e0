//! How fast requests may follow each other: windows, how many at once, and what the vendor says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// At most so many requests in any stretch of time of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many.
    pub requests: usize,
    /// In how long.
    pub per: Duration,
}

impl Window {
    /// So many a second.
    pub const fn second(requests: usize) -> Window {
        Window { requests, per: Duration::from_secs(1) }
    }

    /// So many a minute.
    pub const fn minute(requests: usize) -> Window {
        Window { requests, per: Duration::from_secs(60) }
    }

    /// So many an hour.
    pub const fn hour(requests: usize) -> Window {
        Window { requests, per: Duration::from_secs(3600) }
    }
}

/// What a vendor's headers say of the room that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// How many requests may still be sent.
    pub remaining: u64,
    /// When there is room again.
    pub reset: Duration,
}

/// How fast a vendor may be asked.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many requests may be under way.
    pub concurrency: usize,
    /// All of them hold.
    pub windows: &'static [Window],
    /// Reads what an answer says of the room that is left.
    pub told: fn(&HeaderMap) -> Option<Told>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { concurrency: 8, windows: &[], told: |_| None }
    }
}

/// Lets requests through as fast as the limits allow.
pub(super) struct Gate {
    limits: Limits,
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When requests were let through, as far back as the longest window reaches.
    sent: VecDeque<Instant>,
    /// Nothing before then.
    closed_until: Option<Instant>,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Gate {
        let places = Arc::new(Semaphore::new(limits.concurrency.max(1)));
        Gate { limits, places, state: Mutex::default() }
    }

    /// Waits for a turn. Its place is taken until the permit is dropped.
    pub(super) async fn enter(&self) -> OwnedSemaphorePermit {
        let places = Arc::clone(&self.places);
        let permit = places.acquire_owned().await.expect("the semaphore is never closed");
        while let Err(opens) = self.try_pass(Instant::now()) {
            tokio::time::sleep_until(opens).await;
        }
        permit
    }

    /// Passes now, or says when to try again.
    fn try_pass(&self, now: Instant) -> Result<(), Instant> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opens = state.closed_until.filter(|&until| until > now);
        for window in self.limits.windows {
            // The request that must be a whole window ago before another may pass.
            let Some(place) = state.sent.len().checked_sub(window.requests.max(1)) else {
                continue;
            };
            let room = state.sent[place] + window.per;
            if room > now {
                opens = opens.max(Some(room));
            }
        }
        if let Some(opens) = opens {
            return Err(opens);
        }
        let longest = self.limits.windows.iter().map(|window| window.per).max();
        if let Some(longest) = longest {
            while state.sent.front().is_some_and(|&sent| sent + longest <= now) {
                state.sent.pop_front();
            }
            state.sent.push_back(now);
        }
        Ok(())
    }

    /// Lets nothing through for a while, because one answer asked for it: all would get the same.
    pub(super) fn close(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed_until = state.closed_until.max(Some(until));
    }

    /// Takes in what an answer says of the room that is left.
    pub(super) fn learn(&self, headers: &HeaderMap) {
        if let Some(Told { remaining: 0, reset }) = (self.limits.told)(headers) {
            self.close(reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_A_SECOND: Limits = Limits {
        concurrency: 100,
        windows: &[Window::second(2), Window::minute(5)],
        told: |_| None,
    };

    async fn passes(gate: &Gate, n: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..n {
            drop(gate.enter().await);
            times.push(start.elapsed().as_millis());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn no_window_ever_holds_more_than_it_may() {
        let times = passes(&Gate::new(TWO_A_SECOND), 12).await;
        for (i, &first) in times.iter().enumerate() {
            let within = |ms: u128| times[i..].iter().filter(|&&t| t < first + ms).count();
            assert!(within(1000) <= 2 && within(60_000) <= 5, "{times:?}");
        }
        assert_eq!(times[..5], [0, 0, 1000, 1000, 2000]);
        assert!(times[11] < 123_000, "and it is no slower than it must be: {times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_holds_everybody() {
        let gate = Gate::new(Limits::default());
        gate.close(Duration::from_secs(9));
        gate.close(Duration::from_secs(3));
        assert_eq!(passes(&gate, 2).await, [9000, 9000]);
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_under_way() {
        let gate = Gate::new(Limits { concurrency: 2, ..Limits::default() });
        let (one, _two) = (gate.enter().await, gate.enter().await);
        let third = tokio::time::timeout(Duration::from_millis(20), gate.enter());
        assert!(third.await.is_err());
        drop(one);
        drop(gate.enter().await);
    }
}
