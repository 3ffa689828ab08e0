//! Our images, inspected, converted, unpacked, run, pushed and pulled by the tools of others.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::Check;
use crate::image;
use crate::services::{self, Home};
use crate::workspace::{Workspace, output};

pub(super) const CHECKS: [Check; 8] = [
    Check { name: "it is small", programs: &[], packages: &[], run: small },
    Check {
        name: "it starts at once in a root of its own",
        programs: &["chroot"],
        packages: &[],
        run: quick,
    },
    Check {
        name: "skopeo inspects it",
        programs: &["skopeo"],
        packages: &["skopeo"],
        run: inspected,
    },
    Check {
        name: "skopeo converts it, and the digest stays",
        programs: &["skopeo"],
        packages: &["skopeo"],
        run: converted,
    },
    Check {
        name: "umoci unpacks it and runc runs it",
        programs: &["skopeo", "umoci", "runc"],
        packages: &["skopeo", "umoci", "runc"],
        run: unpacked,
    },
    Check {
        name: "a registry takes it and gives it back",
        programs: &["skopeo", "docker-registry"],
        packages: &["skopeo", "docker-registry"],
        run: pushed,
    },
    Check {
        name: "podman loads and runs it",
        programs: &["podman", "runc"],
        packages: &["podman", "runc"],
        run: through_podman,
    },
    Check {
        name: "docker loads and runs it",
        programs: &["dockerd", "docker", "containerd", "runc", "unshare"],
        packages: &["docker.io"],
        run: through_docker,
    },
];

/// A built image, and what is expected of it.
pub(super) struct Image {
    pub(super) name: String,
    archive: PathBuf,
    digest: String,
    entrypoint: String,
    /// What it is asked for: to say what it is, in the protocol that it speaks.
    question: &'static [&'static str],
    /// What its binary answers.
    answer: Vec<u8>,
    environment: Vec<(String, String)>,
    /// Its files, as we unpack them.
    root: PathBuf,
    /// A folder to work in.
    scratch: PathBuf,
}

/// The images that `build` made.
pub(super) fn built() -> Result<Vec<Image>> {
    let workspace = Workspace::load()?;
    let folder = workspace.target.join("images");
    let mut archives: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| {
            format!("reading {}: run `cargo xtask build` first", workspace.shown(&folder))
        })?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .collect();
    archives.sort();
    ensure!(!archives.is_empty(), "there are no images: run `cargo xtask build` first");
    archives.into_iter().map(|archive| Image::open(&workspace, archive)).collect()
}

impl Image {
    fn open(workspace: &Workspace, archive: PathBuf) -> Result<Image> {
        let stem = archive.file_stem().context("an archive has a name")?;
        let scratch = workspace.target.join("interop").join(stem);
        let root = scratch.join("ours");
        let unpacked = image::unpack(File::open(&archive)?, &root)?;
        let wire = unpacked.environment().find(|(name, _)| *name == "MANIFOLD_WIRE");
        let question: &[&str] = match wire {
            // Singer's programs have flags and no commands.
            Some((_, "tap" | "target")) => &["--about", "--format=json"],
            // Flow's have neither: they answer what comes on stdin.
            Some((_, "capture" | "materialize")) => &["--help"],
            _ => &["spec"],
        };
        let mut binary = Command::new(root.join(unpacked.entrypoint.trim_start_matches('/')));
        let answer = output(binary.args(question).env_clear().envs(unpacked.environment()))?;
        let unlike = wire.is_some()
            && output(binary.env_remove("MANIFOLD_WIRE")).ok().as_ref() == Some(&answer);
        ensure!(!unlike, "{} does not speak its wire", unpacked.name);
        let environment =
            unpacked.environment().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = environment.collect();
        let digest = digest(&index(&archive)?)?;
        Ok(Image {
            name: unpacked.name,
            archive,
            digest,
            entrypoint: unpacked.entrypoint,
            question,
            answer,
            environment,
            root,
            scratch,
        })
    }

    /// The archive in one of its forms, as skopeo calls it.
    fn form(&self, form: &str) -> String {
        format!("{form}:{}", self.archive.display())
    }

    /// An empty folder.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.scratch.join(name);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(path)
    }

    fn answers(&self, printed: &[u8]) -> Result<()> {
        let said = || String::from_utf8_lossy(printed);
        ensure!(printed == self.answer, "`{}` prints {}", self.question.join(" "), said());
        Ok(())
    }
}

