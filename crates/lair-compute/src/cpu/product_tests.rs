//! Products of every format against plain sums, on every instruction set, to the bit.

use lair_quant::{Format, TensorType, formats::FORMATS};
use lair_simd::{Isa, IsaChoice};
use std::sync::Arc;

use super::matrix::Matrix;
use super::pool::Pool;
use super::product::{Finish, Input, Product, WorkerScratch, parts_of_blocks};
use super::quantise::{ActivationType, BLOCK, InputForm, QuantisedBlock, quantise_row};
use crate::{MatrixBytes, RowSelection};

/// Reproducible numbers between 0 and 1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// A matrix of random blocks; scales are kept finite by trying again.
fn random_matrix(tensor_type: TensorType, rows: usize, columns: usize, numbers: &mut Numbers) -> MatrixBytes {
    let (length, size) = (tensor_type.block_length(), tensor_type.block_bytes());
    let mut bytes = Vec::new();
    if matches!(tensor_type, TensorType::F32 | TensorType::F16 | TensorType::BF16) {
        let values: Vec<f32> = (0..rows * columns).map(|_| numbers.next() - 0.5).collect();
        bytes.resize(rows * columns * size, 0);
        lair_quant::quantize(tensor_type, &values, &mut bytes).expect("writable");
    }
    while bytes.len() < rows * columns / length * size {
        let block: Vec<u8> = (0..size).map(|_| (numbers.next() * 256.0) as u8).collect();
        let mut values = vec![0.0; length];
        lair_quant::dequantize(tensor_type, &block, &mut values).expect("one block");
        if values.iter().all(|value| value.abs() < 1e3) {
            bytes.extend(block);
        }
    }
    matrix_of(tensor_type, bytes, rows, columns)
}

fn matrix_of(tensor_type: TensorType, bytes: Vec<u8>, rows: usize, columns: usize) -> MatrixBytes {
    let selection = RowSelection::All;
    MatrixBytes {
        name: "w".into(),
        bytes: Arc::new(bytes),
        tensor_type,
        columns,
        stored_rows: rows,
        count: 1,
        selection,
    }
}

/// The formats with blocks, and the plain ones that models use; the rest (integers, F64) become F32 when loaded.
fn formats() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().filter(|format| format.shape.is_some() || format.is_writable())
}

/// Products of all rows with some tokens, `[token, row]`, on one instruction set.
fn products(isa: Isa, matrix: &Matrix, tokens: usize, values: &[f32], blocks: &[QuantisedBlock]) -> Vec<f32> {
    products_of(matrix.form(), isa, matrix, tokens, values, blocks)
}

/// The same with an input in this form, which may be more than the matrix asks for.
fn products_of(
    form: InputForm,
    isa: Isa,
    matrix: &Matrix,
    tokens: usize,
    values: &[f32],
    blocks: &[QuantisedBlock],
) -> Vec<f32> {
    let mut scratch = WorkerScratch::new();
    let stride = matrix.columns() / BLOCK;
    let input = Input { values, width: matrix.columns(), blocks, stride, form };
    let list: Vec<u32> = (0..tokens as u32).collect();
    let mut results = vec![0.0; tokens * matrix.rows()];
    let product = Product { matrix, index: 0, finish: Finish { scale: 1.0, bias: None } };
    let first = 1.min(product.pairs());
    for pairs in [0..first, first..product.pairs()] {
        scratch.multiply_pairs(isa, &product, pairs, (&input, &list), |row, column, values| {
            results[row * matrix.rows() + column..][..values.len()].copy_from_slice(values);
        });
    }
    results
}

