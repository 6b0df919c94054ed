//! Which faults the command line asks for: `ebbtide.fault=KIND:N,KIND:N,…`, in one word or several, and `ebbtide.seed=SEED`.

use core::num::NonZeroU64;

use crate::memory::frames::Refusal;
use crate::settings::{Settings, WrongWord, is_kernels, words};

/// What is to go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Frames that are refused though some are free.
    pub refusal: Refusal,
    /// The most frames in a stack cache, whatever `ebbtide.cache` says.
    pub cache_cap: Option<usize>,
    /// Every so many-th switch drains the cache of its CPU.
    pub drain: Option<NonZeroU64>,
    /// For so many turns at most an interrupt from another CPU is left unanswered.
    pub ipi_delay: Option<u32>,
    /// Threads go deep before they sleep.
    pub deep_sleep: bool,
    /// What draws by lot begin with.
    pub seed: u32,
}

/// Longest delay of an answer, in turns: the other CPU waits for it meanwhile.
const MOST_TURNS: u64 = 100_000;

const NO_FAULT: &str = "is no fault that can be asked for; those are alloc:N, or alloc-every:N (2 or more); cache-cap:N (1 to 128), \
                        drain:N, ipi-delay:N (1 to 100000) and deep-sleep, several with commas between them";

const TWICE: &str =
    "asks for a fault of which one was asked for before; each can be asked for once, and one of alloc and alloc-every";

const NO_SEED: &str = "has no seed that can be used; a seed is a number of 0 to 4294967295";

impl Wanted {
    /// What the words of a command line ask for. Others are left alone.
    ///
    /// # Errors
    ///
    /// The first fault that is none, or was asked for before; the last word of a seed that is none.
    pub fn read(command_line: &str) -> Result<Self, WrongWord<'_>> {
        let mut wanted = Self::default();
        for word in words(command_line).filter(|word| is_kernels(word)) {
            match word.split_once('=') {
                Some(("ebbtide.fault", faults)) => faults.split(',').try_for_each(|fault| wanted.add(fault))?,
                Some(("ebbtide.seed", seed)) => {
                    wanted.seed = seed.parse().map_err(|_| WrongWord::NotTaken { what: word, why: NO_SEED })?;
                }
                _ => {}
            }
        }
        Ok(wanted)
    }

    fn add<'a>(&mut self, fault: &'a str) -> Result<(), WrongWord<'a>> {
        let none = WrongWord::NotTaken { what: fault, why: NO_FAULT };
        let (kind, number) = fault.split_once(':').map_or((fault, None), |(kind, number)| (kind, Some(number)));
        let within = |least: u64, most: u64| {
            let number = number.and_then(|number| number.parse().ok());
            number.filter(|number| (least..=most).contains(number)).and_then(NonZeroU64::new).ok_or(none)
        };
        let was_asked_for = match kind {
            "alloc" => self.refuse(Refusal::Nth(within(1, u64::MAX)?)),
            // With the first of all, no thread would ever get a frame.
            "alloc-every" => self.refuse(Refusal::Every(within(2, u64::MAX)?)),
            // With none at all, no thread would either.
            "cache-cap" => {
                let cap = within(1, Settings::MAX_CACHE as u64)?;
                self.cache_cap.replace(cap.get() as usize).is_some()
            }
            "drain" => self.drain.replace(within(1, u64::MAX)?).is_some(),
            "ipi-delay" => self.ipi_delay.replace(within(1, MOST_TURNS)?.get() as u32).is_some(),
            "deep-sleep" if number.is_none() => core::mem::replace(&mut self.deep_sleep, true),
            _ => return Err(none),
        };
        if was_asked_for { Err(WrongWord::NotTaken { what: fault, why: TWICE }) } else { Ok(()) }
    }

    fn refuse(&mut self, refusal: Refusal) -> bool {
        core::mem::replace(&mut self.refusal, refusal) != Refusal::Never
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn number(number: u64) -> NonZeroU64 {
        NonZeroU64::new(number).unwrap()
    }

    #[test]
    fn several_faults_come_in_one_word_or_in_many() {
        let all = Wanted {
            refusal: Refusal::Every(number(7)),
            cache_cap: Some(1),
            drain: Some(number(3)),
            ipi_delay: Some(100_000),
            deep_sleep: true,
            seed: 9,
        };
        let one = "app ebbtide.fault=alloc-every:7,cache-cap:1,drain:3,ipi-delay:100000,deep-sleep ebbtide.seed=9";
        let many = "ebbtide.fault=deep-sleep ebbtide.seed=9 ebbtide.fault=ipi-delay:100000,drain:3 fault=alloc:1 \
                    ebbtide.fault=cache-cap:1 ebbtide.fault=alloc-every:7";
        assert_eq!((Wanted::read(one), Wanted::read(many)), (Ok(all), Ok(all)));
        let single = Wanted { refusal: Refusal::Nth(number(1)), ..Wanted::default() };
        assert_eq!(Wanted::read("ebbtide.fault=alloc:1"), Ok(single));
        assert_eq!(Wanted::read("ebbtide.log=info 'ebbtide.fault=x'"), Ok(Wanted::default()));
    }

    #[test]
    fn what_is_no_fault_is_named_with_those_that_are() {
        for fault in [
            "",
            "alloc",
            "alloc:",
            "alloc:0",
            "alloc:x",
            "alloc-every:1",
            "cache-cap:0",
            "cache-cap:129",
            "drain:0",
            "drain:-1",
            "ipi-delay:0",
            "ipi-delay:100001",
            "deep-sleep:3",
            "deep",
        ] {
            let line = std::format!("ebbtide.fault=alloc:3,{fault},drain:2");
            let error = Wanted::read(&line).unwrap_err().to_string();
            assert!(error.starts_with(&std::format!("`{fault}` is no fault that can be asked for")), "{error}");
            assert!(error.contains("alloc-every:N (2 or more)") && error.contains("deep-sleep"), "{error}");
        }
    }

    #[test]
    fn each_is_asked_for_once() {
        for (line, again) in [
            ("ebbtide.fault=drain:2,drain:3", "drain:3"),
            ("ebbtide.fault=deep-sleep a ebbtide.fault=deep-sleep", "deep-sleep"),
            ("ebbtide.fault=alloc:1,alloc-every:2", "alloc-every:2"),
            ("ebbtide.fault=cache-cap:1 ebbtide.fault=alloc:2,cache-cap:1", "cache-cap:1"),
            ("ebbtide.fault=ipi-delay:1,ipi-delay:1", "ipi-delay:1"),
        ] {
            let error = Wanted::read(line).unwrap_err().to_string();
            assert!(
                error.starts_with(&std::format!("`{again}` asks for a fault of which one was asked for before")),
                "{error}"
            );
        }
        let error = Wanted::read("ebbtide.seed=-1").unwrap_err().to_string();
        assert!(error.starts_with("`ebbtide.seed=-1` has no seed"), "{error}");
    }
}
