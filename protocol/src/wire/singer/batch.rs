//! What a BATCH message says of its files, as the SDK and as the older library spell it.

use std::path::PathBuf;

use serde::Deserialize;

/// The files of a batch: with an `encoding` and a `manifest`, or with a `filepath` and its format.
#[derive(Deserialize)]
pub(in crate::wire) struct Batch {
    #[serde(default)]
    encoding: Option<Encoding>,
    #[serde(default)]
    manifest: Vec<String>,
    #[serde(default)]
    filepath: Option<String>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    compression: Option<String>,
}

#[derive(Deserialize)]
struct Encoding {
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    compression: Option<String>,
}

impl Batch {
    /// The files, which are on this machine, and whether they are compressed by gzip.
    ///
    /// # Errors
    ///
    /// What cannot be read, by name: another format or compression, a file elsewhere, no file.
    pub(in crate::wire) fn files(self) -> Result<(Vec<PathBuf>, bool), String> {
        let Encoding { format, compression } = self
            .encoding
            .unwrap_or(Encoding { format: self.format, compression: self.compression });
        if let Some(format) = format.filter(|format| format != "jsonl") {
            return Err(format!("a batch is of {format}: only files of JSON lines can be read"));
        }
        let gzip = match compression.as_deref() {
            None | Some("none" | "") => false,
            Some("gzip") => true,
            Some(other) => {
                return Err(format!("a batch is compressed by {other}: only gzip can be read"));
            }
        };
        let mut paths = Vec::new();
        for name in self.manifest.into_iter().chain(self.filepath) {
            match name.split_once("://") {
                None => paths.push(PathBuf::from(name)),
                Some(("file", path)) => paths.push(PathBuf::from(path)),
                Some(_) => {
                    return Err("a batch names a file that is not on this machine".to_owned());
                }
            }
        }
        match paths.is_empty() {
            true => Err("a batch names no file".to_owned()),
            false => Ok((paths, gzip)),
        }
    }
}
