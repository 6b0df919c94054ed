//! Whether QEMU knows a machine type or CPU model: asked of QEMU itself, whose lists differ by version.

use std::process::Command;

use super::Guest;
use crate::arch::Arch;
use crate::cli::Selected;
use crate::exit;
use crate::process;

/// Refuses machine types and CPU models that QEMU does not know, before anything is built for them.
///
/// # Errors
///
/// With the list of those it knows (121).
pub fn check(guest: &Guest) -> anyhow::Result<()> {
    let program = guest.arch.qemu();
    if let Some(machine) = &guest.machine {
        check_in(program, "-machine", machine)?;
    }
    // Every QEMU has `max`, and most runs take it.
    if guest.cpu.name() != "max" {
        check_in(program, "-cpu", &guest.cpu)?;
    }
    Ok(())
}

/// The same for lists of names.
///
/// # Errors
///
/// As [`check`].
pub fn check_all(arch: Arch, machines: &[Selected], cpus: &[Selected]) -> anyhow::Result<()> {
    let usual = Guest::new(arch, "");
    for machine in machines {
        check(&Guest { machine: Some(machine.clone()), ..usual.clone() })?;
    }
    cpus.iter().try_for_each(|cpu| check(&Guest { cpu: cpu.clone(), ..usual.clone() }))
}

fn check_in(program: &str, flag: &str, asked: &Selected) -> anyhow::Result<()> {
    let Some(help) = process::output_of(Command::new(program).args([flag, "help"])) else {
        // What is wrong with QEMU shows when it is run.
        return Ok(());
    };
    let known = names(&help);
    if known.contains(&asked.name()) {
        return Ok(());
    }
    Err(exit::usage(format!("-{flag} {asked}: {program} knows no `{}`; known: {}", asked.name(), known.join(", "))))
}

/// The names in a list of QEMU's: the first word of each line, or the second of `x86 max  …`; what follows an empty
/// line is another list.
fn names(help: &str) -> Vec<&str> {
    help.lines()
        .skip_while(|line| line.trim().is_empty() || line.trim_end().ends_with(':'))
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            words.next().filter(|word| *word != "x86").or_else(|| words.next())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines() {
        let help = "Supported machines are:\nmicrovm   microvm (i386)\nq35   PC (alias of pc-q35-7.2)\n";
        assert_eq!(names(help), ["microvm", "q35"]);
    }

    #[test]
    fn models_of_both_forms() {
        let old = "Available CPUs:\nx86 486   (alias)\nx86 max   all\n\nRecognized CPUID flags:\n  3dnow abm\n";
        assert_eq!(names(old), ["486", "max"]);
        let arm = "Available CPUs:\n  a64fx\n  cortex-a72\n";
        assert_eq!(names(arm), ["a64fx", "cortex-a72"]);
        let new = "Available CPUs:\n  486   (alias)\n  max   all\n\nRecognized CPUID flags:\n";
        assert_eq!(names(new), ["486", "max"]);
    }
}
