//! The tests of core on the model of a machine: one program, since each would compile core's generic code anew.

mod accessed;
mod asking;
mod border;
mod checks;
mod departure;
mod depth;
mod exhaustion;
mod faults;
mod inherited;
mod one_cpu;
mod parking;
mod random;
mod several_cpus;
mod temporary;
