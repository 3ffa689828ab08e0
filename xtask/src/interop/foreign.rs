//! Programs of others from the package index, wrapped by our connectors: what we hand on is what they print.

use serde_json::{Value, json};

use super::cases::{Case, Told};
use Told::{Json, Native, Theirs};

pub(super) fn cases() -> Vec<Case> {
    let faker = json!({"count": 300, "seed": 1, "records_per_slice": 100, "always_updated": false});
    let file = json!({
        "dataset_name": "people", "format": "csv", "provider": {"storage": "local"},
        // The script's own file.
        "url": "",
    });
    vec![
        source("source-faker", "id", faker),
        source("source-file", "id", file),
        source("source-hardcoded-records", "id", json!({"count": 500})),
        tap("meltanolabs", "meltanolabs"),
        tap("pipelinewise", "pipelinewise-tap"),
        Case {
            name: "a connector on monoid_pydev, wrapped".to_owned(),
            silo: None,
            script: "erasing.py",
            environment: "monoid",
            told: vec![("connector", Native("monoid")), ("python", Theirs("monoid", "python"))],
            always: true,
        },
    ]
}

/// A source, told apart by the property `key` of its first stream.
fn source(program: &'static str, key: &str, settings: Value) -> Case {
    Case {
        name: format!("airbyte-{program}, wrapped"),
        silo: None,
        script: "source.py",
        environment: program,
        told: vec![
            ("connector", Native("airbyte")),
            ("program", Theirs(program, program)),
            ("settings", Json(settings)),
            ("key", Json(key.into())),
        ],
        always: true,
    }
}

/// The PostgreSQL tap of somebody.
fn tap(maker: &'static str, environment: &'static str) -> Case {
    Case {
        name: format!("{maker}-tap-postgres, wrapped, beside the tap alone"),
        silo: Some("postgres"),
        script: "tap.py",
        environment,
        told: vec![
            ("connector", Native("singer")),
            ("program", Theirs(environment, "tap-postgres")),
            ("maker", Json(maker.into())),
        ],
        always: true,
    }
}
