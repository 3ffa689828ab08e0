//! Where a server is that a bench runs against.

use anyhow::{Context as _, Result};

use super::Bench;

/// What a URL says of a server: `scheme://user:password@host:port/database`.
pub(super) struct Server {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Server {
    /// The server whose URL is in a variable.
    pub(super) fn of(bench: &Bench<'_>, variable: &str) -> Result<Server> {
        let url = bench.variables.iter().find(|(name, _)| *name == variable);
        let server = url.and_then(|(_, url)| Server::at(url));
        server.with_context(|| {
            format!("{variable} is not of the form scheme://user:password@host:port/database")
        })
    }

    fn at(url: &str) -> Option<Server> {
        let (login, place) = url.split_once("://")?.1.rsplit_once('@')?;
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = place.split('/').next()?.rsplit_once(':')?;
        Some(Server {
            user: user.to_owned(),
            password: password.to_owned(),
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_server_is_and_how_to_get_in() {
        let server = Server::at("postgres://ada:p@ss@127.0.0.1:5433/postgres").unwrap();
        assert_eq!((server.user.as_str(), server.password.as_str()), ("ada", "p@ss"));
        assert_eq!((server.host.as_str(), server.port), ("127.0.0.1", 5433));
        assert!(Server::at("not a url").is_none());
    }
}
