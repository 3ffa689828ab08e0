//! `cargo xtask pull-upstream`: a folder of another project's repository, taken in and kept up to date.
//!
//! Each time, what changed upstream since the last time is merged into what the folder is here by now, as
//! one commit of this repository. Its trailers say where the folder is from, and are what the next merge begins at.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::screen;
use crate::workspace::Workspace;

/// What the licence's text is called here where the folder upstream has none of its own.
const LICENSE: &str = "LICENSE.upstream";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The repository: a remote's name, a URL or a path
    remote: String,
    /// The revision there: a branch, a tag or a full commit id
    revision: String,
    /// The folder there
    path: String,
    /// The folder here
    destination: String,
    /// The licence, as an SPDX expression such as MIT
    #[arg(long, value_name = "SPDX")]
    license: String,
    /// The file there that has the licence's text
    #[arg(long, value_name = "FILE")]
    license_file: String,
}

/// Takes the folder in, or merges what changed upstream.
pub(crate) fn command(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::load()?;
    match pull(&Git { root: &workspace.root }, arguments)? {
        Some(subject) => screen::note(format_args!("committed: {subject}")),
        None => screen::note(format_args!("{} is up to date", arguments.destination)),
    }
    Ok(())
}

/// What an import took, as its trailers say.
struct Import {
    commit: String,
    path: String,
    license_file: String,
}

/// The subject of the commit that was made; nothing where nothing changed.
fn pull(git: &Git<'_>, arguments: &Arguments) -> Result<Option<String>> {
    let license = license(&arguments.license)?;
    let path = folder(&arguments.path)?;
    let license_file = folder(&arguments.license_file)?;
    let destination = folder(&arguments.destination)?;
    ensure!(
        git.run(&["diff", "--cached", "--name-only"])?.is_empty(),
        "something is staged that is not committed, and would end up in this commit"
    );
    ensure!(
        git.run(&["status", "--porcelain", "--", &destination])?.is_empty(),
        "{destination} has changes that are not committed"
    );

    let commit = git.fetch(&arguments.remote, &arguments.revision)?;
    let new = Import { commit, path, license_file };
    let theirs = new.tree(git, &destination)?;
    let old = last(git, &destination)?;
    let base = match &old {
        Some(old) => {
            // A clone of this repository has our commits, not theirs.
            if git.run(&["cat-file", "-e", &format!("{}^{{commit}}", old.commit)]).is_err() {
                git.fetch(&arguments.remote, &old.commit)?;
            }
            old.tree(git, &destination)?
        }
        None => {
            let is_there = !git.run(&["ls-tree", "HEAD", "--", &destination])?.is_empty();
            ensure!(!is_there, "{destination} is there already, and was not taken from elsewhere");
            git.with_folder(&destination, None)?
        }
    };
    if theirs == base {
        return Ok(None);
    }

    // What they changed, as a commit that git can apply like any other.
    let before = git.run(&["commit-tree", &base, "-m", "what they had"])?;
    let after = git.run(&["commit-tree", &theirs, "-p", &before, "-m", "what they have"])?;
    let short = &new.commit[..12];
    let subject = format!("{destination}: take {} as of {short} from upstream", new.path);
    let message = format!(
        "{subject}\n\nUpstream-Remote: {}\nUpstream-Revision: {}\nUpstream-Commit: {}\n\
         Upstream-Path: {}\nUpstream-License: {license}\nUpstream-License-File: {}\nImport-Path: {destination}\n",
        address(git, &arguments.remote),
        arguments.revision,
        new.commit,
        new.path,
        new.license_file,
    );
    if git.run(&["cherry-pick", "--no-commit", &after]).is_err() {
        let conflicts = git.run(&["diff", "--name-only", "--diff-filter=U"])?;
        ensure!(!conflicts.is_empty(), "git could not merge {short} into {destination}");
        // So that a plain `git commit` of the resolved files has the trailers.
        let file = git.run(&["rev-parse", "--git-path", "MERGE_MSG"])?;
        let file = git.root.join(file);
        std::fs::write(&file, &message).with_context(|| format!("writing {}", file.display()))?;
        bail!(
            "what changed here and at {short} conflicts in {}: resolve that, `git add` it and `git commit`, \
             or undo it all with `git reset --merge`",
            conflicts.lines().collect::<Vec<_>>().join(", ")
        );
    }
    if git.run(&["diff", "--cached", "--name-only"])?.is_empty() {
        // All of it is here already; the next merge begins there all the same.
        git.run_with(&["commit", "--quiet", "--allow-empty", "--file=-"], &message)?;
    } else {
        git.run_with(&["commit", "--quiet", "--file=-"], &message)?;
    }
    Ok(Some(subject))
}

