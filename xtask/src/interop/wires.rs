//! Our binaries, driven by the clients that people use, and at the other end of the taps and targets of
//! others.

use serde_json::Value;

use super::cases::{Case, Told};
use Told::{Empty, Json, Ours, Theirs};

/// The cases of every run, or all of them.
pub(super) fn cases(all: bool) -> Vec<Case> {
    let mut cases = vec![];
    for silo in ["sqlite", "postgres"] {
        cases.extend([pyairbyte(silo), cdk(silo), meltano(silo)]);
        for maker in ["meltanolabs", "pipelinewise"] {
            cases.push(into_target(silo, maker));
        }
    }
    cases.push(from_tap("meltanolabs", "meltanolabs", "sqlite"));
    cases.push(from_tap("pipelinewise", "pipelinewise-tap", "postgres"));
    cases.retain(|case| all || case.always);
    cases
}

fn pyairbyte(silo: &'static str) -> Case {
    Case {
        name: format!("PyAirbyte reads {silo} twice, and its cache equals the source"),
        silo: Some(silo),
        script: "pyairbyte.py",
        environment: "pyairbyte",
        told: vec![("source", Ours("source", silo))],
        always: silo == "sqlite",
    }
}

fn cdk(silo: &'static str) -> Case {
    Case {
        name: format!("the Airbyte CDK's checks of a source, {silo}"),
        script: "cdk.py",
        ..pyairbyte(silo)
    }
}

fn meltano(silo: &'static str) -> Case {
    let orders = if silo == "postgres" { "public-orders" } else { "orders" };
    Case {
        name: format!("Meltano runs tap-{silo} into target-jsonl twice, with its state"),
        silo: Some(silo),
        script: "meltano.py",
        // The one that has a driver of the silo.
        environment: if silo == "postgres" { "meltanolabs" } else { "meltano" },
        told: vec![
            ("tap", Ours("tap", silo)),
            ("orders", word(orders)),
            ("meltano", Theirs("meltano", "meltano")),
            ("target", Theirs("target-jsonl", "target-jsonl")),
        ],
        always: silo == "sqlite",
    }
}

/// Our tap into the PostgreSQL target of somebody.
fn into_target(silo: &'static str, maker: &'static str) -> Case {
    let environment = if maker == "meltanolabs" { maker } else { "pipelinewise-target" };
    Case {
        name: format!("our tap-{silo} into {maker}-target-postgres"),
        silo: Some(silo),
        script: "foreign.py",
        environment,
        told: vec![
            ("tap", Ours("tap", silo)),
            ("tap_kind", word("ours")),
            ("target", Theirs(environment, "target-postgres")),
            ("target_kind", word(maker)),
            ("target_silo", word("postgres")),
            ("target_config", Empty("postgres")),
            ("arrived", word("public.orders")),
        ],
        always: false,
    }
}

/// The PostgreSQL tap of somebody into our target.
fn from_tap(maker: &'static str, environment: &'static str, target: &'static str) -> Case {
    Case {
        name: format!("{maker}-tap-postgres into our target-{target}"),
        silo: Some("postgres"),
        script: "foreign.py",
        environment,
        told: vec![
            ("tap", Theirs(environment, "tap-postgres")),
            ("tap_kind", word(maker)),
            ("target", Ours("target", target)),
            ("target_kind", word("ours")),
            ("target_silo", word(target)),
            ("target_config", Empty(target)),
            ("arrived", word("\"public-orders\"")),
        ],
        always: false,
    }
}

fn word(word: &str) -> Told {
    Json(Value::from(word))
}
