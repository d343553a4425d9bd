//! The choice of keys: scores of all that a query can choose from, and the best of them.
//!
//! Scores are computed span by span, in the order of heads, and kept in rounds of as many queries as there is room for; the
//! best are found by their bits, without sorting. Arithmetic, for one query at depth 65536 with 64 heads of 128: 537 million
//! multiply-adds, where attention over all of its keys with 128 heads of 576 + 512 would be 9 billion.
#![allow(unsafe_code)] // Scores and choices are written by several threads.

use lair_simd::{Isa, LANES, Simd, vectorize};

use super::super::kv::{Kv, KvLayer};
use super::super::linear::for_each_row;
use super::super::memory::{Memory, Parts};
use super::super::norm::apply_norm;
use super::super::pool::Pool;
use super::super::product::{WorkerScratch, for_each_item};
use super::super::{Buffer, Cpu};
use super::block::{Tile, pages_of_span};
use super::lanes::{QueryBlock, STRIP_MAX, strip_length};
use super::rotation::rotate;
use super::scores::{Queries, quantise, score};
use super::span::{PageScores, SPAN, SPAN_PAGES};
use super::{store_rows, turn};
use crate::kv_layout::KEY_BLOCK;
use crate::{
    Batch, ComputeError, KeyChooser, KeyChooserBuffers, KeyScoring, KeyUnit, PAGE_LENGTH, RopeTable, SequenceRows,
};

/// Scores that are kept in a round, 4 MiB, or those of one query.
const SCORES: usize = 1 << 20;

/// Which keys each row of a batch reads.
pub struct Chosen {
    /// A bit for each position: `[line][page]`, where a line is a choice of a row.
    words: Memory<u16>,
    pages: usize,
    /// Choices of a row in the last batch.
    choices: usize,
    /// `[line of the round][position]`.
    scores: Memory<f32>,
}

impl Chosen {
    /// Room for so many rows, with so many choices each, in contexts of so many positions.
    pub(in crate::cpu) fn new(rows: usize, choices: usize, positions: usize) -> Result<Chosen, ComputeError> {
        let what = "the choice of keys";
        let (pages, positions) = (positions.div_ceil(PAGE_LENGTH), positions.next_multiple_of(SPAN));
        let lines = rows.saturating_mul(choices);
        Ok(Chosen {
            words: Memory::zeroed(lines.saturating_mul(pages), what)?,
            pages,
            choices,
            scores: Memory::zeroed(lines.saturating_mul(positions).min(SCORES.max(positions)), what)?,
        })
    }

    /// The positions of a page that a row reads; one choice serves all heads.
    pub(super) fn page(&self, row: usize, kv_head: usize, page: usize) -> u16 {
        let choice = if self.choices == 1 { 0 } else { kv_head };
        self.words[(row * self.choices + choice) * self.pages + page]
    }
}

/// One choice of one row.
#[derive(Clone, Copy)]
struct Line<'a> {
    sequence: &'a SequenceRows<'a>,
    row: usize,
    position: usize,
    choice: usize,
}

/// The `index`-th line of a batch.
fn line<'a>(batch: &'a Batch<'_>, choices: usize, index: usize) -> Line<'a> {
    let row = index / choices;
    let sequence = batch.sequences.iter().find(|sequence| row < sequence.first_row + sequence.row_count);
    let sequence = sequence.expect("every row is of a sequence");
    Line { sequence, row, position: sequence.first_position + row - sequence.first_row, choice: index % choices }
}

