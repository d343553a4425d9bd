//! What a step costs by its rows, beside what speculative decoding reckons with (`speculation/cost.rs`).
//!
//!     cargo run --release -p lair-engine --example step_cost -- MODEL.gguf [DEPTH] [ROUNDS]
//!
//! Rows are the last of one sequence of DEPTH tokens, and the logits of all are wanted, as when guesses are verified.
//! Every round takes each count of rows in turn, and medians are printed, so that noise meets all alike.

mod one_sequence;

use std::path::Path;

use lair_compute::KvElement;
use lair_compute::cpu::CpuOptions;

use one_sequence::OneSequence;

const ROW_COUNTS: [usize; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().ok_or("the model file is missing")?;
    let number = |place: usize, default: usize| arguments.get(place).map_or(Ok(default), |text| text.parse());
    let (depth, rounds) = (number(1, 128)?.max(16), number(2, 15)?.max(1));
    let most = ROW_COUNTS[ROW_COUNTS.len() - 1];
    let room = (depth, most);
    let mut sequence = OneSequence::load(Path::new(path), CpuOptions::default(), KvElement::F16, room)?;
    sequence.prefill(depth);
    let mut times = vec![Vec::new(); ROW_COUNTS.len()];
    for _ in 0..rounds {
        for (times, &rows) in times.iter_mut().zip(&ROW_COUNTS) {
            times.push(1e3 * sequence.step(depth - rows, depth, rows));
        }
    }
    let mut median = times.into_iter().map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    let first = median.next().ok_or("nothing was measured")?;
    println!("rows 1: {first:.2} ms, {:.1} GB/s of weights", sequence.weight_bytes as f64 / first / 1e6);
    for (rows, time) in ROW_COUNTS[1..].iter().zip(median) {
        println!("rows {rows}: {time:.2} ms, {:.2} of one row", time / first);
    }
    Ok(())
}