impl Import {
    /// The tree of this repository with the folder as it is upstream, licence included.
    fn tree(&self, git: &Git<'_>, destination: &str) -> Result<String> {
        let short = &self.commit[..12];
        let object = |kind: &str, path: &str| -> Result<String> {
            let name = format!("{}:{path}", self.commit);
            let found = git.run(&["cat-file", "-t", &name]).unwrap_or_default();
            ensure!(
                found == kind,
                "{short} has no {} {path}",
                if kind == "tree" { "folder" } else { "file" }
            );
            git.run(&["rev-parse", &name])
        };
        let tree = object("tree", &self.path)?;
        let license = object("blob", &self.license_file).context("the licence")?;
        let submodule = git.run(&["ls-tree", "-r", &tree])?;
        let submodule = submodule.lines().find(|line| line.starts_with("160000 "));
        if let Some((_, name)) = submodule.and_then(|line| line.split_once('\t')) {
            bail!("{name} in it is a submodule, which would be left out");
        }
        let comes_along =
            self.license_file.strip_prefix(&self.path).is_some_and(|rest| rest.starts_with('/'));
        let license = (!comes_along).then_some(license.as_str());
        git.with_folder(destination, Some((&tree, license)))
    }
}

/// The last import into a folder that is still there.
fn last(git: &Git<'_>, destination: &str) -> Result<Option<Import>> {
    if git.run(&["ls-tree", "HEAD", "--", destination])?.is_empty() {
        return Ok(None);
    }
    let value = |key: &str| format!("%(trailers:key={key},valueonly,separator=)");
    let keys = ["Import-Path", "Upstream-Commit", "Upstream-Path", "Upstream-License-File"];
    let format = format!("--format={}", keys.map(value).join("%x09"));
    let log = git.run(&[
        "log",
        &format,
        "--fixed-strings",
        &format!("--grep=Import-Path: {destination}"),
    ])?;
    for line in log.lines() {
        if let [import, commit, path, license_file] = line.split('\t').collect::<Vec<_>>()[..]
            && import == destination
        {
            let [commit, path, license_file] = [commit, path, license_file].map(str::to_owned);
            return Ok(Some(Import { commit, path, license_file }));
        }
    }
    Ok(None)
}

/// The expression, if all of it is on SPDX's list.
fn license(text: &str) -> Result<String> {
    let parsed = spdx::Expression::parse(text);
    let parsed =
        parsed.map_err(|error| anyhow::anyhow!("{text:?} is no SPDX licence: {}", error.reason))?;
    Ok(parsed.to_string())
}

/// A path as git has it: from the root, without dots.
fn folder(path: &str) -> Result<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let plain = !path.starts_with('/') && !parts.is_empty() && !parts.contains(&"..");
    ensure!(plain, "{path:?} is no path below the root of a repository");
    Ok(parts.join("/"))
}

/// Where a remote is, without the credentials that its URL may have.
fn address(git: &Git<'_>, remote: &str) -> String {
    let url = git.run(&["remote", "get-url", "--", remote]).unwrap_or_else(|_| remote.to_owned());
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or(host);
            format!("{scheme}://{host}/{path}")
        }
        None => url,
    }
}

