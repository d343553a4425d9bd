//! Attention of few blocks on many threads: spans are dealt out, their sums kept, and folded in order afterwards.
//!
//! A span of one query gives `value_dim + 16` numbers, for 256 x 2 x `key_dim` multiplications; what is kept is bounded
//! by going through the spans in rounds, so that a long context needs no more room than a short one.

use lair_simd::Isa;

use super::Blocks;
use super::block::Output;
use super::span::{fold, state_length};
use crate::cpu::Buffer;
use crate::cpu::memory::Parts;
use crate::cpu::pool::Pool;
use crate::cpu::product::{WorkerScratch, for_each_item};

/// Numbers kept in a round, 1 MiB: they stay in the second-level caches between the two halves of it.
const PARTIALS: usize = 1 << 18;

/// Room for what is kept.
#[derive(Default)]
pub(in crate::cpu) struct Split {
    /// `[block, span of the round, query, state]`.
    partials: Vec<f32>,
    /// `[block, query, state]`.
    states: Vec<f32>,
}

/// Computes all blocks.
pub(super) fn run(
    (isa, pool, workers): (Isa, &Pool, &mut [WorkerScratch]),
    blocks: &Blocks<'_>,
    split: &mut Split,
    q: &Buffer,
    output: &Output<'_>,
) {
    let length = state_length(&blocks.source.layer.layout);
    let queries_a_block = blocks.rows * blocks.group();
    let state_count = blocks.count * queries_a_block;
    let round = (PARTIALS / (state_count * length)).max(pool.worker_count());
    let (states, partials) = (state_count * length, state_count * length * round);
    if split.partials.len() < partials.max(PARTIALS) {
        split.partials.resize(partials.max(PARTIALS), 0.0);
    }
    if split.states.len() < states {
        split.states.resize(states, 0.0);
    }
    let block_length = queries_a_block * length;
    let (first, end) = (0..blocks.count)
        .map(|index| blocks.block(index).spans())
        .fold((usize::MAX, 0), |(first, end), spans| (first.min(spans.start), end.max(spans.end)));
    let (states, partials) = (Parts::new(&mut split.states), Parts::new(&mut split.partials));
    for start in (first..end).step_by(round) {
        let count = round.min(end - start);
        for_each_item(pool, workers, blocks.count * count, &|scratch, item| {
            let (block, span) = (blocks.block(item / count), start + item % count);
            if block.spans().contains(&span) {
                // SAFETY: every block and span has its own part.
                let part = unsafe { partials.part(item * block_length, block_length) };
                block.run_span(isa, q, &mut scratch.attention, span, part);
            }
        });
        for_each_item(pool, workers, state_count, &|_, item| {
            let (index, query) = (item / queries_a_block, item % queries_a_block);
            let block = blocks.block(index);
            if query >= block.query_count() {
                return;
            }
            // SAFETY: every query has its own state, and is one item.
            let state = unsafe { states.part(item * length, length) };
            let spans = block.spans();
            if start == first {
                block.begin(query, state);
            }
            for span in (start..start + count).filter(|span| spans.contains(span)) {
                let place = (index * count + span - start) * block_length + query * length;
                // SAFETY: partial sums are only read in this half of the round, each by its query.
                fold(isa, state, unsafe { partials.part(place, length) });
            }
            if start + count == end {
                block.write(isa, query, state, output);
            }
        });
    }
}
