//! Products in BF16 against sums in f64 of the rounded numbers, and against themselves in other batches and on other threads.

use std::sync::Arc;

use half::bf16;
use lair_quant::TensorType;
use lair_simd::IsaChoice;

use super::quantise::{ActivationType, InputForm};
use super::{Cpu, CpuOptions};
use crate::{Backend, Linear, MatrixBytes, RowSelection};

const TYPES: [TensorType; 2] = [TensorType::F16, TensorType::BF16];

fn numbers(seed: u64, length: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..length).map(|_| next()).collect()
}

fn matrix(tensor_type: TensorType, values: &[f32], columns: usize) -> MatrixBytes {
    let mut bytes = vec![0; values.len() * 2];
    lair_quant::quantize(tensor_type, values, &mut bytes).expect("a type of plain numbers");
    let (bytes, selection) = (Arc::new(bytes), RowSelection::All);
    let stored_rows = values.len() / columns;
    MatrixBytes { name: "w".into(), bytes, tensor_type, columns, stored_rows, count: 1, selection }
}

/// Backends that multiply in BF16; none where the machine cannot.
fn cpus() -> Vec<Cpu> {
    let cpu = |threads| Cpu::new(CpuOptions { threads: Some(threads), isa: IsaChoice::Auto }).expect("threads");
    let cpus = [1, 3].map(cpu);
    let source = matrix(TensorType::BF16, &[1.0; 32], 32);
    if cpus[0].matrix(&source).expect("a matrix").form() != InputForm::Brains {
        lair_testkit::skipped("this machine does not multiply in BF16, or slower than in f32");
        return Vec::new();
    }
    cpus.into()
}

fn products(cpu: &mut Cpu, linears: &[&Linear<Cpu>], input: &[f32]) -> Vec<Vec<f32>> {
    let columns = linears[0].weight.columns();
    let tokens = input.len() / columns;
    let mut buffer = cpu.buffer(tokens, columns).expect("room");
    buffer.values.copy_from_slice(input);
    let mut outputs: Vec<_> =
        linears.iter().map(|linear| cpu.buffer(tokens, linear.weight.rows()).expect("room")).collect();
    let mut list: Vec<_> = linears.iter().copied().zip(&mut outputs).collect();
    cpu.project(tokens, None, &buffer, &mut list);
    outputs.iter().map(|output| output.values.to_vec()).collect()
}

/// Sum of the products of rounded numbers, and of their magnitudes.
fn expected(source: &MatrixBytes, row: usize, token: &[f32]) -> (f64, f64) {
    let mut weights = vec![0.0; source.columns];
    lair_quant::dequantize(source.tensor_type, source.row(0, row), &mut weights).expect("whole rows");
    let rounded = |x: f32| f64::from(bf16::from_f32(x).to_f32());
    weights
        .iter()
        .zip(token)
        .map(|(&w, &x)| rounded(w) * rounded(x))
        .fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
}

#[test]
fn products_are_those_of_rounded_numbers_alone_and_in_any_batch() {
    let mut cpus = cpus();
    for tensor_type in TYPES {
        for (rows, columns) in [(1, 32), (15, 64), (17, 256), (33, 288), (48, 1312)] {
            let source = matrix(tensor_type, &numbers(3, rows * columns), columns);
            let input = numbers(5, 130 * columns);
            let mut first: Option<Vec<f32>> = None;
            for cpu in &mut cpus {
                let linear = Linear { weight: cpu.matrix(&source).expect("a matrix"), bias: None, scale: 1.0 };
                for tokens in (1..=14).chain([23, 24, 25, 130]).rev() {
                    let [actual] = &products(cpu, &[&linear], &input[..tokens * columns])[..] else { panic!("one") };
                    let first = first.get_or_insert_with(|| actual.clone());
                    let same = actual.iter().zip(&*first).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{tensor_type} {rows}x{columns}, {tokens} tokens");
                }
            }
            for (place, &actual) in first.iter().flatten().enumerate() {
                let (token, row) = (place / rows, place % rows);
                let (sum, size) = expected(&source, row, &input[token * columns..][..columns]);
                let bound = 1e-6 * size * (columns as f64).sqrt();
                assert!(
                    (f64::from(actual) - sum).abs() <= bound,
                    "{tensor_type} {rows}x{columns} at {place}: {actual} {sum}"
                );
            }
        }
    }
}

#[test]
fn neighbours_of_other_kinds_change_nothing() {
    let columns = 160;
    let types = [TensorType::BF16, TensorType::F16, TensorType::F32, TensorType::BF16];
    let sources = types.map(|tensor_type| {
        let values = numbers(7, 40 * columns);
        let mut bytes = vec![0; values.len() * tensor_type.block_bytes()];
        lair_quant::quantize(tensor_type, &values, &mut bytes).expect("a type of plain numbers");
        MatrixBytes { bytes: Arc::new(bytes), tensor_type, ..matrix(TensorType::BF16, &values, columns) }
    });
    for mut cpu in cpus() {
        let linears = sources.each_ref().map(|source| Linear {
            weight: cpu.matrix(source).expect("a matrix"),
            bias: None,
            scale: 1.0,
        });
        let input = numbers(9, 7 * columns);
        let together = products(&mut cpu, &linears.each_ref(), &input);
        for (linear, together) in linears.iter().zip(together) {
            let [alone] = &products(&mut cpu, &[linear], &input)[..] else { panic!("one") };
            assert!(alone.iter().zip(&together).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}

#[test]
fn odd_numbers_stay_in_their_row_and_token() {
    let columns = 64;
    let mut values = numbers(11, 20 * columns);
    (values[5], values[columns + 6], values[2 * columns + 7]) = (f32::NAN, f32::INFINITY, 65504.0);
    let mut input = numbers(13, 6 * columns);
    (input[columns + 3], input[2 * columns + 6]) = (f32::NAN, 0.0);
    for tensor_type in TYPES {
        for mut cpu in cpus() {
            let source = matrix(tensor_type, &values, columns);
            let linear = Linear { weight: cpu.matrix(&source).expect("a matrix"), bias: None, scale: 1.0 };
            let [sums] = &products(&mut cpu, &[&linear], &input)[..] else { panic!("one") };
            for (place, sum) in sums.iter().enumerate() {
                let (token, row) = (place / 20, place % 20);
                let is_odd = row == 0 || token == 1 || (row == 1 && token == 2);
                assert_eq!(sum.is_nan(), is_odd, "{tensor_type} token {token} row {row}: {sum}");
                assert!(is_odd || row == 1 || sum.is_finite(), "{tensor_type} token {token} row {row}: {sum}");
            }
        }
    }
}

#[test]
fn what_must_be_exact_stays_in_single_precision() {
    let source = matrix(TensorType::BF16, &[1.0; 2 * 40], 40);
    for cpu in cpus() {
        assert_eq!(cpu.matrix(&source).expect("a matrix").form(), InputForm::Numbers, "no whole number of blocks");
        let wide = matrix(TensorType::BF16, &[1.0; 64], 32);
        for activations in [ActivationType::Words, ActivationType::F32] {
            let matrix = cpu.matrix(&wide).expect("a matrix").with_activations(activations);
            assert_eq!(matrix.form(), InputForm::Numbers, "{activations:?}");
        }
    }
}
