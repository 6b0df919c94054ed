//! Threads in user mode: what ends them, what they cannot reach, and what they are refused.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};

use ebbtide::time::Instant;
use ebbtide::user::{self, Call, Error, Reason};
use ebbtide::{provoke, stack, thread};

use crate::harness::Outcome;
use crate::user::{joined, spawn};

tests![
    a_panic_ends_the_thread_with_its_message,
    a_static_that_is_written_is_out_of_reach,
    the_kernels_memory_is_out_of_reach,
    a_stack_overflow_in_user_mode_ends_the_thread,
    an_address_that_is_none_ends_the_thread,
    instructions_that_are_the_kernels_end_the_thread,
    what_the_kernel_gives_apps_is_out_of_reach,
    calls_refuse_what_makes_no_sense,
    too_much_is_refused,
];

/// The end of a thread that must not return.
fn ended(f: fn(u64) -> u64, argument: u64) -> Result<user::Ended, String> {
    match spawn(f, argument)?.join() {
        Err(ended) => Ok(ended),
        Ok(value) => Err(format!("it returned {value:#x}")),
    }
}

fn a_panic_ends_the_thread_with_its_message() -> Outcome {
    let ended = ended(|n| panic!("{n} fathoms are too deep"), 7)?;
    check_eq!(ended.reason, Reason::Panic, "why it ended");
    check!(ended.message.starts_with("7 fathoms are too deep at "), "its message: {}", ended.message);
    let long = spawn(|()| -> u8 { panic!("{}", "äöü".repeat(200)) }, ())?;
    let Err(ended) = long.join() else { return Err(String::from("it did not panic")) };
    check!((254..=256).contains(&ended.message.len()), "{} bytes of a long message", ended.message.len());
    Ok(())
}

static WRITTEN: AtomicU64 = AtomicU64::new(42);

fn a_static_that_is_written_is_out_of_reach() -> Outcome {
    let faults: [fn(u64) -> u64; 2] = [|_| WRITTEN.load(Ordering::Relaxed), |_| WRITTEN.swap(0, Ordering::Relaxed)];
    for fault in faults {
        let ended = ended(fault, 0)?;
        check_eq!(ended.reason, Reason::Fault, "why it ended");
        let address = format!("{:#x}", (&raw const WRITTEN).addr());
        check!(ended.message.contains("page fault") && ended.message.ends_with(&address), "its end: {}", ended.message);
    }
    check_eq!(WRITTEN.load(Ordering::Relaxed), 42, "the static");
    Ok(())
}

#[expect(unsafe_code, reason = "reads and writes where it must not")]
fn the_kernels_memory_is_out_of_reach() -> Outcome {
    let kept = Box::new(7_u64);
    let local = 8_u64;
    let heap = core::ptr::from_ref(&*kept).expose_provenance() as u64;
    let stack = core::ptr::from_ref(&local).expose_provenance() as u64;
    let text = ebbtide::process::exit as fn(i32) -> ! as usize as u64;
    let direct_map = 0xffff_8000_0010_0000;
    for address in [heap, stack, direct_map, 0, 8, 0x1000, 0xffff_ffff_ffff_fff8] {
        // SAFETY: it is not, and so it does not come back.
        let read = ended(|address| unsafe { (address as *const u64).read_volatile() }, address)?;
        check_eq!(read.reason, Reason::Fault, "reading {address:#x}");
    }
    for address in [heap, stack, direct_map, 0, text] {
        let write = ended(
            |address| {
                // SAFETY: as above.
                unsafe { (address as *mut u64).write_volatile(1) };
                0
            },
            address,
        )?;
        check_eq!(write.reason, Reason::Fault, "writing {address:#x}");
    }
    // SAFETY: the code of the image.
    let read = joined(spawn(|address: u64| unsafe { (address as *const u32).read_volatile() }, text)?)?;
    // SAFETY: as above.
    check_eq!(read, unsafe { (text as *const u32).read_volatile() }, "what user mode reads of the image's code");
    check_eq!((*kept, local), (7, 8), "what lies there");
    Ok(())
}

fn a_stack_overflow_in_user_mode_ends_the_thread() -> Outcome {
    #[expect(unconditional_recursion, reason = "it ends where the stack does")]
    fn deeper(depth: u64) -> u64 {
        let ballast = core::hint::black_box([depth; 64]);
        deeper(depth + 1) + ballast[0]
    }
    let ended = ended(deeper, 0)?;
    check!(ended.message.starts_with("stack overflow in user mode"), "its end: {}", ended.message);
    Ok(())
}

#[expect(unsafe_code, reason = "jumps where there is nothing")]
fn an_address_that_is_none_ends_the_thread() -> Outcome {
    // Nothing, the end of the lower half, no address at all, the kernel's half, a heap that cannot be executed.
    for address in [0, 0x7fff_ffff_f000, 0x0000_8000_0000_0000, 0xffff_a000_0000_0000, 0x4000_0000_0000] {
        // SAFETY: it is not, and so it does not come back.
        let ended =
            ended(|address| unsafe { core::mem::transmute::<usize, fn() -> u64>(address as usize)() }, address)?;
        check_eq!(ended.reason, Reason::Fault, "jumping to {address:#x}");
    }
    Ok(())
}

