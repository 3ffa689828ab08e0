//! `cargo xtask link DIR`: each connector's binary under the names by which platforms call it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::manifest;
use crate::screen;
use crate::workspace::Workspace;

/// Builds the named connectors, by default all, and links each below `folder`: by its own name, and
/// by one for each wire that the manifest gives it.
pub(crate) fn command(folder: &Path, names: &[String]) -> Result<()> {
    let workspace = Workspace::load()?;
    let connectors = workspace.chosen_connectors(names)?;
    workspace.build(&connectors)?;
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let entries = manifest::read(&workspace.root)?;
    for connector in connectors {
        let Some(name) = connector.connector() else { continue };
        let binary = workspace.binary(connector);
        let mut links = vec![format!("connector-{name}")];
        let wires = entries.iter().filter(|entry| entry.connector() == Some(name));
        for wire in wires.flat_map(|entry| &entry.wires) {
            links.push(format!("{wire}-{name}"));
        }
        for link in links {
            let path = folder.join(&link);
            // Only a link is replaced; whatever else has that name is somebody's.
            if path.is_symlink() {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
            symlink(&binary, &path).with_context(|| format!("making {}", path.display()))?;
            screen::result(path.display())?;
        }
    }
    Ok(())
}
