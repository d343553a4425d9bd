//! The naive reference: every region as its formula, one row and one element after the other, sums in f64.
//!
//! It is slow and stays slow. It exists so that every fast path has something plain to be equal to.

mod attention;
mod banked;
mod chosen;
mod compressed;
mod convolution;
mod decayed_attention;
mod delta_net;
mod elementwise;
mod experts;
mod latent;
mod parts;
mod rwkv;
mod state_space;
mod streams;

use std::sync::Arc;

use crate::{
    Activation, Attention, AttentionBuffers, Backend, Batch, CompressedAttention, CompressedAttentionBuffers,
    ComputeError, Convolution, ConvolutionBuffers, DecayedAttention, DecayedAttentionBuffers, DeltaRule,
    DeltaRuleBuffers, Experts, ExpertsInput, FeedForward, FeedForwardInput, Head, KeyChooser, KeyChooserBuffers,
    KeyCompressor, KeyCompressorBuffers, KvLayout, LatentAttention, LatentBuffers, Linear, MatrixBytes, Norm,
    NormGroup, NormKind, PAGE_LENGTH, PageId, Rwkv6, Rwkv6Buffers, Rwkv7, Rwkv7Buffers, SequenceRows, ShiftedRows,
    StateLayout, StateSlot, StateSpace, StateSpaceBuffers, StreamFactors, TokenShift, VectorBytes,
};
pub use chosen::Chosen;
pub use elementwise::with_half_precision_gelu;
use elementwise::{activate, sigmoid, soft_cap, softplus};

/// The reference backend.
#[derive(Debug, Default)]
pub struct Reference;

/// A stack of matrices as f32, `[count, rows, columns]`.
#[derive(Clone)]
pub struct Matrix {
    values: Arc<Vec<f32>>,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// Row `row` of matrix `index`.
    fn row(&self, index: usize, row: usize) -> &[f32] {
        let start = (index * self.rows + row) * self.columns;
        &self.values[start..start + self.columns]
    }
}

/// Activations, `[rows, width]`.
pub struct Buffer {
    values: Vec<f32>,
    width: usize,
}

impl Buffer {
    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.width..(row + 1) * self.width]
    }
}

/// Keys and values in F32 whatever the layout asks for: `[page, position in page, kv_head_count * dim]` a layer.
pub struct Kv {
    layers: Vec<KvLayer>,
}

struct KvLayer {
    keys: Vec<f32>,
    values: Vec<f32>,
    key_width: usize,
    value_width: usize,
}

/// Recurrent state: for each layer `[slot, length]`.
pub struct States {
    layers: Vec<StateLayer>,
}

struct StateLayer {
    conv: Vec<f32>,
    conv_length: usize,
    recurrent: Vec<f32>,
    recurrent_length: usize,
}

impl StateLayer {
    /// The convolution's history of a sequence.
    fn conv_of(&mut self, rows: &SequenceRows<'_>) -> &mut [f32] {
        let slot = rows.state_slot.expect("a sequence of a recurrent model has a state").0 as usize;
        &mut self.conv[slot * self.conv_length..][..self.conv_length]
    }

    /// The recurrent state of a sequence.
    fn recurrent_of(&mut self, rows: &SequenceRows<'_>) -> &mut [f32] {
        let slot = rows.state_slot.expect("a sequence of a recurrent model has a state").0 as usize;
        &mut self.recurrent[slot * self.recurrent_length..][..self.recurrent_length]
    }
}

impl Backend for Reference {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Buffer = Buffer;
    type Kv = Kv;
    type States = States;
    type Chosen = Chosen;

    fn matrix(&self, source: &MatrixBytes) -> Result<Matrix, ComputeError> {
        source.check()?;
        if !lair_quant::is_supported(source.tensor_type) {
            return Err(ComputeError::WeightType { name: source.name.clone(), tensor_type: source.tensor_type });
        }
        let (rows, columns) = (source.rows(), source.columns);
        let mut values = vec![0.0; source.count * rows * columns];
        for (index, row) in values.chunks_exact_mut(columns.max(1)).enumerate() {
            lair_quant::dequantize(source.tensor_type, source.row(index / rows, index % rows), row)
                .expect("the source was checked: a row is a whole number of blocks");
        }
        Ok(Matrix { values: Arc::new(values), rows, columns })
    }

