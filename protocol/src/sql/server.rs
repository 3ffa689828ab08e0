//! What the forms of database servers ask alike: fields whose type brings their title, their words and
//! what they are where nobody fills them in. How a connection is encrypted is [`crate::tls`]'s.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # Connect Timeout
///
/// How many seconds you want to wait for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct ConnectTimeout(u32);

impl Default for ConnectTimeout {
    fn default() -> ConnectTimeout {
        ConnectTimeout(30)
    }
}

impl ConnectTimeout {
    /// How long to wait: a second at the least.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.max(1).into())
    }
}

/// # Statement Timeout
///
/// How many seconds a statement may take. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct StatementTimeout(u32);

impl StatementTimeout {
    /// How many seconds; 0 is no limit.
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// How long; zero is no limit.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}
