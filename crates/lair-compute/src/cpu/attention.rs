//! Attention over paged keys and values.
//!
//! Work is dealt out by (sequence, block of query rows, kv head): keys and values of a page are widened once for all
//! query heads of the group and all rows of the block. Softmax is online, page by page from the first that a query
//! sees: the order depends on nothing but the query, so prefill in any chunks and decode agree to the bit.
//!
//! Keys lie `[element, position]`, values `[16 elements][position][element]`: both products are then sums of vectors
//! times one factor, with no sum across lanes.
#![allow(unsafe_code)] // Rows of the output are written by several threads.

use std::ops::Range;

use lair_simd::{Isa, LANES, Simd, math, vectorize};

use super::floats::{STRIP, multiply_strip};
use super::kv::KvLayer;
use super::memory::Parts;
use super::norm::{ExpOfDifference, Multiplied, SoftCap, apply_norm, each, gate_by_sigmoid};
use super::packed::PANEL;
use super::pool::Pool;
use super::product::{WorkerScratch, for_each_item};
use super::{Buffer, Cpu};
use crate::{Attention, AttentionBuffers, Batch, Mask, Norm, NormOrder, PAGE_LENGTH, RopeTable, SequenceRows};

/// Query vectors (rows times heads of the group) that share a widened page, about.
const QUERIES: usize = 48;
/// From so many rows on, norms and rotation are dealt to all workers.
const ROWS_SHARED: usize = 8;

/// What a worker needs for a block of queries.
#[derive(Default)]
pub(super) struct Tile {
    /// `[key_dim][position]`.
    keys: Vec<[f32; PANEL]>,
    /// `[value panel][position][element]`.
    values: Vec<[f32; PANEL]>,
    /// `[query][value panel][element]`.
    sums: Vec<[f32; PANEL]>,
    /// `[query][position]`: scores, then weights.
    scores: Vec<[f32; PANEL]>,
    /// `[query]`: the largest score so far, and the sum of the weights against it.
    state: Vec<(f32, f32)>,
}

impl Tile {
    fn make_room(&mut self, queries: usize, key_dim: usize, value_panels: usize) {
        let grow = |values: &mut Vec<[f32; PANEL]>, length: usize| {
            if values.len() < length {
                values.resize(length, [0.0; PANEL]);
            }
        };
        grow(&mut self.keys, key_dim);
        grow(&mut self.values, value_panels * PAGE_LENGTH);
        grow(&mut self.sums, queries * value_panels);
        grow(&mut self.scores, queries);
        if self.state.len() < queries {
            self.state.resize(queries, (0.0, 0.0));
        }
    }
}

/// The attention region.
pub(super) fn attention(
    (isa, pool, workers): (Isa, &Pool, &mut [WorkerScratch]),
    batch: &Batch<'_>,
    attention: &Attention<Cpu>,
    layer: &mut KvLayer,
    buffers: AttentionBuffers<'_, Cpu>,
) {
    batch.assert_consistent();
    let AttentionBuffers { q, kv, gate, output } = buffers;
    prepare_rows(isa, pool, batch, (attention, attention.q_norm.as_ref()), q);
    if let Some((keys, values)) = kv {
        prepare_rows(isa, pool, batch, (attention, attention.k_norm.as_ref()), keys);
        store(isa, batch, attention, layer, keys, values);
    }
    let group = attention.head_count / attention.kv_head_count;
    let block_rows = (QUERIES / group).max(1);
    for worker in workers.iter_mut() {
        worker.attention.make_room(block_rows * group, attention.key_dim, attention.value_dim.div_ceil(PANEL));
    }
    let block_count: usize = batch.sequences.iter().map(|rows| rows.row_count.div_ceil(block_rows)).sum();
    let layer = &*layer;
    let output = Output { width: output.width, parts: Parts::new(&mut output.values), gate };
    let q = &*q;
    for_each_item(pool, workers, block_count * attention.kv_head_count, &|scratch, item| {
        let (sequence, rows) = block_of(batch, block_rows, item / attention.kv_head_count);
        let block = Block { attention, layer, sequence, rows, kv_head: item % attention.kv_head_count };
        block.run(isa, q, &mut scratch.attention);
        block.write(isa, &scratch.attention, &output);
    });
}

