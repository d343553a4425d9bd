//! The gated feed-forward network: gate and up are computed panel by panel side by side, or in runs of panels where rows
//! are few, and activated in place.
#![allow(unsafe_code)] // Rows of activations are written by several threads.

use std::ops::Range;

use lair_simd::Isa;

use super::kernel::STRIP_MAX;
use super::linear::{Source, Wanted, add_product, for_each_row, grow, prepare};
use super::matrix::Matrix;
use super::memory::Parts;
use super::norm::{activate, apply_norm, divide};
use super::packed::{BLOCK, PANEL};
use super::pool::Pool;
use super::product::{Input, PanelOf, Product, TOKENS_MAX, WorkerScratch, for_each_item, for_each_run};
use super::quantise::{InputForm, QuantisedBlock, block_stride};
use super::tap::observe;
use super::{Buffer, Cpu};
use crate::{Activation, FeedForward, FeedForwardInput, Linear, Norm};

/// The widening half of a network: what the products of one panel need.
#[derive(Clone, Copy)]
pub(super) struct Widening<'a> {
    pub(super) gate: Option<&'a Linear<Cpu>>,
    pub(super) up: &'a Linear<Cpu>,
    pub(super) activation: Activation,
}

impl Widening<'_> {
    /// How it takes rows.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted::by(self.matrices())
    }

    /// What its input is multiplied with.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.gate.into_iter().chain([self.up]).map(|linear| &linear.weight)
    }

    /// One panel of `activation(gate(x)) * up(x)` of network `index` for some rows, left in the first sums. `factors`, one
    /// for each row, multiply the input.
    pub(super) fn panel(
        &self,
        isa: Isa,
        scratch: &mut WorkerScratch,
        (index, panel): (usize, usize),
        input: &Input<'_>,
        (rows, factors): (&[u32], Option<&[f32]>),
    ) {
        let up = Product::of(self.up, index);
        let gate = Product::of(self.gate.unwrap_or(self.up), index);
        let panels = [up, gate].map(|product| PanelOf { matrix: product.matrix, index, panel });
        scratch.multiply(isa, if self.gate.is_some() { &panels } else { &panels[..1] }, input, rows);
        let [up_sums, gate_sums] = &mut **scratch.sums;
        let (up_sums, gate_sums) = (&mut up_sums[..rows.len()], &mut gate_sums[..rows.len()]);
        if let Some(factors) = factors {
            for (factor, (up, gate)) in factors.iter().zip(up_sums.iter_mut().zip(&mut *gate_sums)) {
                up.iter_mut().chain(gate).for_each(|sum| *sum *= factor);
            }
        }
        up.finish.apply(panel, up_sums);
        if self.gate.is_some() {
            gate.finish.apply(panel, gate_sums);
        }
        let gate_sums = self.gate.map(|_| gate_sums.as_flattened());
        activate(isa, self.activation, gate_sums, up_sums.as_flattened_mut());
    }
}

impl Widening<'_> {
    /// Some pairs of panels of `activation(gate(x)) * up(x)` of network `index`, for few rows: all of up, then those of `gate`.
    /// Results go into `part(which of rows, first column, length)`.
    ///
    /// What counts with few rows is the speed of memory, and the processor asks ahead by itself only on long runs: with panels of
    /// gate and up in turn, runs of 20 KiB, reading both took 5 % longer.
    pub(super) fn run<'a>(
        &self,
        isa: Isa,
        scratch: &mut WorkerScratch,
        (gate, index, pairs): (&Linear<Cpu>, usize, Range<usize>),
        input: (&Input<'_>, &[u32]),
        part: &dyn Fn(usize, usize, usize) -> &'a mut [f32],
    ) {
        let [up, gate] = [self.up, gate].map(|linear| Product::of(linear, index));
        scratch.multiply_pairs(isa, &up, pairs.clone(), input, |row, column, values| {
            part(row, column, values.len()).copy_from_slice(values);
        });
        scratch.multiply_pairs(isa, &gate, pairs, input, |row, column, values| {
            activate(isa, self.activation, Some(values), part(row, column, values.len()));
        });
    }
}

