//! A block of work: some rows of one sequence with the query heads that share one key and value head.

use std::ops::Range;

use lair_simd::Isa;

use super::super::norm::{gate_head, scale_and_cap};
use super::super::{Buffer, Cpu, kv::KvLayer, memory::Parts};
use super::Source;
use super::lanes::{QueryBlock, STRIP_MAX, WIDTH, run, strip_length};
use super::latent_scores::add_latent_scores;
use super::rotation::rotate;
use super::scores::{Queries, quantise, score};
use super::span::{
    Integers, PageMasks, PageScores, Pages, SPAN, SPAN_PAGES, Softmax, begin, fold, pages_of, set_totals, state_length,
    totals,
};
use super::values::{StripWeights, Values, Weights};
use crate::kv_layout::KEY_BLOCK;
use crate::{Attention, KeyStorage, Mask, PAGE_LENGTH, SequenceRows};

/// What a worker needs for itself.
#[derive(Default)]
pub(in crate::cpu) struct Tile {
    /// One query.
    pub(super) query: Vec<f32>,
    /// `[strip, key_dim, query of the strip]`.
    pub(super) queries: Vec<f32>,
    /// `[strip, key_dim / 32, query of the strip]`.
    pub(super) blocks: Vec<QueryBlock>,
    /// `[query, value panel][16]`: what is compared with values, where keys begin with them.
    latents: Vec<f32>,
    /// Of a strip: `[query]`.
    pub(super) scores: Vec<PageScores>,
    products: Vec<PageScores>,
    /// Of a strip: `[run, query]`.
    weights: Vec<StripWeights>,
    factors: Vec<[f32; STRIP_MAX]>,
    /// Of a strip, one span: `[query, state]`.
    partials: Vec<f32>,
    /// `[query, state]`.
    states: Vec<f32>,
}

impl Tile {
    /// Makes room for blocks of `queries` queries; it stays.
    pub(super) fn make_room(&mut self, queries: usize, attention: &Attention<Cpu>, layer: &KvLayer) {
        fn grow<T: Clone>(values: &mut Vec<T>, length: usize, value: T) {
            if values.len() < length {
                values.resize(length, value);
            }
        }
        let layout = &layer.layout;
        let state = state_length(layout);
        grow(&mut self.query, attention.key_dim, 0.0);
        if attention.key_storage == KeyStorage::BehindValue {
            grow(&mut self.latents, queries * layout.value_panels() * WIDTH, 0.0);
        }
        grow(&mut self.queries, queries * layout.key_dim, 0.0);
        grow(&mut self.blocks, queries * layout.key_dim.div_ceil(KEY_BLOCK), QueryBlock::default());
        grow(&mut self.scores, STRIP_MAX, [[0.0; PAGE_LENGTH]; SPAN_PAGES]);
        grow(&mut self.products, 1, [[0.0; PAGE_LENGTH]; SPAN_PAGES]);
        grow(&mut self.weights, layout.value_runs(), [[[0; PAGE_LENGTH / 2]; SPAN_PAGES]; STRIP_MAX]);
        grow(&mut self.factors, layout.value_runs(), [0.0; STRIP_MAX]);
        grow(&mut self.partials, STRIP_MAX * state, 0.0);
        grow(&mut self.states, queries * state, 0.0);
    }
}

/// Whether the span after this one is fetched ahead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fetch {
    Ahead,
    Nothing,
}

/// The records of a head in a span.
pub(super) fn pages_of_span<'a>(
    layer: &'a KvLayer,
    (sequence, kv_head): (&SequenceRows<'_>, usize),
    span: usize,
    range: Range<usize>,
) -> Pages<'a> {
    let mut records: [&[u8]; SPAN_PAGES] = [&[]; SPAN_PAGES];
    for page in range.clone() {
        records[page] = layer.record(sequence.page_table[span * SPAN_PAGES + page], kv_head);
    }
    Pages { records, range, next: [&[]; SPAN_PAGES] }
}

/// Where results go.
pub(super) struct Output<'a> {
    pub(super) parts: Parts<'a, f32>,
    pub(super) width: usize,
    pub(super) gate: Option<&'a Buffer>,
}

/// A block of query rows of one sequence with the heads of one group. Query `i` is head `i % group` of the group in row
/// `i / group` of the block.
pub(super) struct Block<'a> {
    pub(super) attention: &'a Attention<Cpu>,
    pub(super) source: Source<'a>,
    /// Keys of another layer in the same softmax.
    pub(super) beside: Option<Source<'a>>,
    pub(super) sequence: &'a SequenceRows<'a>,
    /// Rows within the sequence.
    pub(super) rows: Range<usize>,
    pub(super) kv_head: usize,
}

