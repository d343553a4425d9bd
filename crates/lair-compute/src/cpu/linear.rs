//! Regions that are one matrix product with what stands before and after it: project, project and add, head.
#![allow(unsafe_code)] // Rows of activations are written by several threads.

use lair_simd::Isa;

use super::matrix::Matrix;
use super::memory::{Parts, ROWS_AHEAD};
use super::norm::{add_scaled, apply_norm, scale_and_cap};
use super::pool::Pool;
use super::product::{Input, Product, TOKENS_MAX, WorkerScratch, for_each_run, parts_of_blocks};
use super::quantise::{InputForm, QuantisedBlock, block_stride};
use super::tap::observe;
use super::{Buffer, Cpu};
use crate::{Head, Linear, Norm};

/// From so many rows on, work on single rows is dealt to all workers.
pub(super) const ROWS_SHARED: usize = 8;

/// Room for what stands between the parts of a region. It grows to the largest step it has seen; after
/// [`Scratch::reserve`] steps within what was reserved allocate nothing.
#[derive(Default)]
pub(super) struct Scratch {
    /// `[rows, width]`: input after its norm.
    pub(super) normed: Vec<f32>,
    /// `[rows, block rows, stride]`: the same as integers.
    pub(super) blocks: Vec<QuantisedBlock>,
    /// `[rows, ffn_size]`: between the products of a feed-forward network.
    pub(super) hidden: Vec<f32>,
    pub(super) hidden_blocks: Vec<QuantisedBlock>,
    /// `[rows, width]`: a product before its norm.
    pub(super) product: Vec<f32>,
    /// `0, 1, 2 ...`: all rows, where a product takes a list.
    pub(super) all_rows: Vec<u32>,
    pub(super) routing: super::experts::Routing,
}

impl Scratch {
    /// `form` as in [`super::matrix::Matrix::form`].
    pub(super) fn reserve(&mut self, rows: usize, width: usize, form: InputForm) {
        let length = rows * width;
        grow(&mut self.normed, length, 0.0);
        grow(&mut self.hidden, length, 0.0);
        grow(&mut self.product, length, 0.0);
        grow(&mut self.blocks, rows * form.blocks_a_row(width), QuantisedBlock::ZERO);
        grow(&mut self.hidden_blocks, rows * form.blocks_a_row(width), QuantisedBlock::ZERO);
        self.list_rows(rows);
    }

    fn list_rows(&mut self, rows: usize) {
        self.all_rows.extend(self.all_rows.len() as u32..rows as u32);
    }

    /// Room for one row.
    pub(super) fn product_row(&mut self, width: usize) -> &mut [f32] {
        grow(&mut self.product, width, 0.0);
        &mut self.product[..width]
    }
}

/// Makes `values` at least `length` long.
pub(super) fn grow<T: Clone>(values: &mut Vec<T>, length: usize, zero: T) {
    if values.is_empty() && length > 0 {
        // Numbers come zeroed from the system this way, page by page when they are first written.
        *values = vec![zero; length];
    } else if values.len() < length {
        values.resize(length, zero);
    }
}

/// Calls `job` for every row: on all workers if there are many.
pub(super) fn for_each_row(pool: &Pool, rows: usize, job: &(dyn Fn(usize) + Sync)) {
    for_each_row_of(pool, rows, &|_, row| job(row));
}

/// [`for_each_row`], with the worker.
fn for_each_row_of(pool: &Pool, rows: usize, job: &(dyn Fn(usize, usize) + Sync)) {
    if rows < ROWS_SHARED {
        (0..rows).for_each(|row| job(0, row));
    } else {
        pool.split(rows, &|worker, range| range.for_each(|row| job(worker, row)));
    }
}

/// The rows to prepare: where they lie and how wide they are.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) buffer: &'a Buffer,
    /// Rows of the buffer that are wanted, where they are not the first ones.
    pub(super) wanted: Option<&'a [usize]>,
}

/// In what form products take rows that they share.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// The form in which they are multiplied.
    pub(super) form: InputForm,
    /// Whether they are also read as numbers.
    pub(super) numbers: bool,
}

