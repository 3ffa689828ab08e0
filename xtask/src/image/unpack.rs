//! Unpacking an image that [`super::Image::write`] wrote.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// How to run an image that lies unpacked in a folder.
pub(crate) struct Unpacked {
    /// With its tag.
    pub(crate) name: String,
    pub(crate) entrypoint: String,
    environment: Vec<String>,
}

impl Unpacked {
    /// The variables that the image sets.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().filter_map(|variable| variable.split_once('='))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    layers: Vec<String>,
    repo_tags: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    config: Run,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Run {
    entrypoint: Vec<String>,
    env: Vec<String>,
}

/// Unpacks the image in `archive` into `root`, in the place of what is there.
pub(crate) fn unpack(archive: File, root: &Path) -> Result<Unpacked> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().context("reading the archive")? {
        let mut entry = entry.context("reading the archive")?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = vec![];
        entry.read_to_end(&mut bytes).with_context(|| format!("reading {path}"))?;
        files.insert(path, bytes);
    }
    let [image]: [Listed; 1] = parse(&files, "manifest.json")?;
    let Config { config } = parse(&files, &image.config)?;
    let (Some(name), Some(entrypoint)) = (image.repo_tags.first(), config.entrypoint.first())
    else {
        anyhow::bail!("the image has no name or no program");
    };
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("removing {}", root.display()))?;
    }
    fs::create_dir_all(root).with_context(|| format!("creating {}", root.display()))?;
    for layer in &image.layers {
        let bytes = files.get(layer).with_context(|| format!("the archive has no {layer}"))?;
        let unpacked = tar::Archive::new(GzDecoder::new(bytes.as_slice())).unpack(root);
        unpacked.with_context(|| format!("unpacking {layer}"))?;
    }
    ensure!(root.join(entrypoint.trim_start_matches('/')).exists(), "no layer has {entrypoint}");
    Ok(Unpacked { name: name.clone(), entrypoint: entrypoint.clone(), environment: config.env })
}

fn parse<T: DeserializeOwned>(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Result<T> {
    let bytes = files.get(path).with_context(|| format!("the archive has no {path}"))?;
    serde_json::from_slice(bytes).with_context(|| format!("reading {path}"))
}
