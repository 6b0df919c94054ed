//! Panics of what runs on the machine: they end the run, and unwind to where their thread began.

use std::panic;
use std::sync::Once;

use crate::machine::current_if_executing;
use crate::outcome::End;

/// Installs the hook, once for the process. Outside of a machine panics stay what they are.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if let Some(machine) = current_if_executing() {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                let message = info.payload_as_str().unwrap_or("a panic without a message");
                machine.end.borrow_mut().get_or_insert_with(|| End::Panicked(format!("{message} ({place})")));
                return;
            }
            previous(info);
        }));
    });
}
