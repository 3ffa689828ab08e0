//! One connection: opened, encrypted, and set so that nothing the server's owner chose, and no
//! object that a stranger made, changes what is read.

use std::time::Duration;

use protocol::fault::Fault;
use protocol::tls::Mode;
use protocol::{Context, Result, log};
use rustls::pki_types::ServerName;
use tokio::io::{copy, sink};
use tokio::join;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, NoTls};

use crate::fault::explain;
use crate::server::Server;
use crate::stream::{Coalesced, Socket};
use crate::tls::Handshake;

/// Names resolve in `pg_catalog` alone, so that a function, operator or type that somebody else
/// made never runs by being found; values are spelled the same whatever the server's settings.
const SETTINGS: &str = "\
    SET search_path = pg_catalog;\
    SET datestyle = 'ISO, YMD';\
    SET intervalstyle = 'iso_8601';\
    SET bytea_output = 'hex';\
    SET xmlbinary = 'base64';\
    SET timezone = 'UTC';\
    SET extra_float_digits = 3;\
    SET standard_conforming_strings = on;\
    SET synchronize_seqscans = off;\
    SET max_parallel_workers_per_gather = 0;\
    SET jit = off;\
    SET idle_in_transaction_session_timeout = 0;";

/// Lets the server end a statement whose client is gone, however it went: otherwise one that sends no
/// rows goes on, with its locks, until it is done. Servers before 14, and some systems, have no such
/// setting.
pub(crate) const WATCHED: &str = "SET client_connection_check_interval = '1s'";

/// How long to try to have a statement cancelled.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a connection begins with.
pub(crate) fn prepare(statement_timeout: Duration, lock_timeout: Duration) -> String {
    format!(
        "{SETTINGS}SET statement_timeout = {};SET lock_timeout = {};",
        statement_timeout.as_millis(),
        lock_timeout.as_millis()
    )
}

/// A connection to one database.
pub struct Session {
    /// Runs statements.
    pub client: Client,
    /// The host of several that answered, and its port.
    place: (Host, u16),
}

impl Session {
    /// Connects to a database of the configured server.
    pub async fn open(server: &Server, database: &str) -> Result<Session> {
        let opened = timeout(server.connect_timeout, connect(server, database)).await;
        let session = match opened {
            Ok(session) => session?,
            Err(_) => {
                return Err(Fault::transient(format!(
                    "{}:{} does not answer within {} seconds (`connect_timeout`): `{}` and `port` \
                     may be wrong, or a firewall may be in between",
                    server.host(),
                    server.port(),
                    server.connect_timeout.as_secs(),
                    server.host_field
                ))
                .into());
            }
        };
        let client = &session.client;
        let (set, hoped) =
            join!(client.batch_execute(&server.prepare), client.batch_execute(server.hope));
        set.map_err(|error| explain(server, error)).context("preparing the connection")?;
        if let Err(error) = hoped {
            log::debug(format_args!("the server does not know {}: {error}", server.hope));
        }
        Ok(session)
    }

    /// Ends the statement at work, so that nobody waits for the rest of its rows. Where none is, the
    /// next one is not ended in its place: the server closes the connection once it has passed the
    /// request on, and that is waited for.
    pub async fn cancel(&self, server: &Server) {
        if self.client.is_closed() {
            return;
        }
        let token = self.client.cancel_token();
        let cancelled = async {
            let (host, port) = &self.place;
            let socket = socket(server, host, *port).await?;
            let encryption = encryption(server, host, &socket)?;
            let mut stream = Coalesced::new(socket);
            match encryption {
                Some(handshake) => token.cancel_query_raw(&mut stream, handshake).await?,
                None => token.cancel_query_raw(&mut stream, NoTls).await?,
            }
            copy(&mut stream, &mut sink()).await?;
            Ok::<(), protocol::anyhow::Error>(())
        };
        match timeout(PATIENCE, cancelled).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::debug(format_args!("a statement is not cancelled: {error}")),
            Err(_) => log::debug(format_args!("a statement is not cancelled in time")),
        }
    }
}

async fn connect(server: &Server, database: &str) -> Result<Session> {
    let mut target = server.target.clone();
    target.dbname(database);
    let hosts = target.get_hosts().to_vec();
    let ports = target.get_ports().to_vec();
    let mut failed = None;
    for (place, host) in hosts.iter().enumerate() {
        let port = ports.get(place).or(ports.first()).copied().unwrap_or(5432);
        let socket = match socket(server, host, port).await {
            Ok(socket) => socket,
            Err(error) => {
                failed = Some(error);
                continue;
            }
        };
        let client = talk(server, target, host, socket).await?;
        return Ok(Session { client, place: (host.clone(), port) });
    }
    Err(failed.unwrap_or_else(|| Fault::config("no host is configured").into()))
}

async fn socket(server: &Server, host: &Host, port: u16) -> Result<Socket> {
    let field = server.host_field;
    match host {
        Host::Unix(folder) => {
            let path = folder.join(format!(".s.PGSQL.{port}"));
            let socket = UnixStream::connect(&path).await.map_err(|error| {
                Fault::config(format!("`{field}`: {}: {}", path.display(), plain(&error)))
            })?;
            Ok(Socket::Unix(socket))
        }
        Host::Tcp(name) => {
            let addresses = lookup_host((name.as_str(), port)).await.map_err(|_| {
                Fault::config(format!("`{field}`: {name} is not known, or no name server answers"))
            })?;
            let mut failed = None;
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(socket) => {
                        socket.set_nodelay(true)?;
                        return Ok(Socket::Tcp(socket));
                    }
                    Err(error) => failed = Some(error),
                }
            }
            let why = failed.as_ref().map_or_else(|| "it has no address".to_owned(), plain);
            Err(Fault::config(format!(
                "`{field}`, `port`: no {} server answers at {name}:{port}: {why}",
                server.kind
            ))
            .into())
        }
    }
}

/// What the operating system says, without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

async fn talk(
    server: &Server,
    mut target: tokio_postgres::Config,
    host: &Host,
    socket: Socket,
) -> Result<Client> {
    let encryption = encryption(server, host, &socket)?;
    let stream = Coalesced::new(socket);
    let explain = |error| explain(server, error);
    match encryption {
        Some(handshake) => {
            let needed = server.tls != Mode::Prefer;
            target.ssl_mode(if needed { SslMode::Require } else { SslMode::Prefer });
            let (client, connection) =
                target.connect_raw(stream, handshake).await.map_err(explain)?;
            tokio::spawn(drive(connection));
            Ok(client)
        }
        None => {
            target.ssl_mode(SslMode::Disable);
            let (client, connection) = target.connect_raw(stream, NoTls).await.map_err(explain)?;
            tokio::spawn(drive(connection));
            Ok(client)
        }
    }
}

/// How to encrypt a connection; not where it does not leave the machine.
fn encryption(server: &Server, host: &Host, socket: &Socket) -> Result<Option<Handshake>> {
    let (Host::Tcp(name), Socket::Tcp(_)) = (host, socket) else { return Ok(None) };
    let config = server.tls.config(server.roots.as_ref())?;
    let Some(config) = config else { return Ok(None) };
    let name = ServerName::try_from(name.clone()).map_err(|_| {
        Fault::config(format!("`{}`: {name} is no name of a host", server.host_field))
    })?;
    Ok(Some(Handshake { config, name }))
}

/// Moves bytes for a client until it is dropped. Its failures reach the statements that wait.
async fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if let Err(error) = connection.await {
        log::debug(format_args!("the connection ended: {error}"));
    }
}
