//! The kernel command line: words that start with `ebbtide.` are the kernel's, all others the app's.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering};

use log::LevelFilter;

use crate::audit;
use crate::cpu::MAX_CPUS;
use crate::stack::StackPolicy;

/// What the command line chose. Read where it acts, never on the switch path.
#[derive(Debug)]
pub struct Settings {
    log: AtomicU8,
    cache: AtomicUsize,
    is_strict: AtomicBool,
    max_cpus: AtomicUsize,
    survives_overflow: AtomicBool,
    delays: AtomicU32,
    reclaim_ms: AtomicU32,
    accessed: AtomicU16,
    reports_depth: AtomicBool,
    reports_chains: AtomicBool,
    top_ms: AtomicU32,
    acts_at_races: AtomicBool,
}

/// Whether threads may come to need more frames for their stacks than there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// They may.
    Overcommit,
    /// A spawn fails that would make that possible, and the heap gets none of what the living threads may need.
    Strict,
}

/// The keys that exist, for the message about one that does not.
const KNOWN: &str = "ebbtide.log=error|warn|info|debug|trace, ebbtide.cache=FRAMES (16 to 128), \
                     ebbtide.admission=overcommit|strict, ebbtide.maxcpus=N (1 to 16), ebbtide.overflow=halt|survive, \
                     with audit ebbtide.delays, .fault, .report, .seed, .top";

macro_rules! known_to_audits {
    () => {
        ": ebbtide.delays=SEED, ebbtide.fault=alloc:N|alloc-every:N|cache-cap:N|drain:N|ipi-delay:N|deep-sleep, ebbtide.report=depth|chains, \
         ebbtide.seed=SEED, ebbtide.top=MS (1 to 3600000)"
    };
}

/// Those that are a policy's own.
const fn known_under<P: StackPolicy>() -> &'static str {
    if P::READS_ACCESSED_BITS {
        ", ebbtide.accessed=SWITCHES (0 to 65535)"
    } else if P::SWEEPS {
        ", ebbtide.reclaim=MS (1 to 3600000)"
    } else {
        ""
    }
}

/// The same in a build that audits, with the values of what only such a one takes.
const fn known_to_audits<P: StackPolicy>() -> &'static str {
    if P::READS_ACCESSED_BITS {
        concat!(known_to_audits!(), ", ebbtide.accessed=SWITCHES (0 to 65535)")
    } else if P::SWEEPS {
        concat!(known_to_audits!(), ", ebbtide.reclaim=MS (1 to 3600000)")
    } else {
        known_to_audits!()
    }
}

/// Why a build that does not audit refuses a word that others take.
const FOR_AUDITS: &str = "is for images that audit themselves; build this one with `--audit`";

/// A word of the command line that the kernel does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongWord<'a> {
    /// It means nothing.
    Unknown {
        /// The word.
        word: &'a str,
        /// What the policy knows beside what all do.
        also_known: &'static str,
    },
    /// It says something that cannot be, here or at all.
    NotTaken {
        /// The word, or a part of it.
        what: &'a str,
        /// What is wrong with that, and what would be right.
        why: &'static str,
    },
}

impl fmt::Display for WrongWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { word, also_known } => {
                write!(f, "the kernel does not know `{word}`; it knows {KNOWN}{also_known}")
            }
            Self::NotTaken { what, why } => write!(f, "`{what}` {why}"),
        }
    }
}

impl Settings {
    /// Smallest bound of a stack cache: the most frames that one thread may lack.
    pub const MIN_CACHE: usize = 16;

    /// Largest bound of a stack cache.
    pub const MAX_CACHE: usize = 128;

    /// Longest time between two sweeps of the reclaimer, or two looks at the machine, in milliseconds.
    pub const MAX_MS: u32 = 3_600_000;

    /// Creates settings that are not the defaults yet: all zeros, see [`Kernel::new`](crate::kernel::Kernel::new).
    pub(crate) const fn unset() -> Self {
        Self {
            log: AtomicU8::new(0),
            cache: AtomicUsize::new(0),
            is_strict: AtomicBool::new(false),
            max_cpus: AtomicUsize::new(0),
            survives_overflow: AtomicBool::new(false),
            delays: AtomicU32::new(0),
            reclaim_ms: AtomicU32::new(0),
            accessed: AtomicU16::new(0),
            reports_depth: AtomicBool::new(false),
            reports_chains: AtomicBool::new(false),
            top_ms: AtomicU32::new(0),
            acts_at_races: AtomicBool::new(false),
        }
    }

