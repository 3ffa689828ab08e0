//! Turns the archives that Mixpanel makes into the one that a host takes: a gzip-compressed tar.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use protocol::config::Secret;
use protocol::fault::Fault;
use protocol::http::Body;
use protocol::{Context, Result};
use tar::{Builder, Header};
use zip::ZipArchive;
use zip::result::ZipError;

/// What a file in the archive may be called, where Mixpanel's name for it would leave the folder.
const PLAIN: &str = "data";

/// An archive in the making.
pub(crate) struct Archive {
    tar: Builder<GzEncoder<File>>,
}

impl Archive {
    /// An archive at `path`.
    pub(crate) fn create(path: &Path) -> Result<Archive> {
        let file = File::create_new(path).context("making the archive of results")?;
        Ok(Archive { tar: Builder::new(GzEncoder::new(file, Compression::fast())) })
    }

    /// Adds all that is in a zip archive, below `folder`, or the file itself where it is none.
    pub(crate) fn add(
        &mut self,
        mut download: File,
        folder: &str,
        password: &Secret,
    ) -> Result<()> {
        let mut magic = [0; 2];
        download.seek(SeekFrom::Start(0))?;
        let read = download.read(&mut magic)?;
        if &magic[..read] != b"PK" {
            let size = download.metadata()?.len();
            download.seek(SeekFrom::Start(0))?;
            return self.file(&Path::new(folder).join(PLAIN), size, download);
        }
        let broken = |_| Fault::system("the archive that Mixpanel made cannot be read");
        let mut zip = ZipArchive::new(download).map_err(broken)?;
        for place in 0..zip.len() {
            let entry = match zip.by_index_decrypt(place, password.reveal().as_bytes()) {
                Err(ZipError::InvalidPassword) => {
                    let why = "`api_secret` does not open the archive that Mixpanel made";
                    return Err(Fault::config(why).into());
                }
                entry => entry.map_err(broken)?,
            };
            if entry.is_dir() {
                continue;
            }
            let name =
                entry.enclosed_name().unwrap_or_else(|| PathBuf::from(format!("{PLAIN}{place}")));
            let size = entry.size();
            self.file(&Path::new(folder).join(name), size, entry)?;
        }
        Ok(())
    }

    fn file(&mut self, name: &Path, size: u64, content: impl Read) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        self.tar.append_data(&mut header, name, content).context("writing the archive of results")
    }

    /// Ends the archive. One without entries gets one that says so, as hosts want at least one.
    pub(crate) fn finish(mut self, empty: bool) -> Result<()> {
        if empty {
            let text: &[u8] = b"Mixpanel holds nothing about the ids that were asked for.\n";
            self.file(Path::new("no-data.txt"), text.len() as u64, text)?;
        }
        self.tar.into_inner()?.finish()?.sync_all().context("writing the archive of results")
    }
}

/// Writes what arrives to a file without a name, however long it is.
pub(crate) async fn download(mut body: Body, folder: &Path) -> Result<File> {
    let mut file = tempfile::tempfile_in(folder).context("writing Mixpanel's archive")?;
    while let Some(piece) = body.piece().await? {
        file.write_all(&piece).context("writing Mixpanel's archive")?;
    }
    Ok(file)
}