impl Wanted {
    /// By all of these matrices.
    pub(super) fn by<'a>(matrices: impl Iterator<Item = &'a Matrix>) -> Wanted {
        let nothing = Wanted { form: InputForm::Numbers, numbers: false };
        matrices.fold(nothing, |wanted, matrix| {
            let form = matrix.form();
            // Sums of squares are taken of numbers, and weights of 16 bits may be multiplied with them.
            let numbers = form < InputForm::Bytes || matrix.tap.is_some();
            Wanted { form: wanted.form.max(form), numbers: wanted.numbers || numbers }
        })
    }
}

/// Norms (if there is a norm, or a choice of rows) the input of products and writes it in the form they take. Numbers that are not
/// wanted are not there.
pub(super) fn prepare<'a>(
    (isa, pool): (Isa, &Pool),
    rows: usize,
    norm: Option<&Norm<Cpu>>,
    source: Source<'a>,
    (normed, blocks): (&'a mut Vec<f32>, &'a mut Vec<QuantisedBlock>),
    Wanted { form, numbers }: Wanted,
) -> Input<'a> {
    let width = source.buffer.width;
    let is_copied = norm.is_some() || source.wanted.is_some();
    let blocks_a_row = form.blocks_a_row(width);
    grow(blocks, rows * blocks_a_row, QuantisedBlock::ZERO);
    if is_copied {
        let copies = if numbers { rows } else { rows.min(pool.worker_count()) };
        grow(normed, copies * width, 0.0);
    }
    let (normed_parts, block_parts) = (Parts::new(normed), Parts::new(blocks));
    for_each_row_of(pool, rows, &|worker, row| {
        let mut values = source.buffer.row(source.wanted.map_or(row, |wanted| wanted[row]));
        if is_copied {
            // A row that only its blocks are wanted of need not leave the nearest cache.
            let place = if numbers { row } else { worker };
            // SAFETY: every row is prepared once, and no two threads are the same worker.
            let copy = unsafe { normed_parts.part(place * width, width) };
            copy.copy_from_slice(values);
            if let Some(norm) = norm {
                apply_norm(isa, norm, copy);
            }
            values = copy;
        }
        // SAFETY: as above.
        form.write(isa, values, unsafe { block_parts.part(row * blocks_a_row, blocks_a_row) });
    });
    let values = match (is_copied, numbers) {
        (false, _) => &source.buffer.values[..rows * width],
        (true, true) => &normed[..rows * width],
        (true, false) => &[],
    };
    Input { values, width, blocks: &blocks[..rows * blocks_a_row], stride: block_stride(width), form }
}

/// `output[row] = norm(input[row])`.
pub(super) fn norm_rows(cpu: &mut Cpu, rows: usize, norm: &Norm<Cpu>, input: &Buffer, output: &mut Buffer) {
    let (isa, width) = (cpu.isa, input.width);
    let out = Parts::new(&mut output.values);
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is written once.
        let out = unsafe { out.part(row * width, width) };
        out.copy_from_slice(input.row(row));
        apply_norm(isa, norm, out);
    });
}

/// `output[row] += scale * input[row]`.
pub(super) fn add_rows(cpu: &mut Cpu, rows: usize, input: &Buffer, scale: f32, output: &mut Buffer) {
    let (isa, width) = (cpu.isa, input.width);
    let out = Parts::new(&mut output.values);
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is written once.
        add_scaled(isa, unsafe { out.part(row * width, width) }, input.row(row), scale);
    });
}

/// `outputs[i][row] += sum over j of coefficients[row][i * inputs + j] * inputs[j][row]`.
pub(super) fn add_mixed(cpu: &mut Cpu, rows: usize, coefficients: &Buffer, inputs: &[Buffer], outputs: &mut [Buffer]) {
    let isa = cpu.isa;
    for (index, output) in outputs.iter_mut().enumerate() {
        let width = output.width;
        let out = Parts::new(&mut output.values);
        for_each_row(&cpu.pool, rows, &|row| {
            // SAFETY: every row is written once.
            let out = unsafe { out.part(row * width, width) };
            let coefficients = &coefficients.row(row)[index * inputs.len()..][..inputs.len()];
            for (input, coefficient) in inputs.iter().zip(coefficients) {
                add_scaled(isa, out, input.row(row), *coefficient);
            }
        });
    }
}

