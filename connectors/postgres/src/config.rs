//! The form a person fills in, and the settings that come of it.

use std::time::Duration;

use protocol::config::Secret;
use protocol::fault::Fault;
use protocol::sql::server::{ConnectTimeout, StatementTimeout};
use protocol::tls::{Mode, Roots};
use protocol::{Deserialize, JsonSchema, Result, select};

use crate::server::Server;
use crate::session::{WATCHED, prepare};

/// What a person fills in.
#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// # Hostname
    ///
    /// The server you want to reach: a name, an address, or the folder of a Unix socket.
    #[serde(default)]
    #[schemars(required)]
    hostname: Option<String>,
    /// # Port
    ///
    /// The port the server listens on.
    #[serde(default)]
    #[schemars(required, extend("type" = "number", "default" = 5432))]
    port: Option<u16>,
    /// # Default Database
    ///
    /// The database you want to connect to first. The others of the server are found through it.
    #[serde(default)]
    #[schemars(required, extend("default" = "postgres"))]
    database: Option<String>,
    /// # Username
    ///
    /// The role you want to connect as.
    #[serde(default)]
    #[schemars(required)]
    username: Option<String>,
    /// # Password
    ///
    /// The role's password.
    #[serde(default)]
    #[schemars(required)]
    password: Option<Secret>,
    /// # Scan All DBs
    ///
    /// Whether you want all databases of the server, or only the default one.
    #[serde(default = "yes")]
    scan_all: bool,
    /// # Connect Using SSL
    ///
    /// Whether the connection must be encrypted. SSL Mode says more exactly how.
    #[serde(default)]
    #[schemars(required, extend("default" = false))]
    ssl: Option<bool>,
    /// # Exclude DBs
    ///
    /// Databases you do not want, as patterns: `*` stands for any characters.
    #[serde(default)]
    #[schemars(extend("order" = 8, "uniqueItems" = true))]
    exclude_dbs: Vec<String>,
    /// # URL
    ///
    /// A connection string that stands for hostname, port, database, username, password and SSL
    /// mode: `postgres://user:password@host:port/database?sslmode=require`.
    #[serde(default)]
    #[schemars(extend("order" = 9))]
    url: Option<Secret>,
    /// # Schemas
    ///
    /// The schemas you want, as patterns: `*` stands for any characters, and a pattern that begins
    /// with `!` excludes. Leave it empty for all.
    #[serde(default)]
    #[schemars(extend("order" = 10))]
    schemas: Vec<String>,
    /// # Tables
    ///
    /// The tables and views you want, as patterns of a name (`orders`) or of schema and name
    /// (`sales.*`); a pattern that begins with `!` excludes. Leave it empty for all.
    #[serde(default)]
    #[schemars(extend("order" = 11))]
    tables: Vec<String>,
    /// # SSL Mode
    ///
    /// How the connection is encrypted: disable, prefer, require, verify-ca or verify-full. Leave
    /// it empty to go by Connect Using SSL, where yes means require.
    #[serde(default)]
    #[schemars(extend("order" = 12))]
    sslmode: Option<Mode>,
    #[serde(default)]
    #[schemars(extend("order" = 13))]
    sslrootcert: Option<Roots>,
    #[serde(default)]
    #[schemars(extend("order" = 14))]
    connect_timeout: ConnectTimeout,
    #[serde(default)]
    #[schemars(extend("order" = 15))]
    statement_timeout: StatementTimeout,
    /// # Lock Timeout
    ///
    /// How many seconds you want to wait for a lock that somebody else holds. 0 is no limit.
    #[serde(default = "lock_timeout")]
    #[schemars(extend("order" = 16))]
    lock_timeout: u32,
    /// # Read Only
    ///
    /// Whether deleting and writing are refused.
    #[serde(default)]
    #[schemars(extend("order" = 17))]
    read_only: bool,
    /// # Lookback
    ///
    /// How many seconds (or units, where it is a number) before the last value a read by a cursor
    /// column begins again. Leave it empty to have what was committed late found by its
    /// transaction instead, which looks through the whole table.
    #[serde(default)]
    #[schemars(extend("order" = 18))]
    lookback: Option<u32>,
    /// # Policy
    ///
    /// What belongs to a person and what becomes of it, as JSON or YAML: the members of a policy
    /// file. Leave it empty if you pass one with each request.
    #[serde(default)]
    #[schemars(extend("order" = 19))]
    policy: Option<String>,
    /// # Evidence Key
    ///
    /// A secret of your own by which plans and evidence are sealed.
    #[serde(default)]
    #[schemars(extend("order" = 20))]
    evidence_key: Option<Secret>,
}