#[test]
fn runs_of_panels_give_what_single_pairs_give() {
    let pool = Pool::new(2).expect("threads start");
    let mut numbers = Numbers(17);
    for format in formats() {
        // More panels than are kept at a time, and a last one that is not full.
        let (rows, columns) = (16 * 133 + 5, format.block_length.max(BLOCK));
        let source = random_matrix(format.tensor_type, rows, columns, &mut numbers);
        let matrix = Matrix::pack(Isa::detect(IsaChoice::Auto), &pool, &source).expect("a matrix of this type");
        let matrix = matrix.with_activations(ActivationType::Bytes);
        let bias: Vec<f32> = (0..rows).map(|_| numbers.next()).collect();
        let product = Product { matrix: &matrix, index: 0, finish: Finish { scale: 0.5, bias: Some(&bias) } };
        let isas = Isa::available();
        for (isa, tokens) in isas.into_iter().flat_map(|isa| [1, 3, 8, 9].map(|tokens| (isa, tokens))) {
            let values: Vec<f32> = (0..tokens * columns).map(|_| numbers.next() * 4.0 - 2.0).collect();
            let mut blocks = vec![QuantisedBlock::ZERO; matrix.form().block_rows() * values.len() / BLOCK];
            if !blocks.is_empty() {
                matrix.form().write(isa, &values, &mut blocks);
            }
            let stride = columns / BLOCK;
            let input = Input { values: &values, width: columns, blocks: &blocks, stride, form: matrix.form() };
            let list: Vec<u32> = (0..tokens as u32).rev().collect();
            let mut scratch = WorkerScratch::new();
            let (mut together, mut one_by_one) = (vec![0.0f32; tokens * rows], vec![0.0f32; tokens * rows]);
            let place = |row: usize, column: usize| list[row] as usize * rows + column;
            scratch.multiply_pairs(isa, &product, 0..product.pairs(), (&input, &list), |row, column, values| {
                together[place(row, column)..][..values.len()].copy_from_slice(values);
            });
            for pair in 0..product.pairs() {
                scratch.multiply_pair(isa, &product, pair, (&input, &list), |row, column, values| {
                    one_by_one[place(row, column)..][..values.len()].copy_from_slice(values);
                });
            }
            let is_equal = together.iter().zip(&one_by_one).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(is_equal, "{}, {tokens} tokens on {}", format.tensor_type, isa.name());
        }
    }
}

#[test]
fn runs_of_items_are_parts_of_blocks() {
    for (run, length, expected) in [
        (0..0, 5, vec![]),
        (0..5, 5, vec![(0, 0..5)]),
        (3..4, 5, vec![(0, 3..4)]),
        (3..13, 5, vec![(0, 3..5), (1, 0..5), (2, 0..3)]),
        (10..12, 5, vec![(2, 0..2)]),
        (1..4, 1, vec![(1, 0..1), (2, 0..1), (3, 0..1)]),
    ] {
        assert_eq!(parts_of_blocks(run, length).collect::<Vec<_>>(), expected);
    }
}

/// Every instruction set of this machine but [`Isa::Scalar`], to which they are compared.
fn vector_isas() -> Vec<Isa> {
    let mut isas = Isa::available();
    isas.pop();
    isas
}

/// Tiles of four and of eight tokens, what is left of both, more than one chunk of columns, and a panel without a neighbour.
#[test]
fn many_tokens_multiply_as_on_the_scalar_set() {
    let pool = Pool::new(2).expect("threads start");
    let mut numbers = Numbers(11);
    let (rows, columns, tokens) = (33, 768, 71);
    for format in formats().filter(|format| format.shape.is_some()) {
        let source = random_matrix(format.tensor_type, rows, columns, &mut numbers);
        let matrix = Matrix::pack(Isa::detect(IsaChoice::Auto), &pool, &source).expect("a matrix of this type");
        let matrix = matrix.with_activations(ActivationType::Bytes);
        let values: Vec<f32> = (0..tokens * columns).map(|_| numbers.next() * 4.0 - 2.0).collect();
        let mut blocks = vec![QuantisedBlock::ZERO; values.len() / BLOCK];
        quantise_row(Isa::Scalar, &values, &mut blocks);
        let scalar = products(Isa::Scalar, &matrix, tokens, &values, &blocks);
        for (isa, count) in vector_isas().into_iter().flat_map(|isa| [49, 64, tokens].map(|count| (isa, count))) {
            let other = products(isa, &matrix, count, &values[..count * columns], &blocks);
            let is_equal = scalar.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(is_equal, "{}, {count} tokens on {}", format.tensor_type, isa.name());
        }
    }
}