/// Git, in one repository.
struct Git<'a> {
    root: &'a Path,
}

impl Git<'_> {
    /// What a command prints, without the line break at its end.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        output(self.command().args(arguments), input)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        // Paths are compared, so none may be quoted.
        command.args(["-c", "core.quotePath=false"]).current_dir(self.root);
        command
    }

    /// Brings a revision here, and says which commit it is.
    fn fetch(&self, remote: &str, revision: &str) -> Result<String> {
        self.run(&["fetch", "--quiet", "--no-tags", "--", remote, revision])?;
        self.run(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"])
    }

    /// The tree of HEAD with another folder in the place of one: a tree and a licence beside it, or nothing.
    fn with_folder(&self, folder: &str, content: Option<(&str, Option<&str>)>) -> Result<String> {
        let scratch = self.run(&["rev-parse", "--git-path", "manifold-index"])?;
        let scratch = self.root.join(scratch);
        let index = |arguments: &[&str]| {
            output(self.command().env("GIT_INDEX_FILE", &scratch).args(arguments), "")
        };
        let tree = || {
            index(&["read-tree", "HEAD"])?;
            index(&["rm", "-r", "--cached", "--quiet", "--ignore-unmatch", "--", folder])?;
            if let Some((tree, license)) = content {
                index(&["read-tree", &format!("--prefix={folder}/"), tree])?;
                if let Some(license) = license {
                    let entry = format!("100644,{license},{folder}/{LICENSE}");
                    index(&["update-index", "--add", "--cacheinfo", &entry])?;
                }
            }
            index(&["write-tree"])
        };
        let written = tree();
        // It may not even exist.
        std::fs::remove_file(&scratch).ok();
        written
    }
}

