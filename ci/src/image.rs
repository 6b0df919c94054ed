//! `cargo xtask image`: builds an image and prints where its files lie.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::build::{self, Image, Request};
use crate::cli::ImageArgs;
use crate::exit::{self, Code};
use crate::files;
use crate::project::Project;
use crate::toolchain;

/// What `image` is told.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Folder of examples/, folder of any crate that depends on `ebbtide`, or kernel ELF file
    #[arg(value_name = "EXAMPLE|PATH")]
    named: String,
    /// Copy the bootable file to FILE
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    image: ImageArgs,
}

/// Builds the image that is named, and what it needs.
///
/// # Errors
///
/// See [`build::shared_image`]; also when no toolchain is there (122), and 123 for whatever else hinders the build.
pub fn build(project: &Project, named: &str, args: &ImageArgs) -> anyhow::Result<Image> {
    let setup = &args.setup;
    toolchain::find_or_set_up(project, args.arch, setup.toolchain, setup.yes)
        .and_then(|toolchain| build::shared_image(project, &toolchain, named, &Request::from(args)))
        .map_err(|error| exit::with_code(error, Code::BUILD))
}

/// Carries out the verb.
///
/// # Errors
///
/// As [`build()`](build()).
pub fn run(project: &Project, args: &Args) -> anyhow::Result<Code> {
    let image = build(project, &args.named, &args.image)?;
    if let Some(path) = &args.output {
        files::copy(&image.bootable, path).map_err(|error| exit::with_code(error, Code::BUILD))?;
        println!("{}", path.display());
    }
    for path in [&image.bootable, &image.hermit, &image.debug] {
        println!("{}", path.display());
    }
    Ok(Code::OK)
}
