//! Products of plain weights against the naive sum, to the bit, whatever the shape, batch, threads and instruction set.

use std::sync::Arc;

use lair_quant::TensorType;
use lair_simd::{Isa, IsaChoice};

use super::matrix::Matrix;
use super::packed::PANEL;
use super::pool::Pool;
use super::product::{Input, PanelOf, WorkerScratch};
use super::quantise::{ActivationType, InputForm};
use super::{Cpu, CpuOptions};
use crate::{Backend, Linear, MatrixBytes, RowSelection};

const TYPES: [TensorType; 3] = [TensorType::F32, TensorType::F16, TensorType::BF16];
const CHOICES: [IsaChoice; 3] = [IsaChoice::Scalar, IsaChoice::Avx2, IsaChoice::Auto];

/// Reproducible numbers between -0.5 and 0.5.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }

    fn list(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.next()).collect()
    }
}

/// A stack of `count` matrices with these values.
fn stack(tensor_type: TensorType, values: &[f32], columns: usize, count: usize) -> MatrixBytes {
    let mut bytes = vec![0; values.len() * tensor_type.block_bytes()];
    lair_quant::quantize(tensor_type, values, &mut bytes).expect("a type of plain numbers");
    let stored_rows = values.len() / columns / count;
    let (bytes, selection) = (Arc::new(bytes), RowSelection::All);
    MatrixBytes { name: "w".into(), bytes, tensor_type, columns, stored_rows, count, selection }
}

/// The values of a row as they are stored.
fn stored_row(source: &MatrixBytes, index: usize, row: usize) -> Vec<f32> {
    let mut values = vec![0.0; source.columns];
    lair_quant::dequantize(source.tensor_type, source.row(index, row), &mut values).expect("whole rows");
    values
}

/// `[token, row]`: each a chain of fused multiply-adds over the columns in order.
fn naive(source: &MatrixBytes, input: &[f32]) -> Vec<f32> {
    let rows: Vec<Vec<f32>> = (0..source.rows()).map(|row| stored_row(source, 0, row)).collect();
    let chain = |x: &[f32], row: &Vec<f32>| row.iter().zip(x).fold(0.0f32, |sum, (w, x)| w.mul_add(*x, sum));
    input.chunks_exact(source.columns).flat_map(|x| rows.iter().map(move |row| chain(x, row))).collect()
}

fn products(cpu: &mut Cpu, linear: &Linear<Cpu>, input: &[f32]) -> Vec<f32> {
    let (columns, rows) = (linear.weight.columns(), linear.weight.rows());
    let tokens = input.len() / columns;
    let mut buffer = cpu.buffer(tokens, columns).expect("room");
    buffer.values.copy_from_slice(input);
    let mut output = cpu.buffer(tokens, rows).expect("room");
    cpu.project(tokens, None, &buffer, &mut [(linear, &mut output)]);
    output.values.to_vec()
}

/// Equal to the bit, or both no number (of which there are many, and machines choose differently).
fn assert_same(what: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (place, (a, b)) in actual.iter().zip(expected).enumerate() {
        assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "{what}, place {place}: {a} {b}");
    }
}

fn cpus() -> Vec<Cpu> {
    let cpu = |threads, isa| Cpu::new(CpuOptions { threads: Some(threads), isa }).expect("threads");
    let threads = |isa| [1, 3].map(|threads| cpu(threads, isa).with_activations(ActivationType::F32));
    CHOICES.into_iter().flat_map(threads).collect()
}

/// Compares the first `tokens` of `input`, for each of `batches`, with the naive sums.
fn check(cpus: &mut [Cpu], source: &MatrixBytes, input: &[f32], batches: &[usize]) {
    let (rows, columns) = (source.rows(), source.columns);
    let expected = naive(source, input);
    for cpu in cpus {
        let linear = Linear { weight: cpu.matrix(source).expect("a matrix"), bias: None, scale: 1.0 };
        for &tokens in batches {
            let actual = products(cpu, &linear, &input[..tokens * columns]);
            let what = format!("{} {rows}x{columns}, {tokens} tokens, {}", source.tensor_type, cpu.isa_name());
            assert_same(&what, &actual, &expected[..tokens * rows]);
        }
    }
}