    /// Sets those whose default is not zero.
    pub(crate) fn set_defaults(&self) {
        self.log.store(LevelFilter::Warn as u8, Ordering::Relaxed);
        self.cache.store(64, Ordering::Relaxed);
        self.max_cpus.store(MAX_CPUS, Ordering::Relaxed);
        self.reclaim_ms.store(100, Ordering::Relaxed);
    }

    /// Takes the kernel's words from a command line. Policy `P` may have words of its own, and so may a build that `audits` itself.
    ///
    /// # Errors
    ///
    /// The first word that is unknown or has an unknown value, or that this build does not take.
    pub fn read<'a, P: StackPolicy>(&self, command_line: &'a str, audits: bool) -> Result<(), WrongWord<'a>> {
        words(command_line).filter(|word| is_kernels(word)).try_for_each(|word| self.set::<P>(word, audits))?;
        // As a whole: what one word asks for, another must not.
        if audits { audit::faults::check(command_line) } else { Ok(()) }
    }

    fn set<'a, P: StackPolicy>(&self, word: &'a str, audits: bool) -> Result<(), WrongWord<'a>> {
        let also_known = if audits { known_to_audits::<P>() } else { known_under::<P>() };
        let unknown = WrongWord::Unknown { word, also_known };
        let (key, value) = word.split_once('=').ok_or(unknown)?;
        match key {
            "ebbtide.log" => {
                let level = level(value).ok_or(unknown)?;
                self.log.store(level as u8, Ordering::Relaxed);
            }
            "ebbtide.cache" => {
                let frames: usize = value.parse().map_err(|_| unknown)?;
                if !(Self::MIN_CACHE..=Self::MAX_CACHE).contains(&frames) {
                    return Err(unknown);
                }
                self.cache.store(frames, Ordering::Relaxed);
            }
            "ebbtide.admission" => {
                let is_strict = match value {
                    "overcommit" => false,
                    "strict" => true,
                    _ => return Err(unknown),
                };
                self.is_strict.store(is_strict, Ordering::Relaxed);
            }
            "ebbtide.maxcpus" => {
                let cpus: usize = value.parse().map_err(|_| unknown)?;
                if !(1..=MAX_CPUS).contains(&cpus) {
                    return Err(unknown);
                }
                self.max_cpus.store(cpus, Ordering::Relaxed);
            }
            "ebbtide.overflow" => {
                let survives = match value {
                    "halt" => false,
                    "survive" => true,
                    _ => return Err(unknown),
                };
                self.survives_overflow.store(survives, Ordering::Relaxed);
            }
            "ebbtide.delays" | "ebbtide.fault" | "ebbtide.report" | "ebbtide.seed" if !audits => {
                return Err(WrongWord::NotTaken { what: key, why: FOR_AUDITS });
            }
            // All of them are looked at together.
            "ebbtide.fault" | "ebbtide.seed" => {}
            "ebbtide.report" if value == "depth" => self.reports_depth.store(true, Ordering::Relaxed),
            "ebbtide.report" if value == "chains" => {
                self.reports_chains.store(true, Ordering::Relaxed);
                self.acts_at_races.store(true, Ordering::Relaxed);
            }
            "ebbtide.delays" => {
                let seed = value.parse().map_err(|_| unknown)?;
                self.delays.store(seed, Ordering::Relaxed);
                self.acts_at_races.store(true, Ordering::Relaxed);
            }
            "ebbtide.top" if audits => self.top_ms.store(milliseconds(value).ok_or(unknown)?, Ordering::Relaxed),
            "ebbtide.reclaim" if P::SWEEPS => {
                self.reclaim_ms.store(milliseconds(value).ok_or(unknown)?, Ordering::Relaxed);
            }
            "ebbtide.accessed" if P::READS_ACCESSED_BITS => {
                let period = value.parse().map_err(|_| unknown)?;
                self.accessed.store(period, Ordering::Relaxed);
            }
            _ => return Err(unknown),
        }
        Ok(())
    }

    /// The most detailed log level that is written.
    pub fn log(&self) -> LevelFilter {
        let level = self.log.load(Ordering::Relaxed);
        LevelFilter::iter().find(|l| *l as u8 == level).unwrap_or(LevelFilter::Warn)
    }

    /// The seed of the delays at points where CPUs race, in a build with the feature `audit`; 0: there are none.
    pub fn delays(&self) -> u32 {
        self.delays.load(Ordering::Relaxed)
    }

    /// Whether the run ends with a report of how deep its threads went on their stacks, in a build with the feature `audit`.
    pub fn reports_depth(&self) -> bool {
        self.reports_depth.load(Ordering::Relaxed)
    }

    /// Whether the run ends with a report of where its stacks went, in a build with the feature `audit`.
    pub fn reports_chains(&self) -> bool {
        self.reports_chains.load(Ordering::Relaxed)
    }

    /// Whether there is something to do at points where CPUs race: one question where there mostly is nothing.
    pub(crate) fn acts_at_races(&self) -> bool {
        self.acts_at_races.load(Ordering::Relaxed)
    }

    /// The time between two looks at the whole machine, in milliseconds, in a build with the feature `audit`; 0: nobody looks.
    pub fn top_ms(&self) -> u32 {
        self.top_ms.load(Ordering::Relaxed)
    }

    /// After how many switches away from a thread it is forgotten which pages it has accessed, under a policy that asks; 0: never.
    /// The thread's stack counts them, so that this is not looked at each time.
    pub fn accessed(&self) -> u16 {
        self.accessed.load(Ordering::Relaxed)
    }

    /// Whether threads may come to need more frames than there are.
    pub fn admission(&self) -> Admission {
        if self.is_strict.load(Ordering::Relaxed) { Admission::Strict } else { Admission::Overcommit }
    }

    /// The time between two sweeps of the reclaimer, in nanoseconds.
    pub fn reclaim_ns(&self) -> u64 {
        u64::from(self.reclaim_ms.load(Ordering::Relaxed)) * 1_000_000
    }

    /// How many CPUs run when the app's `main` begins, at most; it may start the others.
    pub fn max_cpus(&self) -> usize {
        self.max_cpus.load(Ordering::Relaxed)
    }

    /// Whether a thread goes on that has overflown its stack once.
    pub fn survives_overflow(&self) -> bool {
        self.survives_overflow.load(Ordering::Relaxed)
    }

    /// The bound of a CPU's stack cache, in frames.
    pub fn cache(&self) -> usize {
        self.cache.load(Ordering::Relaxed)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let settings = Self::unset();
        settings.set_defaults();
        settings
    }
}

