//! From an app to a file that `qemu -kernel` boots.
//!
//! ```text
//!   app ──cargo──► kernel ELF ──packer──► NAME.hermit ─┐
//!                      └─► NAME.debug                  ├─packer─► NAME
//!   platforms/loader ──cargo──► loader ELF ────────────┘
//! ```
//!
//! An app inside the repository is built just as one outside: by its own manifest, with the images' profile and flags
//! handed in as cargo configuration. Both go to one target folder of the repository, see
//! [`Project::bare_target_dir`].

mod compile;
pub mod metadata;
mod own;
mod pack;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::arch::Arch;
use crate::cli::{ImageArgs, Profile};
use crate::exit;
use crate::files;
use crate::policy::Policy;
use crate::project::Project;
use crate::toolchain::Toolchain;

use compile::Compile;
pub use own::public;
pub use pack::{pack, pack_unchecked};
pub use source::Source;

/// The folder, in place of a policy's, of kernels that came as files: their policy is not known.
const READY: &str = "packed";

/// The feature of `ebbtide` with which a kernel checks its own invariants.
const AUDIT: &str = "audit";

/// What to build and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// For which architecture.
    pub arch: Arch,
    /// Which of the app's binaries, if it has several.
    pub binary: Option<String>,
    /// Under which policy, if that is not left to the app.
    pub policy: Option<Policy>,
    /// How optimised.
    pub profile: Profile,
    /// Whether the kernel checks its own invariants: with the feature `audit` of `ebbtide`.
    pub audit: bool,
    /// Whether cargo keeps quiet unless something is wrong.
    pub quiet: bool,
}

impl From<&ImageArgs> for Request {
    fn from(args: &ImageArgs) -> Self {
        Self {
            arch: args.arch,
            binary: None,
            policy: args.policy.clone(),
            profile: args.profile,
            audit: args.audit,
            quiet: false,
        }
    }
}

/// How much must still be free, in bytes, where a failed build is to be blamed on what was built: as much as an image takes with its
/// symbols.
const ROOM: u64 = 16 * 1024 * 1024;

