//! Carries out what a page's blocks ask for, in order.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use super::app::App;
use super::block::{Block, Role};
use super::{Page, output};
use crate::lint::step::{Checked, captured};
use crate::project::Project;
use crate::toolchain;

/// What happened to a page so far.
struct Walk<'a> {
    project: &'a Project,
    app: Option<App>,
    /// What the last command block printed.
    printed: Option<String>,
    timeout: Duration,
}

/// Runs and checks every block of a page; the answer is a line for each that failed.
///
/// # Errors
///
/// At an interruption, or when a temporary folder cannot be made.
pub fn carry_out(project: &Project, page: &Page, timeout: Duration) -> Result<Vec<String>> {
    let app = App::of(&page.blocks)?;
    let mut walk = Walk { project, app, printed: None, timeout };
    let mut failures = Vec::new();
    for block in &page.blocks {
        if let Err(failure) = walk.block(block)? {
            failures.push(format!("{}:{}: {failure}", block.path, block.line));
        }
    }
    Ok(failures)
}

impl Walk<'_> {
    /// One block; the inner error is the block's own.
    fn block(&mut self, block: &Block) -> Result<Result<(), String>> {
        let role = match &block.role {
            Ok(role) => *role,
            Err(unknown) => return Ok(Err(unknown.clone())),
        };
        match role {
            Role::Run(code) => self.commands(&block.text, code, false),
            Role::App(code) => self.commands(&block.text, code, true),
            Role::Manifest | Role::Main => Ok(self.write(role, &block.text)),
            Role::Host => self.syntax(&block.text),
            Role::Output => Ok(match &self.printed {
                Some(printed) => output::compare(&block.text, printed),
                None => Err("no `sh run` or `sh app` block stands before this output".into()),
            }),
            Role::Text | Role::Check | Role::Toml | Role::Json => Ok(check(role, &block.text)),
        }
    }

    /// Writes a file of the app.
    fn write(&self, role: Role, text: &str) -> Result<(), String> {
        let app = self.app.as_ref().ok_or("an app needs its manifest: add a `toml app` block")?;
        let written = match role {
            Role::Manifest => app.write_manifest(self.project, text),
            _ => app.write("src/main.rs", text),
        };
        written.map_err(|error| format!("{error:#}"))
    }

    /// Runs the commands of a block, one a line.
    fn commands(&mut self, text: &str, code: i32, with_app: bool) -> Result<Result<(), String>> {
        let mut printed = String::new();
        for line in command_lines(text) {
            let words = match (shlex::split(&line), with_app, &self.app) {
                (None, ..) => return Ok(Err(format!("`{line}` is no command line"))),
                (_, true, None) => {
                    return Ok(Err("`sh app` needs an app: add a `toml app` block".into()));
                }
                (Some(words), true, Some(app)) => words.iter().map(|word| app.replace(word)).collect(),
                (Some(words), ..) => words,
            };
            let checked = run(self.project.root(), &words, code, self.timeout)?;
            if !checked.ok {
                return Ok(Err(format!("`{line}` did not end with {code}:\n{}", checked.output.trim_end())));
            }
            printed += &checked.output;
        }
        self.printed = Some(printed);
        Ok(Ok(()))
    }

    /// Lets the shell read a block without running it.
    fn syntax(&self, text: &str) -> Result<Result<(), String>> {
        let checked = captured(Command::new("sh").args(["-n", "-c", text]), Some(self.timeout))?;
        Ok(if checked.ok { Ok(()) } else { Err(checked.output) })
    }
}

/// Runs one command at the root; it must end with `code`.
fn run(root: &Path, words: &[String], code: i32, timeout: Duration) -> Result<Checked> {
    let Some((program, arguments)) = words.split_first() else {
        return Ok(Checked::passed());
    };
    let mut command = Command::new(program);
    toolchain::clean_environment(&mut command);
    command.args(arguments).current_dir(root);
    let mut checked = captured(&mut command, Some(timeout))?;
    if code != 0 {
        // `captured` says how a command ended that did not succeed.
        checked.ok = !checked.ok && checked.output.contains(&format!("exit status: {code}: "));
    }
    Ok(checked)
}

/// The commands of a block: without empty lines and comments, and with `\` at the end of a line joined to the next.
fn command_lines(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Checks what needs no run.
fn check(role: Role, text: &str) -> Result<(), String> {
    match role {
        Role::Toml => text.parse::<toml::Table>().map(|_| ()).map_err(|error| error.to_string()),
        Role::Json => serde_json::from_str::<serde_json::Value>(text).map(|_| ()).map_err(|error| error.to_string()),
        Role::Check => command_lines(text).iter().try_for_each(|line| known_command(line)),
        _ => Ok(()),
    }
}

/// Checks that a line is a command of this tool.
fn known_command(line: &str) -> Result<(), String> {
    let words = shlex::split(line).ok_or_else(|| format!("`{line}` is no command line"))?;
    let Some(arguments) = words.strip_prefix(&["cargo".to_owned(), "xtask".to_owned()]) else {
        return Err(format!("`{line}`: an `sh check` block holds `cargo xtask` commands only"));
    };
    let words = ["cargo xtask"].into_iter().chain(arguments.iter().map(String::as_str));
    match crate::Cli::try_parse_from(words) {
        Err(error) if error.use_stderr() => Err(format!("`{line}`: {error}")),
        _ => Ok(()),
    }
}
