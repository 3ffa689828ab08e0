//! `cargo xtask build`: every connector as a static binary in images that need no engine to be made.

mod publish;
mod sbom;
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::image::{self, CERTIFICATES, Image, Layer, Written};
use crate::manifest::{self, Entry};
use crate::workspace::{self, Package, Workspace};
use crate::{date, screen};
pub(crate) use publish::{engine, load};
use wire::Wire;

/// The profile of what is shipped.
const PROFILE: &str = "dist";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Connectors, by default all
    names: Vec<String>,
    /// The tag, instead of the manifest's
    #[arg(long)]
    tag: Option<String>,
    /// Tag the images `local`, which no registry has
    #[arg(long, conflicts_with = "tag")]
    local: bool,
    /// Load the images into the engine of this machine
    #[arg(long)]
    load: bool,
    /// Push the images to a registry, such as registry.example.com/team, with the credentials that docker or podman keep
    #[arg(long, value_name = "REGISTRY")]
    push: Option<String>,
    /// For another architecture, where the toolchain can
    #[arg(long, value_name = "linux/ARCH")]
    platform: Option<String>,
}

/// What to build for.
pub(crate) struct Platform {
    /// As images call it.
    pub(crate) architecture: &'static str,
    /// As Rust calls it.
    triple: String,
}

/// One image, before it is made.
struct Plan<'a> {
    entry: &'a Entry,
    wire: Option<&'static Wire>,
}

/// What was made, for the table at the end.
struct Made {
    name: String,
    archive: PathBuf,
    written: Written,
}

pub(crate) fn command(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::load()?;
    let entries = manifest::read(&workspace.root)?;
    let platform = Platform::new(arguments.platform.as_deref())?;
    platform.check()?;
    let connectors = workspace.chosen_connectors(&arguments.names)?;
    let tag = if arguments.local { Some("local") } else { arguments.tag.as_deref() };
    let folder = workspace.target.join("images");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;

    let facts = Facts::gather(&workspace)?;
    let base = image::base()?;
    let mut made = vec![];
    for (i, connector) in connectors.iter().enumerate() {
        let name = connector.connector().context("only connectors have images")?;
        let start = Instant::now();
        let plans = plans(&entries, name)?;
        let binary = binary(&workspace, connector, &platform)?;
        let size =
            fs::metadata(&binary).with_context(|| format!("reading {}", binary.display()))?.len();
        let top = top_layer(&workspace, connector, &platform, &binary)?;
        for plan in &plans {
            let image = plan.image_name()?;
            let archive = folder.join(archive_name(&image, &platform));
            let tag = tag.or(plan.entry.tag.as_deref()).context("an image's entry has a tag")?;
            let tag = &platform.tag(tag);
            let written =
                plan.write(&archive, &image, tag, [&base, &top], connector, &platform, &facts)?;
            made.push(Made { name: format!("{image}:{tag}"), archive, written });
        }
        let (done, of, seconds) = (i + 1, connectors.len(), start.elapsed().as_secs_f64());
        let images = plans.len();
        screen::note(format_args!(
            "{done}/{of} {name}: {} binary, {images} image(s), {seconds:.1} s",
            megabytes(size)
        ));
    }
    if arguments.load {
        let engine = publish::engine().context("no engine answers that could load the images")?;
        made.iter().try_for_each(|image| publish::load(engine, &image.archive))?;
    }
    if let Some(registry) = &arguments.push {
        for image in &made {
            let reference = publish::push(&image.archive, &image.name, registry)?;
            screen::note(format_args!("pushed {reference}@{}", image.written.digest));
        }
    }

    let mut rows = vec![["image", "size", "digest", "file"].map(str::to_owned).to_vec()];
    for Made { name, archive, written } in &made {
        let archive = workspace.shown(archive).to_string();
        rows.push(vec![name.clone(), megabytes(written.size), written.digest.clone(), archive]);
    }
    for line in screen::table(&rows) {
        screen::result(line)?;
    }
    Ok(())
}

impl Platform {
    /// The platform of this name, or that of this machine.
    pub(crate) fn new(name: Option<&str>) -> Result<Platform> {
        let (architecture, rust) = match name.unwrap_or(std::env::consts::ARCH) {
            "linux/amd64" | "x86_64" => ("amd64", "x86_64"),
            "linux/arm64" | "aarch64" => ("arm64", "aarch64"),
            other => bail!("there are images for linux/amd64 and linux/arm64, not for {other}"),
        };
        Ok(Platform { architecture, triple: format!("{rust}-unknown-linux-gnu") })
    }

