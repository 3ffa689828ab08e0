//! Real servers for the tests: found running, else started privately, else installed, else said to be missing.

mod certificate;
mod home;
mod mariadb;
mod postgres;

use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::apt::Apt;
use crate::workspace::Workspace;
use crate::{programs, screen};
use home::Server;
pub(crate) use home::{Home, random};

/// What there is to know of a service before it runs. The next one is an entry in [`SERVICES`] and a `start`.
struct Service {
    name: &'static str,
    /// Variables by which people point at a server of their own.
    variables: &'static [&'static str],
    /// What such a variable's value begins with if it means this service.
    schemes: &'static [&'static str],
    /// The programs that a private server takes.
    programs: &'static [&'static str],
    /// Folders that distributions put them in without adding them to `PATH`; a `*` is any one name.
    folders: &'static [&'static str],
    /// The Debian packages that have them.
    packages: &'static [&'static str],
    /// The variable that carries the server's URL to the tests.
    url: &'static str,
    /// Starts a private server.
    start: fn(Home, &Programs) -> Result<Started>,
}

const SERVICES: [Service; 2] = [postgres::SERVICE, mariadb::SERVICE];

/// A server that was started, and the variables that lead to it.
struct Started {
    server: Server,
    variables: Vec<(&'static str, String)>,
}

/// Where the programs of a service are.
struct Programs(Vec<(&'static str, PathBuf)>);

impl Programs {
    fn path(&self, name: &str) -> &PathBuf {
        let found = self.0.iter().find(|(program, _)| *program == name);
        &found.expect("a service asks for programs that its entry lists").1
    }
}

/// Services in use. The private ones stop when this is dropped, and when this process ends in any way.
pub(crate) struct Services {
    servers: Vec<Server>,
    variables: Vec<(&'static str, String)>,
    missing: Vec<Missing>,
}

/// A service that cannot be had, and what would help.
pub(crate) struct Missing {
    pub(crate) service: String,
    pub(crate) why: String,
}

impl Services {
    /// Gets hold of the services of these names, installing what they take if `install` is set.
    pub(crate) fn get<'a>(
        names: impl IntoIterator<Item = &'a str>,
        install: bool,
    ) -> Result<Services> {
        let mut services = Services { servers: vec![], variables: vec![], missing: vec![] };
        let mut apt = Apt::default();
        for name in names {
            let service = service(name)?;
            match service.get(install.then_some(&mut apt))? {
                Had::Theirs(variables) => services.variables.extend(variables),
                Had::Private(started) => {
                    services.servers.push(started.server);
                    services.variables.extend(started.variables);
                }
                Had::Not(why) => services.missing.push(Missing { service: name.to_owned(), why }),
            }
        }
        Ok(services)
    }

    /// The variables that tests find the services by.
    pub(crate) fn variables(&self) -> &[(&'static str, String)] {
        &self.variables
    }

    /// What could not be had.
    pub(crate) fn missing(&self) -> &[Missing] {
        &self.missing
    }
}

/// What came of looking for a service.
enum Had {
    Theirs(Vec<(&'static str, String)>),
    Private(Started),
    Not(String),
}

impl Service {
    fn get(&self, apt: Option<&mut Apt>) -> Result<Had> {
        if let Some((variable, url)) = self.running() {
            screen::note(format_args!("{}: using the server that {variable} names", self.name));
            return Ok(Had::Theirs(vec![(self.url, url)]));
        }
        let programs = match self.programs() {
            Ok(programs) => programs,
            Err(absent) => {
                let packages = self.packages.join(" ");
                let variables = self.variables.join(" or ");
                let otherwise = format!("or name a running server in {variables}");
                let Some(apt) = apt else {
                    return Ok(Had::Not(format!(
                        "no program {absent}: run again with --install, install {packages}, {otherwise}"
                    )));
                };
                if let Err(error) = apt.install(self.packages) {
                    return Ok(Had::Not(format!(
                        "no program {absent}, and {error:#}: install {packages}, {otherwise}"
                    )));
                }
                match self.programs() {
                    Ok(programs) => programs,
                    Err(absent) => {
                        bail!("{packages} are installed, yet there is no program {absent}")
                    }
                }
            }
        };
        let started = Home::new(self.name).and_then(|home| (self.start)(home, &programs));
        let started = started.with_context(|| format!("starting a private {}", self.name))?;
        screen::note(format_args!(
            "{}: started a private server, at {}",
            self.name,
            started.server.address()
        ));
        Ok(Had::Private(started))
    }

    /// The variable that names a running server, and its value.
    fn running(&self) -> Option<(&'static str, String)> {
        let ours = std::iter::once(&self.url);
        ours.chain(self.variables).find_map(|&variable| {
            let url = std::env::var(variable).ok()?;
            let ours = self.schemes.iter().any(|scheme| url.starts_with(scheme));
            if ours && !answers(&url) {
                screen::note(format_args!(
                    "{}: nothing answers at the address in {variable}",
                    self.name
                ));
            }
            (ours && answers(&url)).then_some((variable, url))
        })
    }

    /// Where the programs are, or the first that is nowhere.
    fn programs(&self) -> Result<Programs, &'static str> {
        let find = |program: &'static str| {
            programs::find(program, self.folders).map(|path| (program, path)).ok_or(program)
        };
        self.programs.iter().map(|program| find(program)).collect::<Result<_, _>>().map(Programs)
    }
}

fn service(name: &str) -> Result<&'static Service> {
    match SERVICES.iter().find(|service| service.name == name) {
        Some(service) => Ok(service),
        None => {
            let known: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
            bail!("there is no service {name}; there are: {}", known.join(", "))
        }
    }
}

/// Whether something listens where a URL points.
fn answers(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let address = authority.rsplit('@').next().unwrap_or(authority);
    let addresses: Vec<SocketAddr> =
        address.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    addresses
        .iter()
        .any(|address| TcpStream::connect_timeout(address, Duration::from_secs(2)).is_ok())
}

/// A port on the loopback address that nothing listens on.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Starts services, prints the variables that lead to them, and keeps them running until it is ended.
pub(crate) fn command(names: &[String], install: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() {
        names = needed(workspace.connectors());
    }
    if names.is_empty() {
        screen::note("no connector needs a service");
        return Ok(());
    }
    let mut services = Services::get(names, install)?;
    if let Some(missing) = services.missing().first() {
        bail!("{}: {}", missing.service, missing.why);
    }
    for (variable, value) in services.variables() {
        screen::result(format_args!("export {variable}='{value}'"))?;
    }
    if services.servers.is_empty() {
        return Ok(());
    }
    screen::note("running until Ctrl-C");
    loop {
        std::thread::sleep(Duration::from_secs(1));
        for server in &mut services.servers {
            server.check()?;
        }
    }
}

/// The services that the tests of these packages need.
pub(crate) fn needed<'a>(
    packages: impl IntoIterator<Item = &'a crate::workspace::Package>,
) -> Vec<&'a str> {
    let mut names: Vec<&str> =
        packages.into_iter().flat_map(|package| package.services()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_cannot_be_had_says_what_would_help() {
        let service = Service {
            name: "nothing",
            variables: &["NO_SUCH_URL"],
            schemes: &["nothing://"],
            programs: &["sh", "no-such-program"],
            folders: &[],
            packages: &["no-such-package"],
            url: "MANIFOLD_TEST_NOTHING",
            start: |_, _| bail!("there is nothing to start"),
        };
        let Had::Not(why) = service.get(None).unwrap() else { panic!("it cannot be had") };
        for help in ["no-such-program", "--install", "no-such-package", "NO_SUCH_URL"] {
            assert!(why.contains(help), "{why}");
        }
    }

    #[test]
    fn a_url_answers_while_something_listens_at_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "postgres://user:p%40ss@{}/name?sslmode=disable",
            listener.local_addr().unwrap()
        );
        assert!(answers(&url));
        drop(listener);
        assert!(!answers(&url));
        assert!(!answers("not a url"));
    }
}
