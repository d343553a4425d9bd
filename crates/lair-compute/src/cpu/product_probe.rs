//! How fast whole products with weights of each type are on this machine: the kernels themselves, on matrices as models have.
//!
//! Peaks of single instructions ([`super::probe`]) say what a machine could do. What a type reaches of that depends on how its
//! codes are taken apart, and differs by a factor of two between types.

use std::sync::Arc;
use std::time::Instant;

use lair_quant::TensorType;

use super::{ActivationType, Cpu, CpuOptions};
use crate::{Backend, ComputeError, Linear, MatrixBytes, RowSelection};

/// Types whose rates are of use: what files are made of. Others are near one of these.
pub const MEASURED_TYPES: [TensorType; 16] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q8_0,
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q2_K,
    TensorType::Q3_K,
    TensorType::Q4_K,
    TensorType::Q5_K,
    TensorType::Q6_K,
    TensorType::IQ4_NL,
    TensorType::IQ4_XS,
    TensorType::IQ3_S,
];
/// Rows of activations: a good part of a step, and enough for the largest tiles.
const TOKENS: usize = 256;
/// Runs; the median counts, since it is an ordinary moment that is asked for.
const RUNS: usize = 5;

/// Rows and columns of a matrix as models have whose activations are of this type: narrow ones multiply words.
fn shape(activations: ActivationType) -> (usize, usize) {
    match activations {
        ActivationType::Words => (1536, 768),
        _ => (3072, 2048),
    }
}

/// Multiply-adds a second of products of many rows with weights of [`MEASURED_TYPES`], in that order.
///
/// # Errors
/// If threads or memory cannot be had.
pub fn measure(options: &CpuOptions, activations: ActivationType) -> Result<Vec<(TensorType, f64)>, ComputeError> {
    measure_of(options, activations, TOKENS, shape(activations))
}

/// The same with so many rows of activations, and a matrix of so many rows and columns.
fn measure_of(
    options: &CpuOptions,
    activations: ActivationType,
    tokens: usize,
    (rows, columns): (usize, usize),
) -> Result<Vec<(TensorType, f64)>, ComputeError> {
    let mut cpu = Cpu::new(options.clone())?.with_activations(activations);
    let input = cpu.buffer(tokens, columns)?;
    let mut output = cpu.buffer(tokens, rows)?;
    let mut rates = Vec::with_capacity(MEASURED_TYPES.len());
    for tensor_type in MEASURED_TYPES {
        let weight = cpu.matrix(&weights(tensor_type, rows, columns))?;
        let linear = Linear { weight, bias: None, scale: 1.0 };
        let mut seconds: Vec<f64> = (0..=RUNS)
            .map(|_| {
                let start = Instant::now();
                cpu.project(tokens, None, &input, &mut [(&linear, &mut output)]);
                start.elapsed().as_secs_f64()
            })
            .skip(1)
            .collect();
        seconds.sort_by(f64::total_cmp);
        rates.push((tensor_type, (tokens * rows * columns) as f64 / seconds[RUNS / 2]));
    }
    Ok(rates)
}

/// Weights of small bytes: whatever the type makes of them, no scale among them is infinite or subnormal.
fn weights(tensor_type: TensorType, rows: usize, columns: usize) -> MatrixBytes {
    let size_bytes = columns / tensor_type.block_length() * tensor_type.block_bytes() * rows;
    MatrixBytes {
        name: "measuring products".into(),
        bytes: Arc::new((0..size_bytes).map(|place| (place * 7 % 60) as u8 + 1).collect::<Vec<u8>>()),
        tensor_type,
        columns,
        stored_rows: rows,
        count: 1,
        selection: RowSelection::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_can_be_multiplied_both_ways() {
        let options = CpuOptions { threads: Some(1), ..CpuOptions::default() };
        for activations in [ActivationType::Bytes, ActivationType::Words] {
            // Small ones, for an emulated processor takes a quarter of an hour for what is measured.
            let (rows, columns) = shape(activations);
            let rates = measure_of(&options, activations, 24, (rows / 24, columns)).expect("there is memory for it");
            assert_eq!(rates.iter().map(|(tensor_type, _)| *tensor_type).collect::<Vec<_>>(), MEASURED_TYPES);
            assert!(rates.iter().all(|(_, rate)| rate.is_finite() && *rate > 0.0), "{rates:?}");
        }
    }
}