impl Config {
    /// The secret that seals evidence.
    pub(crate) fn evidence_key(&self) -> Option<&Secret> {
        self.evidence_key.as_ref()
    }
}

fn yes() -> bool {
    true
}

fn lock_timeout() -> u32 {
    10
}

/// What the form comes to.
pub(crate) struct Settings {
    pub(crate) server: Server,
    pub(crate) scan_all: bool,
    pub(crate) exclude_dbs: Vec<String>,
    pub(crate) schemas: Vec<String>,
    pub(crate) tables: Vec<String>,
    pub(crate) read_only: bool,
    pub(crate) lookback: Option<u32>,
    pub(crate) policy: Option<String>,
    pub(crate) evidence_key: Option<Secret>,
}

impl Settings {
    /// The settings of a form that was filled in.
    pub(crate) fn of(config: Config) -> Result<Settings> {
        let url = config.url.as_ref().map(Secret::reveal).map(str::trim).filter(|u| !u.is_empty());
        let (mut target, mut tls, mut roots) = match url {
            Some(url) => of_url(url)?,
            None => (of_parts(&config)?, None, None),
        };
        tls = config.sslmode.or(tls);
        let tls = match (tls, config.ssl, url) {
            (Some(mode), ..) => mode,
            (None, Some(true), _) => Mode::Require,
            (None, _, Some(_)) => Mode::Prefer,
            (None, _, None) => Mode::Disable,
        };
        roots = config.sslrootcert.or(roots);
        target.application_name("manifold");
        let statement_timeout = config.statement_timeout.duration();
        let lock_timeout = Duration::from_secs(config.lock_timeout.into());
        Ok(Settings {
            server: Server {
                kind: "PostgreSQL",
                host_field: "hostname",
                target,
                tls,
                roots,
                connect_timeout: config.connect_timeout.duration(),
                statement_timeout,
                lock_timeout,
                prepare: prepare(statement_timeout, lock_timeout),
                hope: WATCHED,
            },
            scan_all: config.scan_all,
            exclude_dbs: config.exclude_dbs,
            schemas: config.schemas,
            tables: config.tables,
            read_only: config.read_only,
            lookback: config.lookback,
            policy: config.policy,
            evidence_key: config.evidence_key,
        })
    }

    /// Whether a database is wanted. The default one is, whatever the patterns say, where it is the
    /// only one.
    pub(crate) fn wants_database(&self, name: &str) -> bool {
        !self.exclude_dbs.iter().any(|pattern| select::matches(pattern, name))
    }

