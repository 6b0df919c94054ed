//! What the user names: an example, an app's folder, or a kernel ELF file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cargo_metadata::Package;

use super::metadata;
use crate::exit;
use crate::policy;
use crate::project::Project;

/// What an image is made of.
#[derive(Debug)]
pub enum Source {
    /// A crate that depends on `ebbtide`.
    App(Box<Package>),
    /// A kernel that was built already.
    Kernel(PathBuf),
}

impl Source {
    /// Finds what EXAMPLE|PATH means. A plain name is an example first.
    ///
    /// # Errors
    ///
    /// When it means nothing, or a folder that holds no app (121).
    pub fn find(project: &Project, named: &str) -> anyhow::Result<Self> {
        let example = project.examples().join(named);
        let plain = !named.is_empty() && !named.contains('/') && !named.starts_with('.');
        if plain && example.join("Cargo.toml").is_file() {
            return app(&example);
        }
        let path = Path::new(named);
        if path.is_dir() {
            app(path)
        } else if path.is_file() {
            kernel(path)
        } else {
            Err(unknown(project, named))
        }
    }
}

fn app(folder: &Path) -> anyhow::Result<Source> {
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(exit::usage(format!("{} is no app: it has no Cargo.toml", folder.display())));
    }
    let package = metadata::package(&manifest)?;
    if policy::dependency(&package).is_none() {
        return Err(exit::usage(format!(
            "`{}` is no app: {} does not depend on `ebbtide`",
            package.name, package.manifest_path
        )));
    }
    Ok(Source::App(Box::new(package)))
}

/// Any file is taken for a kernel, however broken: the packer says with 106 what is wrong with it. A manifest or a
/// source file is a slip of the hand, though.
fn kernel(path: &Path) -> anyhow::Result<Source> {
    let mut magic = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(4).read_to_end(&mut magic));
    if let Err(error) = opened {
        return Err(exit::usage(format!("cannot read {}: {error}", path.display())));
    }
    let text = ["toml", "rs", "md"];
    let is_text = path.extension().is_some_and(|end| text.iter().any(|one| end == *one));
    if is_text && magic != *b"\x7fELF" {
        return Err(exit::usage(format!("{} is no kernel ELF file; name the app's folder instead", path.display())));
    }
    Ok(Source::Kernel(std::path::absolute(path)?))
}

fn unknown(project: &Project, named: &str) -> anyhow::Error {
    exit::usage(format!("`{named}` is no example and no path; examples: {}", project.example_names().join(", ")))
}
