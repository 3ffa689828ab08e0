//! What an erasure leaves behind on a server: logs, replicas, histories.

use protocol::sql::erase::engine::Residue;
use protocol::{Result, log};

use crate::driver::{Client, Value};

/// Looks, as far as the user's rights go.
pub(crate) fn look(client: &mut Client, database: &str) -> Vec<Residue> {
    let looked: [(&str, &[&str]); 6] = [
        ("binary log", &["SELECT IF(@@log_bin, CONCAT('on, ', @@binlog_format), 'off')"]),
        (
            "binary log kept for",
            &[
                "SELECT CONCAT(@@binlog_expire_logs_seconds, ' seconds; 0 is for ever')",
                "SELECT CONCAT(@@expire_logs_days, ' days; 0 is for ever')",
            ],
        ),
        (
            "replicas",
            // Who may not see others sees none of them.
            &["SELECT CONCAT(count(*), ' connected') FROM information_schema.PROCESSLIST
               WHERE COMMAND LIKE 'Binlog Dump%' HAVING EXISTS (
                   SELECT 1 FROM information_schema.USER_PRIVILEGES
                   WHERE PRIVILEGE_TYPE = 'PROCESS' AND REPLACE(GRANTEE, '''', '') = CURRENT_USER())"],
        ),
        ("general log", &["SELECT IF(@@general_log, CONCAT('on, ', @@log_output), 'off')"]),
        ("slow query log", &["SELECT IF(@@slow_query_log, CONCAT('on, ', @@log_output), 'off')"]),
        (
            "histories",
            &["SELECT CONCAT(count(*), ' system-versioned tables keep deleted rows')
               FROM information_schema.TABLES
               WHERE TABLE_TYPE = 'SYSTEM VERSIONED' AND (TABLE_SCHEMA = ? OR ? = '')"],
        ),
    ];
    let found = looked.into_iter().map(|(what, texts)| {
        let value = texts.iter().find_map(|text| {
            let of = Value::Text(database.into());
            let values = vec![of; text.matches('?').count()];
            match one(client, text, &values) {
                Ok(value) => value,
                Err(error) => {
                    log::debug(format_args!("{what}: {error}"));
                    None
                }
            }
        });
        Residue { what: what.to_owned(), found: value.unwrap_or_else(|| "unknown".to_owned()) }
    });
    found.collect()
}

/// The one text that a statement yields.
pub(crate) fn line(client: &mut Client, text: &str) -> Result<Option<String>> {
    one(client, text, &[])
}

fn one(client: &mut Client, text: &str, values: &[Value]) -> Result<Option<String>> {
    let mut found = None;
    client.rows(text, values, |row| {
        found = row.text()?;
        Ok(())
    })?;
    Ok(found)
}
