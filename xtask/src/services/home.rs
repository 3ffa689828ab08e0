//! The private folder of a server, and the server in it, which never outlives this process.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::apt;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a server, and ends it and its folder when stdin closes, which it does however this process ends.
/// The arguments are the signal that ends the server, its folder, and its command.
const GUARD: &str = r#"
signal=$1 home=$2; shift 2
exec 3<&0 </dev/null 2>/dev/null
"$@" >"$home/log" 2>&1 3<&- &
server=$!
{ cat <&3 >/dev/null; kill -s "$signal" "$server" 2>/dev/null; } &
wait "$server"
echo "$?" >"$home/ended"
cat <&3 >/dev/null
cd / && rm -rf -- "$home"
"#;

/// A folder for one server, owned by the account that the server runs as; removed when it is dropped.
pub(crate) struct Home {
    path: PathBuf,
    account: Option<Account>,
}

/// An account other than root.
#[derive(Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

impl Home {
    /// Makes a folder where an unprivileged account can reach it and socket paths stay short.
    pub(crate) fn new(service: &str) -> Result<Home> {
        Home::of(unprivileged()?, service)
    }

    /// Makes a folder for a server that has to run as this process's own account, be that root.
    pub(crate) fn privileged(service: &str) -> Result<Home> {
        Home::of(None, service)
    }

    fn of(account: Option<Account>, service: &str) -> Result<Home> {
        let name = format!("manifold-{service}-{}-{}", std::process::id(), &random()?[..8]);
        let path = std::env::temp_dir().join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        let home = Home { path, account };
        home.hand_over(&home.path)?;
        Ok(home)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only the server's account may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let context = || format!("writing {}", path.display());
        file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(context)?;
        self.hand_over(&path)?;
        Ok(path)
    }

    /// A command that runs in the folder, as the server's account, out of reach of this process's terminal.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.path)
            .env("HOME", &self.path)
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = command.output().with_context(|| format!("starting {name}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name} failed ({}): {}", output.status, tail(&said));
        Ok(())
    }

    /// Starts the server, and waits until it is `ready`. `signal` is what ends it soonest without harm.
    pub(crate) fn serve(
        self,
        command: &Command,
        signal: &str,
        port: u16,
        mut ready: impl FnMut(&Home) -> bool,
    ) -> Result<Server> {
        let mut guard = self.command(Path::new("/bin/sh"));
        guard
            .args(["-c", GUARD, "guard", signal])
            .arg(&self.path)
            .arg(command.get_program())
            .args(command.get_args());
        let mut guard =
            guard.stdin(Stdio::piped()).spawn().context("starting the server's guard")?;
        let lifeline = guard.stdin.take();
        let mut server = Server { guard, lifeline, home: self, port };
        let deadline = Instant::now() + PATIENCE;
        while !ready(&server.home) {
            server.check()?;
            ensure!(
                Instant::now() < deadline,
                "it was not ready within a minute: {}",
                server.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn hand_over(&self, path: &Path) -> Result<()> {
        let Some(Account { user, group }) = self.account else { return Ok(()) };
        chown(path, Some(user), Some(group))
            .with_context(|| format!("giving away {}", path.display()))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Nothing to do about a folder that cannot be removed, and usually the guard was first.
        fs::remove_dir_all(&self.path).ok();
    }
}

/// A running server. Dropping it ends the server and waits until it is gone.
pub(crate) struct Server {
    guard: Child,
    lifeline: Option<ChildStdin>,
    home: Home,
    port: u16,
}

impl Server {
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Fails if the server ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        if self.home.path("ended").exists() || self.guard.try_wait()?.is_some() {
            bail!("the server ended by itself: {}", self.log());
        }
        Ok(())
    }

    fn log(&self) -> String {
        tail(&fs::read_to_string(self.home.path("log")).unwrap_or_default())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // The guard ends with the server; if it cannot be waited for, there is none.
        self.guard.wait().ok();
    }
}

/// The last lines of what a program said, in one.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join(" / ")
}

/// 32 random hexadecimal digits.
pub(crate) fn random() -> Result<String> {
    let mut bytes = [0; 16];
    let source = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    source.context("reading random bytes")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The account to run servers as, which is this process's own unless that is root: PostgreSQL refuses to be root.
fn unprivileged() -> Result<Option<Account>> {
    if !apt::is_root()? {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let account = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, user, group) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (name == "nobody").then_some((user.parse().ok()?, group.parse().ok()?))
    });
    let (user, group) =
        account.context("this is root, and there is no account nobody to run servers as")?;
    Ok(Some(Account { user, group }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Server {
        let home = Home::new("test").unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ >pid; echo up; exec sleep 1000"]);
        let has_pid =
            |home: &Home| fs::read_to_string(home.path("pid")).is_ok_and(|pid| pid.ends_with('\n'));
        home.serve(&command, "TERM", 1, has_pid).unwrap()
    }

    #[test]
    fn a_server_and_its_folder_are_gone_once_it_is_dropped() {
        let server = sleeper();
        let pid = fs::read_to_string(server.home.path("pid")).unwrap();
        let process = Path::new("/proc").join(pid.trim());
        let folder = server.home.path.clone();
        assert!(process.exists());
        drop(server);
        assert!(!process.exists());
        assert!(!folder.exists());
    }

    #[test]
    fn a_server_that_ends_by_itself_is_an_error_with_its_last_words() {
        let home = Home::new("test").unwrap();
        let folder = home.path.clone();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo the port is taken; exit 1"]);
        let error = home.serve(&command, "TERM", 1, |_| false).err().unwrap();
        assert!(error.to_string().contains("the port is taken"), "{error}");
        assert!(!folder.exists());
    }

    #[test]
    fn what_the_server_reads_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = Home::new("test").unwrap();
        let path = home.write("password", "secret").unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&home.path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