    /// The tag that is not taken by the same image for this machine.
    fn tag(&self, tag: &str) -> String {
        if self.is_this_machine() { tag.to_owned() } else { format!("{tag}-{}", self.architecture) }
    }

    /// Fails where the toolchain cannot build for the platform, saying what would help.
    fn check(&self) -> Result<()> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut ask = Command::new(rustc);
        let folder =
            workspace::output(ask.args(["--print=target-libdir", "--target", &self.triple]))?;
        let folder = String::from_utf8(folder).context("rustc names a folder")?;
        ensure!(
            Path::new(folder.trim()).exists(),
            "the toolchain has no standard library for {0}: `rustup target add {0}` adds it, and a linker \
             for it is named by CARGO_TARGET_{1}_LINKER",
            self.triple,
            self.triple.replace('-', "_").to_uppercase()
        );
        Ok(())
    }

    fn is_this_machine(&self) -> bool {
        self.triple.starts_with(std::env::consts::ARCH)
    }
}

/// What every image says of this project.
struct Facts {
    created: String,
    source: String,
    revision: Option<String>,
}

impl Facts {
    fn gather(workspace: &Workspace) -> Result<Facts> {
        let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => text
                .parse()
                .with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: {text}"))?,
            Err(_) => 0,
        };
        let git = |arguments: &[&str]| {
            let output =
                Command::new("git").args(arguments).current_dir(&workspace.root).output().ok()?;
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let changed = git(&["status", "--porcelain"]).is_some_and(|status| !status.is_empty());
        let revision = git(&["rev-parse", "HEAD"]);
        let revision =
            revision.map(|revision| if changed { format!("{revision}-dirty") } else { revision });
        Ok(Facts {
            created: date::rfc3339(seconds),
            source: workspace.repository()?.to_owned(),
            revision,
        })
    }
}

/// The images of a connector: one native, and one a wire, for each of its entries.
fn plans<'a>(entries: &'a [Entry], connector: &str) -> Result<Vec<Plan<'a>>> {
    let mut plans = vec![];
    for entry in entries.iter().filter(|entry| entry.connector() == Some(connector)) {
        plans.push(Plan { entry, wire: None });
        for name in &entry.wires {
            let wire =
                Some(wire::named(name).with_context(|| format!("the entry {}", entry.name))?);
            plans.push(Plan { entry, wire });
        }
    }
    ensure!(!plans.is_empty(), "{} has no entry for {connector}", manifest::FILE);
    Ok(plans)
}

impl Plan<'_> {
    /// `manifold/postgres`, or `manifold/source-postgres`.
    fn image_name(&self) -> Result<String> {
        let image = self.entry.image.as_deref().context("a connector's entry has an image")?;
        let Some(wire) = self.wire else { return Ok(image.to_owned()) };
        let (folder, name) = image.rsplit_once('/').unwrap_or(("", image));
        Ok(format!("{folder}/{}-{name}", wire.name))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is a fact of the one image, and there is one caller"
    )]
    fn write(
        &self,
        archive: &Path,
        image: &str,
        tag: &str,
        layers: [&Layer; 2],
        connector: &Package,
        platform: &Platform,
        facts: &Facts,
    ) -> Result<Written> {
        let extra = self.wire.map(Wire::layer).transpose()?.flatten();
        let layers: Vec<&Layer> = layers.into_iter().chain(extra.as_ref()).collect();
        let entrypoint = place(connector);
        let mut environment = vec![format!("SSL_CERT_FILE={CERTIFICATES}")];
        let mut labels = self.labels(tag, connector, facts);
        if let Some(wire) = self.wire {
            environment.push(format!("MANIFOLD_WIRE={}", wire.name));
            environment.extend(wire.environment(&entrypoint));
            labels.extend(wire.labels(image, tag));
        }
        let image = Image {
            name: image,
            tag,
            layers: &layers,
            entrypoint: &entrypoint,
            // Monoid's host mounts files that only root may read.
            user: self.wire.map(|wire| wire.user),
            environment,
            labels,
            architecture: platform.architecture,
            created: &facts.created,
        };
        image.write(archive)
    }

    fn labels(&self, tag: &str, connector: &Package, facts: &Facts) -> BTreeMap<String, String> {
        let own = [
            ("title", Some(self.entry.name.clone())),
            ("description", connector.description.clone()),
            ("version", Some(tag.to_owned())),
            ("licenses", connector.license.clone()),
            ("source", Some(facts.source.clone())),
            ("documentation", self.entry.documentation.clone()),
            ("revision", facts.revision.clone()),
            ("created", Some(facts.created.clone())),
        ];
        let own = own
            .into_iter()
            .filter_map(|(key, value)| Some((format!("org.opencontainers.image.{key}"), value?)));
        own.chain([("manifold.id".to_owned(), self.entry.id.clone())]).collect()
    }
}