/// The sequence and the rows (counted within it) of the `index`-th block.
fn block_of<'a>(batch: &'a Batch<'_>, block_rows: usize, mut index: usize) -> (&'a SequenceRows<'a>, Range<usize>) {
    for sequence in batch.sequences {
        let count = sequence.row_count.div_ceil(block_rows);
        if index < count {
            let start = index * block_rows;
            return (sequence, start..(start + block_rows).min(sequence.row_count));
        }
        index -= count;
    }
    unreachable!("blocks were counted over the same sequences")
}

/// Norms and turns the heads of every row.
fn prepare_rows(
    isa: Isa,
    pool: &Pool,
    batch: &Batch<'_>,
    (attention, norm): (&Attention<Cpu>, Option<&Norm<Cpu>>),
    buffer: &mut Buffer,
) {
    let width = buffer.width;
    let parts = Parts::new(&mut buffer.values);
    let prepare = |sequence: &SequenceRows<'_>, index: usize| {
        // SAFETY: every row is prepared once.
        let row = unsafe { parts.part((sequence.first_row + index) * width, width) };
        if let (Some(norm), NormOrder::BeforeRope) = (norm, attention.norm_order) {
            apply_norm(isa, norm, row);
        }
        if let Some(rope) = &attention.rope {
            turn(row, rope, attention.key_dim, sequence.first_position + index);
        }
        if let (Some(norm), NormOrder::AfterRope) = (norm, attention.norm_order) {
            apply_norm(isa, norm, row);
        }
    };
    for sequence in batch.sequences {
        if sequence.row_count >= ROWS_SHARED {
            pool.split(sequence.row_count, &|_, range| range.for_each(|index| prepare(sequence, index)));
        } else {
            (0..sequence.row_count).for_each(|index| prepare(sequence, index));
        }
    }
}

/// Rotary embedding of all heads of a row.
fn turn(row: &mut [f32], rope: &RopeTable, head_dim: usize, position: usize) {
    for index in 0..rope.frequencies.len() {
        let (first, second) = rope.pair(index);
        let (cosine, sine) = rope.cosine_sine(index, position);
        for head in row.chunks_exact_mut(head_dim) {
            let (a, b) = (head[first], head[second]);
            head[first] = a * cosine - b * sine;
            head[second] = a * sine + b * cosine;
        }
    }
}

/// Puts the rows' keys and values into their pages.
fn store(
    isa: Isa,
    batch: &Batch<'_>,
    attention: &Attention<Cpu>,
    layer: &mut KvLayer,
    keys: &Buffer,
    values: &mut Buffer,
) {
    for rows in batch.sequences {
        for index in 0..rows.row_count {
            let (row, position) = (rows.first_row + index, rows.first_position + index);
            if let Some(norm) = &attention.v_norm {
                apply_norm(isa, norm, values.row_mut(row));
            }
            let page = rows.page_table[position / PAGE_LENGTH];
            layer.store(page, position % PAGE_LENGTH, keys.row(row), values.row(row));
        }
    }
}

/// Where results go.
struct Output<'a> {
    parts: Parts<'a, f32>,
    width: usize,
    gate: Option<&'a Buffer>,
}

/// A block of query rows of one sequence with the heads of one group.
struct Block<'a> {
    attention: &'a Attention<Cpu>,
    layer: &'a KvLayer,
    sequence: &'a SequenceRows<'a>,
    /// Rows within the sequence.
    rows: Range<usize>,
    kv_head: usize,
}