/// Runs a command to its end; its complaint is the error.
fn output(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting git")?;
    child.stdin.take().context("git has a stdin")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output().context("waiting for git")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().rfind(|line| !line.starts_with("hint: "));
        bail!(
            "git: {}",
            line.unwrap_or("it failed and said nothing").trim_start_matches("fatal: ")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tempfile::TempDir;

    struct Repository(TempDir);

    impl Repository {
        fn new() -> Repository {
            let repository = Repository(tempfile::tempdir().unwrap());
            repository.git(&["init", "--quiet", "--initial-branch=main"]);
            repository.settle();
            repository
        }

        fn settle(&self) {
            self.git(&["config", "user.name", "Ada"]);
            self.git(&["config", "user.email", "ada@example.com"]);
            self.git(&["config", "commit.gpgSign", "false"]);
        }

        fn root(&self) -> &Path {
            self.0.path()
        }

        fn git(&self, arguments: &[&str]) -> String {
            Git { root: self.root() }.run(arguments).unwrap()
        }

        fn write(&self, path: &str, content: impl AsRef<[u8]>) {
            let path = self.root().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.root().join(path)).unwrap()
        }

        fn commit(&self) -> String {
            self.git(&["add", "--all"]);
            self.git(&["commit", "--quiet", "--message=a change"]);
            self.head()
        }

        fn head(&self) -> String {
            self.git(&["rev-parse", "HEAD"])
        }

        fn trailer(&self, key: &str) -> String {
            self.git(&[
                "log",
                "-1",
                &format!("--format=%(trailers:key={key},valueonly,separator=)"),
            ])
        }

        /// Takes the folder `source` of another repository's branch main into `connectors/acme`.
        fn pull(&self, upstream: &Repository) -> Result<Option<String>> {
            pull(&Git { root: self.root() }, &arguments(upstream))
        }
    }

    fn arguments(upstream: &Repository) -> Arguments {
        Arguments {
            remote: upstream.root().to_str().unwrap().to_owned(),
            revision: "main".to_owned(),
            path: "./source/".to_owned(),
            destination: "connectors/acme/".to_owned(),
            license: "MIT".to_owned(),
            license_file: "LICENSE".to_owned(),
        }
    }

    const LINES: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";

    /// One with a folder of all kinds of files, and one that is to take it in.
    fn repositories() -> (Repository, Repository) {
        let upstream = Repository::new();
        upstream.write("LICENSE", "Do what you like.\n");
        upstream.write("other/file", "not asked for");
        upstream.write("source/lines", LINES);
        upstream.write("source/old", "old\n");
        upstream.write("source/ü/blob", [0, 159, 146, 150]);
        upstream.write("source/run.sh", "#!/bin/sh\n");
        let script = upstream.root().join("source/run.sh");
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("lines", upstream.root().join("source/link")).unwrap();
        upstream.commit();
        let ours = Repository::new();
        ours.write("README.md", "ours\n");
        ours.commit();
        (upstream, ours)
    }

    #[test]
    fn a_folder_is_taken_in_as_one_commit_that_says_where_it_is_from() {
        let (upstream, ours) = repositories();
        let before = ours.head();
        let subject = ours.pull(&upstream).unwrap().unwrap();
        assert_eq!(ours.git(&["log", "-1", "--format=%s"]), subject);
        assert_eq!(ours.git(&["rev-parse", "HEAD^@"]), before, "it has one parent");
        let theirs = upstream.git(&["ls-tree", "-r", "HEAD:source"]);
        ours.git(&["rm", "--quiet", "--cached", "connectors/acme/LICENSE.upstream"]);
        let tree = ours.git(&["write-tree"]);
        assert_eq!(ours.git(&["ls-tree", "-r", &format!("{tree}:connectors/acme")]), theirs);
        assert_eq!(ours.read("connectors/acme/LICENSE.upstream"), "Do what you like.\n");
        assert!(ours.root().join("connectors/acme/link").is_symlink());
        for (key, value) in [
            ("Upstream-Remote", upstream.root().to_str().unwrap()),
            ("Upstream-Revision", "main"),
            ("Upstream-Commit", &upstream.head()),
            ("Upstream-Path", "source"),
            ("Upstream-License", "MIT"),
            ("Upstream-License-File", "LICENSE"),
            ("Import-Path", "connectors/acme"),
        ] {
            assert_eq!(ours.trailer(key), value, "{key}");
        }
    }

    #[test]
    fn later_changes_upstream_are_merged_into_our_own() {
        let (upstream, ours) = repositories();
        ours.pull(&upstream).unwrap();
        assert!(ours.pull(&upstream).unwrap().is_none(), "nothing is new");
        ours.write("connectors/acme/lines", LINES.replace('1', "ours"));
        ours.commit();
        upstream.write("source/lines", LINES.replace('9', "theirs"));
        upstream.write("source/ü/blob", [1, 159, 146, 150]);
        upstream.write("LICENSE", "Do what you must.\n");
        fs::remove_file(upstream.root().join("source/old")).unwrap();
        upstream.commit();
        // Somebody else's clone, which has never seen the other repository.
        let clone = Repository(tempfile::tempdir().unwrap());
        clone.git(&["clone", "--quiet", ours.root().to_str().unwrap(), "."]);
        clone.settle();
        for ours in [&ours, &clone] {
            ours.write("unrelated", "in the work tree, and no business of this commit");
            ours.pull(&upstream).unwrap().unwrap();
            let merged = LINES.replace('1', "ours").replace('9', "theirs");
            assert_eq!(ours.read("connectors/acme/lines"), merged);
            assert!(!ours.root().join("connectors/acme/old").exists());
            assert_eq!(fs::read(ours.root().join("connectors/acme/ü/blob")).unwrap()[0], 1);
            assert_eq!(ours.read("connectors/acme/LICENSE.upstream"), "Do what you must.\n");
            assert_eq!(ours.git(&["status", "--porcelain"]), "?? unrelated");
            assert_eq!(ours.trailer("Upstream-Commit"), upstream.head());
            assert!(ours.pull(&upstream).unwrap().is_none());
        }
    }

    #[test]
    fn a_conflict_is_an_error_and_its_resolution_is_where_the_next_merge_begins() {
        let (upstream, ours) = repositories();
        ours.pull(&upstream).unwrap();
        ours.write("connectors/acme/lines", LINES.replace('5', "ours"));
        let before = ours.commit();
        upstream.write("source/lines", LINES.replace('5', "theirs"));
        upstream.commit();
        let error = ours.pull(&upstream).unwrap_err().to_string();
        assert!(error.contains("connectors/acme/lines") && error.lines().count() == 1, "{error}");
        assert_eq!(ours.head(), before, "nothing is committed");
        assert!(ours.read("connectors/acme/lines").contains("<<<<<<<"));
        let again = ours.pull(&upstream).unwrap_err().to_string();
        assert!(again.contains("not committed"), "{again}");
        ours.git(&["reset", "--quiet", "--merge"]);
        assert_eq!(ours.git(&["status", "--porcelain"]), "", "it can be undone");

        ours.pull(&upstream).unwrap_err();
        ours.write("connectors/acme/lines", LINES.replace('5', "both"));
        ours.git(&["add", "--all"]);
        ours.git(&["commit", "--quiet", "--no-edit"]);
        assert_eq!(ours.trailer("Upstream-Commit"), upstream.head());
        assert!(ours.pull(&upstream).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_done_is_refused_and_changes_nothing() {
        let (upstream, ours) = repositories();
        ours.write("taken/file", "ours\n");
        let head = ours.commit();
        let refuses = |change: fn(&mut Arguments), says: &str| {
            let mut arguments = arguments(&upstream);
            change(&mut arguments);
            let error = format!("{:#}", pull(&Git { root: ours.root() }, &arguments).unwrap_err());
            assert!(error.contains(says) && error.lines().count() == 1, "{says}: {error}");
            assert_eq!(ours.head(), head);
        };
        refuses(|it| it.license = "MIT-ish".to_owned(), "\"MIT-ish\" is no SPDX licence");
        refuses(|it| it.license_file = "COPYING".to_owned(), "the licence: ");
        refuses(|it| it.license_file = "source".to_owned(), "has no file source");
        refuses(|it| it.path = "sauce".to_owned(), "has no folder sauce");
        refuses(|it| it.path = "source/lines".to_owned(), "has no folder source/lines");
        refuses(|it| it.revision = "v9".to_owned(), "v9");
        refuses(|it| it.revision = "--upload-pack=x".to_owned(), "git: ");
        refuses(|it| it.remote = "nowhere".to_owned(), "git: ");
        refuses(|it| it.destination = "taken".to_owned(), "taken is there already");
        for path in ["/etc", "../other", ".", ""] {
            assert!(folder(path).is_err(), "{path}");
        }
        assert_eq!(ours.git(&["status", "--porcelain"]), "");
        ours.write("staged", "x");
        ours.git(&["add", "staged"]);
        refuses(|_| (), "something is staged");
        ours.git(&["rm", "--quiet", "--cached", "staged"]);
        ours.write("connectors/acme/mine", "x");
        refuses(|_| (), "connectors/acme has changes");
    }

    #[test]
    fn credentials_of_a_url_are_not_recorded() {
        let ours = Repository::new();
        let git = Git { root: ours.root() };
        ours.git(&["remote", "add", "up", "https://ada:hunter2@example.com/a/b.git"]);
        assert_eq!(address(&git, "up"), "https://example.com/a/b.git");
        assert_eq!(address(&git, "https://token@example.com/b"), "https://example.com/b");
        assert_eq!(address(&git, "git@example.com:b"), "git@example.com:b");
    }
}