#[test]
fn products_are_chains_in_order_for_any_batch_threads_and_instruction_set() {
    let (mut cpus, mut numbers) = (cpus(), Numbers(3));
    let batches: Vec<usize> = (1..=20).chain([130]).collect();
    for tensor_type in TYPES {
        for (rows, columns) in [(1, 1), (15, 2), (16, 129), (17, 37), (33, 700)] {
            let source = stack(tensor_type, &numbers.list(rows * columns), columns, 1);
            check(&mut cpus, &source, &numbers.list(130 * columns), &batches);
        }
    }
}

#[test]
fn products_of_any_width_are_chains_in_order() {
    let (mut cpus, mut numbers) = (cpus(), Numbers(5));
    for tensor_type in TYPES {
        for columns in (1..=34).chain([63, 64, 65, 127, 128, 255, 256, 257, 511, 512, 513, 1300]) {
            let source = stack(tensor_type, &numbers.list(32 * columns), columns, 1);
            check(&mut cpus, &source, &numbers.list(27 * columns), &[1, 2, 7, 27]);
        }
    }
}

#[test]
fn odd_numbers_stay_in_their_row() {
    let (mut cpus, mut numbers) = (cpus(), Numbers(7));
    let columns = 131;
    for tensor_type in TYPES {
        let mut values = numbers.list(17 * columns);
        let infinity = f32::INFINITY;
        let odd = [f32::NAN, infinity, -infinity, -0.0, f32::MIN_POSITIVE / 8.0, 3e-8, 65504.0, 1e30];
        for (row, odd) in odd.into_iter().enumerate() {
            values[row * columns + 9 * row] = odd;
        }
        // A sum of infinities of both signs; a row of subnormals of half precision; a row of zeros.
        values[8 * columns] = infinity;
        values[8 * columns + 130] = -infinity;
        values[9 * columns..10 * columns].iter_mut().for_each(|x| *x *= 1e-4);
        values[10 * columns..11 * columns].fill(0.0);
        let source = stack(tensor_type, &values, columns, 1);
        let mut input = numbers.list(9 * columns);
        // Infinity times zero, and an activation that is no number: the latter spoils its token, no other.
        input[columns + 9] = 0.0;
        input[2 * columns + 5] = f32::NAN;
        input[3 * columns..4 * columns].fill(f32::MIN_POSITIVE / 4.0);
        let expected = naive(&source, &input);
        assert!(expected[0].is_nan() && expected[1].is_infinite() && expected[17 + 1].is_nan());
        assert!(expected[11..17].iter().all(|x| x.is_finite()) && expected[2 * 17..3 * 17].iter().all(|x| x.is_nan()));
        check(&mut cpus, &source, &input, &[1, 4, 9]);
    }
}

#[test]
fn two_panels_give_what_each_gives_alone_whatever_their_kinds() {
    let pool = Pool::new(1).expect("threads start");
    let (mut numbers, columns) = (Numbers(11), 300);
    let sources = TYPES.map(|tensor_type| stack(tensor_type, &numbers.list(40 * columns), columns, 1));
    let matrices =
        sources.each_ref().map(|source| Matrix::pack(Isa::detect(IsaChoice::Auto), &pool, source).expect("a matrix"));
    let values = numbers.list(19 * columns);
    let input = Input { values: &values, width: columns, blocks: &[], stride: 0, form: InputForm::Numbers };
    let mut scratch = WorkerScratch::new();
    for isa in CHOICES.map(Isa::detect) {
        for tokens in [1, 3, 8, 19] {
            // Tokens need not stand in order.
            let rows: Vec<u32> = (0..tokens as u32).rev().collect();
            for (a, b) in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2)] {
                let panels =
                    [(a, 0), (b, 2)].map(|(which, panel)| PanelOf { matrix: &matrices[which], index: 0, panel });
                scratch.multiply(isa, &panels, &input, &rows);
                let both = scratch.sums.each_ref().map(|sums| sums[..tokens].to_vec());
                for (panel, sums) in panels.into_iter().zip(both) {
                    scratch.multiply(isa, &[panel], &input, &rows);
                    let what = format!("kinds {a} and {b}, {tokens} tokens, {}", isa.name());
                    assert_same(&what, sums.as_flattened(), scratch.sums[0][..tokens].as_flattened());
                }
            }
        }
    }
}

