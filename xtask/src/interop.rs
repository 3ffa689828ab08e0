//! `cargo xtask interop`: what we make, in the hands of programs that know nothing of us.

mod cases;
pub(crate) mod clients;
mod foreign;
mod images;
mod openapi;
mod wires;

use anyhow::{Result, ensure};

use crate::apt::Apt;
use crate::{programs, screen};

#[derive(clap::Subcommand)]
pub(crate) enum What {
    /// The images under target/images/, in the tools of others
    Images {
        /// Install what is missing from the distribution's packages
        #[arg(long)]
        install: bool,
    },
    /// The foreign protocols, in PyAirbyte, the Airbyte CDK, Meltano, and others' taps and targets
    Wires {
        /// Try everything, and not only what every run takes
        #[arg(long)]
        all: bool,
        /// Install what is missing from the distribution's packages
        #[arg(long)]
        install: bool,
    },
    /// Programs of others that our connectors wrap: Airbyte sources, Singer taps, a Monoid connector
    Foreign {
        /// Install what is missing from the distribution's packages
        #[arg(long)]
        install: bool,
    },
    /// A connector's requests, before the vendor's own description of its API
    Http(openapi::Arguments),
}

/// One thing that another program has to make of what we made.
struct Check {
    name: &'static str,
    /// Programs that it takes.
    programs: &'static [&'static str],
    /// The Debian packages that have them; none where nothing is installed for it.
    packages: &'static [&'static str],
    run: fn(&images::Image) -> Result<()>,
}

pub(crate) fn command(what: &What) -> Result<()> {
    match what {
        What::Images { install } => check_images(*install),
        What::Wires { all, install } => cases::command(&wires::cases(*all), *install),
        What::Foreign { install } => cases::command(&foreign::cases(), *install),
        What::Http(arguments) => openapi::command(arguments),
    }
}

/// Runs the checks, and counts those that passed, failed, or lack a program.
fn check_images(install: bool) -> Result<()> {
    let images = images::built()?;
    let mut apt = Apt::default();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for check in &images::CHECKS {
        let missing =
            || check.programs.iter().find(|program| programs::find(program, &[]).is_none());
        if missing().is_some()
            && install
            && !check.packages.is_empty()
            && let Err(error) = apt.install(check.packages)
        {
            screen::note(format_args!("{error:#}"));
        }
        if let Some(program) = missing() {
            skipped += 1;
            let hint = match check.packages {
                [] => String::new(),
                packages => format!(": --install installs {}", packages.join(" ")),
            };
            screen::result(format_args!("skipped: {}: there is no {program}{hint}", check.name))?;
            continue;
        }
        for image in &images {
            match (check.run)(image) {
                Ok(()) => {
                    passed += 1;
                    screen::result(format_args!("ok: {}: {}", image.name, check.name))?;
                }
                Err(error) => {
                    failed += 1;
                    screen::result(format_args!(
                        "FAILED: {}: {}: {error:#}",
                        image.name, check.name
                    ))?;
                }
            }
        }
    }
    screen::result(format_args!("{passed} passed, {failed} failed, {skipped} skipped"))?;
    ensure!(failed == 0, "not everybody understands what we make");
    Ok(())
}