/// The feed-forward region.
pub(super) fn feed_forward(
    cpu: &mut Cpu,
    rows: usize,
    network: &FeedForward<Cpu>,
    input: FeedForwardInput<'_, Cpu>,
    residual: &mut Buffer,
) {
    let Cpu { isa, pool, workers, scratch, .. } = cpu;
    let isa = *isa;
    scratch.reserve(rows, 0, InputForm::Numbers);
    let widening = Widening { gate: network.gate.as_ref(), up: &network.up, activation: network.activation };
    let buffer = match input {
        FeedForwardInput::Residual => &*residual,
        FeedForwardInput::Buffer(buffer) => buffer,
    };
    let source = Source { buffer, wanted: None };
    let room = (&mut scratch.normed, &mut scratch.blocks);
    let input = prepare((isa, pool), rows, network.norm.as_ref(), source, room, widening.wanted());
    let all_rows = &scratch.all_rows[..rows];
    let (hidden, blocks) = (&mut scratch.hidden, &mut scratch.hidden_blocks);
    let form = network.down.weight.form();
    let hidden = match (network.inner_divisor.as_deref(), network.inner_norm.as_ref()) {
        (None, None) => {
            let wanted = Wanted::by(std::iter::once(&network.down.weight));
            widen((isa, pool, workers), &widening, &input, all_rows, (hidden, blocks), wanted)
        }
        inner => {
            // What stands between the products has to be whole rows of numbers before it is quantised.
            let wanted = Wanted { form: InputForm::Numbers, numbers: true };
            let width = widen((isa, pool, workers), &widening, &input, all_rows, (hidden, blocks), wanted).width;
            normalise_inner((isa, pool), &mut hidden[..rows * width], width, inner);
            quantised_rows((isa, pool), rows, &hidden[..rows * width], width, blocks, form)
        }
    };
    let after = (network.post_norm.as_ref(), network.residual_scale);
    add_product((isa, pool, workers), &network.down, &hidden, all_rows, after, (&mut scratch.product, residual));
}

/// Divides and norms what stands between the products, `[rows, width]`.
fn normalise_inner(
    (isa, pool): (Isa, &Pool),
    values: &mut [f32],
    width: usize,
    (divisor, norm): (Option<&[f32]>, Option<&Norm<Cpu>>),
) {
    let rows = values.len() / width;
    let parts = Parts::new(values);
    for_each_row(pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let values = unsafe { parts.part(row * width, width) };
        if let Some(divisor) = divisor {
            divide(isa, values, divisor);
        }
        if let Some(norm) = norm {
            apply_norm(isa, norm, values);
        }
    });
}

/// The widening half over all rows, prepared for the narrowing one. Numbers that are not wanted are not there.
pub(super) fn widen<'a>(
    (isa, pool, workers): (Isa, &Pool, &mut [WorkerScratch]),
    widening: &Widening<'_>,
    input: &Input<'_>,
    all_rows: &[u32],
    (hidden, blocks): (&'a mut Vec<f32>, &'a mut Vec<QuantisedBlock>),
    Wanted { form, numbers }: Wanted,
) -> Input<'a> {
    let (rows, width) = (all_rows.len(), widening.up.weight.rows());
    assert!(widening.gate.is_none_or(|gate| gate.weight.rows() == width), "gate and up differ in width");
    observe(widening.matrices(), 0, input, 0..rows);
    if !numbers && rows > STRIP_MAX {
        return widen_into_blocks((isa, pool, workers), widening, input, all_rows, blocks, form);
    }
    grow(hidden, rows * width, 0.0);
    let out = Parts::new(hidden);
    let panels = widening.up.weight.panels();
    if let Some(gate) = widening.gate
        && rows <= STRIP_MAX
    {
        widen_in_runs((isa, pool, workers), widening, gate, input, all_rows, (&out, width));
        return quantised_rows((isa, pool), rows, &hidden[..rows * width], width, blocks, form);
    }
    for_each_item(pool, workers, panels * rows.div_ceil(TOKENS_MAX), &|scratch, item| {
        let (first_row, panel) = (item / panels * TOKENS_MAX, item % panels);
        let rows = &all_rows[first_row..(first_row + TOKENS_MAX).min(all_rows.len())];
        widening.panel(isa, scratch, (0, panel), input, (rows, None));
        let length = PANEL.min(width - panel * PANEL);
        for (&row, sums) in rows.iter().zip(&scratch.sums[0]) {
            // SAFETY: every row and panel is written once.
            let out = unsafe { out.part(row as usize * width + panel * PANEL, length) };
            // The compiler sees the length of the first copy.
            if length == PANEL { out.copy_from_slice(&sums[..]) } else { out.copy_from_slice(&sums[..length]) }
        }
    });
    quantised_rows((isa, pool), rows, &hidden[..rows * width], width, blocks, form)
}

