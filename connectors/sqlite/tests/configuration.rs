//! The configuration as people keep it: in YAML, encrypted by sops, with variables in it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Made by sops 3.11.0: `path_sops` is `${SHOP}/shop.db`.
const SEALED: &str = include_str!("configuration/sealed.yaml");
const KEY: &str = include_str!("configuration/key.txt");

struct Bench(TempDir);

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        rusqlite::Connection::open(folder.path().join("shop.db"))
            .and_then(|database| database.execute_batch("CREATE TABLE orders (id INTEGER)"))
            .unwrap();
        Bench(folder)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A run with no more of an environment than is said.
    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_connector-sqlite"))
            .args(arguments)
            .env_clear()
            .env("SHOP", self.0.path())
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    /// The one line in which a run says why it did nothing.
    fn refusal(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let output = self.run(arguments, environment);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(output.stdout.is_empty());
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    }
}

fn succeeds(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("SUCCESS"), "{output:?}");
}

#[test]
fn a_configuration_can_be_yaml_with_variables() {
    let bench = Bench::new();
    let config = bench.file("config.yaml", "# the shop\npath: ${SHOP}/shop.db\n");
    succeeds(&bench.run(&["validate", "-c", &config, "--expand-env"], &[]));
    let plain = bench.run(&["validate", "-c", &config], &[]);
    assert_eq!(plain.status.code(), Some(1), "a variable is text until it is asked for");
    let unset = bench.file("unset.yaml", "path: ${MISSING}/shop.db\n");
    let refusal = bench.refusal(&["validate", "-c", &unset, "--expand-env"], &[]);
    assert!(refusal.contains("`path`: the variable MISSING is not set"), "{refusal}");
}

#[test]
fn a_configuration_that_sops_encrypted_is_opened_where_sops_finds_its_keys() {
    let bench = Bench::new();
    let config = bench.file("config.yaml", SEALED);
    let arguments = ["validate", "-c", &config, "--expand-env"];
    let home = bench.0.path().to_str().unwrap();
    succeeds(&bench.run(&arguments, &[("SOPS_AGE_KEY", KEY)]));
    succeeds(&bench.run(&arguments, &[("SOPS_AGE_KEY_FILE", &bench.file("key.txt", KEY))]));
    let usual = Path::new(home).join(".config/sops/age");
    std::fs::create_dir_all(&usual).unwrap();
    std::fs::write(usual.join("keys.txt"), KEY).unwrap();
    succeeds(&bench.run(&arguments, &[("HOME", home)]));
    succeeds(&bench.run(&arguments, &[("XDG_CONFIG_HOME", &format!("{home}/.config"))]));
    let names: Vec<_> =
        std::fs::read_dir(home).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "what is decrypted is written nowhere: {names:?}");
}

#[test]
fn a_configuration_that_cannot_be_opened_is_one_line_that_says_why() {
    let bench = Bench::new();
    let config = bench.file("config.yaml", SEALED);
    let arguments = ["read", "-c", &config];
    let refusal = bench.refusal(&arguments, &[]);
    assert!(refusal.contains("set SOPS_AGE_KEY or SOPS_AGE_KEY_FILE"), "{refusal}");
    let stranger = "AGE-SECRET-KEY-1P707GKJWGPWLXSC9H55SFU2SF47645MP5ZV3DTDZZEUVGQS050TQ05QFT2";
    let refusal = bench.refusal(&arguments, &[("SOPS_AGE_KEY", stranger)]);
    assert!(refusal.contains("sops encrypted it for age1"), "{refusal}");
    let refusal = bench.refusal(&arguments, &[("SOPS_AGE_KEY_FILE", "/nowhere")]);
    assert!(refusal.contains("SOPS_AGE_KEY_FILE: /nowhere: there is no such file"), "{refusal}");
    let changed =
        bench.file("changed.yaml", &SEALED.replace("read_only: true", "read_only: false"));
    let refusal = bench.refusal(&["read", "-c", &changed], &[("SOPS_AGE_KEY", KEY)]);
    assert!(refusal.contains("its MAC does not fit"), "{refusal}");
}
