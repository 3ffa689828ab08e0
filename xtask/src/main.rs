//! The commands of the workspace: `cargo xtask NAME`. They run the connectors' binaries and depend on none.

mod affected;
mod apt;
mod bench;
mod build;
mod date;
mod demo;
mod image;
mod interop;
mod link;
mod manifest;
mod new;
mod programs;
mod run;
mod screen;
mod services;
mod spec;
mod test;
mod tidy;
mod upstream;
mod workspace;
mod wrapped;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The commands of the Manifold workspace")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show every job of a connector, on a small shop or on a copy of your own database
    Demo(demo::Arguments),
    /// Run the tests, with the real services they need
    Test {
        /// Connectors or packages, by default all
        names: Vec<String>,
        /// Install what is missing from the distribution's packages
        #[arg(long)]
        install: bool,
        /// Arguments of the test programs
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Check the rules of the house that no compiler checks
    Tidy,
    /// Run every connector's `spec`, and write what they say to integration-spec.yaml and the README
    Spec {
        /// Write nothing, and fail if anything would change
        #[arg(long)]
        check: bool,
        /// Ask the images that `build` made instead of fresh binaries
        #[arg(long)]
        from_images: bool,
        /// First ask the programs that connectors wrap for their forms again: of these connectors, by default of all
        #[arg(long, num_args = 0.., value_name = "NAME", conflicts_with = "check")]
        wrapped: Option<Vec<String>>,
    },
    /// Make a new connector
    New {
        /// Lower-case words joined by hyphens
        name: String,
        /// What it is for
        #[arg(long, value_enum, default_value = "plain")]
        kind: new::Kind,
        #[command(flatten)]
        program: new::Program,
    },
    /// Build static binaries, and their images under target/images/
    Build(build::Arguments),
    /// Measure connectors beside the programs people use today
    Bench {
        /// Connectors, by default all that have benchmarks
        names: Vec<String>,
        /// How often everything is done, instead of a number for each
        #[arg(long)]
        rounds: Option<usize>,
    },
    /// List the connectors that a change touches
    Affected {
        /// The revision that the change is to, by default the branch main
        #[arg(long, value_name = "REV")]
        since: Option<String>,
        /// As a matrix for CI
        #[arg(long)]
        json: bool,
    },
    /// Run a built image: through an engine, else in a root of its own, else its binary
    Run {
        /// The image, by the name of its archive, such as `postgres`
        name: String,
        /// A file or folder that the image should see at the same place, such as one that a config names
        #[arg(long, value_name = "PATH")]
        mount: Vec<PathBuf>,
        /// The connector's command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Take in a folder of another project's repository, or merge what changed there since
    PullUpstream(upstream::Arguments),
    /// Build connectors and link them below a folder, by the names that choose their wires
    Link {
        folder: PathBuf,
        /// Connectors, by default all
        names: Vec<String>,
    },
    /// Hand what we make to programs that know nothing of us
    #[command(subcommand)]
    Interop(interop::What),
    /// Start real services, print the variables that lead to them, and keep them until Ctrl-C
    Services {
        /// The services, by default those that connectors need
        names: Vec<String>,
        /// Install what is missing from the distribution's packages
        #[arg(long)]
        install: bool,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(arguments) => demo::command(&arguments),
        Command::Test { names, install, arguments } => test::command(&names, install, &arguments),
        Command::Tidy => tidy::command(),
        Command::Spec { check, from_images, wrapped } => {
            spec::command(check, from_images, wrapped.as_deref())
        }
        Command::New { name, kind, program } => new::command(&name, kind, &program),
        Command::Build(arguments) => build::command(&arguments),
        Command::Bench { names, rounds } => bench::command(&names, rounds),
        Command::Affected { since, json } => affected::command(since.as_deref(), json),
        Command::Run { name, mount, arguments } => run::command(&name, &arguments, &mount),
        Command::Interop(what) => interop::command(&what),
        Command::PullUpstream(arguments) => upstream::command(&arguments),
        Command::Link { folder, names } => link::command(&folder, &names),
        Command::Services { names, install } => services::command(&names, install),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
