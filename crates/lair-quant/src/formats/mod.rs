//! The formats: one file each, and the one list of them.
//!
//! To add a format: write its file (a unit struct that implements [`BlockFormat`]), name it here in [`FORMATS`], and
//! add its golden blocks.

mod block_format;
mod fields;
mod pack;
mod plain;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod q8_1;
mod q8_k;

use self::block_format::quantize_row;

pub use self::{
    block_format::{BlockFormat, Format, PlainFormat, QuantizeBlock},
    plain::{BF16, F16, F32, F64, I8, I16, I32, I64},
    q2_k::Q2_K,
    q3_k::Q3_K,
    q4_0::Q4_0,
    q4_1::Q4_1,
    q4_k::Q4_K,
    q5_0::Q5_0,
    q5_1::Q5_1,
    q5_k::Q5_K,
    q6_k::Q6_K,
    q8_0::Q8_0,
    q8_1::Q8_1,
    q8_k::Q8_K,
};

/// Every format there is.
pub static FORMATS: &[Format] = &[
    Format::plain::<F32>().with_quantizer(plain::write_f32),
    Format::plain::<F16>().with_quantizer(plain::write_f16),
    Format::quantized::<Q4_0>().with_quantizer(quantize_row::<Q4_0>),
    Format::quantized::<Q4_1>().with_quantizer(quantize_row::<Q4_1>),
    Format::quantized::<Q5_0>().with_quantizer(quantize_row::<Q5_0>),
    Format::quantized::<Q5_1>().with_quantizer(quantize_row::<Q5_1>),
    Format::quantized::<Q8_0>().with_quantizer(quantize_row::<Q8_0>),
    Format::quantized::<Q8_1>(),
    Format::quantized::<Q2_K>(),
    Format::quantized::<Q3_K>(),
    Format::quantized::<Q4_K>(),
    Format::quantized::<Q5_K>(),
    Format::quantized::<Q6_K>(),
    Format::quantized::<Q8_K>(),
    Format::plain::<I8>(),
    Format::plain::<I16>(),
    Format::plain::<I32>(),
    Format::plain::<I64>(),
    Format::plain::<F64>(),
    Format::plain::<BF16>().with_quantizer(plain::write_bf16),
];