/// The largest that an image may be, in bytes, and the largest for connectors that are small.
const LARGEST: u64 = 8_000_000;
const LARGEST_SMALL: (u64, [&str; 2]) = (4_000_000, ["sqlite", "postgres"]);

fn small(image: &Image) -> Result<()> {
    let size = fs::metadata(&image.archive).context("reading the archive")?.len();
    let (most, names) = LARGEST_SMALL;
    let is_small = names.iter().any(|name| image.entrypoint.ends_with(&format!("-{name}")));
    let most = if is_small { most } else { LARGEST };
    ensure!(size <= most, "it has {size} bytes, and may have {most}");
    Ok(())
}

/// How long an image may take to say what it is.
const AT_ONCE: Duration = Duration::from_millis(20);

fn quick(image: &Image) -> Result<()> {
    // The best of some: other work of this machine is not the image's.
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        let mut run = Command::new("chroot");
        run.arg("--userspec=65532:65532").arg(&image.root).arg(&image.entrypoint);
        run.args(image.question).envs(image.environment.iter().map(|(name, value)| (name, value)));
        let printed = output(&mut run)?;
        best = best.min(start.elapsed());
        image.answers(&printed)?;
    }
    ensure!(best < AT_ONCE, "it takes {best:?}");
    Ok(())
}

fn inspected(image: &Image) -> Result<()> {
    let inspect = |extra: &[&str]| -> Result<Value> {
        let printed = output(
            Command::new("skopeo").arg("inspect").args(extra).arg(image.form("oci-archive")),
        )?;
        serde_json::from_slice(&printed).context("reading what skopeo prints")
    };
    let facts = inspect(&[])?;
    ensure!(facts["Digest"] == image.digest.as_str(), "it has the digest {}", facts["Digest"]);
    let config = inspect(&["--config"])?;
    let entrypoint = &config["config"]["Entrypoint"];
    ensure!(*entrypoint == json!([image.entrypoint]), "it begins with {entrypoint}");
    Ok(())
}

fn converted(image: &Image) -> Result<()> {
    let folder = image.fresh("converted")?;
    let layout = format!("oci:{}:copy", folder.join("oci").display());
    copy(&[&image.form("oci-archive"), &layout])?;
    let copied = digest(&fs::read(folder.join("oci/index.json"))?)?;
    ensure!(copied == image.digest, "the copy has the digest {copied}");
    copy(&[
        &image.form("docker-archive"),
        &format!("oci:{}:copy", folder.join("docker").display()),
    ])?;
    copy(&[
        &layout,
        &format!("docker-archive:{}:{}", folder.join("again.tar").display(), image.name),
    ])
}

fn unpacked(image: &Image) -> Result<()> {
    let folder = image.fresh("unpacked")?;
    copy(&[&image.form("oci-archive"), &format!("oci:{}:copy", folder.join("oci").display())])?;
    let bundle = folder.join("bundle");
    let layout = format!("{}:copy", folder.join("oci").display());
    output(Command::new("umoci").args(["unpack", "--image", &layout]).arg(&bundle))?;
    let temporary =
        fs::metadata(bundle.join("rootfs/tmp")).context("looking for /tmp")?.permissions().mode();
    ensure!(temporary & 0o7777 == 0o1777, "/tmp has the mode {temporary:o}");

    let path = bundle.join("config.json");
    let mut config: Value =
        serde_json::from_slice(&fs::read(&path)?).context("reading the bundle's config.json")?;
    config["process"]["terminal"] = false.into();
    let mut words = vec![image.entrypoint.as_str()];
    words.extend(image.question);
    config["process"]["args"] = json!(words);
    fs::write(&path, serde_json::to_vec(&config)?)
        .with_context(|| format!("writing {}", path.display()))?;
    let name = format!("manifold-interop-{}", std::process::id());
    let mut run = Command::new("runc");
    run.arg("--root").arg(folder.join("state")).args(["run", &name]).current_dir(&bundle);
    image.answers(&output(&mut run)?)
}

