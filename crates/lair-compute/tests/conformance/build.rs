//! Weights, buffers and batches of test cases: plain data that any backend can take.

use std::sync::Arc;

use lair_compute::{
    Backend, Linear, MatrixBytes, Norm, NormGroup, NormKind, PageId, RowSelection, SequenceRows, VectorBytes,
};
use lair_quant::TensorType;

/// A small generator of test values (SplitMix64); the same seed gives the same values everywhere.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A value between -1 and 1.
    pub fn value(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Values between -1 and 1.
    pub fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }
}

/// Little-endian bytes of f32 values.
fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Random blocks of a type whose values are of ordinary size: exponents of f16 scales are kept small.
pub fn random_matrix(random: &mut Random, tensor_type: TensorType, rows: usize, columns: usize) -> MatrixBytes {
    stack(random, tensor_type, 1, rows, columns)
}

/// A stack of `count` such matrices.
pub fn stack(random: &mut Random, tensor_type: TensorType, count: usize, rows: usize, columns: usize) -> MatrixBytes {
    let length = count * rows * columns;
    let bytes = match tensor_type {
        TensorType::F32 => f32_bytes(&random.values(length)),
        _ => quantized_bytes(random, tensor_type, length),
    };
    MatrixBytes {
        name: format!("test.{tensor_type}"),
        bytes: Arc::new(bytes),
        tensor_type,
        columns,
        stored_rows: rows,
        count,
        selection: RowSelection::All,
    }
}

/// Random blocks that hold finite values of magnitude below about 100. Blocks that do not are drawn again, so no
/// format's layout has to be known here.
fn quantized_bytes(random: &mut Random, tensor_type: TensorType, length: usize) -> Vec<u8> {
    let (block_length, block_bytes) = (tensor_type.block_length(), tensor_type.block_bytes());
    let mut values = vec![0.0; block_length];
    let mut bytes = Vec::new();
    while bytes.len() < length / block_length * block_bytes {
        let block: Vec<u8> = (0..block_bytes).map(|_| random.bits() as u8).collect();
        lair_quant::dequantize(tensor_type, &block, &mut values).expect("a whole block");
        if values.iter().all(|value| value.is_finite() && value.abs() < 100.0) {
            bytes.extend(block);
        }
    }
    bytes
}

/// A linear product with a bias where `bias` is given.
pub fn linear<B: Backend>(backend: &B, weight: &MatrixBytes, bias: Option<&[f32]>) -> Linear<B> {
    Linear {
        weight: backend.matrix(weight).expect("a matrix"),
        bias: bias.map(|bias| vector(backend, bias)),
        scale: 1.0,
    }
}

/// A vector of f32.
pub fn vector<B: Backend>(backend: &B, values: &[f32]) -> B::Vector {
    let source = VectorBytes {
        name: "test.vector".into(),
        bytes: Arc::new(f32_bytes(values)),
        tensor_type: TensorType::F32,
        length: values.len(),
        selection: RowSelection::All,
    };
    backend.vector(&source).expect("a vector")
}

/// A norm over rows or runs.
pub fn norm<B: Backend>(
    backend: &B,
    kind: NormKind,
    group: NormGroup,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
) -> Norm<B> {
    Norm {
        kind,
        group,
        weight: weight.map(|values| vector(backend, values)),
        bias: bias.map(|values| vector(backend, values)),
        epsilon: 1e-5,
    }
}

/// A buffer with these rows: filled through `embed`, the only way in.
pub fn buffer<B: Backend>(backend: &mut B, rows: usize, width: usize, values: &[f32]) -> B::Buffer {
    assert_eq!(values.len(), rows * width);
    let table = MatrixBytes {
        name: "test.rows".into(),
        bytes: Arc::new(f32_bytes(values)),
        tensor_type: TensorType::F32,
        columns: width,
        stored_rows: rows,
        count: 1,
        selection: RowSelection::All,
    };
    let table = backend.matrix(&table).expect("a matrix");
    let mut buffer = backend.buffer(rows, width).expect("a buffer");
    let tokens: Vec<u32> = (0..rows as u32).collect();
    backend.embed(&table, &tokens, 1.0, &mut buffer);
    buffer
}

/// Sequences of a batch: for each `(first position, rows)`, with scattered pages and a state slot of its own.
pub fn sequences<'a>(shape: &[(usize, usize)], tables: &'a [Vec<PageId>]) -> Vec<SequenceRows<'a>> {
    let mut first_row = 0;
    let mut result = Vec::new();
    for (index, &(first_position, row_count)) in shape.iter().enumerate() {
        result.push(SequenceRows {
            first_row,
            row_count,
            first_position,
            page_table: &tables[index],
            state_slot: Some(lair_compute::StateSlot(index as u32)),
            adapter_scales: &[],
        });
        first_row += row_count;
    }
    result
}

/// Page tables of `count` sequences of `pages` pages each, interleaved so that no sequence's pages are adjacent.
pub fn page_tables(count: usize, pages: usize) -> Vec<Vec<PageId>> {
    (0..count).map(|sequence| (0..pages).rev().map(|page| PageId((page * count + sequence) as u32)).collect()).collect()
}
