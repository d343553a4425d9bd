//! What share of the memory's speed decoding reaches: single steps and plain reads of as many bytes, in turn.
//!
//!     cargo run --release -p lair-engine --example decode_limit -- MODEL.gguf [THREADS] [ROUNDS] [INSTRUCTION SET]
//!
//! On a shared host the memory's speed changes from second to second. A step and a read that follow each other within
//! milliseconds meet about the same of it, so the ratio of their medians says what the engine leaves unused, however busy
//! the host is. The last column is the median of each pair's own ratio.

mod one_sequence;

use std::{path::Path, thread, time::Duration};

use lair_compute::KvElement;
use lair_compute::cpu::probe::Reader;
use lair_compute::cpu::{CpuOptions, IsaChoice};

use one_sequence::OneSequence;

/// Long enough for the threads of the other side to stop spinning.
const PAUSE: Duration = Duration::from_millis(2);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().ok_or("the model file is missing")?;
    let number = |place: usize, default: usize| arguments.get(place).map_or(Ok(default), |text| text.parse());
    let (threads, rounds) = (number(1, 2)?, number(2, 40)?.max(1));
    let isa = arguments.get(3).map_or(Ok(IsaChoice::Auto), |name| {
        IsaChoice::from_name(name).ok_or_else(|| format!("no instruction set {name}: avx2, for example"))
    })?;
    let options = CpuOptions { threads: Some(threads), isa };
    let mut sequence = OneSequence::load(Path::new(path), options.clone(), KvElement::F16, (128, 1))?;
    let read_a_token = sequence.weight_bytes;
    sequence.prefill(4);
    let mut step = |position: usize| sequence.step(position, position + 1, 1);
    let reader = Reader::new(&options, read_a_token)?;
    let (mut steps, mut reads, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        thread::sleep(PAUSE);
        let decoded = read_a_token as f64 / step(4 + round % 120);
        thread::sleep(PAUSE);
        let read = reader.read(1);
        steps.push(decoded);
        reads.push(read);
        shares.push(decoded / read);
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (step, read, share) = (median(&mut steps), median(&mut reads), median(&mut shares));
    println!(
        "{threads} threads, {:.1} MB a token: decode {:.1} tokens/s, {:.1} GB/s (best {:.1}); read {:.1} GB/s (best {:.1}); \
         pairs {:.1} %",
        read_a_token as f64 / 1e6,
        step / read_a_token as f64,
        step / 1e9,
        steps[rounds - 1] / 1e9,
        read / 1e9,
        reads[rounds - 1] / 1e9,
        100.0 * share
    );
    Ok(())
}
