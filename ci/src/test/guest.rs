//! The guest cases of `tests/cases.toml`, or of a list like it, under each policy: a case for each build, and one for each boot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::case::{Case, Group, Outcome};
use super::damage;
use super::images::{Images, Key, last_part};
use super::judge::judge;
use super::manifest::{GuestCase, Kind, Names, parse};
use super::properties::Properties;
use crate::arch::Arch;
use crate::build::{Image, kind};
use crate::cli::{Profile, Selected};
use crate::exit;
use crate::parallel::{self, CPU};
use crate::policy::Policy;
use crate::project::Project;
use crate::qemu::{Ending, Guest, Run};

/// How long a build may take, as it is shown; cargo itself is not stopped.
const BUILD: Duration = Duration::from_secs(900);
/// The longest time-out of what is short, in seconds.
const SHORT: u32 = 120;

/// Where guests run: the lists of the command line.
pub struct Lists {
    /// Architectures.
    pub archs: Vec<Arch>,
    /// Policies.
    pub policies: Vec<Policy>,
    /// Profiles.
    pub profiles: Vec<Profile>,
    /// Whether every case runs in an image that checks its own invariants, not just those that ask for it.
    pub audit: bool,
    /// Numbers of CPUs, for cases that are not about a number of their own; empty: one.
    pub smp: Vec<u8>,
    /// Machine types; empty: what each case needs.
    pub machines: Vec<Selected>,
    /// CPU models; empty: what each case needs.
    pub cpus: Vec<Selected>,
    /// Whether the cases that have a long form take it.
    pub soak: bool,
    /// The list of cases, if not the project's own.
    pub cases: Option<PathBuf>,
}

/// Makes the cases; also those of `more` builds, of images that something else boots.
///
/// # Errors
///
/// When the list of cases cannot be read or is wrong (121).
pub fn cases(
    project: &Project,
    lists: &Lists,
    all: &[Policy],
    images: &Arc<Images>,
    more: Vec<Key>,
) -> Result<Vec<Case>> {
    let mut described = described(project, all, lists.cases.as_deref())?;
    if lists.soak {
        described = described.into_iter().map(GuestCase::soaked).collect();
    }
    let mut builds = Vec::new();
    let mut boots = Vec::new();
    let mut seen = BTreeSet::new();
    for (case, key, arch) in combinations(&described, lists) {
        if seen.insert(key.clone()) {
            builds.push(build(images, key.clone()));
        }
        for machine in machines(case, lists) {
            boots.push(boot(project, images, case.clone(), key.clone(), arch, machine));
        }
    }
    builds.extend(more.into_iter().filter(|key| seen.insert(key.clone())).map(|key| build(images, key)));
    builds.extend(boots);
    Ok(builds)
}

/// The project's own list of cases.
const CASES: &str = "tests/cases.toml";

/// Reads a list of cases; the project's own without a name.
///
/// # Errors
///
/// As [`cases`].
pub fn described(project: &Project, all: &[Policy], file: Option<&Path>) -> Result<Vec<GuestCase>> {
    let (name, path) = match file {
        Some(file) => (file.display().to_string(), file.to_owned()),
        None => (CASES.to_owned(), project.root().join(CASES)),
    };
    let text = std::fs::read_to_string(&path).map_err(|error| exit::usage(format!("cannot read {name}: {error}")))?;
    let mut described = parse(&name, &text)?;
    let properties = Properties::read(project, all)?;
    for case in &mut described {
        let wrong = |what| exit::usage(format!("{name}: case `{}`: {what}", case.name));
        known(case).map_err(wrong)?;
        case.policies = Some(properties.resolve(case.policies.as_ref()).map_err(wrong)?);
    }
    Ok(described)
}

/// Checks that a case names architectures that exist.
fn known(case: &GuestCase) -> Result<(), String> {
    if let Names::These(names) = &case.archs
        && let Some(name) = names.iter().find(|name| Arch::EXISTING.iter().all(|arch| arch.name() != name.as_str()))
    {
        return Err(format!("`archs`: {name}: known: {}", Arch::existing_names()));
    }
    Ok(())
}