    /// Whether a table of a schema is wanted.
    pub(crate) fn wants(&self, schema: &str, table: &str) -> bool {
        select::chosen(&self.schemas, &[schema]) && select::table(&self.tables, schema, table)
    }
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn of_parts(config: &Config) -> Result<tokio_postgres::Config> {
    let missing = |name: &str| {
        Fault::config(format!("the configuration: `{name}` is missing (or give `url`)"))
    };
    let mut target = tokio_postgres::Config::new();
    let hostname = filled(config.hostname.as_deref()).ok_or_else(|| missing("hostname"))?;
    target.host(hostname);
    target.port(config.port.ok_or_else(|| missing("port"))?);
    target.dbname(filled(config.database.as_deref()).ok_or_else(|| missing("database"))?);
    target.user(filled(config.username.as_deref()).ok_or_else(|| missing("username"))?);
    let password = config.password.as_ref().ok_or_else(|| missing("password"))?;
    if !password.reveal().is_empty() {
        target.password(password.reveal());
    }
    if config.ssl.is_none() && config.sslmode.is_none() {
        return Err(missing("ssl").into());
    }
    Ok(target)
}

/// The parts of a URL, with the parameters that this connector reads itself taken out.
fn of_url(url: &str) -> Result<(tokio_postgres::Config, Option<Mode>, Option<Roots>)> {
    // No word of the URL may be shown: it holds the password.
    let wrong = |why: &str| Fault::config(format!("`url` {why}"));
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(wrong("must begin with postgres:// or postgresql://").into());
    }
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut tls, mut roots, mut rest) = (None, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", mode)) => {
                tls = Some(Mode::named(mode).ok_or_else(|| {
                    wrong("must say sslmode=disable, prefer, require, verify-ca or verify-full")
                })?);
            }
            Some(("sslrootcert", path)) => {
                let path = decoded(path).ok_or_else(|| wrong("has a broken sslrootcert"))?;
                roots = Some(Roots(path));
            }
            _ => rest.push(pair),
        }
    }
    let mut plain = address.to_owned();
    if !rest.is_empty() {
        plain.push('?');
        plain.push_str(&rest.join("&"));
    }
    let target: tokio_postgres::Config = plain.parse().map_err(|_| {
        wrong("is not a connection string like postgres://user:password@host:port/database")
    })?;
    if let Some(password) = target.get_password().and_then(|p| std::str::from_utf8(p).ok()) {
        protocol::log::hide(password);
    }
    if target.get_hosts().is_empty() {
        return Err(wrong("names no host").into());
    }
    if target.get_user().is_none() {
        return Err(wrong("names no user").into());
    }
    Ok((target, tls, roots))
}

/// A text with its `%41` read.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, more) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = more;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn settings(config: Value) -> Result<Settings> {
        Settings::of(protocol::config::read::<Config>(config)?)
    }

    fn parts() -> Value {
        json!({"hostname": "db.example", "port": 5432.0, "database": "shop", "username": "u",
               "password": "it's a \"blank\" \\", "ssl": false})
    }

    #[test]
    fn a_form_of_monoid_fills_the_settings() {
        let settings = settings(parts()).unwrap();
        assert_eq!((settings.server.host().as_str(), settings.server.port()), ("db.example", 5432));
        assert_eq!((settings.server.database(), settings.server.role()), ("shop", "u"));
        assert_eq!(settings.server.target.get_password(), Some(&b"it's a \"blank\" \\"[..]));
        assert!(settings.scan_all);
        assert_eq!(settings.server.tls, Mode::Disable);
    }

    #[test]
    fn ssl_means_require_and_sslmode_overrides_it() {
        let mut config = parts();
        config["ssl"] = json!(true);
        assert_eq!(settings(config.clone()).unwrap().server.tls, Mode::Require);
        config["sslmode"] = json!("verify-full");
        assert_eq!(settings(config.clone()).unwrap().server.tls, Mode::VerifyFull);
        config["sslmode"] = json!("always");
        let error = settings(config).err().unwrap().to_string();
        assert!(error.contains("`sslmode`"), "{error}");
    }

    #[test]
    fn a_url_stands_for_the_parts_and_is_never_shown() {
        let form = |url: &str| json!({"url": url, "hostname": "", "username": ""});
        let url = "postgres://u:p%40ss%20word@h:5433/shop?sslmode=verify-ca&sslrootcert=%2Fca.pem";
        let given = settings(form(url)).unwrap();
        assert_eq!((given.server.host().as_str(), given.server.port()), ("h", 5433));
        assert_eq!(given.server.target.get_password(), Some(&b"p@ss word"[..]));
        assert_eq!(
            (given.server.tls, given.server.roots),
            (Mode::VerifyCa, Some(Roots("/ca.pem".to_owned())))
        );
        assert_eq!(settings(form("postgres://u@h/d")).unwrap().server.tls, Mode::Prefer);
        for wrong in ["mysql://u:hunter2@h/d", "postgres://u:hunter2@h:x/d", "postgres:///d"] {
            let error = format!("{:#}", settings(form(wrong)).err().unwrap());
            assert!(error.contains("`url`") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn each_part_that_is_missing_is_named() {
        for name in ["hostname", "port", "database", "username", "password", "ssl"] {
            let mut config = parts();
            config[name] = Value::Null;
            let error = settings(config).err().unwrap().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
    }
}
