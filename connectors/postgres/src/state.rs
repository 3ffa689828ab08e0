//! What a state holds: how the read went, and what it has not seen.
//!
//! A table is read in one of two ways:
//!
//! - *by place*: rows in the order in which they are stored. The state says which places are left,
//!   and the horizon: transactions that had not all ended when the read began. A row that came or
//!   changed later has a transaction from the horizon on, wherever it is stored, and is found by it.
//! - *by order*: rows in the order of a cursor column and the key. The state holds the values of the
//!   last row, and the horizon for what was committed behind it.
//!
//! A further way, such as a position in the server's log, is a further variant.

use protocol::fault::Fault;
use protocol::silo::Cursor;
use protocol::{Deserialize, Result, Serialize};
use serde_json::Value;

use crate::pool::Snapshot;

/// The content of a state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum State {
    /// Read by place.
    Place { horizon: Horizon, parts: Vec<PartState> },
    /// Read by order.
    Order {
        by: Vec<String>,
        after: Vec<Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        horizon: Option<Horizon>,
    },
}

impl State {
    /// The state of an earlier read.
    pub(crate) fn parse(since: Option<&Cursor>) -> Result<Option<State>> {
        since.map(Cursor::parse).transpose()
    }

    /// The state as a message has it.
    pub(crate) fn cursor(&self) -> Result<Cursor> {
        Cursor::new(self)
    }
}

/// What a read could not have seen: the work of transactions from `xmin` on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Horizon {
    /// The server, where it says which it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeline: Option<u32>,
    /// The table. Another of its name has another number.
    table: u32,
    /// The first transaction that had not ended, in full 64 bits.
    xmin: u64,
    /// Transactions from there on whose rows had been seen none the less.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<u32>,
}

/// A transaction's number has 32 bits in a row, and compares over half of that. What is further
/// back cannot be told from what is new; the rest is a margin for the time a read takes.
const REACH: u64 = (1 << 31) - 50_000_000;

impl Horizon {
    /// The horizon of a read that begins now.
    pub(crate) fn of(snapshot: &Snapshot, table: u32, seen: Vec<u32>) -> Horizon {
        Horizon {
            cluster: snapshot.cluster.clone(),
            timeline: snapshot.timeline,
            table,
            xmin: snapshot.xmin,
            seen,
        }
    }

    /// Why what came since cannot be told by the transactions of a snapshot, if it cannot.
    pub(crate) fn stale(&self, snapshot: &Snapshot, table: u32) -> Option<&'static str> {
        if self.cluster != snapshot.cluster || self.table != table {
            Some("the state is of another server or table")
        } else if self.timeline != snapshot.timeline {
            Some("the server has failed over or was restored since the state was written")
        } else if self.xmin > snapshot.xmax {
            Some("the server is older than the state")
        } else if snapshot.xmax - self.xmin > REACH {
            Some("too many transactions have passed since the state was written")
        } else {
            None
        }
    }

    /// Whether nothing at all can have changed up to a snapshot.
    pub(crate) fn is_now(&self, snapshot: &Snapshot) -> bool {
        self.xmin == snapshot.xmax
    }

    /// The condition that a row came or changed after what was seen.
    pub(crate) fn condition(&self) -> String {
        let mut text = since(self.xmin);
        if !self.seen.is_empty() {
            let seen: Vec<String> = self.seen.iter().map(u32::to_string).collect();
            text.push_str(&format!(" AND t.xmin <> ALL ('{{{}}}'::xid[])", seen.join(",")));
        }
        text
    }
}

/// The condition that a row's transaction is not before `xmin`.
pub(crate) fn since(xmin: u64) -> String {
    // The numbers below 3 are no transactions: counting leaves them out.
    let low = (xmin & 0xffff_ffff).max(3);
    format!("age(t.xmin) <= age('{low}'::xid)")
}

/// What is left of a table that holds rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartState {
    pub(crate) oid: u32,
    /// What its rows were stored under: places mean nothing under another.
    pub(crate) node: Option<u32>,
    /// The places that have not been read.
    pub(crate) rest: Vec<Span>,
}

/// The places after `0` and, where there is an end, before the first of the block `1`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Span(pub(crate) Place, pub(crate) Option<u32>);

impl Span {
    /// All places.
    pub(crate) const ALL: Span = Span(Place::first(0), None);

    /// The condition that a row is there.
    pub(crate) fn condition(self) -> Option<String> {
        let Span(Place { block, row }, end) = self;
        let mut conditions = Vec::new();
        if (block, row) != (0, 0) {
            conditions.push(format!("t.ctid > '({block},{row})'::tid"));
        }
        if let Some(end) = end {
            conditions.push(format!("t.ctid < '({end},0)'::tid"));
        }
        (!conditions.is_empty()).then(|| conditions.join(" AND "))
    }
}

/// Where a row is stored. The rows of a block count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(u32, u16)", into = "(u32, u16)")]
pub(crate) struct Place {
    pub(crate) block: u32,
    pub(crate) row: u16,
}

impl From<(u32, u16)> for Place {
    fn from((block, row): (u32, u16)) -> Place {
        Place { block, row }
    }
}

impl From<Place> for (u32, u16) {
    fn from(Place { block, row }: Place) -> (u32, u16) {
        (block, row)
    }
}

impl Place {
    /// Before the first row of a block.
    pub(crate) const fn first(block: u32) -> Place {
        Place { block, row: 0 }
    }

    /// The place in binary form.
    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Place> {
        let (block, row) = bytes.split_first_chunk::<4>()?;
        let row: [u8; 2] = row.try_into().ok()?;
        Some(Place { block: u32::from_be_bytes(*block), row: u16::from_be_bytes(row) })
    }
}

/// What to say where a state is of another way.
pub(crate) fn another_way() -> protocol::anyhow::Error {
    Fault::config(
        "the state was written by a read that went by another cursor: choose the same, or read \
         without the state",
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_state_reads_back_and_one_of_another_kind_is_refused() {
        let snapshot = Snapshot { cluster: Some("7".into()), timeline: Some(1), xmin: 9, xmax: 10 };
        let parts = vec![PartState {
            oid: 1,
            node: Some(2),
            rest: vec![Span(Place { block: 3, row: 4 }, Some(5)), Span::ALL],
        }];
        let state = State::Place { horizon: Horizon::of(&snapshot, 1, vec![9]), parts };
        assert_eq!(State::parse(Some(&state.cursor().unwrap())).unwrap(), Some(state));
        for other in
            [json!({"by": ["id"], "after": [1]}), json!({"way": "log", "lsn": 1}), json!([])]
        {
            assert!(State::parse(Some(&Cursor(other))).is_err());
        }
    }

    #[test]
    fn a_horizon_is_good_for_its_own_server_and_half_the_numbers() {
        let snapshot = |xmax| Snapshot { cluster: None, timeline: Some(1), xmin: xmax, xmax };
        let horizon = Horizon::of(&snapshot(1000), 7, Vec::new());
        assert_eq!(horizon.stale(&snapshot(1000), 7), None);
        assert_eq!(horizon.stale(&snapshot(1000 + REACH), 7), None);
        assert!(horizon.stale(&snapshot(1001 + REACH), 7).is_some());
        assert!(horizon.stale(&snapshot(999), 7).is_some());
        assert!(horizon.stale(&snapshot(1000), 8).is_some());
        let other = Snapshot { timeline: Some(2), ..snapshot(1000) };
        assert!(horizon.stale(&other, 7).is_some());
    }
}
