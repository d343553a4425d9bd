//! How long one token takes to choose from a large vocabulary: `cargo run --release -p lair-engine --example sampler_bench`;
//! with an argument only the cases whose name contains it, with a second one that many runs of each (200).

use std::time::Instant;

use lair_engine::{
    Sampler, Sampling,
    sampler::{Draws, log_sum_exp, top_logprobs},
};
use lair_simd::AlignedF32;

const VOCABULARY_SIZE: usize = 151_936;

/// The least time of so many runs, in microseconds.
fn measure(runs: u64, mut run: impl FnMut(u64)) -> f64 {
    (0..runs)
        .map(|index| {
            let begin = Instant::now();
            run(index);
            begin.elapsed().as_secs_f64() * 1e6
        })
        .fold(f64::INFINITY, f64::min)
}

/// Logits that are nearly normal, as the sum of twelve even numbers is: top-p 0.95 leaves 15,000 tokens.
fn flat() -> Vec<f32> {
    (0..VOCABULARY_SIZE as u64)
        .map(|token| {
            let mut draws = Draws::new(1, token);
            ((0..12).map(|_| draws.uniform()).sum::<f64>() - 6.0) as f32 * 3.0
        })
        .collect()
}

/// The same with two hundred likelier ones, from twelve above the others' greatest down to it, as a model that knows what
/// comes has them.
fn peaked() -> Vec<f32> {
    let mut logits = flat();
    let top = logits.iter().fold(0.0_f32, |top, logit| top.max(*logit));
    for index in 0..200 {
        logits[index * 751] = top + 12.0 - 0.06 * index as f32;
    }
    logits
}

fn main() {
    println!("microseconds for one of {VOCABULARY_SIZE} tokens\n{:40} {:>8} {:>8}", "", "peaked", "flat");
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
        ("top-p 0.95, temperature", Sampling { top_p: 0.95, temperature: 0.8, ..plain.clone() }),
        ("min-p 0.05", Sampling { min_p: 0.05, ..plain.clone() }),
        ("typical-p 0.9", Sampling { typical_p: 0.9, ..plain }),
    ];
    // As they lie in the engine.
    let mut distributions = [peaked(), flat()].map(|logits| {
        let mut aligned = AlignedF32::zeros(logits.len());
        aligned.copy_from_slice(&logits);
        aligned
    });
    let mut sampler = Sampler::new(VOCABULARY_SIZE);
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let runs = std::env::args().nth(2).and_then(|runs| runs.parse().ok()).unwrap_or(200);
    for (name, sampling) in cases.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        let took = distributions.each_mut().map(|logits| {
            measure(runs, |index| {
                let drawn = sampler.sample(logits, &sampling, &history, Draws::new(1, index));
                std::hint::black_box(drawn.is_ok());
            })
        });
        println!("{name:40} {:8.1} {:8.1}", took[0], took[1]);
    }
    let name = "log-probabilities of 20";
    if !name.contains(&wanted) {
        return;
    }
    let took = distributions.each_ref().map(|logits| {
        measure(runs, |_| {
            let total = log_sum_exp(logits).unwrap_or_default();
            std::hint::black_box(top_logprobs(logits, total, 20));
        })
    });
    println!("{name:40} {:8.1} {:8.1}", took[0], took[1]);
}
