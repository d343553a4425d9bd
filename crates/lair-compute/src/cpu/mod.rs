//! The CPU backend: packed weights, integer products, a pool of threads.
//!
//! Weights are repacked at load into panels of 16 rows ([`packed`]); activations are quantised once for all products
//! that read them ([`quantise`]); products run panel by panel ([`product`], [`kernel`]). Every sum has one order, fixed
//! by the shape alone, so results are equal to the bit for any batch and number of threads; and for any instruction set, but
//! for weights of 16 bits where the machine has BF16 products (`brain_kernel`).

#[cfg(test)]
mod archive_tests;
mod attention;
mod banked;
mod brain_kernel;
#[cfg(test)]
mod brain_tests;
mod compressed;
mod convolution;
mod decayed_attention;
mod delta_net;
mod experts;
mod feed_forward;
mod float_kernel;
mod float_pack;
#[cfg(test)]
mod float_tests;
mod floats;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod kernel_avx2;
#[cfg(target_arch = "x86_64")]
mod kernel_avx2_tile;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512_direct;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512_tile;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512_wide;
#[cfg(target_arch = "x86_64")]
mod kernel_avx_vnni;
#[cfg(target_arch = "aarch64")]
mod kernel_neon;
mod kv;
mod kv_record;
mod latent;
mod linear;
mod matrix;
mod memory;
mod norm;
mod numbers;
mod pack;
#[cfg(test)]
mod pack_tests;
mod packed;
#[cfg(unix)]
mod pages;
mod panel;
mod parts;
mod pool;
pub mod probe;
mod product;
pub mod product_probe;
#[cfg(test)]
mod product_tests;
mod quantise;
mod recurrence;
#[cfg(unix)]
mod region;
mod rwkv;
mod state_space;
mod streams;
mod tap;

use std::num::NonZeroUsize;
use std::sync::Arc;

pub use attention::Chosen;
pub use kv::{Kv, States};
use lair_simd::Isa;
pub use lair_simd::IsaChoice;
pub use matrix::Matrix;
pub use quantise::{ActivationType, ActivationTypes};
pub use tap::{InputSums, InputTaps};

use crate::{
    Activation, Attention, AttentionBuffers, Backend, Batch, CompressedAttention, CompressedAttentionBuffers,
    ComputeError, Convolution, ConvolutionBuffers, DecayedAttention, DecayedAttentionBuffers, DeltaRule,
    DeltaRuleBuffers, Experts, ExpertsInput, FeedForward, FeedForwardInput, Head, KeyChooser, KeyChooserBuffers,
    KeyCompressor, KeyCompressorBuffers, KvLayout, LatentAttention, LatentBuffers, Linear, MatrixBytes, MatrixRole,
    Norm, PageId, Rwkv6, Rwkv6Buffers, Rwkv7, Rwkv7Buffers, ShiftedRows, StateLayout, StateSlot, StateSpace,
    StateSpaceBuffers, StreamFactors, TokenShift, VectorBytes, WeightArchive,
};
use linear::Scratch;
use pool::Pool;
use product::WorkerScratch;

/// How the CPU is used.
#[derive(Clone, Debug, Default)]
pub struct CpuOptions {
    /// Threads; `None` takes as many as the process may use (affinity and control group heeded).
    pub threads: Option<usize>,
    /// Instruction set.
    pub isa: IsaChoice,
}

impl CpuOptions {
    /// How many threads these options mean.
    pub fn thread_count(&self) -> usize {
        let available = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.unwrap_or_else(available).max(1)
    }
}

/// The CPU backend.
pub struct Cpu {
    isa: Isa,
    pool: Pool,
    workers: Vec<WorkerScratch>,
    scratch: Scratch,
    activations: ActivationTypes,
    /// Whether weights of 16 bits are multiplied in f32 even where BF16 would be faster.
    has_exact_plain_weights: bool,
    taps: Option<InputTaps>,
    archive: Option<Arc<dyn WeightArchive>>,
}