/// Calls `change` for every row of a buffer.
pub(super) fn change_rows(
    cpu: &mut Cpu,
    rows: usize,
    buffer: &mut Buffer,
    change: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    let width = buffer.width;
    let parts = Parts::new(&mut buffer.values);
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is changed once.
        change(row, unsafe { parts.part(row * width, width) });
    });
}

/// One product of several that read the same input, and where it goes.
struct Placed<'a> {
    product: Product<'a>,
    output: Parts<'a, f32>,
    width: usize,
}

/// The most products in one region: queries, keys, values and gates, with room to spare.
const PRODUCTS_MAX: usize = 8;

/// Norm and project.
pub(super) fn project(
    cpu: &mut Cpu,
    rows: usize,
    norm: Option<&Norm<Cpu>>,
    input: &Buffer,
    products: &mut [(&Linear<Cpu>, &mut Buffer)],
) {
    let Cpu { isa, pool, workers, scratch, .. } = cpu;
    let wanted = Wanted::by(products.iter().map(|(linear, _)| &linear.weight));
    let isa = *isa;
    scratch.list_rows(rows);
    let source = Source { buffer: input, wanted: None };
    let room = (&mut scratch.normed, &mut scratch.blocks);
    let input = prepare((isa, pool), rows, norm, source, room, wanted);
    observe(products.iter().map(|(linear, _)| &linear.weight), 0, &input, 0..rows);
    let all_rows = &scratch.all_rows[..rows];
    for products in products.chunks_mut(PRODUCTS_MAX) {
        let count = products.len();
        let mut list: [Option<Placed<'_>>; PRODUCTS_MAX] = [const { None }; PRODUCTS_MAX];
        for (place, (linear, output)) in list.iter_mut().zip(products) {
            let width = output.width;
            assert_eq!(linear.weight.columns(), input.width, "a product whose input has another width");
            assert_eq!(linear.weight.rows(), width, "a product whose output has another width");
            let output = Parts::new(&mut output.values);
            *place = Some(Placed { product: Product::of(linear, 0), output, width });
        }
        run_products((isa, pool, workers), &list[..count], &input, all_rows);
    }
}

/// Runs products over all their panels and blocks of rows.
fn run_products(
    (isa, pool, workers): (Isa, &Pool, &mut [WorkerScratch]),
    products: &[Option<Placed<'_>>],
    input: &Input<'_>,
    all_rows: &[u32],
) {
    let pair_count: usize = products.iter().flatten().map(|placed| placed.product.pairs()).sum();
    let count = pair_count * all_rows.len().div_ceil(TOKENS_MAX);
    for_each_run(pool, workers, count, &|scratch, run| {
        for (block, part) in parts_of_blocks(run, pair_count) {
            let first_row = block * TOKENS_MAX;
            let rows = &all_rows[first_row..(first_row + TOKENS_MAX).min(all_rows.len())];
            // The pairs of all products are counted one behind the other.
            let mut first_pair = 0;
            for placed in products.iter().flatten() {
                let [start, end] = [part.start, part.end].map(|pair| pair.max(first_pair) - first_pair);
                let pairs = start..end.min(placed.product.pairs());
                first_pair += placed.product.pairs();
                scratch.multiply_pairs(isa, &placed.product, pairs, (input, rows), |row, column, values| {
                    let start = rows[row] as usize * placed.width + column;
                    // SAFETY: every row and panel of an output is written once.
                    let out = unsafe { placed.output.part(start, values.len()) };
                    out.copy_from_slice(values);
                });
            }
        }
    });
}

/// `residual += scale * post_norm(linear(input))`.
pub(super) fn project_add(
    cpu: &mut Cpu,
    rows: usize,
    input: &Buffer,
    linear: &Linear<Cpu>,
    after: (Option<&Norm<Cpu>>, f32),
    residual: &mut Buffer,
) {
    let Cpu { isa, pool, workers, scratch, .. } = cpu;
    scratch.list_rows(rows);
    let source = Source { buffer: input, wanted: None };
    let room = (&mut scratch.normed, &mut scratch.blocks);
    let input = prepare((*isa, pool), rows, None, source, room, Wanted::by(std::iter::once(&linear.weight)));
    let all_rows = &scratch.all_rows[..rows];
    add_product((*isa, pool, workers), linear, &input, all_rows, after, (&mut scratch.product, residual));
}

/// The product of a prepared input, normed, scaled and added to the residual stream.
pub(super) fn add_product(
    (isa, pool, workers): (Isa, &Pool, &mut [WorkerScratch]),
    linear: &Linear<Cpu>,
    input: &Input<'_>,
    all_rows: &[u32],
    (post_norm, scale): (Option<&Norm<Cpu>>, f32),
    (product, residual): (&mut Vec<f32>, &mut Buffer),
) {
    let width = residual.width;
    assert_eq!(linear.weight.rows(), width, "a product that does not fit the residual stream");
    assert_eq!(linear.weight.columns(), input.width, "a product whose input has another width");
    observe(std::iter::once(&linear.weight), 0, input, 0..all_rows.len());
    grow(product, all_rows.len() * width, 0.0);
    let product_parts = Parts::new(product);
    let linear_product = Product::of(linear, 0);
    let residual_parts = Parts::new(&mut residual.values);
    let pairs = linear_product.pairs();
    for_each_run(pool, workers, pairs * all_rows.len().div_ceil(TOKENS_MAX), &|scratch, run| {
        for (block, pairs) in parts_of_blocks(run, pairs) {
            let first_row = block * TOKENS_MAX;
            let rows = &all_rows[first_row..(first_row + TOKENS_MAX).min(all_rows.len())];
            scratch.multiply_pairs(isa, &linear_product, pairs, (input, rows), |row, column, values| {
                let (start, length) = (rows[row] as usize * width + column, values.len());
                // SAFETY: every row and panel is written once; the product and the residual stream are different slices.
                let (product, residual) =
                    unsafe { (product_parts.part(start, length), residual_parts.part(start, length)) };
                if post_norm.is_some() {
                    product.copy_from_slice(values);
                } else {
                    if rows.len() > ROWS_AHEAD {
                        residual_parts.ask_for(start + ROWS_AHEAD * width);
                    }
                    // Rounded once, as behind a norm and in `add_rows`.
                    add_scaled(isa, residual, values, scale);
                }
            });
        }
    });
    if let Some(norm) = post_norm {
        for_each_row(pool, all_rows.len(), &|row| {
            // SAFETY: every row is taken once.
            let (product, out) =
                unsafe { (product_parts.part(row * width, width), residual_parts.part(row * width, width)) };
            apply_norm(isa, norm, product);
            add_scaled(isa, out, product, scale);
        });
    }
}

/// Logits of the wanted rows.
pub(super) fn head(cpu: &mut Cpu, head: &Head<Cpu>, rows_wanted: &[usize], input: &Buffer, logits: &mut [f32]) {
    let Cpu { isa, pool, workers, scratch, .. } = cpu;
    let (isa, rows, width) = (*isa, rows_wanted.len(), head.linear.weight.rows());
    assert!(logits.len() >= rows * width, "no room for the logits of {rows} rows");
    scratch.list_rows(rows);
    let source = Source { buffer: input, wanted: Some(rows_wanted) };
    let room = (&mut scratch.normed, &mut scratch.blocks);
    let wanted = Wanted::by(std::iter::once(&head.linear.weight));
    let input = prepare((isa, pool), rows, head.norm.as_ref(), source, room, wanted);
    observe(std::iter::once(&head.linear.weight), 0, &input, 0..rows);
    let logits = &mut logits[..rows * width];
    let placed = Placed { product: Product::of(&head.linear, 0), output: Parts::new(logits), width };
    run_products((isa, pool, workers), &[Some(placed)], &input, &scratch.all_rows[..rows]);
    if head.scale != 1.0 || head.softcap.is_some() {
        let parts = Parts::new(logits);
        for_each_row(pool, rows, &|row| {
            // SAFETY: every row is taken once.
            scale_and_cap(isa, unsafe { parts.part(row * width, width) }, head.scale, head.softcap);
        });
    }
}
