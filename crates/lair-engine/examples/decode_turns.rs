//! Decodes when it is told to, so that a script can have several engines decode in turn (`bench/peers/decode_in_turn.py`).
//!
//!     cargo run --release -p lair-engine --example decode_turns -- MODEL.gguf THREADS DEPTH
//!
//! Loads the model, computes DEPTH tokens, writes `ready BYTES` with the bytes of weights that a token reads, and then answers each line:
//! `decode COUNT` with the seconds that so many tokens took, the likeliest of each looked for, and `read` with the bytes a second of a
//! plain read of as many bytes as a token reads. Keys and values are kept in 8 bits, as they are by default.

mod one_sequence;

use std::{hint::black_box, io::BufRead, path::Path, time::Instant};

use lair_compute::KvElement;
use lair_compute::cpu::probe::Reader;
use lair_compute::cpu::{CpuOptions, IsaChoice};
use lair_engine::{Sampler, Sampling, sampler::Draws};

use one_sequence::OneSequence;

/// Tokens behind the depth before the sequence goes back to it.
const ROOM: usize = 128;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, threads, depth] = arguments.as_slice() else { return Err("MODEL.gguf THREADS DEPTH are needed".into()) };
    let (threads, depth) = (threads.parse()?, depth.parse::<usize>()?);
    let options = CpuOptions { threads: Some(threads), isa: IsaChoice::Auto };
    let room = (depth + ROOM, 1);
    let mut sequence = OneSequence::load(Path::new(path), options.clone(), KvElement::Q8_0, room)?;
    let reader = Reader::new(&options, sequence.weight_bytes)?;
    sequence.prefill(depth);
    let (mut sampler, greedy) = (Sampler::new(sequence.vocabulary_size), Sampling::greedy());
    println!("ready {}", sequence.weight_bytes);
    let mut place = 0;
    for line in std::io::stdin().lock().lines() {
        match line?.split_once(' ') {
            Some(("decode", count)) => {
                let mut seconds = 0.0;
                for _ in 0..count.parse::<usize>()? {
                    seconds += sequence.step(depth + place, depth + place + 1, 1);
                    let start = Instant::now();
                    black_box(sampler.sample(&mut sequence.logits, &greedy, &[], Draws::new(1, 0))?);
                    seconds += start.elapsed().as_secs_f64();
                    place = (place + 1) % ROOM;
                }
                println!("{seconds}");
            }
            _ => println!("{}", reader.read(1)),
        }
    }
    Ok(())
}
