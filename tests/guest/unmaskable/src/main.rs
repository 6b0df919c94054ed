//! One CPU makes system calls, another one interrupts it all the time in a way that nothing masks, until each instruction with which
//! a call enters and leaves the kernel has been interrupted: without a stack, with the user's GS base, in either view.
//!
//! QEMU takes interrupts between instructions only if it translates them one by one (`-singlestep`).
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ebbtide::thread::{self, CpuSet};
use ebbtide::{hint, println, provoke, user};
use iced_x86::{Decoder, DecoderOptions};

ebbtide::main!(main);

/// Calls between two looks.
const CALLS: u64 = 50;

/// Looks of one thread.
const LOOKS: u64 = 20;

/// Most threads, one after the other.
const THREADS: u64 = 10_000;

/// Each of them keeps what it computes with in registers and on the stack.
fn calls(seed: u64) -> u64 {
    let mut sum = seed;
    for call in 0..CALLS {
        sum = sum.rotate_left(7) ^ user::raw_call(user::Call::Id as u64, [0; 5]).map_or(u64::MAX, |_| call);
    }
    sum
}

/// The same, without the kernel.
fn expected(seed: u64) -> u64 {
    (0..CALLS).fold(seed, |sum, call| sum.rotate_left(7) ^ call)
}

/// How often the two agree.
fn all_calls(seed: u64) -> u64 {
    for look in 0..LOOKS {
        if calls(seed + look) != expected(seed + look) {
            return look;
        }
    }
    LOOKS
}

fn main() -> Result<(), String> {
    let code = provoke::system_call_code().ok_or("everything can be masked here")?;
    let instructions: Vec<_> = Decoder::new(64, code, DecoderOptions::NONE).into_iter().map(|one| one.ip()).collect();
    thread::set_affinity(CpuSet::only(0)).map_err(|error| format!("{error}"))?;
    let on = CpuSet::only(1);
    let missing = || instructions.iter().filter(|at| !provoke::was_interrupted_at(**at as usize)).count();
    let mut sent = provoke::unmaskable_interrupts();
    for thread in 0..THREADS {
        let caller = user::Builder::new().affinity(on).map_err(|error| format!("{error}"))?;
        let caller = caller.spawn(all_calls, thread).map_err(|error| format!("{error}"))?;
        while !caller.is_finished() {
            provoke::send_unmaskable_interrupt(1);
            sent += 1;
            // Whoever is interrupted faster than that can be handled never makes a step.
            while provoke::unmaskable_interrupts() < sent {
                hint::spin_loop();
            }
            // At another point each time.
            for turn in 0..sent * 7919 % 97 {
                core::hint::black_box(turn);
            }
        }
        match caller.join() {
            Ok(LOOKS) => {}
            other => return Err(format!("a thread that made calls meanwhile: {other:?}")),
        }
        if missing() == 0 {
            break;
        }
    }
    if missing() > 0 {
        return Err(format!("{} of {} instructions were not interrupted", missing(), instructions.len()));
    }
    println!("each of the {} instructions was interrupted", instructions.len());
    Ok(())
}