/// What user mode must not do, by name.
type Wrong = (&'static str, fn(u64) -> u64);

fn instructions_that_are_the_kernels_end_the_thread() -> Outcome {
    let instructions: [Wrong; 3] = [
        ("an instruction that does not exist", |_| provoke::undefined_instruction()),
        ("a register that is wider than what it has", |_| {
            provoke::touch_wide_register();
            0
        }),
        ("a breakpoint", |_| {
            provoke::breakpoint();
            0
        }),
    ];
    for (what, instruction) in instructions {
        check_eq!(ended(instruction, 0)?.reason, Reason::Fault, "{what}");
    }
    Ok(())
}

fn what_the_kernel_gives_apps_is_out_of_reach() -> Outcome {
    let calls: [Wrong; 5] = [
        ("yielding as a thread of the kernel", |_| {
            thread::yield_now();
            0
        }),
        ("spawning as a thread of the kernel", |_| {
            drop(thread::spawn(|| ()));
            0
        }),
        ("the console", |_| {
            ebbtide::println!("never seen");
            0
        }),
        ("the end of the run", |_| ebbtide::process::exit(0)),
        ("the clock", |_| Instant::now().elapsed().as_nanos() as u64),
    ];
    for (what, call) in calls {
        check_eq!(ended(call, 0)?.reason, Reason::Fault, "{what}");
    }
    Ok(())
}

fn calls_refuse_what_makes_no_sense() -> Outcome {
    let refused = joined(spawn(
        |()| {
            let number =
                |call: Call, a, b, c| user::raw_call(call as u64, [a, b, c, 0, 0]).err().map_or(0, |e| e as u64);
            let outside = [0, 0x3fff_ffff_fffc, 0x7fff_ffff_fff8, 0xffff_9000_0000_0000, u64::MAX - 7];
            let mut wrong = [0_u64; 8];
            wrong[0] =
                outside.into_iter().filter(|at| number(Call::Write, *at, 8, 0) != Error::BadAddress as u64).count()
                    as u64;
            wrong[1] = outside
                .into_iter()
                .filter(|at| number(Call::FutexWait, *at & !3, 0, 0) != Error::BadAddress as u64)
                .count() as u64;
            wrong[2] = number(Call::FutexWait, 0x4000_0000_0001, 0, 0) ^ Error::BadArgument as u64;
            wrong[3] = number(Call::Join, 5, 0, 0) ^ Error::NoSuchThread as u64;
            wrong[4] = number(Call::Unpark, u64::MAX, 0, 0) ^ Error::NoSuchThread as u64;
            let nowhere = [0x0000_8000_0000_0000, 0x7fff_ffff_f000, 0xffff_8000_0000_0000, u64::MAX];
            wrong[5] =
                nowhere.into_iter().filter(|at| number(Call::Spawn, *at, 0, 0) != Error::BadAddress as u64).count()
                    as u64;
            wrong[5] += number(Call::Memory, u64::MAX, 0, 0) ^ Error::NoMemory as u64;
            wrong[6] = number(Call::Panic, 0, u64::MAX, 0) ^ Error::BadArgument as u64;
            wrong[7] = user::raw_call(Call::ALL.len() as u64, [0; 5]).err().map_or(0, |e| e as u64)
                ^ Error::UnknownCall as u64;
            wrong
        },
        (),
    )?)?;
    check_eq!(refused, [0; 8], "calls that were not refused as they should be");
    Ok(())
}

fn too_much_is_refused() -> Outcome {
    let large = user::Builder::new().spawn(|_: [u8; 4097]| (), [0; 4097]);
    check!(matches!(large, Err(user::SpawnError::TooLarge)), "an argument that is too large: {large:?}");
    let deep = user::Builder::new().user_stack_size(user::MOST_STACK_BYTES as usize + 1).spawn(|()| (), ());
    check!(matches!(deep, Err(user::SpawnError::TooLarge)), "a stack that is too large: {deep:?}");
    let free = stack::frames().counts.free as u64;
    let most = user::Builder::new().user_stack_size(user::MOST_STACK_BYTES as usize).spawn(|n: u64| n, 5);
    match most {
        Ok(most) => check_eq!(joined(most)?, 5, "from the largest stack"),
        Err(error) => check!(free < user::MOST_STACK_BYTES >> 11, "the largest stack with {free} frames free: {error}"),
    }
    // Until there is none left: an error, a panic of the thread, and nothing else.
    let hungry = spawn(
        |()| {
            let mut bytes = 0;
            while user::raw_call(Call::Memory as u64, [64 << 10, 0, 0, 0, 0]).is_ok() {
                bytes += 64 << 10;
            }
            bytes as u64
        },
        (),
    )?;
    let most = joined(hungry)?;
    check!(most < user::WINDOW_BYTES && most > 0, "a thread got {most} bytes");
    Ok(())
}
