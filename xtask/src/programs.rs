//! Where the programs of this machine are.

use std::path::PathBuf;

/// The first place that has a program: among `folders`, where a `*` is any one name, then in `PATH`.
pub(crate) fn find(program: &str, folders: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places =
        folders.iter().flat_map(|pattern| expand(pattern)).chain(std::env::split_paths(&path));
    places.map(|place| place.join(program)).find(|path| path.is_file())
}

/// The folders that a pattern means, the last in order first: the newest of several versions.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![pattern.into()] };
    let Ok(entries) = std::fs::read_dir(before) else { return vec![] };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    folders.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    folders.into_iter().map(|folder| folder.join(after.trim_start_matches('/'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_looked_at_first() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["9", "15", "13"] {
            std::fs::create_dir_all(folder.path().join(version).join("bin")).unwrap();
        }
        let pattern = format!("{}/*/bin", folder.path().display());
        let expected = ["15", "13", "9"].map(|version| folder.path().join(version).join("bin"));
        assert_eq!(expand(&pattern), expected);
    }
}
