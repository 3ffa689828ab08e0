//! A layer: files in a tar whose bytes depend on nothing but their names, modes and contents.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::sha256;

/// The files and folders that a layer will hold, by path.
#[derive(Default)]
pub(crate) struct Tree(BTreeMap<String, Node>);

struct Node {
    mode: u32,
    /// Absent from a folder.
    bytes: Option<Vec<u8>>,
}

/// A layer, compressed.
pub(crate) struct Layer {
    /// The digest of the compressed bytes.
    pub(super) digest: String,
    /// The digest of the tar.
    pub(super) diff: String,
    pub(super) gzip: Vec<u8>,
    /// What the layer is for, in the image's history.
    pub(super) purpose: String,
}

impl Tree {
    /// Adds a file, and the folders above it.
    pub(crate) fn file(&mut self, path: &str, bytes: Vec<u8>, mode: u32) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node { mode, bytes: Some(bytes) });
    }

    /// Adds a folder, and the folders above it.
    pub(crate) fn folder(&mut self, path: &str, mode: u32) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node { mode, bytes: None });
    }

    fn parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            self.0.entry(path[..end].to_owned()).or_insert(Node { mode: 0o755, bytes: None });
        }
    }

    /// The layer that holds them all.
    pub(crate) fn layer(&self, purpose: &str) -> Result<Layer> {
        let mut tar = Builder::new(vec![]);
        for (path, node) in &self.0 {
            let bytes = node.bytes.as_deref().unwrap_or_default();
            let (kind, path) = match node.bytes {
                Some(_) => (EntryType::Regular, path.clone()),
                None => (EntryType::Directory, format!("{path}/")),
            };
            append(&mut tar, kind, &path, node.mode, bytes)?;
        }
        let tar = tar.into_inner().context("writing a layer")?;
        // Neither the name, the time nor the system of the writer goes into the head.
        let mut gzip =
            GzBuilder::new().mtime(0).operating_system(255).write(vec![], Compression::best());
        let gzip =
            gzip.write_all(&tar).and_then(|()| gzip.finish()).context("compressing a layer")?;
        Ok(Layer { digest: sha256(&gzip), diff: sha256(&tar), gzip, purpose: purpose.to_owned() })
    }
}

/// Appends an entry that belongs to root and is as old as time.
pub(super) fn append(
    tar: &mut Builder<impl std::io::Write>,
    kind: EntryType,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
        .with_context(|| format!("writing {path} to an archive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_they_hold() {
        let mut tree = Tree::default();
        tree.file("usr/share/a", vec![], 0o644);
        tree.folder("tmp", 0o1777);
        let layer = tree.layer("test").unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(layer.gzip.as_slice()));
        let entry = |entry: std::io::Result<tar::Entry<'_, _>>| {
            let entry = entry.unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
        };
        let entries: Vec<_> = archive.entries().unwrap().map(entry).collect();
        let expected =
            [("tmp/", 0o1777), ("usr/", 0o755), ("usr/share/", 0o755), ("usr/share/a", 0o644)];
        assert_eq!(entries, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }
}
