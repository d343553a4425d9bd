//! Attention over paged keys and values.
//!
//! Work is dealt out by (sequence, block of query rows, key and value head): all query heads of a group share what is
//! read of keys and values ([`block`]). A query's keys are cut into spans of 256 at fixed positions ([`span`]); a span's
//! sums are computed at once ([`scores`], [`values`]) and folded in the order of spans. Pages and spans that nothing
//! sees are not touched.
//!
//! Where there are few blocks for the threads (one sequence, few heads), spans are dealt out too and folded afterwards
//! ([`split`]). Either way the same sums are added in the same order: threads, cuts of a prompt and company in the batch
//! change nothing, to the bit.
//!
//! Arithmetic, for one token at depth 8192 of 32 heads of 64 in groups of 8: 2 x 32 x 64 x 8192 = 34 million
//! multiplications and 262 thousand exponentials a layer; 4 x 8192 x 2 x 64 = 4.2 million elements are read, 8.4 MB in
//! half precision, 4.5 MB as Q8_0. Products of bytes and words (64 and 32 an instruction with VNNI) take about 400
//! thousand cycles, exponentials about 250 thousand.
#![allow(unsafe_code)] // Rows and records are written by several threads.

mod block;
mod chosen;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod lanes_avx512;
#[cfg(target_arch = "aarch64")]
mod lanes_neon;
mod latent_scores;
mod rope;
mod rotation;
mod scores;
mod span;
mod split;
mod values;

use std::ops::Range;

pub(super) use block::Tile;
use block::{Block, Output};
pub use chosen::Chosen;
pub(super) use chosen::{choose_keys, prepare};
use lair_simd::Isa;
pub(super) use rope::turn;
use rotation::rotate;
pub(super) use split::Split;

use super::kv::KvLayer;
use super::kv_record;
use super::memory::Parts;
use super::norm::{apply_norm, clamp};
use super::pool::Pool;
use super::product::{WorkerScratch, for_each_item};
use super::{Buffer, Cpu, Kv};
use crate::{Attention, AttentionBuffers, Batch, Mask, Norm, NormOrder, PAGE_LENGTH, SequenceRows, Temperature};

/// Queries (rows times heads of the group) of a block, about: what is read of a span is used so often.
const QUERIES: usize = 64;
/// From so many rows on, norms, rotation and storing are dealt to all workers.
const ROWS_SHARED: usize = 8;

/// Keys that attention reads.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) layer: &'a KvLayer,
    /// Which of them a query sees.
    pub(super) mask: Mask,
    /// Of so many positions only the last is a key.
    pub(super) stride: usize,
    /// Which of those are read; all where nothing was chosen.
    pub(super) chosen: Option<&'a Chosen>,
}

/// The attention region.
pub(super) fn attention(
    (isa, pool, workers): (Isa, &Pool, &mut [WorkerScratch]),
    batch: &Batch<'_>,
    attention: &Attention<Cpu>,
    kv: &mut Kv,
    buffers: AttentionBuffers<'_, Cpu>,
) {
    batch.assert_consistent();
    let AttentionBuffers { q, kv: keys_and_values, gate, chosen, output } = buffers;
    prepare_rows(isa, pool, batch, (attention, attention.q_norm.as_ref(), attention.temperature), q);
    if let Some((keys, values)) = keys_and_values {
        prepare_rows(isa, pool, batch, (attention, attention.k_norm.as_ref(), None), keys);
        store(isa, pool, batch, attention, &mut kv.layers[attention.kv_layer], (keys, values));
    }
    let Kv { layers, split } = kv;
    let source = Source { layer: &layers[attention.kv_layer], mask: attention.mask, stride: 1, chosen };
    attend((isa, pool, workers), batch, attention, (source, None), split, (&*q, gate, output));
}

/// Attention of prepared queries to keys that are stored: those of one source, then those of another in the same softmax.
pub(super) fn attend(
    (isa, pool, workers): (Isa, &Pool, &mut [WorkerScratch]),
    batch: &Batch<'_>,
    attention: &Attention<Cpu>,
    (source, beside): (Source<'_>, Option<Source<'_>>),
    split: &mut Split,
    (q, gate, output): (&Buffer, Option<&Buffer>, &mut Buffer),
) {
    let blocks = Blocks::new(batch, attention, (source, beside));
    for worker in workers.iter_mut() {
        // At once as much as the largest block takes, so that later steps allocate nothing.
        worker.attention.make_room(QUERIES.max(blocks.rows * blocks.group()), attention, source.layer);
    }
    let output = Output { width: output.width, parts: Parts::new(&mut output.values), gate };
    if blocks.are_few_for(pool.worker_count()) {
        return split::run((isa, pool, workers), &blocks, split, q, &output);
    }
    for_each_item(pool, workers, blocks.count, &|scratch, item| {
        blocks.block(item).run(isa, q, &mut scratch.attention, &output);
    });
}

