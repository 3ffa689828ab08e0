//! The connector's binary.

fn main() -> std::process::ExitCode {
    protocol::runner::main::<connector_redshift::Redshift>()
}