/// Links the connector with everything it needs, and says where the result is.
pub(crate) fn binary(
    workspace: &Workspace,
    connector: &Package,
    platform: &Platform,
) -> Result<PathBuf> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    // Paths of this machine would end up in panic messages and make the bytes depend on where they were built.
    flags.push(format!("--remap-path-prefix={}=/manifold", workspace.root.display()));
    // So that the folders of the registries are there to be named.
    workspace::run(workspace.cargo("fetch").args([
        "--locked",
        "--quiet",
        "--target",
        &platform.triple,
    ]))?;
    flags.extend(
        registries()?
            .iter()
            .map(|folder| format!("--remap-path-prefix={}=/cargo", folder.display())),
    );
    let mut command = workspace.cargo("build");
    // Each alone: a build of several would unite their features, and what is built would depend on what else is.
    command.args(["--locked", "--profile", PROFILE, "--target", &platform.triple]);
    command.args(["--package", &connector.name, "--bin", &connector.name]);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")).env_remove("RUSTFLAGS");
    workspace::run(&mut command)?;
    Ok(workspace.target.join(&platform.triple).join(PROFILE).join(&connector.name))
}

/// The layer that holds the binary and the list of what it is made of.
fn top_layer(
    workspace: &Workspace,
    connector: &Package,
    platform: &Platform,
    binary: &Path,
) -> Result<Layer> {
    let bytes = fs::read(binary).with_context(|| format!("reading {}", binary.display()))?;
    let sbom = sbom::cyclonedx(workspace, connector, &platform.triple)?;
    let mut tree = image::Tree::default();
    tree.file(place(connector).trim_start_matches('/'), bytes, 0o755);
    tree.file(&format!("usr/share/sbom/{}.cdx.json", connector.name), sbom, 0o644);
    tree.layer(&format!("{} and its bill of materials", connector.name))
}

/// Where the binary is in its image.
fn place(connector: &Package) -> String {
    format!("/usr/local/bin/{}", connector.name)
}

/// `postgres.tar`, or `postgres-arm64.tar` where that is not this machine's architecture.
fn archive_name(image: &str, platform: &Platform) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if platform.is_this_machine() {
        format!("{name}.tar")
    } else {
        format!("{name}-{}.tar", platform.architecture)
    }
}

/// The folders that cargo unpacks crates into, each named after a registry.
fn registries() -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.context("neither CARGO_HOME nor HOME is set")?.join("registry").join("src");
    let context = || format!("reading {}", sources.display());
    let mut folders = vec![];
    for entry in fs::read_dir(&sources).with_context(context)? {
        folders.push(entry.with_context(context)?.path());
    }
    folders.sort();
    Ok(folders)
}

fn megabytes(bytes: u64) -> String {
    // Tenths are enough, and whole numbers cannot be rounded oddly.
    let tenths = (bytes + 50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_an_image_and_one_a_wire() {
        let text = "- {id: d454d06e-4a7d-47d2-b8af-b3c877eceed5, name: P, dockerImage: manifold/postgres, dockerTag: '1', wires: [source, tap]}\n";
        let entries = manifest::parse(text).unwrap();
        let names: Vec<String> = plans(&entries, "postgres")
            .unwrap()
            .iter()
            .map(|plan| plan.image_name().unwrap())
            .collect();
        assert_eq!(
            names,
            ["manifold/postgres", "manifold/source-postgres", "manifold/tap-postgres"]
        );
        assert!(plans(&entries, "other").is_err());
    }

    #[test]
    fn sizes_are_rounded_to_tenths() {
        assert_eq!(megabytes(2_349_999), "2.3 MB");
        assert_eq!(megabytes(2_350_000), "2.4 MB");
    }
}