/// How a batch is cut into blocks.
struct Blocks<'a> {
    batch: &'a Batch<'a>,
    attention: &'a Attention<Cpu>,
    source: Source<'a>,
    beside: Option<Source<'a>>,
    /// Rows of a block, at most.
    rows: usize,
    /// Blocks of all sequences and heads.
    count: usize,
}

impl<'a> Blocks<'a> {
    fn new(
        batch: &'a Batch<'a>,
        attention: &'a Attention<Cpu>,
        (source, beside): (Source<'a>, Option<Source<'a>>),
    ) -> Blocks<'a> {
        let rows = (QUERIES * attention.kv_head_count / attention.head_count).max(1);
        let of_a_head: usize = batch.sequences.iter().map(|sequence| sequence.row_count.div_ceil(rows)).sum();
        Blocks { batch, attention, source, beside, rows, count: of_a_head * attention.kv_head_count }
    }

    fn group(&self) -> usize {
        self.attention.head_count / self.attention.kv_head_count
    }

    /// The `index`-th block: heads vary first, then rows, then sequences.
    fn block(&self, index: usize) -> Block<'a> {
        let (mut place, kv_head) = (index / self.attention.kv_head_count, index % self.attention.kv_head_count);
        for sequence in self.batch.sequences {
            let count = sequence.row_count.div_ceil(self.rows);
            if place < count {
                let start = place * self.rows;
                let rows = start..(start + self.rows).min(sequence.row_count);
                let Blocks { attention, source, beside, .. } = *self;
                return Block { attention, source, beside, sequence, rows, kv_head };
            }
            place -= count;
        }
        unreachable!("blocks were counted over the same sequences")
    }

    /// Whether the longest block alone would keep one of the threads busy after the others have finished.
    fn are_few_for(&self, threads: usize) -> bool {
        // Spans of two sources are not dealt out.
        if threads == 1 || self.count > 8 * threads || self.beside.is_some() {
            return false;
        }
        let (mut longest, mut all) = (0, 0);
        for index in 0..self.count {
            let block = self.block(index);
            let work = block.spans().len() * block.query_count();
            longest = longest.max(work);
            all += work;
        }
        2 * longest * threads > all && (0..self.count).any(|index| self.block(index).spans().len() > 1)
    }
}

