//! The exact command line of QEMU, made in this one place.

use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::cli::{MachineArgs, Selected};
use crate::process;

/// A machine and what it boots.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The architecture.
    pub arch: Arch,
    /// The file for `-kernel`.
    pub image: PathBuf,
    /// The guest's command line, word by word.
    pub words: Vec<String>,
    /// QEMU's machine type; `None` for the architecture's default.
    pub machine: Option<Selected>,
    /// The CPU model.
    pub cpu: Selected,
    /// Memory in QEMU's form.
    pub memory: String,
    /// The number of CPUs.
    pub smp: u8,
    /// Whether the host's processor executes the guest.
    pub kvm: bool,
    /// Whether one instruction takes one nanosecond, always: the same run again, and counts that mean something.
    pub counted: bool,
    /// More arguments for QEMU.
    pub extra: Vec<String>,
}

/// Where the serial port's output goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Serial<'a> {
    /// To QEMU's standard output.
    Stdio,
    /// Appended to a file. QEMU itself writes it: what the guest says costs no instructions of ours.
    File(&'a Path),
}

impl Guest {
    /// A guest with the defaults of the command line.
    pub fn new(arch: Arch, image: impl Into<PathBuf>) -> Self {
        Self {
            arch,
            image: image.into(),
            words: Vec::new(),
            machine: None,
            cpu: Selected::new("max"),
            memory: "256M".to_owned(),
            smp: 1,
            kvm: false,
            counted: false,
            extra: Vec::new(),
        }
    }

    /// A guest on the machine that the command line describes; `kvm` comes from [`super::accel::choose`].
    pub fn on(arch: Arch, image: impl Into<PathBuf>, args: &MachineArgs) -> Self {
        Self {
            machine: args.machine.clone(),
            cpu: args.cpu.clone(),
            memory: args.memory.clone(),
            smp: args.smp,
            ..Self::new(arch, image)
        }
    }

    /// The machine type as the user names it: the key `qemu_machine` of the records.
    pub fn machine(&self) -> Selected {
        let default = || Selected::new(self.arch.default_machine());
        self.machine.clone().unwrap_or_else(default)
    }

    /// QEMU's arguments.
    pub fn arguments(&self, serial: Serial<'_>) -> Vec<String> {
        let mut line = Line::default();
        let machine = self.machine();
        let counted_cpu = if self.counted { self.arch.counted_cpu() } else { "" };
        line.pair("-machine", machine.for_qemu() + self.arch.machine_options(machine.name()))
            .pair("-accel", if self.kvm { "kvm" } else { "tcg" })
            .pair("-cpu", self.cpu.for_qemu() + counted_cpu)
            .pair("-smp", self.smp.to_string())
            .pair("-m", self.memory.clone())
            // Only what is named here: no network card, no display adapter, no configuration of the user's.
            .word("-nodefaults")
            .word("-no-user-config")
            .pair("-display", "none")
            .pair("-monitor", "none")
            // A triple fault ends the run and does not start it over.
            .word("-no-reboot");
        self.arch.exit_device().iter().for_each(|word| _ = line.word(word));
        if self.counted {
            line.pair("-icount", "shift=0,sleep=off");
            line.pair("-rtc", "base=2026-01-01,clock=vm");
        }
        match serial {
            Serial::Stdio => line.pair("-serial", "stdio"),
            Serial::File(log) => line.pair("-chardev", chardev(log)).pair("-serial", "chardev:log"),
        };
        line.0.extend(self.extra.iter().cloned());
        line.pair("-kernel", self.image.to_string_lossy());
        if !self.words.is_empty() {
            line.pair("-append", append(&self.words));
        }
        line.0
    }
}

/// The guest's command line: words quoted as for a shell, so that spaces survive.
pub fn append(words: &[String]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| process::quoted(word)).collect();
    quoted.join(" ")
}

/// A character device that appends to a file. Within an option QEMU takes a doubled comma for a comma.
fn chardev(log: &Path) -> String {
    let path = log.to_string_lossy().replace(',', ",,");
    format!("file,id=log,append=on,path={path}")
}

#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn word(&mut self, word: &str) -> &mut Self {
        self.0.push(word.to_owned());
        self
    }

    fn pair(&mut self, flag: &str, value: impl Into<String>) -> &mut Self {
        self.0.push(flag.to_owned());
        self.0.push(value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(guest: &Guest, serial: Serial<'_>) -> String {
        guest.arguments(serial).join(" ")
    }

    #[test]
    fn the_default_guest() {
        let guest = Guest::new(Arch::X86_64, "/images/hello");
        assert_eq!(
            line(&guest, Serial::Stdio),
            "-machine q35 -accel tcg -cpu max -smp 1 -m 256M -nodefaults -no-user-config -display none -monitor none \
             -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=0x04 -serial stdio -kernel /images/hello"
        );
    }

    #[test]
    fn the_default_guest_of_the_other_architecture() {
        let guest = Guest { counted: true, ..Guest::new(Arch::Aarch64, "/images/hello") };
        assert_eq!(
            line(&guest, Serial::Stdio),
            "-machine virt,dtb-randomness=off -accel tcg -cpu max,cntfrq=1000000000 -smp 1 -m 256M -nodefaults \
             -no-user-config -display none -monitor none -no-reboot -semihosting -icount shift=0,sleep=off \
             -rtc base=2026-01-01,clock=vm -serial stdio -kernel /images/hello"
        );
        let machine = Some(Selected::new("virt:gic-version=3:virtualization=on"));
        let guest = Guest { machine, ..Guest::new(Arch::Aarch64, "x") };
        let line = line(&guest, Serial::Stdio);
        assert!(line.starts_with("-machine virt,gic-version=3,virtualization=on,dtb-randomness=off -"), "{line}");
    }

    #[test]
    fn options_reach_qemu_with_commas() {
        let guest = Guest {
            machine: Some(Selected::new("microvm:pit=off:rtc=on")),
            cpu: Selected::new("max:-smap"),
            ..Guest::new(Arch::X86_64, "x")
        };
        let line = line(&guest, Serial::Stdio);
        assert!(line.contains("-machine microvm,pit=off,rtc=on "), "{line}");
        assert!(line.contains("-cpu max,-smap "), "{line}");
        assert_eq!(guest.machine().to_string(), "microvm:pit=off:rtc=on");
    }

    #[test]
    fn a_counted_run_is_reproducible() {
        let guest = Guest { counted: true, ..Guest::new(Arch::X86_64, "x") };
        let line = line(&guest, Serial::File(Path::new("/a,b.log")));
        assert!(line.contains("-icount shift=0,sleep=off -rtc base=2026-01-01,clock=vm"), "{line}");
        assert!(line.contains("path=/a,,b.log -serial chardev:log"), "{line}");
    }

    #[test]
    fn words_keep_their_spaces() {
        let words = ["ebbtide.log=debug", "two words", "it's", ""].map(String::from);
        let append = append(&words);
        assert_eq!(shlex::split(&append).as_deref(), Some(&words[..]));
        assert!(append.starts_with("ebbtide.log=debug "), "{append}");
    }

    #[test]
    fn always_no_reboot_and_an_exit_device() {
        for (arch, device) in [(Arch::X86_64, "-device isa-debug-exit,"), (Arch::Aarch64, "-semihosting ")] {
            for kvm in [false, true] {
                let guest = Guest { kvm, ..Guest::new(arch, "x") };
                let line = line(&guest, Serial::Stdio);
                assert!(line.contains("-no-reboot") && line.contains(device), "{line}");
            }
        }
    }
}