/// The loaders of many images of the same code and toolchains: each built once, for all images of its architecture.
#[derive(Debug, Default)]
pub struct Loaders(Mutex<BTreeMap<&'static str, PathBuf>>);

impl Loaders {
    /// The loader of an architecture, built now if it has not been yet; to be called under the build lock.
    fn get(&self, compile: &Compile<'_>) -> anyhow::Result<PathBuf> {
        let mut built = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let arch = compile.request.arch.name();
        if let Some(loader) = built.get(arch) {
            return Ok(loader.clone());
        }
        let loader = compile.loader()?;
        built.insert(arch, loader.clone());
        Ok(loader)
    }
}

/// An image and its files.
#[derive(Clone, Debug)]
pub struct Image {
    /// The app's name.
    pub name: String,
    /// The architecture.
    pub arch: Arch,
    /// The policy that it was built with; `None` for a kernel that came as a file.
    pub policy: Option<Policy>,
    /// Boots with `qemu -kernel`.
    pub bootable: PathBuf,
    /// The plain kernel ELF, stripped: a Hermit image.
    pub hermit: PathBuf,
    /// The same with names and lines, for backtraces.
    pub debug: PathBuf,
    /// The folder of a run's own files, which goes with the last clone; `None` for the files that all runs share.
    #[expect(dead_code, reason = "held for its drop, which removes the folder")]
    pub folder: Option<Arc<tempfile::TempDir>>,
}

impl Image {
    fn in_folder(folder: &Path, name: &str, arch: Arch, policy: Option<Policy>) -> Self {
        Self {
            name: name.to_owned(),
            arch,
            policy,
            bootable: folder.join(name),
            hermit: folder.join(format!("{name}.hermit")),
            debug: folder.join(format!("{name}.debug")),
            folder: None,
        }
    }
}

/// Builds what EXAMPLE|PATH names, into files of this run's own: whatever others build meanwhile, these stay as they
/// are until the last clone of the image is gone.
///
/// # Errors
///
/// As [`shared_image`].
pub fn image(
    project: &Project,
    toolchain: &Toolchain,
    named: &str,
    request: &Request,
    loaders: &Loaders,
) -> anyhow::Result<Image> {
    let source = Source::find(project, named)?;
    let _lock = lock(project, request.arch)?;
    built(project, toolchain, source, (request, loaders))
        .and_then(|shared| own::copies(project, &shared))
        .or_else(|error| or_no_room(project, request.arch, error))
}

/// Builds what EXAMPLE|PATH names, into the files that every run of this tool shares: what a person asks for.
///
/// # Errors
///
/// When nothing of that name is there or the flags do not fit it (121), when a build fails (123), or when the kernel
/// is refused (106).
pub fn shared_image(project: &Project, toolchain: &Toolchain, named: &str, request: &Request) -> anyhow::Result<Image> {
    let source = Source::find(project, named)?;
    let _lock = lock(project, request.arch)?;
    built(project, toolchain, source, (request, &Loaders::default()))
        .or_else(|error| or_no_room(project, request.arch, error))
}

/// Why a build failed: on a full disk that is all that there is to say.
fn or_no_room<T>(project: &Project, arch: Arch, error: anyhow::Error) -> anyhow::Result<T> {
    for folder in [project.output(), project.bare_target_dir(arch)] {
        if folder.is_dir() {
            files::check_room(&folder, ROOM)?;
        }
    }
    Err(error)
}

/// Keeps others from building for an architecture. The files have the same names under each policy in cargo's folder: nobody else
/// may build between ours and the moment its result is copied away.
///
/// # Errors
///
/// When the lock file cannot be made.
pub fn lock(project: &Project, arch: Arch) -> anyhow::Result<std::fs::File> {
    files::lock(&project.output().join(arch.name()).join("build.lock"))
}

/// Builds, under the lock.
fn built(
    project: &Project,
    toolchain: &Toolchain,
    source: Source,
    (request, loaders): (&Request, &Loaders),
) -> anyhow::Result<Image> {
    let compile = Compile { project, toolchain, request };
    match source {
        Source::App(app) => {
            let all = Policy::all(project)?;
            let policy = Policy::choose(&app, request.policy.as_ref(), &all)?;
            let name = metadata::binary(&app, request.binary.as_deref())?.name.clone();
            let kernel = compile.app(&app, &name, &policy)?;
            let folder = folder(project, request, &policy);
            let image = Image::in_folder(&folder, &name, request.arch, Some(policy));
            finish((&compile, loaders), &kernel, &kernel, image)
        }
        Source::Kernel(kernel) => {
            refuse_features(request, &kernel)?;
            let folder = project.output().join(request.arch.name()).join(READY);
            let image = Image::in_folder(&folder, &stem(&kernel), request.arch, None);
            let beside = kernel.with_extension("debug");
            let debug = if beside.is_file() { &beside } else { &kernel };
            finish((&compile, loaders), &kernel, debug, image)
        }
    }
}

/// Packs a kernel and lays its symbols beside it.
fn finish(
    (compile, loaders): (&Compile<'_>, &Loaders),
    kernel: &Path,
    debug: &Path,
    image: Image,
) -> anyhow::Result<Image> {
    let loader = loaders.get(compile)?;
    if let Some(folder) = image.bootable.parent() {
        std::fs::create_dir_all(folder)?;
    }
    pack::pack(compile.project, image.arch, &loader, kernel, &image)?;
    files::copy(debug, &image.debug)?;
    Ok(image)
}

fn folder(project: &Project, request: &Request, policy: &Policy) -> PathBuf {
    project.images(request.arch, &kind(policy.name(), request.audit), request.profile.name())
}

/// What tells one kind of image from another, in paths and in the names of logs and tests: `POLICY` or `POLICY+audit`.
pub fn kind(policy: &str, audit: bool) -> String {
    if audit { format!("{policy}+{AUDIT}") } else { policy.to_owned() }
}

fn stem(kernel: &Path) -> String {
    let stem = kernel.file_stem().unwrap_or(kernel.as_os_str());
    stem.to_string_lossy().into_owned()
}

fn refuse_features(request: &Request, kernel: &Path) -> anyhow::Result<()> {
    let flag = match &request.policy {
        Some(asked) => format!("--policy {asked}"),
        None if request.audit => "--audit".to_owned(),
        None => return Ok(()),
    };
    Err(exit::usage(format!(
        "{flag} cannot be applied to {}: it is built already; leave out the flag or name the app",
        kernel.display()
    )))
}