/// Clamps, norms and turns the heads of every row.
fn prepare_rows(
    isa: Isa,
    pool: &Pool,
    batch: &Batch<'_>,
    (attention, norm, temperature): (&Attention<Cpu>, Option<&Norm<Cpu>>, Option<Temperature>),
    buffer: &mut Buffer,
) {
    let width = buffer.width;
    let parts = Parts::new(&mut buffer.values);
    let prepare = |sequence: &SequenceRows<'_>, index: usize| {
        // SAFETY: every row is prepared once.
        let row = unsafe { parts.part((sequence.first_row + index) * width, width) };
        if let Some(limit) = attention.clamp {
            clamp(isa, row, limit);
        }
        if let (Some(norm), NormOrder::BeforeRope) = (norm, attention.norm_order) {
            apply_norm(isa, norm, row);
        }
        if let Some(rope) = &attention.rope {
            turn(isa, row, rope, attention.key_dim, sequence.first_position + index);
        }
        if let (Some(norm), NormOrder::AfterRope) = (norm, attention.norm_order) {
            apply_norm(isa, norm, row);
        }
        if let Some(temperature) = temperature {
            let factor = temperature.factor(sequence.first_position + index);
            row.iter_mut().for_each(|value| *value *= factor);
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

/// Puts the rows' keys and values into their pages, page by page: positions of a page may share bytes.
fn store(
    isa: Isa,
    pool: &Pool,
    batch: &Batch<'_>,
    attention: &Attention<Cpu>,
    layer: &mut KvLayer,
    (keys, values): (&mut Buffer, &mut Buffer),
) {
    let (key_width, value_width) = (keys.width, values.width);
    let (keys, values) = (Parts::new(&mut keys.values), Parts::new(&mut values.values));
    let (layout, is_rotated) = (layer.layout, layer.is_rotated());
    let (heads, records) = (layer.kv_head_count, Parts::new(layer.records_mut()));
    let store_page = |sequence: &SequenceRows<'_>, page_index: usize| {
        let page = sequence.page_table[page_index].0 as usize;
        for position in rows_of_page(sequence, page_index) {
            let row = sequence.first_row + position - sequence.first_position;
            // SAFETY: every row belongs to one page of one sequence.
            let (keys, values) =
                unsafe { (keys.part(row * key_width, key_width), values.part(row * value_width, value_width)) };
            if let Some(limit) = attention.clamp {
                clamp(isa, values, limit);
            }
            if let Some(norm) = &attention.v_norm {
                apply_norm(isa, norm, values);
            }
            let both = keys.chunks_exact_mut(attention.key_dim).zip(values.chunks_exact_mut(layout.value_dim));
            for (head, (key, value)) in both.take(heads).enumerate() {
                let key = &mut key[attention.key_dim - layout.key_dim..];
                if let Some(constant) = &attention.key_constant {
                    let constant = &constant[head * layout.key_dim..][..layout.key_dim];
                    key.iter_mut().zip(constant).for_each(|(key, constant)| *key -= constant);
                }
                if is_rotated {
                    rotate(isa, key);
                    rotate(isa, value);
                }
                // SAFETY: a page that is written belongs to one sequence, and here to one thread.
                let record = unsafe { records.part((page * heads + head) * layout.size_bytes, layout.size_bytes) };
                kv_record::store(isa, &layout, record, position % PAGE_LENGTH, (key, value));
            }
        }
    };
    for sequence in batch.sequences {
        let first = sequence.first_position / PAGE_LENGTH;
        let count = (sequence.first_position + sequence.row_count).div_ceil(PAGE_LENGTH) - first;
        if sequence.row_count >= ROWS_SHARED {
            pool.split(count, &|_, range| range.for_each(|index| store_page(sequence, first + index)));
        } else {
            (first..first + count).for_each(|page_index| store_page(sequence, page_index));
        }
    }
}

/// Puts rows into their places as they are: of one head of keys, of values, or of both. Where elements are codes they are
/// turned in place.
pub(super) fn store_rows(
    (isa, pool): (Isa, &Pool),
    batch: &Batch<'_>,
    layer: &mut KvLayer,
    (keys, values): (Option<&mut Buffer>, Option<&mut Buffer>),
) {
    let (layout, is_rotated) = (layer.layout, layer.is_rotated());
    assert_eq!(layer.kv_head_count, 1, "rows of one head");
    let (keys, values) = (Rows::new(keys, layout.key_dim), Rows::new(values, layout.value_dim));
    let records = Parts::new(layer.records_mut());
    for sequence in batch.sequences {
        let first = sequence.first_position / PAGE_LENGTH;
        let count = (sequence.first_position + sequence.row_count).div_ceil(PAGE_LENGTH) - first;
        let store_page = |index: usize| {
            let page = sequence.page_table[first + index].0 as usize;
            for position in rows_of_page(sequence, first + index) {
                let row = sequence.first_row + position - sequence.first_position;
                // SAFETY: every row belongs to one page of one sequence.
                let (key, value) = unsafe { (keys.row(row), values.row(row)) };
                if is_rotated {
                    rotate(isa, key);
                    rotate(isa, value);
                }
                // SAFETY: a page that is written belongs to one sequence, and here to one thread.
                let record = unsafe { records.part(page * layout.size_bytes, layout.size_bytes) };
                kv_record::store(isa, &layout, record, position % PAGE_LENGTH, (key, value));
            }
        };
        if sequence.row_count >= ROWS_SHARED {
            pool.split(count, &|_, range| range.for_each(store_page));
        } else {
            (0..count).for_each(store_page);
        }
    }
}

/// Rows that are stored, or none.
struct Rows<'a> {
    parts: Option<Parts<'a, f32>>,
    width: usize,
}

impl<'a> Rows<'a> {
    fn new(buffer: Option<&'a mut Buffer>, width: usize) -> Rows<'a> {
        assert_eq!(buffer.as_ref().map_or(0, |buffer| buffer.width), width, "rows and the cache differ in width");
        Rows { parts: buffer.map(|buffer| Parts::new(&mut buffer.values)), width }
    }

    /// # Safety
    /// As for [`Parts::part`], row by row.
    #[allow(clippy::mut_from_ref)] // This is what the type is for.
    unsafe fn row(&self, row: usize) -> &'a mut [f32] {
        match &self.parts {
            // SAFETY: the caller's promise.
            Some(parts) => unsafe { parts.part(row * self.width, self.width) },
            None => &mut [],
        }
    }
}

/// The positions of a page that a sequence's rows have.
fn rows_of_page(sequence: &SequenceRows<'_>, page_index: usize) -> Range<usize> {
    let end = sequence.first_position + sequence.row_count;
    (page_index * PAGE_LENGTH).max(sequence.first_position)..((page_index + 1) * PAGE_LENGTH).min(end)
}
