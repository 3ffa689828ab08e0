//! How long a process takes, and how much memory at its peak.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use wait4::Wait4 as _;

/// What one run took.
pub(super) struct Run {
    pub(super) elapsed: Duration,
    /// The processor time of it and of what it waited for.
    pub(super) processor: Duration,
    /// The largest resident set, in bytes. At least that of this program, from which the process is made.
    pub(super) memory: u64,
}

/// Runs a command to its end, without what it prints.
pub(super) fn measure(command: &mut Command) -> Result<Run> {
    let name = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.as_mut().map_err(|error| anyhow::anyhow!("starting {name}: {error}"))?;
    let used = child.wait4().with_context(|| format!("waiting for {name}"))?;
    let elapsed = start.elapsed();
    ensure!(used.status.success(), "{name} failed ({}): {command:?} tells why", used.status);
    let processor = used.rusage.utime + used.rusage.stime;
    Ok(Run { elapsed, processor, memory: used.rusage.maxrss })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_takes_is_seen() {
        let mut command = Command::new("/bin/sh");
        let run = measure(
            command.args(["-c", "x=$(head -c 50000000 /dev/zero | tr '\\0' a); sleep 0.1"]),
        )
        .unwrap();
        assert!(run.elapsed >= Duration::from_millis(100));
        assert!(run.memory > 40_000_000, "{}", run.memory);
    }
}