#[test]
fn rows_come_back_from_any_shape_and_selection() {
    let mut numbers = Numbers(13);
    let mut scratch = WorkerScratch::new();
    for threads in [1, 3] {
        let pool = Pool::new(threads).expect("threads start");
        for tensor_type in TYPES {
            for (rows, columns) in [(1, 1), (7, 33), (8, 32), (16, 64), (24, 100), (50, 15), (33, 1030)] {
                let mut source = stack(tensor_type, &numbers.list(rows * columns), columns, 1);
                for start in [0, rows / 2] {
                    source.selection = RowSelection::Range(start..rows);
                    let matrix = Matrix::pack(Isa::detect(IsaChoice::Auto), &pool, &source).expect("a matrix");
                    let mut values = vec![0.0; columns];
                    for row in 0..source.rows() {
                        matrix.copy_row(Isa::Scalar, row, &mut scratch.chunks[0], &mut values);
                        let what = format!("{tensor_type} {rows}x{columns} row {row} from {start}");
                        assert_same(&what, &values, &stored_row(&source, 0, row));
                    }
                }
            }
        }
    }
}

#[test]
fn every_matrix_of_a_stack_is_its_own() {
    let pool = Pool::new(2).expect("threads start");
    let (mut numbers, columns, count) = (Numbers(17), 70, 3);
    let mut scratch = WorkerScratch::new();
    for tensor_type in TYPES {
        let source = stack(tensor_type, &numbers.list(count * 18 * columns), columns, count);
        let matrix = Matrix::pack(Isa::detect(IsaChoice::Auto), &pool, &source).expect("a matrix");
        let values = numbers.list(columns);
        let input = Input { values: &values, width: columns, blocks: &[], stride: 0, form: InputForm::Numbers };
        for (index, panel) in (0..count).flat_map(|index| [(index, 0), (index, 1)]) {
            scratch.multiply(Isa::detect(IsaChoice::Auto), &[PanelOf { matrix: &matrix, index, panel }], &input, &[0]);
            for lane in 0..PANEL.min(18 - panel * PANEL) {
                let row = stored_row(&source, index, panel * PANEL + lane);
                let sum = row.iter().zip(&values).fold(0.0f32, |sum, (w, x)| w.mul_add(*x, sum));
                assert_eq!(scratch.sums[0][0][lane].to_bits(), sum.to_bits(), "{tensor_type} {index} {panel} {lane}");
            }
        }
    }
}

#[test]
fn rare_plain_types_become_f32() {
    let pool = Pool::new(2).expect("threads start");
    let mut scratch = WorkerScratch::new();
    let numbers: Vec<i32> = (0..17 * 5).map(|i| i * i * 31 - 900).collect();
    let doubles: Vec<u8> = numbers.iter().flat_map(|&x| (f64::from(x) / 8.0).to_le_bytes()).collect();
    let integers: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    for (tensor_type, bytes, divisor) in [(TensorType::F64, doubles, 8.0), (TensorType::I32, integers, 1.0)] {
        let (bytes, selection) = (Arc::new(bytes), RowSelection::All);
        let source =
            MatrixBytes { name: "w".into(), bytes, tensor_type, columns: 5, stored_rows: 17, count: 1, selection };
        let matrix = Matrix::pack(Isa::detect(IsaChoice::Auto), &pool, &source).expect("a matrix");
        let mut values = [0.0; 5];
        for row in 0..17 {
            matrix.copy_row(Isa::Scalar, row, &mut scratch.chunks[0], &mut values);
            let expected: Vec<f32> = numbers[row * 5..][..5].iter().map(|&x| x as f32 / divisor).collect();
            assert_eq!(values[..], expected, "{tensor_type} row {row}");
        }
    }
}