/// Every case with every build that it is asked for.
fn combinations<'a>(described: &'a [GuestCase], lists: &Lists) -> Vec<(&'a GuestCase, Key, Arch)> {
    let mut found = Vec::new();
    for arch in &lists.archs {
        for policy in &lists.policies {
            for (at, profile) in lists.profiles.iter().enumerate() {
                // A case that names its profile is meant once, whatever the list says.
                let meant = |case: &&GuestCase| {
                    let once = case.profile.is_none() || at == 0;
                    once && case.archs.contain(arch.name()) && case.runs_under(policy.name())
                };
                let key = |case: &GuestCase| Key {
                    package: case.package.clone(),
                    bin: case.bin.clone(),
                    policy: policy.clone(),
                    audit: lists.audit || case.audit,
                    arch: arch.name(),
                    profile: case.profile.unwrap_or(*profile),
                    loader: case.loader.clone(),
                };
                found.extend(described.iter().filter(meant).map(|case| (case, key(case), *arch)));
            }
        }
    }
    found
}

/// A machine to boot on, and what tells it from the case's own in names.
#[derive(Clone)]
pub struct Machine {
    smp: u8,
    /// How many of its CPUs share one of the host's: the case's time-out is so many times as long.
    sharing: u32,
    machine: Option<Selected>,
    cpu: Selected,
    suffix: String,
}

impl Machine {
    /// A case's own.
    pub fn of(case: &GuestCase) -> Self {
        let machine = case.machine.clone().map(Selected::new);
        let smp = case.smp.unwrap_or(1);
        // Its time-out is that of this many.
        Self { smp, sharing: 1, machine, cpu: Selected::new(&*case.cpu), suffix: String::new() }
    }

    /// When a boot of a case is given up there.
    fn timeout(&self, case: &GuestCase) -> Duration {
        Duration::from_secs(case.timeout_seconds.into()) * self.sharing
    }
}

/// The machines of a case: its own, or what the command line names instead. A case that is about a number of CPUs keeps it.
fn machines(case: &GuestCase, lists: &Lists) -> Vec<Machine> {
    let one_of = |list: &[Selected], own: Option<Selected>| match list {
        [] => vec![(own, String::new())],
        named => named.iter().map(|one| (Some(one.clone()), format!("::{one}"))).collect(),
    };
    let host = parallel::host();
    let smps = match (case.smp, &lists.smp[..]) {
        (Some(own), _) => vec![(own, 1, String::new())],
        (None, []) => vec![(1, 1, String::new())],
        (None, named) => named.iter().map(|count| (*count, sharing(*count, host), format!("::smp{count}"))).collect(),
    };
    let mut found = Vec::new();
    for (smp, sharing, smp_name) in smps {
        for (machine, machine_name) in one_of(&lists.machines, case.machine.clone().map(Selected::new)) {
            for (cpu, cpu_name) in one_of(&lists.cpus, Some(Selected::new(&*case.cpu))) {
                let cpu = cpu.unwrap_or_else(|| Selected::new(&*case.cpu));
                let suffix = format!("{smp_name}{machine_name}{cpu_name}");
                found.push(Machine { smp, sharing, machine: machine.clone(), cpu, suffix });
            }
        }
    }
    found
}

/// How many of a guest's CPUs share one of the host's. One that waits for another, as for the answer to a shootdown, takes that one's
/// time meanwhile.
fn sharing(smp: u8, host: usize) -> u32 {
    u32::from(smp).div_ceil(u32::try_from(host).unwrap_or(u32::MAX))
}

/// How much of the host a guest keeps busy. With one CPU it sleeps half of its time; several wait for each other in loops; when
/// instructions are counted they take turns on one of the host's, which never rests. An end with a short time-out is about what is
/// over as soon as it has booted, and it is one CPU that boots.
fn load(smp: u8, case: &GuestCase) -> usize {
    match smp {
        _ if case.icount => CPU,
        1 => CPU / 2,
        _ if case.kind == Kind::End && case.timeout_seconds <= SHORT => CPU,
        several => CPU * usize::from(several),
    }
}

/// The part of a name that says what was built.
fn built_name(key: &Key) -> String {
    let profile = if key.profile == Profile::Release { String::new() } else { format!("::{}", key.profile) };
    format!("{}::{}{profile}", key.arch, kind(key.policy.name(), key.audit))
}

/// The case of one build.
fn build(images: &Arc<Images>, key: Key) -> Case {
    let images = Arc::clone(images);
    let (name, fills) = (build_name(&key), Some(key.arch));
    let run = move || {
        let error = images.get(&key)?.err();
        Ok(vec![Outcome::of(error.is_none(), error.unwrap_or_default())])
    };
    Case { fills, ..Case::new(name, Group::Build, BUILD, run) }
}

/// What the build of an image is called.
fn build_name(key: &Key) -> String {
    let loader = key.loader.as_deref().map(last_part);
    let loader = loader.map(|name| format!("+{name}")).unwrap_or_default();
    let program = key.bin.as_deref().unwrap_or(last_part(&key.package));
    format!("build::{}::{program}{loader}", built_name(key))
}