/// The region.
pub(in crate::cpu) fn choose_keys(
    (isa, pool, workers): (Isa, &Pool, &mut [WorkerScratch]),
    batch: &Batch<'_>,
    chooser: &KeyChooser<Cpu>,
    kv: &mut Kv,
    buffers: KeyChooserBuffers<'_, Cpu>,
    chosen: &mut Chosen,
) {
    batch.assert_consistent();
    let KeyChooserBuffers { q, k, weights } = buffers;
    prepare((isa, pool), batch, (chooser.q_norm.as_ref(), chooser.rope.as_ref(), chooser.head_dim), q);
    let layer = &mut kv.layers[chooser.kv_layer];
    if let Some(k) = k {
        prepare((isa, pool), batch, (chooser.k_norm.as_ref(), chooser.rope.as_ref(), chooser.head_dim), k);
        store_rows((isa, pool), batch, layer, (Some(k), None));
    }
    let layer = &kv.layers[chooser.kv_layer];
    for worker in workers.iter_mut() {
        worker.attention.make_room_to_choose(chooser.head_count, &layer.layout);
    }
    let scorer = Scorer { isa, chooser, layer, q, weights };
    let (choices, pages) = (chooser.choice_count(), chosen.pages);
    chosen.choices = choices;
    let positions = batch.positions().max().map_or(0, |position| position + 1);
    let stride = positions.next_multiple_of(SPAN);
    assert!(positions.div_ceil(PAGE_LENGTH) <= pages && stride <= chosen.scores.len(), "a context without room");
    let (lines, round) = (batch.row_count() * choices, chosen.scores.len() / stride);
    let (words, scores) = (Parts::new(&mut chosen.words), Parts::new(&mut chosen.scores));
    for start in (0..lines).step_by(round) {
        let (count, spans) = (round.min(lines - start), stride / SPAN);
        for_each_item(pool, workers, count * spans, &|scratch, item| {
            let (index, span) = (item / spans, item % spans);
            let line = line(batch, choices, start + index);
            if chooser.unit.count(line.position) > chooser.chosen_count && span * SPAN <= line.position {
                // SAFETY: every line and span has its own part.
                let part = unsafe { scores.part(index * stride + span * SPAN, SPAN) };
                scorer.score(&mut scratch.attention, line, span, part);
            }
        });
        for_each_item(pool, workers, count, &|_, index| {
            let position = line(batch, choices, start + index).position;
            // SAFETY: scores are only read and compacted in this half of the round, each line by itself.
            let (scores, words) =
                unsafe { (scores.part(index * stride, stride), words.part((start + index) * pages, pages)) };
            choose(chooser.unit, chooser.chosen_count, position, scores, words);
        });
    }
}

/// Norms and turns the heads of every row.
pub(in crate::cpu) fn prepare(
    (isa, pool): (Isa, &Pool),
    batch: &Batch<'_>,
    (norm, rope, head_dim): (Option<&crate::Norm<Cpu>>, Option<&RopeTable>, usize),
    buffer: &mut Buffer,
) {
    let width = buffer.width;
    let parts = Parts::new(&mut buffer.values);
    for sequence in batch.sequences {
        for_each_row(pool, sequence.row_count, &|index| {
            // SAFETY: every row is prepared once.
            let row = unsafe { parts.part((sequence.first_row + index) * width, width) };
            if let Some(norm) = norm {
                apply_norm(isa, norm, row);
            }
            if let Some(rope) = rope {
                turn(isa, row, rope, head_dim, sequence.first_position + index);
            }
        });
    }
}

/// What scores keys.
struct Scorer<'a> {
    isa: Isa,
    chooser: &'a KeyChooser<Cpu>,
    layer: &'a KvLayer,
    q: &'a Buffer,
    weights: Option<&'a Buffer>,
}

impl Scorer<'_> {
    /// The scores of a span's keys, `[position]`; those behind the query's position are of no use.
    fn score(&self, tile: &mut Tile, line: Line<'_>, span: usize, out: &mut [f32]) {
        let last = (line.position + 1).div_ceil(PAGE_LENGTH).min((span + 1) * SPAN_PAGES) - span * SPAN_PAGES;
        let pages = pages_of_span(self.layer, (line.sequence, 0), span, 0..last);
        let heads = match self.chooser.scoring {
            KeyScoring::Weighed | KeyScoring::Summed => 0..self.chooser.head_count,
            KeyScoring::EachHead => line.choice..line.choice + 1,
        };
        out.fill(0.0);
        let (layout, dim) = (&self.layer.layout, self.chooser.head_dim);
        let strip = strip_length(self.isa);
        for start in heads.clone().step_by(strip) {
            let count = strip.min(heads.end - start);
            for index in 0..count {
                let query = &mut tile.query[..dim];
                query.copy_from_slice(&self.q.row(line.row)[(start + index) * dim..][..dim]);
                if self.layer.is_rotated() {
                    rotate(self.isa, query);
                    quantise(self.isa, query, &mut tile.blocks[index..], count);
                } else {
                    let places = tile.queries[index..].iter_mut().step_by(count);
                    places.zip(&*query).for_each(|(place, value)| *place = *value);
                }
            }
            let queries = match self.layer.is_rotated() {
                true => Queries::Integers(&tile.blocks[..count * dim.div_ceil(KEY_BLOCK)]),
                false => Queries::Numbers(&tile.queries[..count * dim]),
            };
            score(self.isa, layout, &pages, queries, &mut tile.scores[..count]);
            for (index, scores) in tile.scores[..count].iter().enumerate() {
                let scores = &scores.as_flattened()[..last * PAGE_LENGTH];
                let out = &mut out[..last * PAGE_LENGTH];
                let weight = match (self.chooser.scoring, self.weights) {
                    (KeyScoring::Weighed, Some(weights)) => weights.row(line.row)[start + index],
                    (KeyScoring::Summed, _) => 1.0,
                    _ => {
                        out.copy_from_slice(scores);
                        continue;
                    }
                };
                vectorize!(self.isa, add_weighed, out: &mut [f32] = out, scores: &[f32] = scores, weight: f32 = weight);
            }
        }
    }
}

