//! `cargo xtask`: builds, runs, tests and compares Ebbtide.
//!
//! Each verb is a module with its `Args` and a `run`; what verbs share lies below them: [`toolchain`] and [`setup`]
//! (the compiler), [`build`] (images), [`qemu`] (runs) and [`symbols`] (backtraces). Errors carry the exit code, see
//! [`exit`].

#[macro_use]
mod say;

mod arch;
mod build;
mod cli;
mod compare;
mod deps;
mod depth;
mod docs;
mod doctor;
mod exit;
mod files;
mod image;
mod lint;
mod parallel;
mod policy;
mod process;
mod progress;
mod project;
mod qemu;
mod run;
mod setup;
mod sizes;
mod symbols;
mod test;
mod told;
mod toolchain;
mod top;

use std::any::Any;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Code;
use project::Project;

/// Builds, runs, tests and compares Ebbtide.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build an app, boot it and stream its console
    Run(run::Args),
    /// Build an app and print where its image lies
    Image(image::Args),
    /// Compare the stack policies
    Compare(compare::Args),
    /// Check the arrows of ARCHITECTURE.md
    Deps,
    /// Check formatting, clippy, docs and the house rules
    Lint(lint::Args),
    /// Run every test once; deps and lint first
    Test(test::Args),
    /// Boot guests on every architecture, policy, number of CPUs and machine that is named, and show what came of it
    Matrix(test::matrix::Args),
    /// Show where the stack went in a run: the deepest that it was seen by each way into the kernel, and a flame graph
    Depth(depth::Args),
    /// Show where the stack goes: the largest frames and chains of calls, from an image's code
    StackSizes(sizes::Args),
    /// Show threads, their stacks and the CPUs of a guest while it runs
    Top(top::Args),
    /// Show what was found and chosen; changes nothing
    Doctor(doctor::Args),
}

fn main() -> ExitCode {
    let verb = match Cli::try_parse() {
        Ok(cli) => cli.verb,
        Err(refusal) => return explain(&refusal).into(),
    };
    // Rust's own code for a panic, 101, is a guest's.
    let ended = std::panic::catch_unwind(|| carry_out(&verb).unwrap_or_else(|error| report(&error)));
    let unwritten = |panic: Box<dyn Any + Send>| panic.downcast().map_or(Code::CRASHED, |error| report(&error));
    ended.unwrap_or_else(unwritten).into()
}

fn carry_out(verb: &Verb) -> anyhow::Result<Code> {
    process::catch_interrupts()?;
    let project = Project::find()?;
    match verb {
        Verb::Run(args) => run::run(&project, args),
        Verb::Image(args) => image::run(&project, args),
        Verb::Compare(args) => compare::run(&project, args),
        Verb::Deps => deps::run(&project),
        Verb::Lint(args) => lint::run(&project, args),
        Verb::Test(args) => test::run(&project, args),
        Verb::Matrix(args) => test::matrix::run(&project, args),
        Verb::Depth(args) => depth::run(&project, args),
        Verb::StackSizes(args) => sizes::run(&project, args),
        Verb::Top(args) => top::run(&project, args),
        Verb::Doctor(args) => doctor::run(&project, args),
    }
}

/// Prints help, or what is wrong with the command line.
fn explain(refusal: &clap::Error) -> Code {
    let _ = refusal.print();
    if refusal.use_stderr() { Code::USAGE } else { Code::OK }
}

fn report(error: &anyhow::Error) -> Code {
    let text = format!("{error:#}");
    if !text.is_empty() {
        // What cannot be written either has nobody to be told to.
        let _ = writeln!(std::io::stderr(), "error: {text}");
    }
    exit::code_of(error)
}