fn pushed(image: &Image) -> Result<()> {
    let home = Home::new("registry")?;
    let port = services::free_port()?;
    let config = json!({
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": home.path("data")}},
        "http": {"addr": format!("127.0.0.1:{port}")},
    });
    let config = home.write("config.yml", &config.to_string())?;
    let program =
        crate::programs::find("docker-registry", &[]).context("docker-registry is gone")?;
    let mut command = home.command(&program);
    command.arg("serve").arg(config);
    let registry =
        home.serve(&command, "TERM", port, |_| TcpStream::connect(("127.0.0.1", port)).is_ok())?;

    let name = image.name.rsplit('/').next().unwrap_or(&image.name);
    let remote = format!("docker://{}/team/{name}", registry.address());
    copy(&["--dest-tls-verify=false", &image.form("oci-archive"), &remote])?;
    let back = image.fresh("pulled")?.join("oci");
    copy(&["--src-tls-verify=false", &remote, &format!("oci:{}:copy", back.display())])?;
    let pulled = digest(&fs::read(back.join("index.json"))?)?;
    ensure!(pulled == image.digest, "it came back with the digest {pulled}");
    Ok(())
}

/// What podman needs where it may not raise limits or make networks.
const CONTAINERS: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"#;

/// The same for Docker.
const DAEMON: &str =
    r#"{"default-ulimits": {"nofile": {"Name": "nofile", "Hard": 1024, "Soft": 1024}}}"#;

fn through_podman(image: &Image) -> Result<()> {
    // It refuses long paths.
    let home = Home::privileged("podman")?;
    let config = home.write("containers.conf", CONTAINERS)?;
    let podman = || {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", &config).arg("--root").arg(home.path("root"));
        command.arg("--runroot").arg(home.path("run")).arg("--tmpdir").arg(home.path("tmp"));
        command
    };
    let run = || {
        output(podman().args(["load", "--quiet", "--input"]).arg(&image.archive))?;
        let name = format!("docker.io/{}", image.name);
        let mut run = podman();
        run.args(["run", "--rm", "--pull=never", "--read-only", &name]).args(image.question);
        image.answers(&output(&mut run)?)
    };
    let result = run();
    // Its storage is mounted, and only it knows how to let go of that.
    output(podman().args(["system", "reset", "--force"]))?;
    result
}

/// A Docker engine of our own, since loading into somebody's would leave the image there.
fn through_docker(image: &Image) -> Result<()> {
    let home = Home::privileged("docker")?;
    let socket = format!("unix://{}", home.path("socket").display());
    // Mounts of its own are gone when it is.
    let mut engine = home.command(Path::new("unshare"));
    engine.args([
        "--mount",
        "--",
        "dockerd",
        "--iptables=false",
        "--ip6tables=false",
        "--bridge=none",
        "-H",
        &socket,
    ]);
    engine.arg("--data-root").arg(home.path("data")).arg("--exec-root").arg(home.path("exec"));
    engine
        .arg("--pidfile")
        .arg(home.path("engine.pid"))
        .arg("--config-file")
        .arg(home.write("daemon.json", DAEMON)?);
    let docker = |arguments: &[&str]| {
        let mut command = Command::new("docker");
        command.args(["-H", &socket]).args(arguments);
        command
    };
    let answers = || output(&mut docker(&["info"])).is_ok();
    let _engine = home.serve(&engine, "TERM", 0, |_| answers())?;
    output(docker(&["load", "--quiet", "--input"]).arg(&image.archive))?;
    let run = ["run", "--rm", "--pull", "never", "--network", "none", "--read-only", &image.name];
    image.answers(&output(docker(&run).args(image.question))?)
}

fn copy(arguments: &[&str]) -> Result<()> {
    output(Command::new("skopeo").args(["copy", "--quiet", "--insecure-policy"]).args(arguments))
        .map(drop)
}

/// The index of an archive.
fn index(archive: &Path) -> Result<Vec<u8>> {
    for entry in tar::Archive::new(File::open(archive)?).entries()? {
        let mut entry = entry?;
        if entry.path()?.as_ref() == Path::new("index.json") {
            let mut bytes = vec![];
            entry.read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
    }
    bail!("{} has no index.json", archive.display())
}

/// The digest of the one image that an index lists.
fn digest(index: &[u8]) -> Result<String> {
    let index: Value = serde_json::from_slice(index).context("reading an index")?;
    let digest = index["manifests"][0]["digest"].as_str();
    Ok(digest.context("an index without a digest")?.to_owned())
}
