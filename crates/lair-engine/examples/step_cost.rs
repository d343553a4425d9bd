//! What a step costs by its rows, beside what speculative decoding reckons with (`speculation/cost.rs`).
//!
//!     cargo run --release -p lair-engine --example step_cost -- MODEL.gguf [DEPTH] [ROUNDS]
//!
//! Rows are the last of one sequence of DEPTH tokens, and the logits of all are wanted, as when guesses are verified.
//! Every round takes each count of rows in turn, and medians are printed, so that noise meets all alike.

use std::{path::Path, sync::Arc, time::Instant};

use lair_compute::cpu::{Cpu, CpuOptions};
use lair_compute::{Batch, KvElement, PAGE_LENGTH, PageId, SequenceRows};
use lair_engine::{MemoryOptions, ModelRunner, Runner};
use lair_gguf::GgufFile;
use lair_model::{LoadOptions, Model};

const ROW_COUNTS: [usize; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().ok_or("the model file is missing")?;
    let number = |place: usize, default: usize| arguments.get(place).map_or(Ok(default), |text| text.parse());
    let (depth, rounds) = (number(1, 128)?.max(16), number(2, 15)?.max(1));
    let backend = Cpu::new(CpuOptions::default())?;
    let model = Arc::new(Model::load(&GgufFile::open(Path::new(path))?, &backend, LoadOptions::default())?);
    let vocabulary_size = model.vocabulary_size();
    let page_count = depth.div_ceil(PAGE_LENGTH);
    let memory = MemoryOptions { kv_element: KvElement::F16, page_count, state_slot_count: 1, rows_max: 256 };
    let mut runner = ModelRunner::new(model, backend, depth, memory)?;
    let pages: Vec<PageId> = (0..page_count as u32).map(PageId).collect();
    let tokens: Vec<u32> = (0..depth).map(|place| (place * 7919 % vocabulary_size) as u32).collect();
    let mut logits = vec![0.0; 16 * vocabulary_size];
    let mut step = |begin: usize, end: usize, wanted: usize| {
        let state_slot = (runner.state_slot_count() > 0).then_some(lair_compute::StateSlot(0));
        let rows = SequenceRows {
            first_row: 0,
            row_count: end - begin,
            first_position: begin,
            page_table: &pages,
            state_slot,
            adapter_scales: &[],
        };
        let batch = Batch { tokens: &tokens[begin..end], sequences: &[rows] };
        let rows_wanted: Vec<usize> = (end - begin - wanted..end - begin).collect();
        let start = Instant::now();
        runner.step(&batch, &rows_wanted, &mut logits[..wanted * vocabulary_size]);
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..depth).step_by(256).for_each(|begin| {
        step(begin, (begin + 256).min(depth), 0);
    });
    let mut times = vec![Vec::new(); ROW_COUNTS.len()];
    for _ in 0..rounds {
        for (times, &rows) in times.iter_mut().zip(&ROW_COUNTS) {
            times.push(step(depth - rows, depth, rows));
        }
    }
    let mut median = times.into_iter().map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    let first = median.next().ok_or("nothing was measured")?;
    println!("rows 1: {first:.2} ms");
    for (rows, time) in ROW_COUNTS[1..].iter().zip(median) {
        println!("rows {rows}: {time:.2} ms, {:.2} of one row", time / first);
    }
    Ok(())
}