/// What the kernels are asked for: dequantised weights times quantised activations.
fn expected(
    source: &MatrixBytes,
    is_packed: bool,
    values: &[f32],
    blocks: &[QuantisedBlock],
    token: usize,
) -> Vec<(f64, f64)> {
    let columns = source.columns;
    let activation = |k: usize| {
        let block = &blocks[(token * columns + k) / BLOCK];
        if is_packed {
            f64::from(block.scale) * f64::from(block.codes[k % BLOCK])
        } else {
            f64::from(values[token * columns + k])
        }
    };
    let mut weights = vec![0.0; columns];
    (0..source.rows())
        .map(|row| {
            lair_quant::dequantize(source.tensor_type, source.row(0, row), &mut weights).expect("whole blocks");
            let terms = weights.iter().enumerate().map(|(k, &weight)| f64::from(weight) * activation(k));
            terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
        })
        .collect()
}

#[test]
fn every_format_multiplies_exactly_on_every_instruction_set() {
    let pool = Pool::new(2).expect("threads start");
    let mut numbers = Numbers(7);
    for format in formats() {
        let block = format.block_length.max(BLOCK);
        for (rows, columns) in [(1, block), (15, block * 3), (17, 768), (33, 1280)] {
            let tokens = 11;
            let source = random_matrix(format.tensor_type, rows, columns, &mut numbers);
            let matrix = Matrix::pack(Isa::detect(IsaChoice::Auto), &pool, &source).expect("a matrix of this type");
            // Plain weights of 16 bits have a form of their own where activations are bytes: `brain_tests`.
            let activations = if format.shape.is_some() { ActivationType::Bytes } else { ActivationType::F32 };
            let matrix = matrix.with_activations(activations);
            let values: Vec<f32> = (0..tokens * columns).map(|_| numbers.next() * 4.0 - 2.0).collect();
            let mut blocks = vec![QuantisedBlock::ZERO; values.len() / BLOCK];
            quantise_row(Isa::Scalar, &values, &mut blocks);
            let scalar = products(Isa::Scalar, &matrix, tokens, &values, &blocks);
            // Up to eight tokens take a path of their own; it has a variant for each number of them.
            let counts = [1, 2, 3, 4, 5, 6, 7, 8, tokens];
            for (isa, count) in vector_isas().into_iter().flat_map(|isa| counts.map(|count| (isa, count))) {
                let other = products(isa, &matrix, count, &values[..count * columns], &blocks);
                assert!(
                    scalar.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{} {rows}x{columns}, {count} tokens on {}",
                    format.tensor_type,
                    isa.name()
                );
            }
            for token in 0..tokens {
                let expected = expected(&source, matrix.form() != InputForm::Numbers, &values, &blocks, token);
                for (actual, (sum, size)) in scalar[token * rows..].iter().zip(expected) {
                    // Codes and mins of asymmetric formats partly cancel, so the bound is on more than the terms.
                    let bound = 2e-5 * size + 1e-30;
                    assert!(
                        (f64::from(*actual) - sum).abs() <= bound,
                        "{} {rows}x{columns}: {actual} {sum}",
                        format.tensor_type
                    );
                }
                let alone = &values[token * columns..][..columns];
                let isa = Isa::detect(IsaChoice::Auto);
                let alone = products(isa, &matrix, 1, alone, &blocks[token * columns / BLOCK..]);
                assert!(alone.iter().zip(&scalar[token * rows..]).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }
}

/// The largest difference from plain sums of the values themselves, as a part of what one more byte allows.
fn excess(source: &MatrixBytes, values: &[f32], tokens: usize, found: &[f32]) -> f64 {
    let mut excess = 0f64;
    let rows = source.rows();
    for token in 0..tokens {
        let row = &values[token * source.columns..][..source.columns];
        let largest = f64::from(row.iter().fold(0f32, |largest, value| largest.max(value.abs())));
        let mut weights = vec![0.0; source.columns];
        for index in 0..rows {
            lair_quant::dequantize(source.tensor_type, source.row(0, index), &mut weights).expect("whole blocks");
            let terms = weights.iter().zip(row).map(|(&weight, &value)| (f64::from(weight), f64::from(value)));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), (w, x)| (sum + w * x, size + w.abs()));
            // Half a step of the second byte, and rounding of sums whose offsets and mins partly cancel.
            let bound = size * largest * (0.5 / (127.0 * 254.0) + 4e-5) + 1e-30;
            excess = excess.max((f64::from(found[token * rows + index]) - sum).abs() / bound);
        }
    }
    excess
}

#[test]
fn words_are_a_byte_better_than_bytes_on_every_instruction_set() {
    let pool = Pool::new(1).expect("threads start");
    let mut numbers = Numbers(13);
    for format in FORMATS.iter().filter(|format| format.shape.is_some()) {
        let (rows, columns, tokens) = (33, 1280, 11);
        let source = random_matrix(format.tensor_type, rows, columns, &mut numbers);
        let isa = Isa::detect(IsaChoice::Auto);
        let [bytes, words, plain] = [ActivationType::Bytes, ActivationType::Words, ActivationType::F32]
            .map(|kind| Matrix::pack(isa, &pool, &source).expect("a matrix of this type").with_activations(kind));
        let values: Vec<f32> = (0..tokens * columns).map(|_| numbers.next() * 4.0 - 2.0).collect();
        let blocks_of = |rows_a_token: usize| {
            let mut blocks = vec![QuantisedBlock::ZERO; rows_a_token * values.len() / BLOCK];
            let rows = values.chunks(columns).zip(blocks.chunks_mut(rows_a_token * columns / BLOCK));
            rows.for_each(|(values, blocks)| quantise_row(Isa::Scalar, values, blocks));
            blocks
        };
        let (one, two) = (blocks_of(1), blocks_of(2));
        let scalar = products(Isa::Scalar, &words, tokens, &values, &two);
        assert!(excess(&source, &values, tokens, &scalar) <= 1.0, "{}", format.tensor_type);
        let coarse = products(isa, &bytes, tokens, &values, &one);
        assert!(excess(&source, &values, tokens, &coarse) > 1.0, "{}: bytes are as good", format.tensor_type);
        let plain = products(isa, &plain, tokens, &values, &[]);
        assert!(excess(&source, &values, tokens, &plain) <= 1.0, "{}", format.tensor_type);
        for (isa, count) in vector_isas().into_iter().flat_map(|isa| [1, 2, 4, 5, tokens].map(|count| (isa, count))) {
            let two = &two[..count * 2 * columns / BLOCK];
            let other = products(isa, &words, count, &values[..count * columns], two);
            let is_equal = scalar.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(is_equal, "{}, {count} tokens on {}", format.tensor_type, isa.name());
            // Who shares an input with others that want words takes bytes all the same.
            let bytes = products_of(InputForm::Words, isa, &bytes, count, &values[..count * columns], two);
            let is_equal = coarse.iter().zip(&bytes).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(is_equal, "{}, {count} tokens as bytes on {}", format.tensor_type, isa.name());
        }
    }
}

#[test]
fn rows_come_back_as_the_file_has_them() {
    let pool = Pool::new(1).expect("threads start");
    let mut numbers = Numbers(11);
    for format in formats() {
        let columns = 1280;
        let source = random_matrix(format.tensor_type, 19, columns, &mut numbers);
        let matrix = Matrix::pack(Isa::detect(IsaChoice::Auto), &pool, &source).expect("a matrix of this type");
        let (mut row, mut expected) = (vec![0.0; columns], vec![0.0; columns]);
        let mut scratch = WorkerScratch::new();
        for index in [0, 15, 16, 18] {
            lair_quant::dequantize(format.tensor_type, source.row(0, index), &mut expected).expect("whole blocks");
            for isa in Isa::available() {
                matrix.copy_row(isa, index, &mut scratch.chunks[0], &mut row);
                assert_eq!(row, expected, "{} row {index}", format.tensor_type);
            }
        }
    }
}

#[test]
fn no_scale_is_too_odd() {
    let pool = Pool::new(1).expect("threads start");
    for format in FORMATS.iter().filter(|format| format.shape.is_some()) {
        for byte in [0x00, 0x7c, 0x7e, 0xfc, 0xff] {
            let columns = 512;
            let size = columns / format.block_length * format.block_bytes;
            let source = matrix_of(format.tensor_type, vec![byte; size * 3], 3, columns);
            let matrix = Matrix::pack(Isa::detect(IsaChoice::Auto), &pool, &source).expect("a matrix of this type");
            let mut blocks = vec![QuantisedBlock::ZERO; columns / BLOCK];
            let values = vec![1.0; columns];
            quantise_row(Isa::Scalar, &values, &mut blocks);
            let scalar = products(Isa::Scalar, &matrix, 1, &values, &blocks);
            for isa in vector_isas() {
                let result = products(isa, &matrix, 1, &values, &blocks);
                for (a, b) in result.iter().zip(&scalar) {
                    assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "on {}", isa.name());
                }
            }
        }
    }
}
