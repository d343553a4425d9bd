//! Types that are no blocks: each element stands alone, little-endian.

use half::{bf16, f16, slice::HalfFloatSliceExt};
use lair_gguf::TensorType;

use super::block_format::PlainFormat;

/// Defines a unit struct for a type whose elements convert one by one.
macro_rules! plain_format {
    ($name:ident, $bytes:literal, $to_f32:expr, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl PlainFormat for $name {
            const TENSOR_TYPE: TensorType = TensorType::$name;
            const ELEMENT_BYTES: usize = $bytes;

            fn dequantize_row(row: &[u8], values: &mut [f32]) {
                let to_f32: fn([u8; $bytes]) -> f32 = $to_f32;
                for (element, value) in row.as_chunks::<$bytes>().0.iter().zip(values) {
                    *value = to_f32(*element);
                }
            }
        }
    };
}

plain_format!(F32, 4, f32::from_le_bytes, "32-bit floats.");
plain_format!(F64, 8, |element| f64::from_le_bytes(element) as f32, "64-bit floats, rounded to the nearest f32.");
plain_format!(BF16, 2, |element| bf16::from_le_bytes(element).to_f32(), "The upper half of 32-bit floats.");
plain_format!(I8, 1, |element| f32::from(i8::from_le_bytes(element)), "8-bit integers.");
plain_format!(I16, 2, |element| f32::from(i16::from_le_bytes(element)), "16-bit integers.");
plain_format!(I32, 4, |element| i32::from_le_bytes(element) as f32, "32-bit integers, rounded to the nearest f32.");
plain_format!(I64, 8, |element| i64::from_le_bytes(element) as f32, "64-bit integers, rounded to the nearest f32.");

/// IEEE half-precision floats.
#[derive(Clone, Copy, Debug)]
pub struct F16;

impl PlainFormat for F16 {
    const TENSOR_TYPE: TensorType = TensorType::F16;
    const ELEMENT_BYTES: usize = 2;

    /// In pieces, because the conversion of a slice uses the processor's own instruction where there is one.
    fn dequantize_row(row: &[u8], values: &mut [f32]) {
        const PIECE: usize = 64;
        let mut halves = [f16::ZERO; PIECE];
        for (piece, values) in row.chunks(2 * PIECE).zip(values.chunks_mut(PIECE)) {
            for (half, element) in halves.iter_mut().zip(piece.as_chunks::<2>().0) {
                *half = f16::from_le_bytes(*element);
            }
            halves[..values.len()].convert_to_f32_slice(values);
        }
    }
}

/// Writes f32.
pub(super) fn write_f32(values: &[f32], row: &mut [u8]) {
    for (element, value) in row.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *element = value.to_le_bytes();
    }
}

/// Writes the nearest halves, ties to even; what is too large becomes infinite.
pub(super) fn write_f16(values: &[f32], row: &mut [u8]) {
    for (element, value) in row.as_chunks_mut::<2>().0.iter_mut().zip(values) {
        *element = f16::from_f32(*value).to_le_bytes();
    }
}

/// Writes the nearest bfloat16 numbers, ties to even.
pub(super) fn write_bf16(values: &[f32], row: &mut [u8]) {
    for (element, value) in row.as_chunks_mut::<2>().0.iter_mut().zip(values) {
        *element = bf16::from_f32(*value).to_le_bytes();
    }
}
