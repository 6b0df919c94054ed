//! Compiles bare-metal code with the chosen toolchain and finds out which file that made.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;
use cargo_metadata::{Message, Package};

use super::{AUDIT, Request};
use crate::cli::Profile;
use crate::exit;
use crate::policy::{self, Policy};
use crate::process;
use crate::project::Project;
use crate::toolchain::Toolchain;

/// What all builds of one image share.
pub struct Compile<'a> {
    /// The repository.
    pub project: &'a Project,
    /// The compiler.
    pub toolchain: &'a Toolchain,
    /// What was asked for.
    pub request: &'a Request,
}

impl Compile<'_> {
    /// Compiles an app under a policy; the path of its unstripped ELF file.
    ///
    /// # Errors
    ///
    /// When the build fails (123); cargo has said why.
    pub fn app(&self, app: &Package, binary: &str, policy: &Policy) -> anyhow::Result<PathBuf> {
        let mut command = self.cargo(self.request.profile)?;
        let dependency = policy::dependency(app).map_or("ebbtide", policy::local_name);
        let mut features = vec![format!("{dependency}/{policy}")];
        features.extend(self.request.audit.then(|| format!("{dependency}/{AUDIT}")));
        command
            .arg("--manifest-path")
            .arg(&app.manifest_path)
            .args(["--bin", binary])
            .args(["--features", &features.join(",")]);
        executable(command, binary)
    }

    /// Compiles the loader, always for release; the path of its ELF file.
    ///
    /// # Errors
    ///
    /// As [`Self::app`].
    pub fn loader(&self) -> anyhow::Result<PathBuf> {
        let name = "ebbtide-loader";
        let mut command = self.cargo(Profile::Release)?;
        command.arg("--manifest-path").arg(self.project.manifest()).args(["--package", name, "--bin", name]);
        executable(command, name)
    }

    fn cargo(&self, profile: Profile) -> anyhow::Result<Command> {
        let mut command = self.toolchain.bare_cargo(self.project, self.request.arch, "build")?;
        command.args(["--profile", profile.name()]);
        if self.request.quiet {
            command.arg("--quiet");
        }
        Ok(command)
    }
}

/// Runs a build and returns the executable that cargo reports for `binary`.
///
/// # Errors
///
/// When the build fails (123); cargo has said why.
pub fn executable(mut command: Command, binary: &str) -> anyhow::Result<PathBuf> {
    command.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stdout(Stdio::piped());
    let shown = process::shown(&command);
    let failed = || exit::build(format!("building `{binary}` failed; the command was: {shown}"));
    let mut child = command.spawn().with_context(failed)?;
    let output = child.stdout.take().context("cargo's output was not piped")?;
    let made = reported(BufReader::new(output), binary)?;
    let status = child.wait().context("waiting for cargo")?;
    if process::interrupted() {
        return Err(exit::interrupted());
    }
    if !status.success() {
        return Err(failed());
    }
    made.ok_or_else(|| exit::build(format!("cargo reported no executable for `{binary}`: {shown}")))
}

fn reported(output: impl std::io::BufRead, binary: &str) -> anyhow::Result<Option<PathBuf>> {
    let mut made = None;
    for message in Message::parse_stream(output) {
        if let Message::CompilerArtifact(artifact) = message.context("reading cargo's messages")?
            && artifact.target.name == binary
            && let Some(path) = artifact.executable
        {
            made = Some(path.into_std_path_buf());
        }
    }
    Ok(made)
}
