//! Opens the file, and says in one line what is wrong with it.

use std::time::Duration;

use protocol::fault::Fault;
use protocol::silo::Access;
use protocol::{Result, anyhow};
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, ffi};

use crate::Config;

/// Opens the configured file, which must exist: for reading, or for writing with foreign keys
/// enforced.
pub(crate) fn open(config: &Config, access: Access) -> Result<Connection> {
    access.unless(config.read_only)?;
    let path = config.path.display();
    match std::fs::metadata(&config.path) {
        Err(error) => {
            let why = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
                std::io::ErrorKind::PermissionDenied => "it may not be reached".to_owned(),
                _ => error.to_string(),
            };
            return Err(Fault::config(format!("`path`: {path}: {why}")).into());
        }
        Ok(metadata) if metadata.is_dir() => {
            return Err(Fault::config(format!("`path`: {path} is a folder, not a file")).into());
        }
        Ok(_) => {}
    }
    let mode = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let opened = || -> rusqlite::Result<Connection> {
        let connection =
            Connection::open_with_flags(&config.path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Duration::from_secs(config.busy_timeout.into()))?;
        // The schema of a stranger must not run as code: no functions with side effects in views
        // and triggers, no writes to the schema table.
        connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        // A page cache beyond this and memory mapping cost memory and gain no time.
        connection.pragma_update(None, "cache_size", -2048)?;
        if access == Access::Write {
            connection.pragma_update(None, "foreign_keys", true)?;
        }
        // Opening looks at nothing; this reads the first page, and rolls back a hot journal.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    };
    opened().map_err(|error| explain(config, error.into()))
}

/// What a failure of SQLite means for the person with the form.
pub(crate) fn explain(config: &Config, error: anyhow::Error) -> anyhow::Error {
    let Some(Error::SqliteFailure(failure, _)) = error.downcast_ref::<Error>() else {
        return error;
    };
    let path = config.path.display();
    let fault = match (failure.code, failure.extended_code) {
        (_, ffi::SQLITE_READONLY_ROLLBACK | ffi::SQLITE_READONLY_RECOVERY) => {
            Fault::config(format!(
                "{path} was left in the middle of a change, and putting that right needs write \
                 access: open it once with a program that may write it, or let this user write \
                 the file and its folder"
            ))
        }
        (_, ffi::SQLITE_READONLY_CANTINIT | ffi::SQLITE_READONLY_DIRECTORY)
        | (ErrorCode::CannotOpen, _) => Fault::config(format!(
            "{path} cannot be opened: this user needs to read it, and to write the folder it is \
             in where the database keeps a write-ahead log"
        )),
        (ErrorCode::NotADatabase, _) => {
            Fault::config(format!("{path} is no SQLite database, or it is encrypted"))
        }
        (ErrorCode::DatabaseCorrupt, _) => {
            Fault::config(format!("{path} is damaged; PRAGMA integrity_check tells more"))
        }
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Fault::transient(format!(
            "{path} is locked by another program, also after {} seconds (`busy_timeout`)",
            config.busy_timeout
        )),
        (ErrorCode::ReadOnly | ErrorCode::PermissionDenied, _) => {
            Fault::config(format!("{path} may not be written by this user"))
        }
        (ErrorCode::DiskFull, _) => Fault::transient(format!("the disk of {path} is full")),
        _ => return error,
    };
    // SQLite's own words would say the same once more.
    fault.into()
}
