//! Block formats, one file each: layout, dequantization and the search for the best blocks.
//!
//! ```
//! use lair_gguf::TensorType;
//!
//! let values: Vec<f32> = (0..32).map(|i| i as f32).collect();
//! let mut row = vec![0; 34];
//! lair_quant::quantize(TensorType::Q8_0, &values, &mut row)?;
//! let mut back = vec![0.0; 32];
//! lair_quant::dequantize(TensorType::Q8_0, &row, &mut back)?;
//! assert!((back[31] - 31.0).abs() < 0.2);
//! # Ok::<(), lair_quant::QuantError>(())
//! ```

mod codes;
mod convert;
mod encode;
pub mod formats;

pub use lair_gguf::TensorType;

pub use self::{
    codes::{BLOCK_LENGTH_MAX, CodeShape, Codes, SUB_LENGTH_MIN},
    convert::{QuantError, dequantize, dot, f16_to_f32, format_of, is_supported, quantize, unpack},
    encode::encode,
    formats::{BlockFormat, Format},
};