/// `out += weight * max(scores, 0)`.
#[inline(always)]
fn add_weighed<S: Simd>(s: S, out: &mut [f32], scores: &[f32], weight: f32) {
    let (weight, zero) = (s.splat(weight), s.splat(0.0));
    for (out, scores) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(scores.as_chunks::<LANES>().0) {
        s.store(s.fma(weight, s.max(s.load(scores), zero), s.load(out)), out);
    }
}

/// Sets the bits of what the query at `position` reads, of scores by position, which become those of units.
fn choose(unit: KeyUnit, chosen_count: usize, position: usize, scores: &mut [f32], words: &mut [u16]) {
    words[..=position / PAGE_LENGTH].fill(0);
    set(words, unit.always_read(position));
    let count = unit.count(position);
    if count <= chosen_count {
        return (0..count).for_each(|index| set(words, unit.covered(index, position)));
    }
    for index in 0..count {
        // Units lie in the order of their positions: what is overwritten has been read.
        scores[index] = match unit.comes_first(index, position) {
            true => f32::INFINITY,
            false => {
                unit.scored(index, position).map(|place| scores[place]).reduce(f32::max).unwrap_or(f32::NEG_INFINITY)
            }
        };
    }
    let (least, mut ties) = least_of_best(&scores[..count], chosen_count);
    for (index, score) in scores[..count].iter().enumerate() {
        let rank = rank(*score);
        if rank > least || (rank == least && ties > 0) {
            ties -= usize::from(rank == least);
            set(words, unit.covered(index, position));
        }
    }
}

fn set(words: &mut [u16], positions: std::ops::Range<usize>) {
    positions.for_each(|position| words[position / PAGE_LENGTH] |= 1 << (position % PAGE_LENGTH));
}

/// Numbers whose order is that of scores; what is no number is the lowest.
fn rank(score: f32) -> u32 {
    if score.is_nan() {
        return 0;
    }
    // Both zeros are one.
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The rank of the `count`-th best score, and how many of those that have it are among the best.
fn least_of_best(scores: &[f32], count: usize) -> (u32, usize) {
    let (mut known, mut mask, mut left) = (0u32, 0u32, count);
    for shift in [24, 16, 8, 0] {
        let mut bins = [0usize; 256];
        for rank in scores.iter().map(|score| rank(*score)).filter(|rank| rank & mask == known) {
            bins[(rank >> shift & 0xff) as usize] += 1;
        }
        let mut bin = 255;
        while bin > 0 && left > bins[bin] {
            left -= bins[bin];
            bin -= 1;
        }
        known |= (bin as u32) << shift;
        mask |= 0xff << shift;
    }
    (known, left)
}

impl Tile {
    /// Makes room for choosing keys.
    fn make_room_to_choose(&mut self, heads: usize, layout: &crate::kv_layout::RecordLayout) {
        let heads = heads.min(STRIP_MAX);
        let grow = |values: &mut Vec<f32>, length: usize| {
            if values.len() < length {
                values.resize(length, 0.0);
            }
        };
        grow(&mut self.query, layout.key_dim);
        grow(&mut self.queries, heads * layout.key_dim);
        let blocks = heads * layout.key_dim.div_ceil(KEY_BLOCK);
        if self.blocks.len() < blocks {
            self.blocks.resize(blocks, QueryBlock::default());
        }
        if self.scores.len() < STRIP_MAX {
            self.scores.resize(STRIP_MAX, PageScores::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_found_as_by_sorting() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as i64 - (1 << 23)
        };
        for length in [1usize, 2, 17, 300] {
            for divisor in [1i64, 1 << 20] {
                // With the larger divisor many are equal, zeros of both signs among them.
                let scores: Vec<f32> = (0..length).map(|_| (next() / divisor) as f32 * -0.5).collect();
                for count in [1, length.div_ceil(2), length] {
                    let mut words = vec![0; length.div_ceil(PAGE_LENGTH)];
                    choose(KeyUnit::Key, count, length - 1, &mut scores.clone(), &mut words);
                    let mut order: Vec<usize> = (0..length).collect();
                    order.sort_by(|a, b| scores[*b].partial_cmp(&scores[*a]).expect("numbers").then(a.cmp(b)));
                    let mut expected = vec![0; words.len()];
                    order[..count].iter().for_each(|place| set(&mut expected, *place..place + 1));
                    assert_eq!(words, expected, "{count} of {length}, divisor {divisor}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_is_chosen_last() {
        let mut words = [0; 1];
        choose(KeyUnit::Key, 2, 3, &mut [f32::NAN, f32::NEG_INFINITY, 1.0, f32::NAN], &mut words);
        assert_eq!(words, [0b0110]);
    }
}
