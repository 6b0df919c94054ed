//! `log` on the console: time, CPU and thread in front.

use core::marker::PhantomData;

use log::{Log, Metadata, Record};

use crate::console;
use crate::cpu;
use crate::platform::Platform;
use crate::report;
use crate::system::System;

/// Writes log records to the console.
#[derive(Debug)]
pub struct Logger<S>(PhantomData<fn() -> S>);

impl<S: System> Logger<S> {
    const INSTANCE: &'static Self = &Self(PhantomData);

    /// Makes this the logger, with the level that the command line chose.
    pub(crate) fn install() {
        // It runs before `main`: an app cannot set another one.
        if log::set_logger(Self::INSTANCE).is_ok() {
            log::set_max_level(S::kernel().settings.log());
        }
    }
}

impl<S: System> Log for Logger<S> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = S::Platform::now();
        console::print::<S>(format_args!(
            "[{:5}.{:06} cpu {} {}] {:5} {}\n",
            now / 1_000_000_000,
            now / 1_000 % 1_000_000,
            cpu::this::<S>().number,
            report::InThread::<S>::new(),
            record.level(),
            record.args(),
        ));
    }

    fn flush(&self) {}
}