impl Block<'_> {
    fn group(&self) -> usize {
        self.attention.head_count / self.attention.kv_head_count
    }

    /// Positions of the sequence in the cache, this step's included.
    fn length(&self) -> usize {
        self.sequence.first_position + self.sequence.row_count
    }

    /// The positions that the query in `row` sees.
    fn seen(&self, row: usize) -> Range<usize> {
        let position = self.sequence.first_position + row;
        match self.attention.mask {
            Mask::Causal => 0..position + 1,
            Mask::Window(length) => (position + 1).saturating_sub(length)..position + 1,
            Mask::Chunk(length) => position / length * length..position + 1,
            Mask::Bidirectional => 0..self.length(),
        }
    }

    fn run(&self, isa: Isa, q: &Buffer, tile: &mut Tile) {
        let group = self.group();
        let value_panels = self.attention.value_dim.div_ceil(PANEL);
        for query in 0..self.rows.len() * group {
            let head = self.kv_head * group + query % group;
            // A sink is a score that is there before the first key.
            tile.state[query] =
                self.attention.sinks.as_ref().map_or((f32::NEG_INFINITY, 0.0), |sinks| (sinks[head], 1.0));
        }
        tile.sums[..self.rows.len() * group * value_panels].fill([0.0; PANEL]);
        let first = self.seen(self.rows.start).start / PAGE_LENGTH;
        let end = self.seen(self.rows.end - 1).end.div_ceil(PAGE_LENGTH);
        for page_index in first..end {
            let positions = page_index * PAGE_LENGTH..(page_index + 1) * PAGE_LENGTH;
            // Both ends of what is seen grow with the row, so the rows that see the page are adjacent.
            let sees = |row: &usize| {
                let seen = self.seen(*row);
                seen.start < positions.end && seen.end > positions.start
            };
            let Some(start) = self.rows.clone().find(|row| sees(row)) else { continue };
            let end = self.rows.clone().rev().find(|row| sees(row)).map_or(start, |row| row + 1);
            self.load_page(isa, page_index, tile);
            let queries = (start - self.rows.start) * group..(end - self.rows.start) * group;
            self.score(isa, q, queries.clone(), tile);
            for query in queries.clone() {
                vectorize!(isa, weigh,
                    block: &Block<'_> = self,
                    query: usize = query,
                    positions: &Range<usize> = &positions,
                    tile: &mut Tile = tile,
                    value_panels: usize = value_panels,
                );
            }
            self.add_values(isa, queries, tile, value_panels);
        }
    }

    /// Widens a page; values past the end of the sequence are left over from others and become zero.
    fn load_page(&self, isa: Isa, page_index: usize, tile: &mut Tile) {
        let page = self.sequence.page_table[page_index];
        let valid = (self.length() - page_index * PAGE_LENGTH).min(PAGE_LENGTH);
        self.layer.load(isa, page, self.kv_head, &mut tile.keys, &mut tile.values);
        if valid < PAGE_LENGTH {
            for panel in tile.values.chunks_exact_mut(PAGE_LENGTH) {
                panel[valid..].fill([0.0; PANEL]);
            }
        }
    }

    /// Products of queries with the page's keys.
    fn score(&self, isa: Isa, q: &Buffer, queries: Range<usize>, tile: &mut Tile) {
        let (group, key_dim) = (self.group(), self.attention.key_dim);
        let keys = &tile.keys[..key_dim];
        let query = |query: usize| {
            let row = self.sequence.first_row + self.rows.start + query / group;
            &q.row(row)[(self.kv_head * group + query % group) * key_dim..][..key_dim]
        };
        for start in queries.clone().step_by(STRIP) {
            let count = STRIP.min(queries.end - start);
            let scores = &mut tile.scores[start..start + count];
            scores.fill([0.0; PANEL]);
            let at = |t: usize| query(start + t);
            multiply_strip(isa, keys, at, scores);
        }
    }

    /// Adds the page's values, weighted, to the queries' sums.
    fn add_values(&self, isa: Isa, queries: Range<usize>, tile: &mut Tile, value_panels: usize) {
        let Tile { values, sums, scores, .. } = tile;
        for start in queries.clone().step_by(STRIP) {
            let count = STRIP.min(queries.end - start);
            for panel in 0..value_panels {
                let values = &values[panel * PAGE_LENGTH..][..PAGE_LENGTH];
                let mut strip = [[0.0; PANEL]; STRIP];
                for (t, sum) in strip[..count].iter_mut().enumerate() {
                    *sum = sums[(start + t) * value_panels + panel];
                }
                let at = |t: usize| &scores[start + t][..];
                multiply_strip(isa, values, at, &mut strip[..count]);
                for (t, sum) in strip[..count].iter().enumerate() {
                    sums[(start + t) * value_panels + panel] = *sum;
                }
            }
        }
    }

    /// Divides by the sum of the weights, gates, and writes the block's results.
    fn write(&self, isa: Isa, tile: &Tile, output: &Output<'_>) {
        let (group, value_dim) = (self.group(), self.attention.value_dim);
        let value_panels = value_dim.div_ceil(PANEL);
        for query in 0..self.rows.len() * group {
            let row = self.sequence.first_row + self.rows.start + query / group;
            let column = (self.kv_head * group + query % group) * value_dim;
            // SAFETY: every row and head belongs to one block.
            let out = unsafe { output.parts.part(row * output.width + column, value_dim) };
            let (_, sum) = tile.state[query];
            let values = tile.sums[query * value_panels..][..value_panels].as_flattened();
            for (out, value) in out.iter_mut().zip(values) {
                *out = value / sum;
            }
            if let Some(gate) = output.gate {
                gate_by_sigmoid(isa, out, &gate.row(row)[column..][..value_dim]);
            }
        }
    }
}