/// The case of one boot.
fn boot(project: &Project, images: &Arc<Images>, case: GuestCase, key: Key, arch: Arch, machine: Machine) -> Case {
    let (project, images) = (project.clone(), Arc::clone(images));
    let name = format!("guest::{}::{}{}", built_name(&key), case.name, machine.suffix);
    let boots = if case.kind == Kind::Damaged { damage::count() } else { 1 };
    let limit = machine.timeout(&case) * boots;
    let after = Some(build_name(&key));
    let load = load(machine.smp, &case);
    let run = move || {
        let image = match images.get(&key)? {
            Ok(image) => image,
            Err(_) => return Ok(vec![Outcome::failed("", "its image could not be built")]),
        };
        let boot =
            |image: &Image, label: &str| Ok(boot_once(&project, &case, &key, arch, &machine, image, label)?.outcomes);
        match case.kind {
            Kind::Damaged => damage::boots(&images, &image, boot),
            Kind::Suite | Kind::End => boot(&image, &case.name),
        }
    };
    Case { after, load, ..Case::new(name, Group::Guest, limit, run) }
}

/// How a boot ended, and what its tests came to.
pub struct Booted {
    /// How the guest ended.
    pub ending: Ending,
    /// Its tests.
    pub outcomes: Vec<Outcome>,
}

/// Boots an image of a case and judges the run.
///
/// # Errors
///
/// When QEMU is missing (122), or at an interruption (130).
pub fn boot_once(
    project: &Project,
    case: &GuestCase,
    key: &Key,
    arch: Arch,
    machine: &Machine,
    image: &Image,
    label: &str,
) -> Result<Booted> {
    let guest = Guest {
        words: shlex::split(&case.args).unwrap_or_default(),
        machine: machine.machine.clone(),
        cpu: machine.cpu.clone(),
        memory: case.memory.clone(),
        smp: machine.smp,
        counted: case.icount,
        extra: case.qemu.clone(),
        ..Guest::new(arch, &image.bootable)
    };
    let label = format!("test-{label}-{}", kind(key.policy.name(), key.audit));
    let report = Run { project, guest: &guest, label: &label, timeout: Some(machine.timeout(case)) }.quiet()?;
    if report.ending == Ending::Interrupted {
        return Err(exit::interrupted());
    }
    let outcomes = judge(case, key.policy.name(), &report, &image.debug);
    Ok(Booted { ending: report.ending, outcomes })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Lists, load, machines, sharing};
    use crate::test::manifest::parse;

    #[test]
    fn what_keeps_the_host_busy_has_it() {
        let text = "[[case]]\nname = \"any\"\npackage = \"hello\"\n";
        let case = |more: &str| parse("cases.toml", &format!("{text}{more}")).expect("a case").remove(0);
        let (suite, end) = (case("kind = \"suite\"\n"), case("kind = \"end\"\n"));
        let (long, counted) =
            (case("kind = \"end\"\ntimeout_seconds = 240\n"), case("kind = \"suite\"\nicount = true\n"));
        let loads = |smp| [&suite, &end, &long, &counted].map(|case| load(smp, case));
        assert_eq!(loads(1), [1, 1, 1, 2]);
        assert_eq!(loads(4), [8, 2, 8, 2]);
    }

    #[test]
    fn cpus_that_share_the_hosts_have_more_time() {
        assert_eq!(
            [(1, 2), (2, 2), (3, 2), (8, 2), (8, 16), (16, 1)].map(|(smp, host)| sharing(smp, host)),
            [1, 1, 2, 4, 1, 16]
        );
        let text = "[[case]]\nname = \"any\"\npackage = \"hello\"\nkind = \"end\"\ntimeout_seconds = 10\n";
        let own = format!("{text}smp = 16\n");
        let smp = vec![1, 16];
        let (archs, policies, profiles) = (Vec::new(), Vec::new(), Vec::new());
        let (machines_named, cpus) = (Vec::new(), Vec::new());
        let lists = Lists {
            archs,
            policies,
            profiles,
            audit: false,
            smp,
            machines: machines_named,
            cpus,
            soak: false,
            cases: None,
        };
        let timeouts = |text: &str| {
            let case = &parse("cases.toml", text).expect("a case")[0];
            machines(case, &lists).iter().map(|machine| machine.timeout(case)).collect::<Vec<_>>()
        };
        let host = crate::parallel::host();
        assert_eq!(timeouts(text), [1, sharing(16, host)].map(|times| Duration::from_secs(10) * times));
        assert_eq!(timeouts(&own), [Duration::from_secs(10)], "the time-out of a case is that of its own number");
    }
}