/// Activations, `[rows, width]`.
pub struct Buffer {
    values: memory::Memory<f32>,
    width: usize,
}

impl Buffer {
    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.width..][..self.width]
    }
}

impl Cpu {
    /// Starts the threads.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn new(options: CpuOptions) -> Result<Cpu, ComputeError> {
        let threads = options.thread_count();
        let pool = Pool::new(threads).map_err(|source| ComputeError::Threads { threads, source })?;
        let workers = (0..threads).map(|_| WorkerScratch::new()).collect();
        Ok(Cpu {
            isa: Isa::detect(options.isa),
            pool,
            workers,
            scratch: Scratch::default(),
            activations: ActivationTypes::default(),
            has_exact_plain_weights: false,
            taps: None,
            archive: None,
        })
    }

    /// The same backend, whose matrices, from now on, are multiplied with activations of these types.
    pub fn with_activations(self, activations: impl Into<ActivationTypes>) -> Cpu {
        Cpu { activations: activations.into(), ..self }
    }

    /// The same backend, whose F16 and BF16 matrices, from now on, are multiplied in f32 on every machine: the same bits
    /// everywhere, half as fast where the machine has BF16 products.
    pub fn with_exact_plain_weights(self) -> Cpu {
        Cpu { has_exact_plain_weights: true, ..self }
    }

    /// The same backend, whose matrices, from now on, are taken from this archive where it has them, and offered to it
    /// where it has not.
    pub fn with_weight_archive(self, archive: Arc<dyn WeightArchive>) -> Cpu {
        Cpu { archive: Some(archive), ..self }
    }

    /// The same backend, whose matrices, from now on, add up what they are multiplied with.
    pub fn with_input_taps(self, taps: &InputTaps) -> Cpu {
        Cpu { taps: Some(taps.clone()), ..self }
    }

    /// How many threads compute.
    pub fn thread_count(&self) -> usize {
        self.pool.worker_count()
    }

    /// Parallel regions there were so far: each is work dealt out to the threads, with a wait for all at its end.
    pub fn region_count(&self) -> u64 {
        self.pool.region_count()
    }

    /// Name of the instruction set in use.
    pub fn isa_name(&self) -> &'static str {
        self.isa.name()
    }
}

impl Backend for Cpu {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Buffer = Buffer;
    type Kv = Kv;
    type States = States;
    type Chosen = Chosen;

    fn matrix(&self, source: &MatrixBytes) -> Result<Matrix, ComputeError> {
        let mut matrix = Matrix::of(self.isa, &self.pool, source, self.archive.as_deref())?
            .with_activations(self.activations.others);
        matrix.has_brain_products &= !self.has_exact_plain_weights;
        // Parts of a fused tensor read the same input: the first one stands for all.
        let is_first = source.rows() > 0 && source.selection.stored_row(0) == 0;
        matrix.tap =
            self.taps.as_ref().filter(|_| is_first).map(|taps| taps.tap(&source.name, source.columns, source.count));
        Ok(matrix)
    }

    fn in_role(&self, matrix: Matrix, role: MatrixRole) -> Matrix {
        matrix.in_role(self.activations.of(role))
    }

    fn damage(&self) -> Option<String> {
        self.archive.as_ref()?.damage()
    }