fn milliseconds(text: &str) -> Option<u32> {
    text.parse().ok().filter(|ms| (1..=Settings::MAX_MS).contains(ms))
}

fn level(name: &str) -> Option<LevelFilter> {
    Some(match name {
        "error" => LevelFilter::Error,
        "warn" => LevelFilter::Warn,
        "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        "trace" => LevelFilter::Trace,
        _ => return None,
    })
}

/// The words of a command line as they stand, quotes and backslashes included: white space ends a word, unless it is
/// quoted as for a shell.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line.trim_ascii_start();
    core::iter::from_fn(move || {
        let mut quote = None;
        let mut escaped = false;
        let end = rest.find(|character: char| {
            match (quote, character) {
                _ if escaped => escaped = false,
                (None | Some('"'), '\\') => escaped = true,
                (None, '"' | '\'') => quote = Some(character),
                (Some(open), close) if open == close => quote = None,
                (None, white) => return white.is_ascii_whitespace(),
                _ => {}
            }
            false
        });
        let (word, others) = end.and_then(|end| rest.split_at_checked(end)).unwrap_or((rest, ""));
        rest = others.trim_ascii_start();
        (!word.is_empty()).then_some(word)
    })
}

/// Says whether a word of the command line, as it stands there, is the kernel's: a quoted one is the app's.
pub fn is_kernels(word: &str) -> bool {
    word.starts_with("ebbtide.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::tests::Unasked;
    use crate::stack::{NewStack, NoFrame};

    /// A policy with a reclaimer.
    struct Reclaims;

    impl StackPolicy for Reclaims {
        const NAME: &'static str = "test";
        const SWEEPS: bool = true;

        fn on_spawn(_: &mut NewStack<'_>) -> Result<(), NoFrame> {
            Err(NoFrame)
        }
    }

    #[test]
    fn takes_its_own_words_and_leaves_the_apps() {
        let settings = Settings::default();
        settings
            .read::<Unasked>(
                "one ebbtide.log=debug two=2 ebbtide.cache=32 ebbtide.admission=strict ebbtide.maxcpus=2 \
                   ebbtide.overflow=survive",
                false,
            )
            .unwrap();
        assert_eq!(settings.log(), LevelFilter::Debug);
        assert_eq!(settings.cache(), 32);
        assert_eq!(settings.admission(), Admission::Strict);
        assert_eq!(settings.max_cpus(), 2);
        assert!(settings.survives_overflow() && !Settings::default().survives_overflow());
    }

    #[test]
    fn only_a_policy_with_a_reclaimer_knows_of_its_time() {
        let settings = Settings::default();
        assert_eq!(settings.reclaim_ns(), 100_000_000);
        settings.read::<Reclaims>("ebbtide.reclaim=7", false).unwrap();
        assert_eq!(settings.reclaim_ns(), 7_000_000);
        let error = settings.read::<Unasked>("ebbtide.reclaim=7", false).unwrap_err().to_string();
        assert!(error.contains("does not know `ebbtide.reclaim=7`") && !error.contains("reclaim=MS"), "{error}");
        let error = settings.read::<Reclaims>("ebbtide.reclaim=x", false).unwrap_err().to_string();
        assert!(error.contains("ebbtide.reclaim=MS (1 to 3600000)"), "{error}");
    }

    #[test]
    fn only_a_build_that_audits_takes_what_only_that_can_do() {
        let settings = Settings::default();
        settings.read::<Unasked>("ebbtide.delays=7 ebbtide.report=depth ebbtide.top=20", true).unwrap();
        assert_eq!((settings.top_ms(), settings.reports_chains()), (20, false));
        assert!(settings.delays() == 7 && settings.reports_depth() && !Settings::default().reports_depth());
        settings
            .read::<Unasked>("ebbtide.fault=alloc:3,deep-sleep ebbtide.fault=drain:1 ebbtide.seed=3", true)
            .unwrap();
        for (word, key) in [
            ("ebbtide.delays=7", "ebbtide.delays"),
            ("ebbtide.report=depth", "ebbtide.report"),
            ("ebbtide.fault=alloc:1", "ebbtide.fault"),
            ("ebbtide.seed=3", "ebbtide.seed"),
        ] {
            let error = settings.read::<Unasked>(word, false).unwrap_err().to_string();
            assert_eq!(
                error,
                std::format!("`{key}` is for images that audit themselves; build this one with `--audit`")
            );
        }
    }

    #[test]
    fn another_build_does_not_know_how_to_look_on_and_says_which_does() {
        let error = Settings::default().read::<Unasked>("ebbtide.top=3", false).unwrap_err().to_string();
        assert!(error.contains("does not know `ebbtide.top=3`"), "{error}");
        assert!(error.contains("with audit ebbtide.delays, .fault, .report, .seed, .top"), "{error}");
    }

    #[test]
    fn a_quoted_word_is_the_apps_whatever_it_says() {
        let line = r#"  "hello ebbtide.lag=1" 'ebbtide.lag=2'  a\ ebbtide.lag=3 ebbtide.log=info "#;
        let words: std::vec::Vec<_> = words(line).collect();
        assert_eq!(words, [r#""hello ebbtide.lag=1""#, "'ebbtide.lag=2'", r"a\ ebbtide.lag=3", "ebbtide.log=info"]);
        let settings = Settings::default();
        settings.read::<Unasked>(line, false).unwrap();
        assert_eq!(settings.log(), LevelFilter::Info);
    }

    #[test]
    fn refuses_unknown_keys_and_values_and_names_the_known_ones() {
        for word in [
            "ebbtide.lag=warn",
            "ebbtide.log=loud",
            "ebbtide.log",
            "ebbtide.cache=15",
            "ebbtide.cache=x",
            "ebbtide.admission=no",
            "ebbtide.maxcpus=0",
            "ebbtide.maxcpus=17",
            "ebbtide.reclaim=0",
            "ebbtide.reclaim=3600001",
            "ebbtide.overflow=grow",
            "ebbtide.report=width",
            "ebbtide.delays=x",
            "ebbtide.top=0",
            "ebbtide.fault",
            "ebbtide.faults=alloc:1",
        ] {
            let error = Settings::default().read::<Unasked>(word, true).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("ebbtide.log=error|warn"), "{error}");
        }
    }
}
