//! Errors of the server, and what each means for the person with the form.

use std::fmt;
use std::io;

use protocol::anyhow;
use protocol::fault::Fault;

use super::wire::Parts;

/// An error packet. What it quotes may be a row's value, so only some are shown as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) message: String,
}

/// Reads an error packet after its first byte.
pub(super) fn parse(rest: &[u8]) -> Refusal {
    let mut parts = Parts(rest);
    let code = parts.array().map(u16::from_le_bytes).unwrap_or_default();
    let text = match parts.0 {
        // `#` and five characters of SQLSTATE.
        [b'#', _, _, _, _, _, text @ ..] => text,
        text => text,
    };
    Refusal { code, message: String::from_utf8_lossy(text).into_owned() }
}

/// Errors that quote names and never a value.
const NAMES_ONLY: &[u16] = &[
    1040, 1044, 1045, 1049, 1050, 1054, 1060, 1068, 1071, 1072, 1090, 1091, 1101, 1103, 1113, 1114,
    1118, 1129, 1130, 1133, 1142, 1143, 1146, 1205, 1206, 1213, 1217, 1227, 1235, 1267, 1290, 1356,
    1364, 1370, 1406, 1419, 1449, 1451, 1452, 1698, 1792, 1836, 1969, 3024, 3098, 3159, 3780, 4025,
    4078, 4151, 4161,
];

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if NAMES_ONLY.contains(&self.code) {
            return write!(f, "{} (error {})", self.message, self.code);
        }
        // What stands in quotes may be anything, and so may a number.
        write!(f, "the server refuses it with error {}", self.code)
    }
}

impl std::error::Error for Refusal {}

/// Where the connection leads, for what is said of it.
pub(crate) struct Place<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) user: &'a str,
    pub(crate) lock_timeout: u32,
    pub(crate) statement_timeout: u32,
}

/// An error with its cause and what to do about it, where that is known.
pub(crate) fn explain(error: anyhow::Error, place: &Place<'_>) -> anyhow::Error {
    let Place { host, port, user, lock_timeout, statement_timeout } = place;
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        let fault = match refusal.code {
            1045 | 1698 => Fault::config(format!(
                "`username` or `password`: the server at {host} refuses {user}"
            )),
            1044 | 1049 => {
                Fault::config("`database`: it is not there, or this user lacks a right in it")
            }
            1040 | 1203 | 1226 => Fault::transient("the server has too many connections"),
            1129 | 1130 => {
                Fault::config("`hostname`: the server does not let this machine connect")
            }
            1142 | 1143 | 1227 | 1370 | 1449 | 1356 => {
                Fault::config(format!("the user {user} lacks a right"))
            }
            1146 | 1054 => Fault::transient("the table was dropped or altered meanwhile"),
            1205 | 4151 | 4161 => Fault::transient(format!(
                "a row or table is locked by somebody else, also after {lock_timeout} seconds \
                 (`lock_timeout`)"
            )),
            1020 | 1213 => {
                Fault::transient("somebody else's transaction got in the way (deadlock)")
            }
            1969 | 3024 | 1317 => Fault::transient(format!(
                "the statement took longer than {statement_timeout} seconds \
                 (`statement_timeout`), or was ended by somebody"
            )),
            1021 | 1114 | 3 => Fault::transient("the server's disk or table space is full"),
            1062 | 1586 => Fault::config("there is a row with this key already"),
            1290 | 1792 | 1836 => Fault::config("the server or the transaction is read-only"),
            1153 => Fault::config("a record is larger than the server's max_allowed_packet"),
            1264 | 1265 | 1292 | 1366 | 1406 | 1411 | 1674 | 3140 | 4025 => {
                Fault::config("a value does not fit its column")
            }
            1048 | 1364 => Fault::config("a value is missing that its column must have"),
            1451 | 1452 => Fault::config("a foreign key forbids it"),
            1053 | 1077 | 1079 | 1927 | 4031 => Fault::transient("the server ends the connection"),
            _ => return error,
        };
        return error.context(fault);
    }
    let Some(failure) = error.downcast_ref::<io::Error>() else { return error };
    let fault = match failure.kind() {
        io::ErrorKind::ConnectionRefused => {
            Fault::config(format!("`hostname`, `port`: nothing answers at {host}, port {port}"))
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Fault::transient(format!("the server at {host} is gone")),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Fault::transient(format!(
            "`hostname`, `port`: {host}, port {port}, does not answer in time"
        )),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Fault::transient(format!("`hostname`: {host} cannot be reached"))
        }
        _ => return error,
    };
    error.context(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_may_quote_a_value_is_shown_by_its_number() {
        let refusal = parse(b"\x26\x04#23000Duplicate entry 'ada@example.com' for key 'email'");
        assert_eq!(refusal.to_string(), "the server refuses it with error 1062");
        let refusal = parse(b"\x7a\x04#42S02Table 'shop.people' doesn't exist");
        assert_eq!(refusal.to_string(), "Table 'shop.people' doesn't exist (error 1146)");
    }
}
