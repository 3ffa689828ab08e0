//! OCI images, written without an engine: each one file that is an OCI layout and a `docker load` archive at once.
//! The same input gives the same bytes.

mod archive;
mod base;
mod layer;
mod unpack;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) use base::{CERTIFICATES, base};
pub(crate) use layer::{Layer, Tree};
pub(crate) use unpack::{Unpacked, unpack};

/// What an image is made of.
pub(crate) struct Image<'a> {
    /// Its name without a tag, such as `manifold/postgres`.
    pub(crate) name: &'a str,
    pub(crate) tag: &'a str,
    /// The bottom one first.
    pub(crate) layers: &'a [&'a Layer],
    pub(crate) entrypoint: &'a str,
    /// The user that it runs as; root when absent.
    pub(crate) user: Option<&'a str>,
    pub(crate) environment: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// The architecture, by the name that images have for it.
    pub(crate) architecture: &'a str,
    /// When it was made, as RFC 3339.
    pub(crate) created: &'a str,
}

/// What was written.
pub(crate) struct Written {
    /// The digest by which a registry knows the image.
    pub(crate) digest: String,
    /// How many bytes a registry stores for it.
    pub(crate) size: u64,
}

/// Something stored under its digest.
struct Blob<'a> {
    digest: String,
    bytes: &'a [u8],
}

impl Image<'_> {
    /// Writes the image to `path`, or leaves what is there alone if that fails.
    pub(crate) fn write(&self, path: &Path) -> Result<Written> {
        let config = serde_json::to_vec(&self.config())?;
        let manifest = serde_json::to_vec(&self.manifest(&config))?;
        let mut blobs = vec![Blob::of(&manifest), Blob::of(&config)];
        blobs.extend(
            self.layers
                .iter()
                .map(|layer| Blob { digest: layer.digest.clone(), bytes: &layer.gzip }),
        );
        archive::write(path, &format!("{}:{}", self.name, self.tag), self.architecture, &blobs)?;
        let size = blobs.iter().map(|blob| blob.bytes.len() as u64).sum();
        Ok(Written { digest: format!("sha256:{}", blobs[0].digest), size })
    }

    /// How to run it.
    fn config(&self) -> Value {
        let mut run = json!({
            "Entrypoint": [self.entrypoint],
            "Env": self.environment,
            "Labels": self.labels,
            "WorkingDir": "/",
        });
        if let Some(user) = self.user {
            run["User"] = user.into();
        }
        let diffs: Vec<String> =
            self.layers.iter().map(|layer| format!("sha256:{}", layer.diff)).collect();
        let made = |layer: &&Layer| json!({"created": self.created, "created_by": layer.purpose});
        json!({
            "architecture": self.architecture,
            "config": run,
            "created": self.created,
            "history": self.layers.iter().map(made).collect::<Vec<_>>(),
            "os": "linux",
            "rootfs": {"diff_ids": diffs, "type": "layers"},
        })
    }

    /// What it consists of.
    fn manifest(&self, config: &[u8]) -> Value {
        let part = |kind: &str, digest: &str, size: usize| {
            json!({
                "digest": format!("sha256:{digest}"),
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "size": size,
            })
        };
        let layer = |layer: &&Layer| part("layer.v1.tar+gzip", &layer.digest, layer.gzip.len());
        json!({
            "annotations": self.labels,
            "config": part("config.v1+json", &sha256(config), config.len()),
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "schemaVersion": 2,
        })
    }
}

impl Blob<'_> {
    fn of(bytes: &[u8]) -> Blob<'_> {
        Blob { digest: sha256(bytes), bytes }
    }
}

/// The digest of bytes, in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(path: &Path) -> Written {
        let bottom = base().unwrap();
        let mut tree = Tree::default();
        tree.file("usr/local/bin/connector-x", b"binary".to_vec(), 0o755);
        let top = tree.layer("the connector").unwrap();
        let image = Image {
            name: "manifold/x",
            tag: "1.0.0",
            layers: &[&bottom, &top],
            entrypoint: "/usr/local/bin/connector-x",
            user: None,
            environment: vec![],
            labels: BTreeMap::from([
                ("b".to_owned(), "2".to_owned()),
                ("a".to_owned(), "1".to_owned()),
            ]),
            architecture: "amd64",
            created: "1970-01-01T00:00:00Z",
        };
        image.write(path).unwrap()
    }

    fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
        let mut files = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = vec![];
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            files.insert(entry.path().unwrap().to_str().unwrap().to_owned(), bytes);
        }
        files
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one.tar", "two.tar"].map(|name| folder.path().join(name));
        let digests = [write(&paths[0]).digest, write(&paths[1]).digest];
        assert_eq!(digests[0], digests[1]);
        assert_eq!(fs::read(&paths[0]).unwrap(), fs::read(&paths[1]).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left behind");
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (path, root) = (folder.path().join("x.tar"), folder.path().join("root"));
        write(&path);
        let image = unpack(fs::File::open(&path).unwrap(), &root).unwrap();
        assert_eq!(
            (image.name.as_str(), image.entrypoint.as_str()),
            ("manifold/x:1.0.0", "/usr/local/bin/connector-x")
        );
        let binary = root.join("usr/local/bin/connector-x");
        assert_eq!(fs::read(&binary).unwrap(), b"binary");
        assert_eq!(fs::metadata(&binary).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(root.join("etc/ssl/certs/ca-certificates.crt").exists());
    }

    #[test]
    fn every_reference_leads_to_what_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        let written = write(&path);
        let files = contents(&path);
        let blob = |digest: &Value| {
            let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = &files[&format!("blobs/sha256/{hex}")];
            assert_eq!(sha256(bytes), hex);
            bytes
        };
        let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();

        let index = parsed(&files["index.json"]);
        assert_eq!(index["manifests"][0]["digest"], written.digest);
        let manifest = parsed(blob(&index["manifests"][0]["digest"]));
        let config = parsed(blob(&manifest["config"]["digest"]));
        for (layer, diff) in manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .zip(config["rootfs"]["diff_ids"].as_array().unwrap())
        {
            let gzip = blob(&layer["digest"]);
            assert_eq!(layer["size"], gzip.len());
            let mut plain = vec![];
            std::io::Read::read_to_end(
                &mut flate2::read::GzDecoder::new(gzip.as_slice()),
                &mut plain,
            )
            .unwrap();
            assert_eq!(format!("sha256:{}", sha256(&plain)), *diff);
        }
        let docker = parsed(&files["manifest.json"]);
        assert_eq!(docker[0]["RepoTags"], json!(["manifold/x:1.0.0"]));
        assert!(files.contains_key(docker[0]["Config"].as_str().unwrap()));
        for layer in docker[0]["Layers"].as_array().unwrap() {
            assert!(files.contains_key(layer.as_str().unwrap()));
        }
    }
}
