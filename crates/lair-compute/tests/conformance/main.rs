//! Every region of every backend against the naive reference, with odd shapes; and bit-equality of the CPU backend over
//! batches, chunks, threads and instruction sets.

mod attention;
mod banked;
mod build;
mod chosen;
mod latent;
mod network;
mod parts;
mod project;
mod recurrent;
mod streams;

use std::cell::RefCell;

use lair_compute::Backend;
use lair_compute::cpu::{Cpu, CpuOptions, IsaChoice};
use lair_simd::Isa;

/// The CPU backend in every form that must agree to the bit.
fn cpus() -> Vec<(&'static str, Cpu)> {
    // Not every machine has BF16 products: `brain_tests` holds those against their own reference.
    let make = |threads, isa| {
        Cpu::new(CpuOptions { threads: Some(threads), isa }).expect("a CPU backend").with_exact_plain_weights()
    };
    let mut cpus = vec![
        ("one thread", make(1, IsaChoice::Auto)),
        ("two threads", make(2, IsaChoice::Auto)),
        ("three threads", make(3, IsaChoice::Auto)),
    ];
    // The first is the best, which `Auto` gives.
    cpus.extend(Isa::available().iter().skip(1).map(|isa| (isa.name(), make(2, isa.choice()))));
    cpus
}

/// Runs `compute` on every form of the CPU backend; asserts that they agree to the bit and gives their result.
fn on_every_cpu(what: &str, compute: impl Fn(&mut Cpu) -> Vec<f32>) -> Vec<f32> {
    // One set for a test: backends run many steps, and an emulator keeps some memory of each thread that was ever started.
    thread_local!(static CPUS: RefCell<Vec<(&'static str, Cpu)>> = RefCell::new(cpus()));
    CPUS.with_borrow_mut(|cpus| {
        let mut first: Option<Vec<f32>> = None;
        for (form, backend) in cpus {
            let result = compute(backend);
            match &first {
                None => first = Some(result),
                Some(expected) => assert_bits(&format!("{what}, {form}"), &result, expected),
            }
        }
        first.expect("at least one form")
    })
}

/// Asserts that two results are equal to the bit.
fn assert_bits(what: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths differ");
    for (index, (a, b)) in actual.iter().zip(expected).enumerate() {
        assert_eq!(a.to_bits(), b.to_bits(), "{what}: element {index} is {a:e}, expected {b:e}");
    }
}

/// Asserts that a result is within `limit` (normalised mean squared error) of the reference.
fn assert_close(what: &str, actual: &[f32], expected: &[f32], limit: f64) {
    let error = lair_testkit::normalised_mean_squared_error(actual, expected);
    assert!(error <= limit, "{what}: error {error:e} above {limit:e}");
}

/// The first `rows` rows of a buffer.
fn read<B: Backend>(backend: &B, rows: usize, width: usize, buffer: &B::Buffer) -> Vec<f32> {
    let mut values = vec![0.0; rows * width];
    backend.read(rows, buffer, &mut values);
    values
}
