//! The archive: blobs, the index that OCI tools read, and the list that `docker load` reads.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;
use tar::{Builder, EntryType};

use super::Blob;
use super::layer::append;

/// Writes the archive aside and renames it, so that it is whole or not there.
/// The first blob is the manifest, the second the config, the others are the layers.
pub(super) fn write(path: &Path, name: &str, architecture: &str, blobs: &[Blob<'_>]) -> Result<()> {
    let aside = path.with_extension("tar.part");
    let written =
        fill(&aside, name, architecture, blobs).and_then(|()| Ok(fs::rename(&aside, path)?));
    if written.is_err() {
        // It may not even exist.
        fs::remove_file(&aside).ok();
    }
    written.with_context(|| format!("writing {}", path.display()))
}

fn fill(path: &Path, name: &str, architecture: &str, blobs: &[Blob<'_>]) -> Result<()> {
    let [manifest, config, layers @ ..] = blobs else {
        anyhow::bail!("an image has a manifest and a config")
    };
    let location = |blob: &Blob<'_>| format!("blobs/sha256/{}", blob.digest);
    let index = json!({
        "manifests": [{
            // Engines take the image's name from these; a bare tag would become a name of its own.
            "annotations": {
                "io.containerd.image.name": format!("docker.io/{name}"),
                "org.opencontainers.image.ref.name": name,
            },
            "digest": format!("sha256:{}", manifest.digest),
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "platform": {"architecture": architecture, "os": "linux"},
            "size": manifest.bytes.len(),
        }],
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "schemaVersion": 2,
    });
    let docker = json!([{
        "Config": location(config),
        "Layers": layers.iter().map(location).collect::<Vec<_>>(),
        "RepoTags": [name],
    }]);

    let mut tar = Builder::new(BufWriter::new(File::create(path)?));
    let mut file =
        |path: &str, bytes: &[u8]| append(&mut tar, EntryType::Regular, path, 0o644, bytes);
    file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    file("index.json", &serde_json::to_vec(&index)?)?;
    file("manifest.json", &serde_json::to_vec(&docker)?)?;
    for blob in blobs {
        file(&location(blob), blob.bytes)?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_cannot_be_written_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        // A folder in its place, which no file takes.
        let path = folder.path().join("x.tar");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("old"), "old").unwrap();
        let blobs = [Blob::of(b"manifest"), Blob::of(b"config")];
        let error = write(&path, "x:1", "amd64", &blobs).unwrap_err();
        assert!(format!("{error:#}").contains("x.tar"));
        assert_eq!(fs::read(path.join("old")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
