//! Models for loom: each is carried out once for every order in which its threads' atomic operations can meet, and for
//! every value that the memory model lets a load return. `cargo xtask test` runs them as `host::loom`.

mod entry;
mod parking;
mod state;
mod wait;

/// Carries out a model in every order in which a thread's turn is taken away at most `turns` times, or in all there are.
fn explore(turns: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = turns;
    builder.check(model);
}