/// Turns a query's scores into weights against the largest so far, and rescales its sums if that has grown.
#[inline(always)]
fn weigh<S: Simd>(
    s: S,
    block: &Block<'_>,
    query: usize,
    positions: &Range<usize>,
    tile: &mut Tile,
    value_panels: usize,
) {
    let attention = block.attention;
    let row = block.rows.start + query / block.group();
    let seen = block.seen(row);
    let scores = &mut tile.scores[query];
    scores.iter_mut().for_each(|score| *score *= attention.scale);
    if let Some(cap) = attention.softcap {
        each(s, scores, cap, SoftCap);
    }
    if let Some(slopes) = &attention.alibi_slopes {
        let slope = slopes[block.kv_head * block.group() + query % block.group()];
        let position = (block.sequence.first_position + row) as f32;
        for (index, score) in scores.iter_mut().enumerate() {
            *score += slope * ((positions.start + index) as f32 - position);
        }
    }
    let from = seen.start.saturating_sub(positions.start);
    let to = (seen.end - positions.start).min(PAGE_LENGTH);
    let (old_largest, old_sum) = tile.state[query];
    let mut largest = old_largest;
    for &score in &scores[from..to] {
        largest = if score > largest { score } else { largest };
    }
    each(s, scores, largest, ExpOfDifference);
    scores[..from].fill(0.0);
    scores[to..].fill(0.0);
    let (halves, _) = scores.as_chunks::<LANES>();
    let page_sum = s.sum(s.add(s.load(&halves[0]), s.load(&halves[1])));
    if largest == old_largest {
        tile.state[query] = (largest, old_sum + page_sum);
        return;
    }
    let factor = s.splat(old_largest - largest);
    let factor = s.to_array(math::exp(s, factor))[0];
    tile.state[query] = (largest, old_sum.mul_add(factor, page_sum));
    let sums = tile.sums[query * value_panels..][..value_panels].as_flattened_mut();
    each(s, sums, factor, Multiplied);
}
