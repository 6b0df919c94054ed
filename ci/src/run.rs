//! `cargo xtask run`: builds an image, boots it and streams its console.

use std::io::{self, Write};

use clap::Args as ClapArgs;

use crate::build::{self, Image};
use crate::cli::{ImageArgs, MachineArgs};
use crate::exit::{self, Code};
use crate::image;
use crate::project::Project;
use crate::qemu::{Ending, Guest, Report, Run, accel, check_names};
use crate::setup;
use crate::symbols::{Console, Lookup, Symbols};

/// What `run` is told.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Folder of examples/, folder of any crate that depends on `ebbtide`, or kernel ELF file
    #[arg(value_name = "EXAMPLE|PATH")]
    pub named: String,
    #[command(flatten)]
    pub image: ImageArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
    /// The app's arguments; words that start with `ebbtide.` are the kernel's
    #[arg(last = true, value_name = "ARGS")]
    pub words: Vec<String>,
}

/// Carries out the verb; the code is the guest's if it ended by its own word.
///
/// # Errors
///
/// When the image cannot be built, or QEMU is missing.
pub fn run(project: &Project, args: &Args) -> anyhow::Result<Code> {
    let ended = watch(project, args, |out| out).map_err(|error| exit::with_code(error, Code::CRASHED));
    ended.map(|(_, report)| report.ending.exit_code())
}

/// What a run is shown on.
pub type Out = Box<dyn Write + Send>;

/// Builds an image, boots it, and shows its console on what `through` makes of the tool's own output. Says what a guest cannot say
/// itself.
///
/// # Errors
///
/// As [`run`].
pub fn watch(project: &Project, args: &Args, through: impl FnOnce(Out) -> Out) -> anyhow::Result<(Image, Report)> {
    let wanted = &args.image;
    setup::qemu(project, wanted.arch, wanted.setup.toolchain, wanted.setup.yes)?;
    check_names(&Guest::on(wanted.arch, "", &args.machine))?;
    let image = image::build(project, &args.named, wanted)?;
    let guest = guest(project, &image, args)?;
    let run = Run { project, guest: &guest, label: &label(&image, wanted.audit), timeout: args.machine.timeout };
    eprintln!("{}", run.shown());
    let symbols = Symbols::load(&image.debug).map(|symbols| Box::new(symbols) as Box<dyn Lookup + Send>);
    let report = run.streaming(Box::new(Console::new(through(Box::new(io::stdout())), symbols)))?;
    explain(&report, &image);
    Ok((image, report))
}

fn guest(project: &Project, image: &Image, args: &Args) -> anyhow::Result<Guest> {
    let mut guest = Guest::on(image.arch, &image.bootable, &args.machine);
    guest.words.clone_from(&args.words);
    guest.kvm = accel::choose(project, &guest, args.machine.accel)?;
    Ok(guest)
}

fn label(image: &Image, audit: bool) -> String {
    match &image.policy {
        Some(policy) => format!("{}.{}", image.name, build::kind(policy.name(), audit)),
        None => image.name.clone(),
    }
}

/// Says what a guest cannot say itself: that it did not end by its own word.
fn explain(report: &Report, image: &Image) {
    match &report.ending {
        Ending::Guest { .. } | Ending::Interrupted => {}
        Ending::Crashed(_) | Ending::TimedOut => {
            let error = report.error().unwrap_or_default();
            eprintln!("error: {error}\n{}", report.last_words(&image.debug));
        }
    }
}
