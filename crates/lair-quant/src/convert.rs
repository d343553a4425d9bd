//! Conversions by a type known only at run time, with the lengths checked.

use lair_gguf::TensorType;

use crate::{
    codes::{BLOCK_LENGTH_MAX, Codes},
    formats::{F16, FORMATS, Format, PlainFormat},
};

/// Why a row could not be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantError {
    /// No format of the list reads this type.
    #[error("tensor type {tensor_type} cannot be read")]
    Unsupported {
        /// The type.
        tensor_type: TensorType,
    },
    /// The type can be read, but not written.
    #[error("tensor type {tensor_type} cannot be written")]
    NoQuantizer {
        /// The type.
        tensor_type: TensorType,
    },
    /// The type has no codes, its elements are plain numbers.
    #[error("tensor type {tensor_type} has no blocks to unpack")]
    NotQuantized {
        /// The type.
        tensor_type: TensorType,
    },
    /// Not one importance for each column.
    #[error("rows of {expected} elements need as many importances, found {found}")]
    ImportanceLength {
        /// Columns.
        expected: usize,
        /// Importances there are.
        found: usize,
    },
    /// The number of elements is no multiple of the block's.
    #[error("{length} elements are no whole number of {tensor_type} blocks of {block_length}")]
    PartialBlock {
        /// The type.
        tensor_type: TensorType,
        /// Elements asked for.
        length: usize,
        /// Elements a block.
        block_length: usize,
    },
    /// The bytes and the elements do not belong together.
    #[error("{length} elements of {tensor_type} take {expected} bytes, found {found}")]
    LengthMismatch {
        /// The type.
        tensor_type: TensorType,
        /// Elements asked for.
        length: usize,
        /// Bytes they take.
        expected: u64,
        /// Bytes there are.
        found: usize,
    },
}

impl QuantError {
    /// What one can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            QuantError::NoQuantizer { .. } => {
                let writable: Vec<&str> =
                    FORMATS.iter().filter(|f| f.is_writable()).map(|f| f.tensor_type.name()).collect();
                Some(format!("these types can be written: {}", writable.join(", ")))
            }
            _ => None,
        }
    }
}

/// The format that reads this type, if there is one.
pub fn format_of(tensor_type: TensorType) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.tensor_type == tensor_type)
}

/// Whether tensors of this type can be read.
pub fn is_supported(tensor_type: TensorType) -> bool {
    format_of(tensor_type).is_some()
}

/// The values of a row, or of any number of rows that follow one another.
///
/// # Errors
/// If the type is not supported, or `bytes` does not hold exactly `values.len()` elements in whole blocks.
pub fn dequantize(tensor_type: TensorType, bytes: &[u8], values: &mut [f32]) -> Result<(), QuantError> {
    let format = checked_format(tensor_type, bytes.len(), values.len())?;
    (format.dequantize_row)(bytes, values);
    Ok(())
}

/// Writes values by the format's simple rule (no search, no importance weights).
///
/// # Errors
/// As [`dequantize`], and if the type has no quantizer.
pub fn quantize(tensor_type: TensorType, values: &[f32], bytes: &mut [u8]) -> Result<(), QuantError> {
    let format = checked_format(tensor_type, bytes.len(), values.len())?;
    let quantize_row = format.quantize_row.ok_or(QuantError::NoQuantizer { tensor_type })?;
    quantize_row(values, bytes);
    Ok(())
}

/// Takes one block apart into integers and scales.
///
/// # Errors
/// If the type is not supported or has no codes, or `block` is not one block.
pub fn unpack(tensor_type: TensorType, block: &[u8], codes: &mut Codes) -> Result<(), QuantError> {
    let format = checked_format(tensor_type, block.len(), tensor_type.block_length())?;
    let unpack = format.unpack.ok_or(QuantError::NotQuantized { tensor_type })?;
    unpack(block, codes);
    Ok(())
}

/// The dot product of a row and a vector, plainly: dequantized, multiplied and added up in f64. What kernels are
/// measured against.
///
/// # Errors
/// As [`dequantize`].
pub fn dot(tensor_type: TensorType, row: &[u8], vector: &[f32]) -> Result<f64, QuantError> {
    let format = checked_format(tensor_type, row.len(), vector.len())?;
    let mut buffer = [0.0; BLOCK_LENGTH_MAX];
    let mut sum = 0.0;
    for (block, vector) in row.chunks_exact(format.block_bytes).zip(vector.chunks_exact(format.block_length)) {
        let values = &mut buffer[..format.block_length];
        (format.dequantize_row)(block, values);
        sum += values.iter().zip(vector).map(|(value, x)| f64::from(*value) * f64::from(*x)).sum::<f64>();
    }
    Ok(sum)
}

/// Converts little-endian half-precision numbers, exactly.
///
/// # Errors
/// If `bytes` does not hold exactly `values.len()` of them.
pub fn f16_to_f32(bytes: &[u8], values: &mut [f32]) -> Result<(), QuantError> {
    checked_format(TensorType::F16, bytes.len(), values.len())?;
    F16::dequantize_row(bytes, values);
    Ok(())
}

/// The format of a type, once it is known that this many bytes hold this many elements.
fn checked_format(tensor_type: TensorType, bytes: usize, length: usize) -> Result<&'static Format, QuantError> {
    let format = format_of(tensor_type).ok_or(QuantError::Unsupported { tensor_type })?;
    let block_length = format.block_length;
    if !length.is_multiple_of(block_length) {
        return Err(QuantError::PartialBlock { tensor_type, length, block_length });
    }
    let expected = (length / block_length) as u64 * format.block_bytes as u64;
    if bytes as u64 != expected {
        return Err(QuantError::LengthMismatch { tensor_type, length, expected, found: bytes });
    }
    Ok(format)
}
