//! The guests' images: each built once, whoever asks first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result, anyhow};
use cargo_metadata::Message;

use crate::build::{self, Image, Loaders, Request, metadata};
use crate::cli::Profile;
use crate::compare::runner::folder;
use crate::exit;
use crate::lint::steps::Bare;
use crate::policy::Policy;
use crate::process;
use crate::project::Project;

/// The project's loader.
const LOADER: &str = "platforms/loader";

/// What an image is built from.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// An example's name or a folder of the repository.
    pub package: String,
    /// Which of its binaries, if it has several.
    pub bin: Option<String>,
    /// The policy.
    pub policy: Policy,
    /// Whether the kernel checks its own invariants.
    pub audit: bool,
    /// The architecture's name.
    pub arch: &'static str,
    /// The profile.
    pub profile: Profile,
    /// A folder of the repository: a program to be packed with the kernel in place of the project's loader.
    pub loader: Option<String>,
}

/// A build that is made once; what it said stays, for all who ask.
type Slot = Arc<OnceLock<Result<Image, String>>>;

/// All images of one run of tests.
pub struct Images {
    project: Project,
    compilers: Vec<Bare>,
    built: Mutex<BTreeMap<Key, Slot>>,
    loaders: Loaders,
}

impl Images {
    /// No image yet.
    pub fn new(project: &Project, compilers: Vec<Bare>) -> Self {
        Self { project: project.clone(), compilers, built: Mutex::default(), loaders: Loaders::default() }
    }

    /// The image, built now if nobody has yet.
    ///
    /// # Errors
    ///
    /// What ends all (see [`exit::ends_all`]); the inner error is the build's.
    pub fn get(&self, key: &Key) -> Result<Result<Image, String>> {
        let slot = self.built.lock().expect("no case panicked").entry(key.clone()).or_default().clone();
        let mut ends_all = None;
        let built = slot.get_or_init(|| {
            self.build(key).map_err(|error| {
                let text = format!("{error:#}");
                if exit::ends_all(&error) {
                    ends_all = Some(error);
                }
                text
            })
        });
        match ends_all {
            Some(error) => Err(error),
            // Another case may have met the interruption, and left its text.
            None if process::interrupted() => Err(exit::interrupted()),
            None => Ok(built.clone()),
        }
    }

    /// Builds an image.
    fn build(&self, key: &Key) -> Result<Image> {
        let bare = self.compiler(key.arch)?;
        if let Some(loader) = &key.loader {
            let usual = Key { loader: None, ..key.clone() };
            let image = self.get(&usual)?.map_err(|error| anyhow!(error))?;
            return self.repack(bare, loader, image);
        }
        let request = Request {
            arch: bare.arch,
            binary: key.bin.clone(),
            policy: Some(key.policy.clone()),
            profile: key.profile,
            audit: key.audit,
            quiet: true,
        };
        let folder = folder(&self.project, &key.package);
        build::image(&self.project, &bare.toolchain, &folder, &request, &self.loaders)
    }

    /// Packs an image's kernel with another loader, into files of their own.
    fn repack(&self, bare: &Bare, package: &str, image: Image) -> Result<Image> {
        let _lock = build::lock(&self.project, bare.arch)?;
        let loader = self.loader(bare, package)?;
        let repacked = renamed(&image, last_part(package));
        let kernel = &repacked.debug;
        build::pack(&self.project, bare.arch, &loader, kernel, &repacked)?;
        Ok(repacked)
    }

    /// The project's loader for the architecture of an image, for [`unchecked`](Self::unchecked).
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn loader_of(&self, image: &Image) -> Result<PathBuf> {
        let bare = self.compiler(image.arch.name())?;
        let _lock = build::lock(&self.project, bare.arch)?;
        self.loader(bare, LOADER)
    }

    /// Packs whatever bytes in place of an image's kernel, with the project's loader, into files of their own.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn unchecked(&self, loader: &Path, image: &Image, name: &str, kernel: &[u8]) -> Result<Image> {
        let packed = renamed(image, name);
        let file = packed.bootable.with_extension("kernel");
        std::fs::write(&file, kernel).with_context(|| format!("cannot write {}", file.display()))?;
        build::pack_unchecked(&self.project, self.compiler(image.arch.name())?.arch, loader, &file, &packed)?;
        Ok(packed)
    }

    /// The compiler of an architecture.
    fn compiler(&self, arch: &str) -> Result<&Bare> {
        self.compilers.iter().find(|bare| bare.arch.name() == arch).with_context(|| format!("no compiler for {arch}"))
    }

    /// Builds a bare-metal program that is no app, a case's own loader; to be called under the build lock.
    fn loader(&self, bare: &Bare, package: &str) -> Result<PathBuf> {
        let manifest = self.project.root().join(package).join("Cargo.toml");
        let described = metadata::package(&manifest)?;
        let name = metadata::binary(&described, None)?.name.clone();
        let mut command = bare.toolchain.bare_cargo(&self.project, bare.arch, "build")?;
        command.arg("--manifest-path").arg(&manifest).args(["--bin", &name, "--profile", "release", "--quiet"]);
        command.arg("--message-format=json-render-diagnostics");
        let output = command.output().with_context(|| format!("building {package}"))?;
        if process::interrupted() {
            return Err(exit::interrupted());
        }
        let made = Message::parse_stream(&output.stdout[..]).flatten().find_map(|message| match message {
            Message::CompilerArtifact(artifact) if artifact.target.name == name => artifact.executable,
            _ => None,
        });
        let failed = || anyhow!("building {package} failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        made.map(|path| path.into_std_path_buf()).filter(|_| output.status.success()).ok_or_else(failed)
    }
}

/// The files of an image that is packed once more, beside the usual ones.
pub fn renamed(image: &Image, suffix: &str) -> Image {
    let stem = format!("{}+{suffix}", image.name);
    Image {
        bootable: image.bootable.with_file_name(&stem),
        hermit: image.hermit.with_file_name(format!("{stem}.hermit")),
        ..image.clone()
    }
}

/// The last part of a folder's path.
pub fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
