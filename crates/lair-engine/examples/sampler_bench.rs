//! How long one token takes to choose from a large vocabulary: `cargo run --release --example sampler_bench`.

use std::time::Instant;

use lair_engine::{
    Sampler, Sampling,
    sampler::{Draws, log_sum_exp, top_logprobs},
};

const VOCABULARY_SIZE: usize = 151_936;

/// The least time of many runs, in microseconds.
fn measure(mut run: impl FnMut(u64)) -> f64 {
    (0..200)
        .map(|index| {
            let begin = Instant::now();
            run(index);
            begin.elapsed().as_secs_f64() * 1e6
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    // The sum of twelve even numbers is nearly normal, like logits are.
    let mut logits: Vec<f32> = (0..VOCABULARY_SIZE as u64)
        .map(|token| {
            let mut draws = Draws::new(1, token);
            ((0..12).map(|_| draws.uniform()).sum::<f64>() - 6.0) as f32 * 3.0
        })
        .collect();
    let history: Vec<u32> = (0..64).collect();
    let plain = Sampling::default();
    let cases = [
        ("greedy", Sampling::greedy()),
        ("temperature", Sampling { temperature: 0.8, ..plain.clone() }),
        ("top-k 40", Sampling { top_k: 40, ..plain.clone() }),
        (
            "top-k 40, top-p, min-p, penalties",
            Sampling { top_k: 40, top_p: 0.95, min_p: 0.05, repeat_penalty: 1.1, ..plain.clone() },
        ),
        ("top-p 0.95", Sampling { top_p: 0.95, ..plain.clone() }),
        ("min-p 0.05", Sampling { min_p: 0.05, ..plain.clone() }),
        ("typical-p 0.9", Sampling { typical_p: 0.9, ..plain }),
    ];
    let mut sampler = Sampler::new(VOCABULARY_SIZE);
    for (name, sampling) in cases {
        let took = measure(|index| {
            let drawn = sampler.sample(&mut logits, &sampling, &history, Draws::new(1, index));
            std::hint::black_box(drawn.is_ok());
        });
        println!("{name:40} {took:8.1} us");
    }
    let took = measure(|_| {
        let total = log_sum_exp(&logits).unwrap_or_default();
        std::hint::black_box(top_logprobs(&logits, total, 20));
    });
    println!("{:40} {took:8.1} us", "log-probabilities of 20");
}
