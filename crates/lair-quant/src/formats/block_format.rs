//! What a format's file provides, and the rows of the list of formats that are made from it.

use lair_gguf::TensorType;
use lair_simd::Isa;

use crate::{
    codes::{CodeShape, Codes},
    encode::{self, EncodeBlock, Rows},
};

/// A quantized format: how a block of `BLOCK_BYTES` bytes holds `BLOCK_LENGTH` elements.
pub trait BlockFormat {
    /// The type it reads.
    const TENSOR_TYPE: TensorType;
    /// Elements a block.
    const BLOCK_LENGTH: usize;
    /// Bytes a block.
    const BLOCK_BYTES: usize;
    /// What holds for the codes of every block.
    const SHAPE: CodeShape;

    /// Takes one block apart. Any bytes are a valid block.
    ///
    /// # Panics
    /// If `block` is not `BLOCK_BYTES` long.
    fn unpack(block: &[u8], codes: &mut Codes);

    /// Whether blocks store four-bit places in [`CodeShape::code_table`], so that [`BlockFormat::unpack_places`] has
    /// something to take out.
    const HAS_PLACES: bool = false;

    /// As [`BlockFormat::unpack`], but where blocks store places in the table of codes, these are left as they are.
    #[inline(always)]
    fn unpack_places(block: &[u8], codes: &mut Codes) {
        Self::unpack(block, codes);
    }

    /// The values of one block.
    ///
    /// # Panics
    /// If `block` is not `BLOCK_BYTES` or `values` not `BLOCK_LENGTH` long.
    fn dequantize_block(block: &[u8], values: &mut [f32]) {
        assert_eq!((block.len(), values.len()), (Self::BLOCK_BYTES, Self::BLOCK_LENGTH));
        Self::dequantize_row(block, values);
    }

    /// The values of consecutive blocks; a last part that is no whole block, in either slice, is left alone.
    fn dequantize_row(row: &[u8], values: &mut [f32]) {
        let mut codes = Codes::new();
        let blocks = row.chunks_exact(Self::BLOCK_BYTES);
        for (block, values) in blocks.zip(values.chunks_exact_mut(Self::BLOCK_LENGTH)) {
            Self::unpack(block, &mut codes);
            // Both tests are of constants: one of the loops is left for each format.
            match Self::SHAPE.sub_length {
                16 => codes.multiply_out::<16>(Self::SHAPE.has_mins(), values),
                32 => codes.multiply_out::<32>(Self::SHAPE.has_mins(), values),
                other => unreachable!("sub-blocks are of 16 or 32 elements, not {other}"),
            }
        }
    }
}

/// A quantized format that can also be written, by the simple rule of ggml's reference (no search, no importance).
pub trait QuantizeBlock: BlockFormat {
    /// Writes `BLOCK_LENGTH` values as one block of `BLOCK_BYTES` bytes.
    fn quantize_block(values: &[f32], block: &mut [u8]);
}

/// A type whose blocks are single numbers.
pub trait PlainFormat {
    /// The type it reads.
    const TENSOR_TYPE: TensorType;
    /// Bytes an element.
    const ELEMENT_BYTES: usize;
    /// The values of a row of elements, rounded to f32 where they do not fit.
    fn dequantize_row(row: &[u8], values: &mut [f32]);
}

/// A piece of work that is written once for all formats and compiled for each of them, for [`super::with_format`].
pub trait FormatWork {
    /// What comes of it.
    type Output;

    /// Does it for the format `F`.
    fn run<F: BlockFormat>(self) -> Self::Output;
}

type DequantizeRow = fn(&[u8], &mut [f32]);
type QuantizeRow = fn(&[f32], &mut [u8]);
type EncodeRows = fn(Isa, Rows<'_>, &mut [u8]);

/// A row of the list of formats: what is known of a type at run time.
#[derive(Debug)]
pub struct Format {
    /// The type.
    pub tensor_type: TensorType,
    /// Elements a block.
    pub block_length: usize,
    /// Bytes a block.
    pub block_bytes: usize,
    /// The shape of its codes; `None` for plain numbers.
    pub shape: Option<CodeShape>,
    pub(crate) dequantize_row: DequantizeRow,
    pub(crate) unpack: Option<fn(&[u8], &mut Codes)>,
    pub(crate) quantize_row: Option<QuantizeRow>,
    pub(crate) encode_rows: Option<EncodeRows>,
}

impl Format {
    pub(super) const fn quantized<F: BlockFormat>() -> Format {
        Format {
            tensor_type: F::TENSOR_TYPE,
            block_length: F::BLOCK_LENGTH,
            block_bytes: F::BLOCK_BYTES,
            shape: Some(F::SHAPE),
            dequantize_row: F::dequantize_row,
            unpack: Some(F::unpack),
            quantize_row: None,
            encode_rows: None,
        }
    }

    pub(super) const fn plain<F: PlainFormat>() -> Format {
        Format {
            tensor_type: F::TENSOR_TYPE,
            block_length: 1,
            block_bytes: F::ELEMENT_BYTES,
            shape: None,
            dequantize_row: F::dequantize_row,
            unpack: None,
            quantize_row: None,
            encode_rows: None,
        }
    }

    /// Takes one block apart, as [`crate::unpack`] does, for who has many of them.
    ///
    /// # Panics
    /// If the type has no codes, or `block` is not one block.
    pub fn unpack_block(&self, block: &[u8], codes: &mut Codes) {
        let unpack = self.unpack.expect("plain numbers have no codes: their format has no shape");
        unpack(block, codes);
    }

    /// Whether [`crate::quantize`] can write it.
    pub const fn is_writable(&self) -> bool {
        self.quantize_row.is_some()
    }

    /// Whether [`crate::encode()`] can write it.
    pub const fn is_encodable(&self) -> bool {
        self.quantize_row.is_some() || self.encode_rows.is_some()
    }

    pub(super) const fn with_encoder<F: EncodeBlock>(mut self) -> Format {
        self.encode_rows = Some(encode::encode_rows::<F>);
        self
    }

    pub(super) const fn with_quantizer(mut self, quantize_row: QuantizeRow) -> Format {
        self.quantize_row = Some(quantize_row);
        self
    }
}

/// Quantizes consecutive blocks.
pub(super) fn quantize_row<F: QuantizeBlock>(values: &[f32], row: &mut [u8]) {
    for (values, block) in values.chunks_exact(F::BLOCK_LENGTH).zip(row.chunks_exact_mut(F::BLOCK_BYTES)) {
        F::quantize_block(values, block);
    }
}