impl Block<'_> {
    fn group(&self) -> usize {
        self.attention.head_count / self.attention.kv_head_count
    }

    pub(super) fn query_count(&self) -> usize {
        self.rows.len() * self.group()
    }

    /// Row in the batch, and head.
    pub(super) fn place(&self, query: usize) -> (usize, usize) {
        let group = self.group();
        (self.sequence.first_row + self.rows.start + query / group, self.kv_head * group + query % group)
    }

    /// The positions that the query in `row` sees.
    fn seen(&self, row: usize) -> Range<usize> {
        let position = self.sequence.first_position + row;
        let end = self.sequence.first_position + self.sequence.row_count;
        match self.source.mask {
            Mask::Causal => 0..position + 1,
            Mask::Window(length) => (position + 1).saturating_sub(length)..position + 1,
            Mask::Chunk(length) => position / length * length..position + 1,
            Mask::Bidirectional => 0..end,
            Mask::Around(reach) => position.saturating_sub(reach)..(position + reach + 1).min(end),
        }
    }

    /// The spans that a query of the block sees something of: both ends of what is seen grow with the row.
    pub(super) fn spans(&self) -> Range<usize> {
        self.seen(self.rows.start).start / SPAN..self.seen(self.rows.end - 1).end.div_ceil(SPAN)
    }

    /// What a query sees of a span, in positions of it.
    fn seen_of_span(&self, query: usize, span: usize) -> Range<usize> {
        let seen = self.seen(self.rows.start + query / self.group());
        let cut = |position: usize| position.saturating_sub(span * SPAN).min(SPAN);
        cut(seen.start)..cut(seen.end)
    }

    /// Whether queries read some of what they see only.
    fn reads_some(&self) -> bool {
        self.source.stride > 1 || self.source.chosen.is_some()
    }

    /// What a query reads of what it sees of a span, a bit for each position of a page; tells whether it is anything.
    fn mask_of_span(&self, query: usize, span: usize, seen: &Range<usize>, masks: &mut PageMasks) -> bool {
        let (row, head) = self.place(query);
        let kv_head = head / self.group();
        let mut is_any = false;
        for page in pages_of(seen) {
            let start = page * PAGE_LENGTH;
            let mut mask =
                self.source.chosen.map_or(u16::MAX, |chosen| chosen.page(row, kv_head, span * SPAN_PAGES + page));
            for position in 0..PAGE_LENGTH {
                let is_key = (span * SPAN + start + position + 1).is_multiple_of(self.source.stride);
                if !is_key || !seen.contains(&(start + position)) {
                    mask &= !(1 << position);
                }
            }
            masks[page] = mask;
            is_any |= mask != 0;
        }
        is_any
    }

    /// All spans, one after the other, and the result.
    pub(super) fn run(&self, isa: Isa, q: &Buffer, tile: &mut Tile, output: &Output<'_>) {
        let length = state_length(&self.source.layer.layout);
        let mut states = std::mem::take(&mut tile.states);
        let mut partials = std::mem::take(&mut tile.partials);
        for (query, state) in states.chunks_exact_mut(length).take(self.query_count()).enumerate() {
            self.begin(query, state);
        }
        self.load_queries(isa, q, tile);
        for source in std::iter::once(self.source).chain(self.beside) {
            let part = Block { source, beside: None, rows: self.rows.clone(), ..*self };
            for span in part.spans() {
                for strip in part.strips(isa) {
                    part.attend(isa, tile, span, strip.clone(), &mut partials);
                    for (query, partial) in strip.zip(partials.chunks_exact(length)) {
                        fold(isa, &mut states[query * length..][..length], partial);
                    }
                }
            }
        }
        for (query, state) in states.chunks_exact_mut(length).take(self.query_count()).enumerate() {
            self.write(isa, query, state, output);
        }
        tile.states = states;
        tile.partials = partials;
    }

    /// One span: `partials` become the states of its sums, `[query, state]`.
    pub(super) fn run_span(&self, isa: Isa, q: &Buffer, tile: &mut Tile, span: usize, partials: &mut [f32]) {
        let length = state_length(&self.source.layer.layout);
        self.load_queries(isa, q, tile);
        for strip in self.strips(isa) {
            self.attend(isa, tile, span, strip.clone(), &mut partials[strip.start * length..]);
        }
    }

    fn strips(&self, isa: Isa) -> impl Iterator<Item = Range<usize>> {
        let (count, length) = (self.query_count(), strip_length(isa));
        (0..count).step_by(length).map(move |start| start..(start + length).min(count))
    }

    pub(super) fn begin(&self, query: usize, state: &mut [f32]) {
        let (_, head) = self.place(query);
        begin(state, self.attention.sinks.as_ref().map(|sinks| sinks[head]));
    }

    /// Gathers the block's queries, in the form that the keys want.
    fn load_queries(&self, isa: Isa, q: &Buffer, tile: &mut Tile) {
        let layout = &self.source.layer.layout;
        let (dim, blocks) = (layout.key_dim, layout.key_dim.div_ceil(KEY_BLOCK));
        for strip in self.strips(isa) {
            for (index, query) in strip.clone().enumerate() {
                let (row, head) = self.place(query);
                let all = &mut tile.query[..self.attention.key_dim];
                all.copy_from_slice(&q.row(row)[head * self.attention.key_dim..][..self.attention.key_dim]);
                // What is compared with values stands first, where there is any.
                let (latent, values) = all.split_at_mut(self.attention.key_dim - dim);
                if self.source.layer.is_rotated() {
                    rotate(isa, latent);
                    rotate(isa, values);
                }
                if !latent.is_empty() {
                    let width = layout.value_panels() * WIDTH;
                    let place = &mut tile.latents[(strip.start + index) * width..][..width];
                    place[..latent.len()].copy_from_slice(latent);
                    place[latent.len()..].fill(0.0);
                }
                // Nothing may be left to be compared with keys.
                if dim == 0 {
                    continue;
                }
                if layout.is_quantised() {
                    quantise(isa, values, &mut tile.blocks[strip.start * blocks + index..], strip.len());
                } else {
                    let places = tile.queries[strip.start * dim + index..].iter_mut().step_by(strip.len());
                    places.zip(values).for_each(|(place, value)| *place = *value);
                }
            }
        }
    }

    /// The sums of a strip's queries over a span, `[query of the strip, state]`.
    fn attend(&self, isa: Isa, tile: &mut Tile, span: usize, strip: Range<usize>, partials: &mut [f32]) {
        let layout = &self.source.layer.layout;
        let length = state_length(layout);
        let partials = &mut partials[..strip.len() * length];
        partials.fill(0.0);
        let mut seen: [Range<usize>; STRIP_MAX] = std::array::from_fn(|_| 0..0);
        let seen = &mut seen[..strip.len()];
        let mut masks = [[0; SPAN_PAGES]; STRIP_MAX];
        let mut all: Option<Range<usize>> = None;
        for (index, (seen, query)) in seen.iter_mut().zip(strip.clone()).enumerate() {
            *seen = self.seen_of_span(query, span);
            if self.reads_some() && !self.mask_of_span(query, span, seen, &mut masks[index]) {
                *seen = 0..0;
            }
            if seen.start < seen.end {
                all = Some(all.map_or(seen.clone(), |all| all.start.min(seen.start)..all.end.max(seen.end)));
            }
        }
        let Some(all) = all else { return };
        // One strip asks for the next span, for all of them.
        let fetched = if strip.start == 0 { Fetch::Ahead } else { Fetch::Nothing };
        let pages = self.pages(span, pages_of(&all), fetched);
        let (dim, blocks) = (layout.key_dim, layout.key_dim.div_ceil(KEY_BLOCK));
        let queries = if layout.is_quantised() {
            Queries::Integers(&tile.blocks[strip.start * blocks..][..strip.len() * blocks])
        } else {
            Queries::Numbers(&tile.queries[strip.start * dim..][..strip.len() * dim])
        };
        score(isa, layout, &pages, queries, &mut tile.scores[..strip.len()]);
        if self.attention.key_storage == KeyStorage::BehindValue {
            let width = layout.value_panels() * WIDTH;
            let latents = &tile.latents[strip.start * width..][..strip.len() * width];
            add_latent_scores(isa, layout, &pages, latents, &mut tile.scores[..strip.len()]);
        }
        for (index, seen) in seen.iter().enumerate() {
            let masks = self.reads_some().then_some(&masks[index]);
            let totals = self.weigh(isa, tile, (strip.start + index, index), span, (seen, masks, &pages));
            set_totals(&mut partials[index * length..][..length], totals);
        }
        self.add_values(isa, tile, &pages, seen, partials);
    }

    /// The records of the block's head in a span.
    fn pages(&self, span: usize, range: Range<usize>, fetch: Fetch) -> Pages<'_> {
        let mut pages = pages_of_span(self.source.layer, (self.sequence, self.kv_head), span, range);
        if fetch == Fetch::Ahead {
            let end = self.seen(self.rows.end - 1).end.div_ceil(PAGE_LENGTH);
            let start = (span + 1) * SPAN_PAGES;
            for (next, page) in pages.next.iter_mut().zip(start..end) {
                *next = self.source.layer.record(self.sequence.page_table[page], self.kv_head);
            }
        }
        pages
    }

    /// Turns the scores of a query, the `index`-th of its strip, into weights; gives its largest score and their sum.
    fn weigh(
        &self,
        isa: Isa,
        tile: &mut Tile,
        (query, index): (usize, usize),
        span: usize,
        (seen, masks, pages): (&Range<usize>, Option<&PageMasks>, &Pages<'_>),
    ) -> (f32, f32) {
        let (layout, runs) = (&self.source.layer.layout, self.source.layer.layout.value_runs());
        let mut result = (f32::NEG_INFINITY, 0.0);
        if seen.is_empty() {
            for run in 0..runs {
                tile.weights[run][index].fill([0; PAGE_LENGTH / 2]);
                tile.factors[run][index] = 0.0;
            }
            return result;
        }
        let scores = &mut tile.scores[index];
        let mut scale = self.attention.scale;
        if self.attention.softcap.is_some() || self.attention.relative_bias.is_some() {
            let scores = scores[pages_of(seen)].as_flattened_mut();
            scale_and_cap(isa, scores, self.attention.scale, self.attention.softcap);
            scale = 1.0;
        }
        if let Some(bias) = &self.attention.relative_bias {
            let position = self.sequence.first_position + self.rows.start + query / self.group();
            let head = self.place(query).1;
            let all = scores.as_flattened_mut();
            for index in seen.clone() {
                all[index] += bias.of(head, position, span * SPAN + index);
            }
        }
        let bias = self.attention.alibi_slopes.as_ref().map(|slopes| {
            let position = self.sequence.first_position + self.rows.start + query / self.group();
            (slopes[self.place(query).1], (span * SPAN) as f32 - position as f32)
        });
        run(isa, Softmax { scores, seen: seen.clone(), masks, scale, bias, result: &mut result });
        if layout.is_quantised() {
            for value_run in 0..runs {
                run(
                    isa,
                    Integers {
                        layout,
                        pages,
                        run: value_run,
                        seen: seen.clone(),
                        masks,
                        weights: &tile.scores[index],
                        products: &mut tile.products[0],
                        integers: &mut tile.weights[value_run][index],
                        factor: &mut tile.factors[value_run][index],
                    },
                );
            }
        }
        result
    }

    /// Adds the values of what each query of a strip sees to its sums.
    fn add_values(&self, isa: Isa, tile: &Tile, pages: &Pages<'_>, seen: &[Range<usize>], sums: &mut [f32]) {
        let layout = &self.source.layer.layout;
        let weights = if layout.is_quantised() {
            Weights::Integers(&tile.weights, &tile.factors)
        } else {
            Weights::Numbers(&tile.scores)
        };
        let values = Values { layout, pages, weights, stride: state_length(layout) };
        if layout.is_quantised() {
            return values.sum(isa, (0, seen.len()), 0..SPAN, sums);
        }
        // A value that a query does not see must not be touched for it: zero times infinity is not zero. What all of
        // the strip see is summed together, what comes before and after by each query alone.
        let start = seen.iter().map(|seen| seen.start).max().unwrap_or(0);
        let end = seen.iter().map(|seen| seen.end).min().unwrap_or(0).max(start);
        let alone = |positions: &dyn Fn(&Range<usize>) -> Range<usize>, sums: &mut [f32]| {
            for (index, seen) in seen.iter().enumerate() {
                let positions = positions(seen);
                if !positions.is_empty() {
                    values.sum(isa, (index, 1), positions, sums);
                }
            }
        };
        alone(&|seen| seen.start..start.min(seen.end), sums);
        if start < end {
            values.sum(isa, (0, seen.len()), start..end, sums);
        }
        alone(&|seen| end.max(seen.start)..seen.end, sums);
    }

    /// Divides by the sum of the weights, gates, and writes a query's result.
    pub(super) fn write(&self, isa: Isa, query: usize, state: &mut [f32], output: &Output<'_>) {
        let dim = self.attention.value_dim;
        let (row, head) = self.place(query);
        // SAFETY: every row and head belongs to one block.
        let out = unsafe { output.parts.part(row * output.width + head * dim, dim) };
        let (_, sum) = totals(state);
        for (out, value) in out.iter_mut().zip(state) {
            *out = *value / sum;
        }
        if self.source.layer.is_rotated() {
            rotate(isa, out);
        }
        if let Some(gate) = output.gate {
            gate_head(isa, self.attention.gate, gate.row(row), head, out);
        }
    }
}