    fn vector(&self, source: &VectorBytes) -> Result<Vec<f32>, ComputeError> {
        source.values()
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer, ComputeError> {
        Ok(Buffer { values: memory::Memory::zeroed(rows.saturating_mul(width), "activations")?, width })
    }

    fn reserve(&mut self, rows: usize, width: usize) -> Result<(), ComputeError> {
        self.scratch.reserve(rows, width, self.activations.form());
        Ok(())
    }

    fn reserve_experts(&mut self, rows: usize, layer: &Experts<Self>) -> Result<(), ComputeError> {
        experts::reserve(&mut self.scratch, rows, layer);
        Ok(())
    }

    fn kv(&self, layout: &KvLayout) -> Result<Kv, ComputeError> {
        Kv::new(layout)
    }

    fn chosen(&self, rows: usize, choices: usize, positions: usize) -> Result<Chosen, ComputeError> {
        Chosen::new(rows, choices, positions)
    }

    fn states(&self, layout: &StateLayout) -> Result<States, ComputeError> {
        States::new(layout)
    }

    fn copy_page(&mut self, kv: &mut Kv, from: PageId, to: PageId) {
        kv.copy_page(from, to);
    }

    fn page_bytes(&self, kv: &Kv) -> usize {
        kv.page_bytes()
    }

    fn read_page(&self, kv: &Kv, page: PageId, bytes: &mut [u8]) {
        kv.read_page(page, bytes);
    }

    fn write_page(&mut self, kv: &mut Kv, page: PageId, bytes: &[u8]) {
        kv.write_page(page, bytes);
    }

    fn clear_state(&mut self, states: &mut States, slot: StateSlot) {
        states.clear(slot);
    }

    fn copy_state(&mut self, states: &mut States, from: StateSlot, to: StateSlot) {
        states.copy(from, to);
    }

    fn state_bytes(&self, states: &States) -> usize {
        states.slot_bytes()
    }

    fn read_state(&self, states: &States, slot: StateSlot, bytes: &mut [u8]) {
        states.read(slot, bytes);
    }

    fn write_state(&mut self, states: &mut States, slot: StateSlot, bytes: &[u8]) {
        states.write(slot, bytes);
    }

    fn embed(&mut self, table: &Matrix, tokens: &[u32], scale: f32, output: &mut Buffer) {
        let rows = output.values.chunks_exact_mut(table.columns());
        for (out, &token) in rows.zip(tokens) {
            table.copy_row(self.isa, token as usize, &mut self.workers[0].chunks[0], out);
            if scale != 1.0 {
                out.iter_mut().for_each(|value| *value *= scale);
            }
        }
    }

    fn embed_positions(&mut self, table: &Matrix, batch: &Batch<'_>, output: &mut Buffer) {
        let place = self.scratch.product_row(output.width);
        for (row, position) in batch.positions().enumerate() {
            table.copy_row(self.isa, position, &mut self.workers[0].chunks[0], place);
            output.row_mut(row).iter_mut().zip(place.iter()).for_each(|(out, value)| *out += value);
        }
    }

    fn norm(&mut self, rows: usize, norm: &Norm<Self>, input: &Buffer, output: &mut Buffer) {
        linear::norm_rows(self, rows, norm, input, output);
    }

    fn project(
        &mut self,
        rows: usize,
        norm: Option<&Norm<Self>>,
        input: &Buffer,
        products: &mut [(&Linear<Self>, &mut Buffer)],
    ) {
        linear::project(self, rows, norm, input, products);
    }

    fn attention(
        &mut self,
        batch: &Batch<'_>,
        attention: &Attention<Self>,
        kv: &mut Kv,
        buffers: AttentionBuffers<'_, Self>,
    ) {
        let resources = (self.isa, &self.pool, &mut self.workers[..]);
        attention::attention(resources, batch, attention, kv, buffers);
    }

    fn latent_attention(
        &mut self,
        batch: &Batch<'_>,
        layer: &LatentAttention<Self>,
        kv: &mut Kv,
        buffers: LatentBuffers<'_, Self>,
    ) {
        latent::latent_attention(self, batch, layer, kv, buffers);
    }

    fn choose_keys(
        &mut self,
        batch: &Batch<'_>,
        chooser: &KeyChooser<Self>,
        kv: &mut Kv,
        buffers: KeyChooserBuffers<'_, Self>,
        chosen: &mut Chosen,
    ) {
        let resources = (self.isa, &self.pool, &mut self.workers[..]);
        attention::choose_keys(resources, batch, chooser, kv, buffers, chosen);
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
        compressed::compress_keys(self, batch, compressor, state, kv, buffers);
    }

    fn compressed_attention(
        &mut self,
        batch: &Batch<'_>,
        layer: &CompressedAttention<Self>,
        kv: &mut Kv,
        buffers: CompressedAttentionBuffers<'_, Self>,
    ) {
        compressed::compressed_attention(self, batch, layer, kv, buffers);
    }

    fn delta_rule(
        &mut self,
        batch: &Batch<'_>,
        layer: &DeltaRule<Self>,
        states: &mut States,
        buffers: DeltaRuleBuffers<'_, Self>,
    ) {
        delta_net::delta_rule(self, batch, layer, &mut states.layers[layer.state_layer], buffers);
    }

    fn convolve(
        &mut self,
        batch: &Batch<'_>,
        layer: &Convolution<Self>,
        states: &mut States,
        buffers: ConvolutionBuffers<'_, Self>,
    ) {
        convolution::convolve(self, batch, layer, &mut states.layers[layer.state_layer], buffers);
    }

    fn decayed_attention(
        &mut self,
        batch: &Batch<'_>,
        layer: &DecayedAttention<Self>,
        states: &mut States,
        buffers: DecayedAttentionBuffers<'_, Self>,
    ) {
        decayed_attention::decayed_attention(self, batch, layer, &mut states.layers[layer.state_layer], buffers);
    }

    fn rwkv6(&mut self, batch: &Batch<'_>, layer: &Rwkv6<Self>, states: &mut States, buffers: Rwkv6Buffers<'_, Self>) {
        rwkv::rwkv6(self, batch, layer, &mut states.layers[layer.state_layer], buffers);
    }

    fn rwkv7(&mut self, batch: &Batch<'_>, layer: &Rwkv7<Self>, states: &mut States, buffers: Rwkv7Buffers<'_, Self>) {
        rwkv::rwkv7(self, batch, layer, &mut states.layers[layer.state_layer], buffers);
    }

    fn token_shift(
        &mut self,
        batch: &Batch<'_>,
        layer: &TokenShift<Self>,
        states: &mut States,
        input: &Buffer,
        outputs: &mut [ShiftedRows<'_, Self>],
    ) {
        rwkv::token_shift(self, batch, layer, &mut states.layers[layer.state_layer], input, outputs);
    }

    fn blend(&mut self, rows: usize, mix: &Buffer, other: &Buffer, values: &mut Buffer) {
        rwkv::blend_rows(self, rows, mix, other, values);
    }

    fn state_space(
        &mut self,
        batch: &Batch<'_>,
        layer: &StateSpace<Self>,
        states: &mut States,
        buffers: StateSpaceBuffers<'_, Self>,
    ) {
        state_space::state_space(self, batch, layer, &mut states.layers[layer.state_layer], buffers);
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
        linear::project_add(self, rows, input, linear, (post_norm, scale), residual);
    }

    fn feed_forward(
        &mut self,
        rows: usize,
        network: &FeedForward<Self>,
        input: FeedForwardInput<'_, Self>,
        residual: &mut Buffer,
    ) {
        feed_forward::feed_forward(self, rows, network, input, residual);
    }

    fn experts(&mut self, rows: usize, experts: &Experts<Self>, input: ExpertsInput<'_, Self>, residual: &mut Buffer) {
        experts::experts(self, rows, experts, input, residual);
    }

    fn copy(&mut self, rows: usize, input: &Buffer, output: &mut Buffer) {
        let length = rows * input.width;
        output.values[..length].copy_from_slice(&input.values[..length]);
    }

    fn add(&mut self, rows: usize, input: &Buffer, scale: f32, output: &mut Buffer) {
        linear::add_rows(self, rows, input, scale, output);
    }

    fn scale_rows(&mut self, factors: &[f32], buffer: &mut Buffer) {
        for (row, &factor) in factors.iter().enumerate() {
            match factor {
                0.0 => buffer.row_mut(row).fill(0.0),
                1.0 => {}
                factor => buffer.row_mut(row).iter_mut().for_each(|value| *value *= factor),
            }
        }
    }

    fn activate(&mut self, rows: usize, activation: Activation, gate: Option<&Buffer>, wide: &mut Buffer) {
        feed_forward::activate_rows(self, rows, activation, gate, wide);
    }

    fn copy_columns(&mut self, rows: usize, input: &Buffer, start: usize, output: &mut Buffer) {
        let width = output.width;
        linear::change_rows(self, rows, output, &|row, out| {
            out.copy_from_slice(&input.row(row)[start..start + width]);
        });
    }

    fn add_mixed(&mut self, rows: usize, coefficients: &Buffer, inputs: &[Buffer], outputs: &mut [Buffer]) {
        linear::add_mixed(self, rows, coefficients, inputs, outputs);
    }

    fn mean_of_parts(&mut self, rows: usize, input: &Buffer, output: &mut Buffer) {
        parts::mean_of_parts(self, rows, input, output);
    }

    fn add_to_parts(&mut self, rows: usize, factors: (Option<&Buffer>, f32), added: &Buffer, parts: &mut Buffer) {
        parts::add_to_parts(self, rows, factors, added, parts);
    }

    fn gate_by_likeness(
        &mut self,
        rows: usize,
        keys_and_queries: (&Buffer, &Buffer),
        values: &Buffer,
        output: &mut Buffer,
    ) {
        parts::gate_by_likeness(self, rows, keys_and_queries, values, output);
    }

    fn mix_banked(
        &mut self,
        rows: usize,
        score: &Norm<Self>,
        banked: &[Buffer],
        current: &Buffer,
        output: &mut Buffer,
    ) {
        banked::mix_banked(self, rows, score, (banked, current), output);
    }

    fn spread_stream(&mut self, rows: usize, input: &Buffer, streams: &mut Buffer) {
        streams::spread_stream(self, rows, input, streams);
    }

    fn read_streams(
        &mut self,
        rows: usize,
        layer: &StreamFactors,
        products: &mut Buffer,
        streams: &Buffer,
        output: &mut Buffer,
    ) {
        streams::read_streams(self, rows, layer, products, streams, output);
    }

    fn write_streams(
        &mut self,
        rows: usize,
        layer: &StreamFactors,
        factors: &Buffer,
        added: &Buffer,
        streams: &mut Buffer,
    ) {
        streams::write_streams(self, rows, layer, factors, added, streams);
    }

    fn match_lengths(&mut self, rows: usize, target: &Buffer, buffer: &mut Buffer) {
        let isa = self.isa;
        linear::change_rows(self, rows, buffer, &|row, values| norm::match_length(isa, target.row(row), values));
    }

    fn keep_largest(&mut self, rows: usize, deviations: f32, buffer: &mut Buffer) {
        let isa = self.isa;
        linear::change_rows(self, rows, buffer, &|_, values| norm::keep_largest(isa, values, deviations));
    }

    fn keep_rows(&mut self, rows: &[usize], buffer: &mut Buffer) {
        let width = buffer.width;
        for (to, &from) in rows.iter().enumerate().filter(|(to, from)| to != *from) {
            buffer.values.copy_within(from * width..(from + 1) * width, to * width);
        }
    }

    fn head(&mut self, head: &Head<Self>, rows_wanted: &[usize], input: &Buffer, logits: &mut [f32]) {
        linear::head(self, head, rows_wanted, input, logits);
    }

    fn read(&self, rows: usize, buffer: &Buffer, values: &mut [f32]) {
        let length = rows * buffer.width;
        values[..length].copy_from_slice(&buffer.values[..length]);
    }
}