    fn vector(&self, source: &VectorBytes) -> Result<Vec<f32>, ComputeError> {
        source.values()
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer, ComputeError> {
        Ok(Buffer { values: vec![0.0; rows * width], width })
    }

    fn reserve(&mut self, _rows: usize, _width: usize) -> Result<(), ComputeError> {
        Ok(())
    }

    fn reserve_experts(&mut self, _rows: usize, _experts: &Experts<Self>) -> Result<(), ComputeError> {
        Ok(())
    }

    fn kv(&self, layout: &KvLayout) -> Result<Kv, ComputeError> {
        let positions = layout.page_count * PAGE_LENGTH;
        let layers = layout.layers.iter().map(|layer| {
            let key_width = layer.kv_head_count * layer.key_dim;
            let value_width = layer.kv_head_count * layer.value_dim;
            KvLayer {
                keys: vec![0.0; positions * key_width],
                values: vec![0.0; positions * value_width],
                key_width,
                value_width,
            }
        });
        Ok(Kv { layers: layers.collect() })
    }

    fn chosen(&self, _rows: usize, _choices: usize, _positions: usize) -> Result<Chosen, ComputeError> {
        Ok(Chosen::default())
    }

    fn states(&self, layout: &StateLayout) -> Result<States, ComputeError> {
        let layers = layout.layers.iter().map(|layer| StateLayer {
            conv: vec![0.0; layout.slot_count * layer.conv_length],
            conv_length: layer.conv_length,
            recurrent: vec![0.0; layout.slot_count * layer.recurrent_length],
            recurrent_length: layer.recurrent_length,
        });
        Ok(States { layers: layers.collect() })
    }

    fn copy_page(&mut self, kv: &mut Kv, from: PageId, to: PageId) {
        for layer in &mut kv.layers {
            copy_part(&mut layer.keys, PAGE_LENGTH * layer.key_width, from.0, to.0);
            copy_part(&mut layer.values, PAGE_LENGTH * layer.value_width, from.0, to.0);
        }
    }

    fn page_bytes(&self, kv: &Kv) -> usize {
        kv.layers.iter().map(|layer| 4 * PAGE_LENGTH * (layer.key_width + layer.value_width)).sum()
    }

    fn read_page(&self, kv: &Kv, page: PageId, bytes: &mut [u8]) {
        let mut words = bytes.as_chunks_mut().0.iter_mut();
        for layer in &kv.layers {
            for (values, width) in [(&layer.keys, layer.key_width), (&layer.values, layer.value_width)] {
                let length = PAGE_LENGTH * width;
                for (value, word) in values[page.0 as usize * length..][..length].iter().zip(words.by_ref()) {
                    *word = value.to_le_bytes();
                }
            }
        }
    }

    fn write_page(&mut self, kv: &mut Kv, page: PageId, bytes: &[u8]) {
        let mut words = bytes.as_chunks().0.iter();
        for layer in &mut kv.layers {
            for (values, width) in [(&mut layer.keys, layer.key_width), (&mut layer.values, layer.value_width)] {
                let length = PAGE_LENGTH * width;
                for (value, word) in values[page.0 as usize * length..][..length].iter_mut().zip(words.by_ref()) {
                    *value = f32::from_le_bytes(*word);
                }
            }
        }
    }

    fn clear_state(&mut self, states: &mut States, slot: StateSlot) {
        let slot = slot.0 as usize;
        for layer in &mut states.layers {
            layer.conv[slot * layer.conv_length..][..layer.conv_length].fill(0.0);
            layer.recurrent[slot * layer.recurrent_length..][..layer.recurrent_length].fill(0.0);
        }
    }

    fn copy_state(&mut self, states: &mut States, from: StateSlot, to: StateSlot) {
        for layer in &mut states.layers {
            copy_part(&mut layer.conv, layer.conv_length, from.0, to.0);
            copy_part(&mut layer.recurrent, layer.recurrent_length, from.0, to.0);
        }
    }

    fn state_bytes(&self, states: &States) -> usize {
        states.layers.iter().map(|layer| 4 * (layer.conv_length + layer.recurrent_length)).sum()
    }

    fn read_state(&self, states: &States, slot: StateSlot, bytes: &mut [u8]) {
        let mut bytes = bytes.as_chunks_mut().0.iter_mut();
        for layer in &states.layers {
            let slot = slot.0 as usize;
            let conv = &layer.conv[slot * layer.conv_length..][..layer.conv_length];
            let recurrent = &layer.recurrent[slot * layer.recurrent_length..][..layer.recurrent_length];
            bytes.by_ref().zip(conv.iter().chain(recurrent)).for_each(|(bytes, value)| *bytes = value.to_ne_bytes());
        }
    }

    fn write_state(&mut self, states: &mut States, slot: StateSlot, bytes: &[u8]) {
        let mut bytes = bytes.as_chunks().0;
        for layer in &mut states.layers {
            let slot = slot.0 as usize;
            let conv = &mut layer.conv[slot * layer.conv_length..][..layer.conv_length];
            let recurrent = &mut layer.recurrent[slot * layer.recurrent_length..][..layer.recurrent_length];
            let (own, rest) = bytes.split_at(conv.len() + recurrent.len());
            conv.iter_mut().chain(recurrent).zip(own).for_each(|(value, bytes)| *value = f32::from_ne_bytes(*bytes));
            bytes = rest;
        }
    }

    fn embed(&mut self, table: &Matrix, tokens: &[u32], scale: f32, output: &mut Buffer) {
        for (out, &token) in output.values.chunks_exact_mut(table.columns).zip(tokens) {
            for (out, &value) in out.iter_mut().zip(table.row(0, token as usize)) {
                *out = value * scale;
            }
        }
    }

    fn embed_positions(&mut self, table: &Matrix, batch: &Batch<'_>, output: &mut Buffer) {
        for (row, position) in batch.positions().enumerate() {
            add_scaled(output.row_mut(row), table.row(0, position), 1.0);
        }
    }

    fn norm(&mut self, rows: usize, norm: &Norm<Self>, input: &Buffer, output: &mut Buffer) {
        for row in 0..rows {
            output.row_mut(row).copy_from_slice(input.row(row));
            apply_norm(norm, output.row_mut(row));
        }
    }

    fn project(
        &mut self,
        rows: usize,
        norm: Option<&Norm<Self>>,
        input: &Buffer,
        products: &mut [(&Linear<Self>, &mut Buffer)],
    ) {
        for row in 0..rows {
            let normed = normed_row(norm, input.row(row));
            for (linear, output) in products.iter_mut() {
                apply_linear(linear, 0, &normed, output.row_mut(row));
            }
        }
    }

    fn attention(
        &mut self,
        batch: &Batch<'_>,
        attention: &Attention<Self>,
        kv: &mut Kv,
        buffers: AttentionBuffers<'_, Self>,
    ) {
        attention::attention(batch, attention, &mut kv.layers[attention.kv_layer], buffers);
    }

    fn latent_attention(
        &mut self,
        batch: &Batch<'_>,
        layer: &LatentAttention<Self>,
        kv: &mut Kv,
        buffers: LatentBuffers<'_, Self>,
    ) {
        latent::latent_attention(batch, layer, &mut kv.layers[layer.attention.kv_layer], buffers);
    }

    fn choose_keys(
        &mut self,
        batch: &Batch<'_>,
        chooser: &KeyChooser<Self>,
        kv: &mut Kv,
        buffers: KeyChooserBuffers<'_, Self>,
        chosen: &mut Chosen,
    ) {
        chosen::choose_keys(batch, chooser, &mut kv.layers[chooser.kv_layer], buffers, chosen);
    }

    fn compress_keys(
        &mut self,
        batch: &Batch<'_>,
        compressor: &KeyCompressor<Self>,
        states: &mut States,
        kv: &mut Kv,
        buffers: KeyCompressorBuffers<'_, Self>,
    ) {
        let state = &mut states.layers[compressor.state_layer];
        compressed::compress_keys(batch, compressor, state, kv, buffers);
    }

    fn compressed_attention(
        &mut self,
        batch: &Batch<'_>,
        layer: &CompressedAttention<Self>,
        kv: &mut Kv,
        buffers: CompressedAttentionBuffers<'_, Self>,
    ) {
        compressed::compressed_attention(batch, layer, kv, buffers);
    }

    fn delta_rule(
        &mut self,
        batch: &Batch<'_>,
        layer: &DeltaRule<Self>,
        states: &mut States,
        buffers: DeltaRuleBuffers<'_, Self>,
    ) {
        delta_net::delta_rule(batch, layer, &mut states.layers[layer.state_layer], buffers);
    }

    fn convolve(
        &mut self,
        batch: &Batch<'_>,
        layer: &Convolution<Self>,
        states: &mut States,
        buffers: ConvolutionBuffers<'_, Self>,
    ) {
        convolution::convolve(batch, layer, &mut states.layers[layer.state_layer], buffers);
    }

    fn decayed_attention(
        &mut self,
        batch: &Batch<'_>,
        layer: &DecayedAttention<Self>,
        states: &mut States,
        buffers: DecayedAttentionBuffers<'_, Self>,
    ) {
        decayed_attention::decayed_attention(batch, layer, &mut states.layers[layer.state_layer], buffers);
    }

    fn rwkv6(&mut self, batch: &Batch<'_>, layer: &Rwkv6<Self>, states: &mut States, buffers: Rwkv6Buffers<'_, Self>) {
        rwkv::rwkv6(batch, layer, &mut states.layers[layer.state_layer], buffers);
    }

    fn rwkv7(&mut self, batch: &Batch<'_>, layer: &Rwkv7<Self>, states: &mut States, buffers: Rwkv7Buffers<'_, Self>) {
        rwkv::rwkv7(batch, layer, &mut states.layers[layer.state_layer], buffers);
    }

    fn token_shift(
        &mut self,
        batch: &Batch<'_>,
        layer: &TokenShift<Self>,
        states: &mut States,
        input: &Buffer,
        outputs: &mut [ShiftedRows<'_, Self>],
    ) {
        rwkv::token_shift(batch, layer, &mut states.layers[layer.state_layer], input, outputs);
    }

    fn blend(&mut self, rows: usize, mix: &Buffer, other: &Buffer, values: &mut Buffer) {
        for row in 0..rows {
            for ((value, &other), &mix) in values.row_mut(row).iter_mut().zip(other.row(row)).zip(mix.row(row)) {
                *value += (other - *value) * sigmoid(mix);
            }
        }
    }

    fn state_space(
        &mut self,
        batch: &Batch<'_>,
        layer: &StateSpace<Self>,
        states: &mut States,
        buffers: StateSpaceBuffers<'_, Self>,
    ) {
        state_space::state_space(batch, layer, &mut states.layers[layer.state_layer], buffers);
    }

    fn project_add(
        &mut self,
        rows: usize,
        input: &Buffer,
        linear: &Linear<Self>,
        post_norm: Option<&Norm<Self>>,
        scale: f32,
        residual: &mut Buffer,
    ) {
        let mut product = vec![0.0; residual.width];
        for row in 0..rows {
            apply_linear(linear, 0, input.row(row), &mut product);
            if let Some(norm) = post_norm {
                apply_norm(norm, &mut product);
            }
            add_scaled(residual.row_mut(row), &product, scale);
        }
    }

    fn feed_forward(
        &mut self,
        rows: usize,
        network: &FeedForward<Self>,
        input: FeedForwardInput<'_, Self>,
        residual: &mut Buffer,
    ) {
        for row in 0..rows {
            let normed = normed_row(network.norm.as_ref(), input_row(&input, residual, row));
            let mut output = network_row(network, &normed);
            if let Some(norm) = &network.post_norm {
                apply_norm(norm, &mut output);
            }
            add_scaled(residual.row_mut(row), &output, network.residual_scale);
        }
    }

    fn experts(&mut self, rows: usize, experts: &Experts<Self>, input: ExpertsInput<'_, Self>, residual: &mut Buffer) {
        for row in 0..rows {
            let normed = normed_row(experts.norm.as_ref(), input_row(&input.experts, residual, row));
            let routed = input.router.map_or(&normed[..], |buffer| buffer.row(row));
            let mut output = experts::experts_row(experts, &normed, routed, input.tokens.get(row).copied());
            if let Some(norm) = &experts.post_norm {
                apply_norm(norm, &mut output);
            }
            add_scaled(residual.row_mut(row), &output, experts.residual_scale);
        }
    }

    fn copy(&mut self, rows: usize, input: &Buffer, output: &mut Buffer) {
        let length = rows * input.width;
        output.values[..length].copy_from_slice(&input.values[..length]);
    }

    fn add(&mut self, rows: usize, input: &Buffer, scale: f32, output: &mut Buffer) {
        add_scaled(&mut output.values[..rows * input.width], &input.values[..rows * input.width], scale);
    }

    fn scale_rows(&mut self, factors: &[f32], buffer: &mut Buffer) {
        for (row, &factor) in factors.iter().enumerate() {
            for value in buffer.row_mut(row) {
                *value = if factor == 0.0 { 0.0 } else { *value * factor };
            }
        }
    }

    fn activate(&mut self, rows: usize, activation: Activation, gate: Option<&Buffer>, wide: &mut Buffer) {
        for row in 0..rows {
            activate(activation, gate.map(|gate| gate.row(row)), wide.row_mut(row));
        }
    }

    fn copy_columns(&mut self, rows: usize, input: &Buffer, start: usize, output: &mut Buffer) {
        for row in 0..rows {
            let width = output.width;
            output.row_mut(row).copy_from_slice(&input.row(row)[start..start + width]);
        }
    }

    fn add_mixed(&mut self, rows: usize, coefficients: &Buffer, inputs: &[Buffer], outputs: &mut [Buffer]) {
        for (index, output) in outputs.iter_mut().enumerate() {
            for row in 0..rows {
                let coefficients = &coefficients.row(row)[index * inputs.len()..][..inputs.len()];
                for (element, out) in output.row_mut(row).iter_mut().enumerate() {
                    let products = inputs.iter().zip(coefficients);
                    let sum: f64 = products
                        .map(|(input, coefficient)| f64::from(input.row(row)[element]) * f64::from(*coefficient))
                        .sum();
                    *out += sum as f32;
                }
            }
        }
    }

    fn mean_of_parts(&mut self, rows: usize, input: &Buffer, output: &mut Buffer) {
        parts::mean_of_parts(rows, input, output);
    }

    fn add_to_parts(&mut self, rows: usize, factors: (Option<&Buffer>, f32), added: &Buffer, parts: &mut Buffer) {
        parts::add_to_parts(rows, factors, added, parts);
    }

    fn gate_by_likeness(
        &mut self,
        rows: usize,
        keys_and_queries: (&Buffer, &Buffer),
        values: &Buffer,
        output: &mut Buffer,
    ) {
        parts::gate_by_likeness(rows, keys_and_queries, values, output);
    }

    fn mix_banked(
        &mut self,
        rows: usize,
        score: &Norm<Self>,
        banked: &[Buffer],
        current: &Buffer,
        output: &mut Buffer,
    ) {
        for row in 0..rows {
            let states: Vec<&[f32]> = banked.iter().chain([current]).map(|state| state.row(row)).collect();
            banked::mix(score, &states, output.row_mut(row));
        }
    }

    fn spread_stream(&mut self, rows: usize, input: &Buffer, streams: &mut Buffer) {
        streams::spread_stream(rows, input, streams);
    }

    fn read_streams(
        &mut self,
        rows: usize,
        layer: &StreamFactors,
        products: &mut Buffer,
        streams: &Buffer,
        output: &mut Buffer,
    ) {
        streams::read_streams(rows, layer, products, streams, output);
    }

    fn write_streams(
        &mut self,
        rows: usize,
        layer: &StreamFactors,
        factors: &Buffer,
        added: &Buffer,
        streams: &mut Buffer,
    ) {
        streams::write_streams(rows, layer, factors, added, streams);
    }

    fn match_lengths(&mut self, rows: usize, target: &Buffer, buffer: &mut Buffer) {
        for row in 0..rows {
            let length = |values: &[f32]| dot(values, values).sqrt();
            let factor = length(target.row(row)) / length(buffer.row(row));
            buffer.row_mut(row).iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
        }
    }

    fn keep_largest(&mut self, rows: usize, deviations: f32, buffer: &mut Buffer) {
        for row in 0..rows {
            let values = buffer.row_mut(row);
            let count = values.len() as f64;
            let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
            let squares: f64 = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
            let bound = mean + (squares / (count - 1.0).max(1.0)).sqrt() * f64::from(deviations);
            values.iter_mut().for_each(|value| *value = (f64::from(*value) - bound).max(0.0) as f32);
        }
    }

    fn keep_rows(&mut self, rows: &[usize], buffer: &mut Buffer) {
        for (to, &from) in rows.iter().enumerate() {
            copy_part(&mut buffer.values, buffer.width, from as u32, to as u32);
        }
    }

    fn head(&mut self, head: &Head<Self>, rows_wanted: &[usize], input: &Buffer, logits: &mut [f32]) {
        let vocabulary_size = head.linear.weight.rows;
        for (&row, logits) in rows_wanted.iter().zip(logits.chunks_exact_mut(vocabulary_size)) {
            let normed = normed_row(head.norm.as_ref(), input.row(row));
            apply_linear(&head.linear, 0, &normed, logits);
            for logit in logits {
                *logit = soft_cap(*logit * head.scale, head.softcap);
            }
        }
    }

    fn read(&self, rows: usize, buffer: &Buffer, values: &mut [f32]) {
        values[..rows * buffer.width].copy_from_slice(&buffer.values[..rows * buffer.width]);
    }
}

/// Copies part `from` of `values`, which consists of parts of `length`, over part `to`.
fn copy_part(values: &mut [f32], length: usize, from: u32, to: u32) {
    let start = from as usize * length;
    values.copy_within(start..start + length, to as usize * length);
}

/// `sum[i] += scale * values[i]`.
fn add_scaled(sum: &mut [f32], values: &[f32], scale: f32) {
    for (sum, &value) in sum.iter_mut().zip(values) {
        *sum += scale * value;
    }
}

/// The row a feed-forward network reads.
fn input_row<'a>(input: &FeedForwardInput<'a, Reference>, residual: &'a Buffer, row: usize) -> &'a [f32] {
    match input {
        FeedForwardInput::Residual => residual.row(row),
        FeedForwardInput::Buffer(buffer) => buffer.row(row),
    }
}

/// The row after an optional norm.
fn normed_row(norm: Option<&Norm<Reference>>, row: &[f32]) -> Vec<f32> {
    let mut normed = row.to_vec();
    if let Some(norm) = norm {
        apply_norm(norm, &mut normed);
    }
    normed
}

/// Normalises a row in place.
fn apply_norm(norm: &Norm<Reference>, row: &mut [f32]) {
    let group = match norm.group {
        NormGroup::Row => row.len(),
        NormGroup::Run(length) | NormGroup::Part(length) => length,
    };
    // Where in a weight or a bias a run begins: one for all runs, or a part for each.
    let start = |vector: &[f32], run: usize| if vector.len() == group { 0 } else { run * group };
    for (run, values) in row.chunks_exact_mut(group).enumerate() {
        let length = values.len() as f64;
        let mean = match norm.kind {
            NormKind::Rms | NormKind::None => 0.0,
            NormKind::Layer => values.iter().map(|&x| f64::from(x)).sum::<f64>() / length,
        };
        let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / length;
        let factor = match norm.kind {
            NormKind::None => 1.0,
            _ => 1.0 / (variance + f64::from(norm.epsilon)).sqrt(),
        };
        for (index, value) in values.iter_mut().enumerate() {
            let weight = norm.weight.as_ref().map_or(1.0, |weight| weight[start(weight, run) + index]);
            let bias = norm.bias.as_ref().map_or(0.0, |bias| bias[start(bias, run) + index]);
            *value = ((f64::from(*value) - mean) * factor) as f32 * weight + bias;
        }
    }
}

/// `output = scale * (weight[index] x input) + bias[index]`.
fn apply_linear(linear: &Linear<Reference>, index: usize, input: &[f32], output: &mut [f32]) {
    let rows = linear.weight.rows;
    for (row, out) in output.iter_mut().enumerate().take(rows) {
        let product = dot(linear.weight.row(index, row), input) as f32 * linear.scale;
        *out = product + linear.bias.as_ref().map_or(0.0, |bias| bias[index * rows + row]);
    }
}

/// A feed-forward network on one normed row, before its output norm.
fn network_row(network: &FeedForward<Reference>, normed: &[f32]) -> Vec<f32> {
    let mut wide = vec![0.0; network.up.weight.rows];
    apply_linear(&network.up, 0, normed, &mut wide);
    let gate = network.gate.as_ref().map(|linear| {
        let mut gate = vec![0.0; linear.weight.rows];
        apply_linear(linear, 0, normed, &mut gate);
        gate
    });
    activate(network.activation, gate.as_deref(), &mut wide);
    if let Some(divisor) = &network.inner_divisor {
        wide.iter_mut().zip(divisor).for_each(|(value, divisor)| *value /= divisor);
    }
    if let Some(norm) = &network.inner_norm {
        apply_norm(norm, &mut wide);
    }
    let mut output = vec![0.0; network.down.weight.rows];
    apply_linear(&network.down, 0, &wide, &mut output);
    output
}

/// Sum of products in f64.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "a product of different widths");
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
