//! The gated feed-forward network: gate and up are computed panel by panel side by side, and activated in place.
#![allow(unsafe_code)] // Rows of activations are written by several threads.

use lair_simd::Isa;

use super::linear::{Source, add_product, for_each_row, grow, prepare};
use super::memory::Parts;
use super::norm::activate;
use super::packed::PANEL;
use super::pool::Pool;
use super::product::{Input, PanelOf, Product, TOKENS_MAX, WorkerScratch, for_each_item};
use super::quantise::{BLOCK, QuantisedBlock, quantise_row};
use super::{Buffer, Cpu};
use crate::{Activation, FeedForward, FeedForwardInput, Linear};

/// The widening half of a network: what the products of one panel need.
#[derive(Clone, Copy)]
pub(super) struct Widening<'a> {
    pub(super) gate: Option<&'a Linear<Cpu>>,
    pub(super) up: &'a Linear<Cpu>,
    pub(super) activation: Activation,
}

impl Widening<'_> {
    /// Rows of bytes that it reads of a row.
    pub(super) fn byte_rows(&self) -> usize {
        self.gate.map_or(0, |gate| gate.weight.byte_rows()).max(self.up.weight.byte_rows())
    }

    /// One panel of `activation(gate(x)) * up(x)` of network `index` for some rows, left in the first sums.
    pub(super) fn panel(
        &self,
        isa: Isa,
        scratch: &mut WorkerScratch,
        (index, panel): (usize, usize),
        input: &Input<'_>,
        rows: &[u32],
    ) {
        let up = Product::of(self.up, index);
        let gate = Product::of(self.gate.unwrap_or(self.up), index);
        let panels = [up, gate].map(|product| PanelOf { matrix: product.matrix, index, panel });
        scratch.multiply(isa, if self.gate.is_some() { &panels } else { &panels[..1] }, input, rows);
        let [up_sums, gate_sums] = &mut *scratch.sums;
        let (up_sums, gate_sums) = (&mut up_sums[..rows.len()], &mut gate_sums[..rows.len()]);
        up.finish.apply(panel, up_sums);
        if self.gate.is_some() {
            gate.finish.apply(panel, gate_sums);
        }
        let gate_sums = self.gate.map(|_| gate_sums.as_flattened());
        activate(isa, self.activation, gate_sums, up_sums.as_flattened_mut());
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
    scratch.reserve(rows, 0, 0);
    let widening = Widening { gate: network.gate.as_ref(), up: &network.up, activation: network.activation };
    let buffer = match input {
        FeedForwardInput::Residual => &*residual,
        FeedForwardInput::Buffer(buffer) => buffer,
    };
    let source = Source { buffer, wanted: None };
    let room = (&mut scratch.normed, &mut scratch.blocks);
    let input = prepare((isa, pool), rows, network.norm.as_ref(), source, room, widening.byte_rows());
    let all_rows = &scratch.all_rows[..rows];
    let room = (&mut scratch.hidden, &mut scratch.hidden_blocks);
    let hidden = widen((isa, pool, workers), &widening, &input, all_rows, room, network.down.weight.byte_rows());
    let after = (network.post_norm.as_ref(), network.residual_scale);
    add_product((isa, pool, workers), &network.down, &hidden, all_rows, after, (&mut scratch.product, residual));
}

/// The widening half over all rows, prepared for the narrowing one.
pub(super) fn widen<'a>(
    (isa, pool, workers): (Isa, &Pool, &mut [WorkerScratch]),
    widening: &Widening<'_>,
    input: &Input<'_>,
    all_rows: &[u32],
    (hidden, blocks): (&'a mut Vec<f32>, &'a mut Vec<QuantisedBlock>),
    byte_rows: usize,
) -> Input<'a> {
    let (rows, width) = (all_rows.len(), widening.up.weight.rows());
    assert!(widening.gate.is_none_or(|gate| gate.weight.rows() == width), "gate and up differ in width");
    grow(hidden, rows * width, 0.0);
    let out = Parts::new(hidden);
    let panels = widening.up.weight.panels();
    for_each_item(pool, workers, panels * rows.div_ceil(TOKENS_MAX), &|scratch, item| {
        let (first_row, panel) = (item / panels * TOKENS_MAX, item % panels);
        let rows = &all_rows[first_row..(first_row + TOKENS_MAX).min(all_rows.len())];
        widening.panel(isa, scratch, (0, panel), input, rows);
        let length = PANEL.min(width - panel * PANEL);
        for (&row, sums) in rows.iter().zip(&scratch.sums[0]) {
            // SAFETY: every row and panel is written once.
            let out = unsafe { out.part(row as usize * width + panel * PANEL, length) };
            // The compiler sees the length of the first copy.
            if length == PANEL { out.copy_from_slice(&sums[..]) } else { out.copy_from_slice(&sums[..length]) }
        }
    });
    quantised_rows((isa, pool), rows, &hidden[..rows * width], width, blocks, byte_rows)
}

/// Rows as the input of products, quantised as that many rows of bytes.
pub(super) fn quantised_rows<'a>(
    (isa, pool): (Isa, &Pool),
    rows: usize,
    values: &'a [f32],
    width: usize,
    blocks: &'a mut Vec<QuantisedBlock>,
    byte_rows: usize,
) -> Input<'a> {
    let blocks_a_row = byte_rows * width / BLOCK;
    grow(blocks, rows * blocks_a_row, QuantisedBlock::ZERO);
    if byte_rows > 0 {
        let parts = Parts::new(blocks);
        for_each_row(pool, rows, &|row| {
            // SAFETY: every row is written once.
            let blocks = unsafe { parts.part(row * blocks_a_row, blocks_a_row) };
            quantise_row(isa, &values[row * width..][..width], blocks);
        });
    }
    Input { values, width, blocks: &blocks[..rows * blocks_a_row], byte_rows }
}