/// The widening half for many rows, of which nothing but blocks is wanted: two panels at a time are a column of blocks. Numbers for
/// all rows would not fit the caches, and be written and read once more.
fn widen_into_blocks<'a>(
    (isa, pool, workers): (Isa, &Pool, &mut [WorkerScratch]),
    widening: &Widening<'_>,
    input: &Input<'_>,
    all_rows: &[u32],
    blocks: &'a mut Vec<QuantisedBlock>,
    form: InputForm,
) -> Input<'a> {
    let (rows, width) = (all_rows.len(), widening.up.weight.rows());
    const { assert!(BLOCK == 2 * PANEL) };
    let (columns, blocks_a_row) = (width / BLOCK, form.blocks_a_row(width));
    grow(blocks, rows * blocks_a_row, QuantisedBlock::ZERO);
    let parts = Parts::new(blocks);
    for_each_item(pool, workers, columns * rows.div_ceil(TOKENS_MAX), &|scratch, item| {
        let (first_row, column) = (item / columns * TOKENS_MAX, item % columns);
        let rows = &all_rows[first_row..(first_row + TOKENS_MAX).min(all_rows.len())];
        for half in 0..2 {
            widening.panel(isa, scratch, (0, 2 * column + half), input, (rows, None));
            for (block, sums) in scratch.column[..rows.len()].iter_mut().zip(&scratch.sums[0]) {
                block[half * PANEL..][..PANEL].copy_from_slice(sums);
            }
        }
        // SAFETY: every item is another column, or has other rows.
        unsafe { form.write_column(isa, &scratch.column[..rows.len()], (&parts, blocks_a_row), (rows, column)) };
    });
    Input { values: &[], width, blocks: &blocks[..rows * blocks_a_row], stride: block_stride(width), form }
}

/// The widening half for few rows: all of a worker's panels of up, then those of gate ([`Widening::run`]).
fn widen_in_runs(
    (isa, pool, workers): (Isa, &Pool, &mut [WorkerScratch]),
    widening: &Widening<'_>,
    gate: &Linear<Cpu>,
    input: &Input<'_>,
    rows: &[u32],
    (out, width): (&Parts<'_, f32>, usize),
) {
    let part = |row: usize, column: usize, length: usize| {
        // SAFETY: every row and panel belongs to one piece, whose worker asks for one part at a time.
        unsafe { out.part(rows[row] as usize * width + column, length) }
    };
    for_each_run(pool, workers, Product::of(gate, 0).pairs(), &|scratch, pairs| {
        widening.run(isa, scratch, (gate, 0, pairs), (input, rows), &part);
    });
}

/// What stands between the products of a network, for rows that were computed apart.
pub(super) fn activate_rows(
    cpu: &mut Cpu,
    rows: usize,
    activation: Activation,
    gate: Option<&Buffer>,
    wide: &mut Buffer,
) {
    let (isa, width) = (cpu.isa, wide.width);
    let out = Parts::new(&mut wide.values);
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is written once.
        let out = unsafe { out.part(row * width, width) };
        activate(isa, activation, gate.map(|gate| gate.row(row)), out);
    });
}

/// Rows as the input of products, in the form they take.
pub(super) fn quantised_rows<'a>(
    (isa, pool): (Isa, &Pool),
    rows: usize,
    values: &'a [f32],
    width: usize,
    blocks: &'a mut Vec<QuantisedBlock>,
    form: InputForm,
) -> Input<'a> {
    let blocks_a_row = form.blocks_a_row(width);
    grow(blocks, rows * blocks_a_row, QuantisedBlock::ZERO);
    if blocks_a_row > 0 {
        let parts = Parts::new(blocks);
        for_each_row(pool, rows, &|row| {
            // SAFETY: every row is written once.
            let blocks = unsafe { parts.part(row * blocks_a_row, blocks_a_row) };
            form.write(isa, &values[row * width..][..width], blocks);
        });
    }
    Input { values, width, blocks: &blocks[..rows * blocks_a_row], stride: block_stride(width), form }
}
