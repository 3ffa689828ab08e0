//! What a platform wants of the images that speak its protocol.

use anyhow::{Context as _, Result};

use crate::image::{Layer, Tree};

/// One side of a foreign protocol, and the platform whose protocol that is.
pub(super) struct Wire {
    /// What the image's name begins with, and the value of `MANIFOLD_WIRE`.
    pub(super) name: &'static str,
    platform: Platform,
    /// The account that the platform wants, or one without rights.
    pub(super) user: &'static str,
}

#[derive(PartialEq, Eq)]
enum Platform {
    Airbyte,
    Singer,
    Flow,
}

const WIRES: [Wire; 6] = [
    Wire { name: "source", platform: Platform::Airbyte, user: "1000:1000" },
    Wire { name: "destination", platform: Platform::Airbyte, user: "1000:1000" },
    Wire { name: "tap", platform: Platform::Singer, user: "65532:65532" },
    Wire { name: "target", platform: Platform::Singer, user: "65532:65532" },
    Wire { name: "capture", platform: Platform::Flow, user: "65532:65532" },
    Wire { name: "materialize", platform: Platform::Flow, user: "65532:65532" },
];

/// The wire of this name, as the manifest gives it.
pub(super) fn named(name: &str) -> Result<&'static Wire> {
    let known = || WIRES.map(|wire| wire.name).join(", ");
    WIRES
        .iter()
        .find(|wire| wire.name == name)
        .with_context(|| format!("no wire {name}; there are: {}", known()))
}

impl Wire {
    /// Labels that the platform reads.
    pub(super) fn labels(&self, image: &str, tag: &str) -> Vec<(String, String)> {
        let labels = match self.platform {
            Platform::Airbyte => vec![("io.airbyte.name", image), ("io.airbyte.version", tag)],
            Platform::Singer => vec![],
            Platform::Flow => {
                vec![("FLOW_RUNTIME_PROTOCOL", self.name), ("FLOW_RUNTIME_CODEC", "json")]
            }
        };
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Variables that the platform reads.
    pub(super) fn environment(&self, entrypoint: &str) -> Option<String> {
        (self.platform == Platform::Airbyte).then(|| format!("AIRBYTE_ENTRYPOINT={entrypoint}"))
    }

    /// Folders that the platform wants.
    pub(super) fn layer(&self) -> Result<Option<Layer>> {
        if self.platform != Platform::Airbyte {
            return Ok(None);
        }
        let mut tree = Tree::default();
        tree.folder("airbyte", 0o1777);
        tree.layer("a folder to work in").map(Some)
    }
}
