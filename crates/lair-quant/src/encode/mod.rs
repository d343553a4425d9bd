//! Writes blocks with a search for the scales that lose least, by the importance of each element where it is known.
//!
//! All searches try many scales at once, one in each lane of a vector, and pick the best lane in a fixed order: so the
//! bytes do not depend on the instruction set, and nothing is added up across lanes.

pub(crate) mod affine;
pub(crate) mod grid;
pub(crate) mod scaled;
pub(crate) mod ternary;
pub(crate) mod weights;

use half::f16;
use lair_gguf::TensorType;
use lair_simd::{Isa, Simd, Work};

use crate::{
    convert::{QuantError, format_of},
    formats::BlockFormat,
};

/// The elements of one block, and what is known of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockInput<'a> {
    /// `[block_length]`.
    pub values: &'a [f32],
    /// `[block_length]`: how much an error of each element counts; `None` if that is not known.
    pub importance: Option<&'a [f32]>,
    /// Mean of the squares of the whole row.
    pub row_mean_square: f32,
}

impl BlockInput<'_> {
    /// The values, of which there are as many as the format has in a block.
    #[inline(always)]
    pub(crate) fn block<const LENGTH: usize>(&self) -> &[f32; LENGTH] {
        self.values.try_into().expect("blocks are handed out whole")
    }
}

/// A quantized format that is written with a search.
pub(crate) trait EncodeBlock: BlockFormat {
    /// Writes one block of finite values.
    fn encode<S: Simd>(s: S, input: &BlockInput<'_>, block: &mut [u8]);
}

/// Rows to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// `[rows, row_length]`.
    pub values: &'a [f32],
    pub row_length: usize,
    /// `[row_length]`, the same for all rows.
    pub importance: Option<&'a [f32]>,
}

/// Writes rows of values as blocks that lose as little as the format allows.
///
/// `importance` has a number for each column: how much the square of an error there counts, usually the mean square of
/// what the column is multiplied with. Without it the values themselves say what matters. Values are to be finite; others
/// do no harm beyond their own block.
///
/// The same bytes come out on every instruction set.
///
/// # Errors
/// If the type cannot be written, `values` are no whole rows of whole blocks, or a length does not fit.
pub fn encode(
    isa: Isa,
    tensor_type: TensorType,
    values: &[f32],
    row_length: usize,
    importance: Option<&[f32]>,
    bytes: &mut [u8],
) -> Result<(), QuantError> {
    let format = format_of(tensor_type).ok_or(QuantError::Unsupported { tensor_type })?;
    let partial = |length| QuantError::PartialBlock { tensor_type, length, block_length: format.block_length };
    if row_length == 0 || !row_length.is_multiple_of(format.block_length) || !values.len().is_multiple_of(row_length) {
        return Err(partial(row_length));
    }
    let expected = (values.len() / format.block_length) as u64 * format.block_bytes as u64;
    if bytes.len() as u64 != expected {
        return Err(QuantError::LengthMismatch { tensor_type, length: values.len(), expected, found: bytes.len() });
    }
    if let Some(importance) = importance
        && importance.len() != row_length
    {
        return Err(QuantError::ImportanceLength { expected: row_length, found: importance.len() });
    }
    match (format.encode_rows, format.quantize_row) {
        (Some(encode_rows), _) => encode_rows(isa, Rows { values, row_length, importance }, bytes),
        (None, Some(quantize_row)) => quantize_row(values, bytes),
        (None, None) => return Err(QuantError::NoQuantizer { tensor_type }),
    }
    Ok(())
}

/// Encodes rows of the format `F`.
pub(crate) fn encode_rows<F: EncodeBlock>(isa: Isa, rows: Rows<'_>, bytes: &mut [u8]) {
    let row_bytes = rows.row_length / F::BLOCK_LENGTH * F::BLOCK_BYTES;
    for (values, bytes) in rows.values.chunks_exact(rows.row_length).zip(bytes.chunks_exact_mut(row_bytes)) {
        isa.run(EncodeRow::<F> { values, importance: rows.importance, bytes, format: std::marker::PhantomData });
    }
}

struct EncodeRow<'a, F> {
    values: &'a [f32],
    importance: Option<&'a [f32]>,
    bytes: &'a mut [u8],
    format: std::marker::PhantomData<F>,
}

impl<F: EncodeBlock> Work for EncodeRow<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let row_mean_square = mean_square(s, self.values);
        let blocks = self.values.chunks_exact(F::BLOCK_LENGTH).zip(self.bytes.chunks_exact_mut(F::BLOCK_BYTES));
        for (index, (values, block)) in blocks.enumerate() {
            let importance = self.importance.map(|all| &all[index * F::BLOCK_LENGTH..][..F::BLOCK_LENGTH]);
            F::encode(s, &BlockInput { values, importance, row_mean_square }, block);
        }
    }
}

/// Mean of the squares; the length is a multiple of eight.
#[inline(always)]
pub(crate) fn mean_square<S: Simd>(s: S, values: &[f32]) -> f32 {
    let mut sum = s.splat(0.0);
    for values in values.as_chunks::<8>().0 {
        let x = s.load(values);
        sum = s.fma(x, x, sum);
    }
    s.sum(sum) / values.len() as f32
}

/// The half-precision number that is stored for a scale, widened again. What is too large for it becomes the largest
/// finite one: a block that is cut off is better than one that is infinite.
#[inline(always)]
pub(crate) fn as_half(scale: f32) -> f32 {
    let largest = f16::MAX.to_f32();
    if scale.is_nan() { 0.0 } else { f16::from_f32(scale.clamp(-largest, largest)).to_f32() }
}

/// The bytes of a scale that [`as_half`] gave.
#[inline(always)]
pub(crate) fn half_bytes(scale: f32) -> [u8; 2] {
    f16::from_f32(scale).to_le_bytes()
}

/// `1 / scale`, or 0 where that has no meaning or is too large.
#[inline(always)]
pub(crate) fn inverse_or_zero(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}
