//! Two threads hand a ball to each other through a `Mutex` and a `Condvar`.

#![no_std]
#![no_main]

use ebbtide::sync::{Arc, Condvar, Mutex};
use ebbtide::{println, thread};

ebbtide::main!(main);

const ROUNDS: u32 = 10_000;

/// The ball, and who waits for it.
struct Table {
    hits: Mutex<u32>,
    turn: Condvar,
}

fn main() {
    let table = Arc::new(Table { hits: Mutex::new(0), turn: Condvar::new() });
    let other = Arc::clone(&table);
    let pong = thread::spawn(move || play(&other, 1));
    play(&table, 0);
    pong.join().unwrap();
    println!("{} hits", *table.hits.lock());
}

/// Hits the ball whenever the number of hits has this remainder.
fn play(table: &Table, remainder: u32) {
    for _ in 0..ROUNDS {
        let mut hits = table.turn.wait_while(table.hits.lock(), |hits| *hits % 2 != remainder);
        *hits += 1;
        table.turn.notify_one();
    }
}
