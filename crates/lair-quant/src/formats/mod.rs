//! The formats: one file each, and the one list of them.
//!
//! To add a format: write its file (a unit struct that implements [`BlockFormat`]), name it here in [`FORMATS`] and in
//! [`with_format`], and add its golden blocks.

mod block_format;
mod fields;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod iq_grids;
mod mxfp4;
mod nvfp4;
mod pack;
mod plain;
mod q1_0;
mod q2_0;
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
mod tq1_0;
mod tq2_0;

use lair_gguf::TensorType;

use self::block_format::quantize_row;

pub use self::{
    block_format::{BlockFormat, Format, FormatWork, PlainFormat, QuantizeBlock},
    iq1_m::IQ1_M,
    iq1_s::IQ1_S,
    iq2_s::IQ2_S,
    iq2_xs::IQ2_XS,
    iq2_xxs::IQ2_XXS,
    iq3_s::IQ3_S,
    iq3_xxs::IQ3_XXS,
    iq4_nl::IQ4_NL,
    iq4_xs::IQ4_XS,
    mxfp4::MXFP4,
    nvfp4::NVFP4,
    plain::{BF16, F16, F32, F64, I8, I16, I32, I64},
    q1_0::Q1_0,
    q2_0::Q2_0,
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
    tq1_0::TQ1_0,
    tq2_0::TQ2_0,
};

/// Every format there is.
pub static FORMATS: &[Format] = &[
    Format::plain::<F32>().with_quantizer(plain::write_f32),
    Format::plain::<F16>().with_quantizer(plain::write_f16),
    Format::quantized::<Q4_0>().with_quantizer(quantize_row::<Q4_0>).with_encoder::<Q4_0>(),
    Format::quantized::<Q4_1>().with_quantizer(quantize_row::<Q4_1>).with_encoder::<Q4_1>(),
    Format::quantized::<Q5_0>().with_quantizer(quantize_row::<Q5_0>).with_encoder::<Q5_0>(),
    Format::quantized::<Q5_1>().with_quantizer(quantize_row::<Q5_1>).with_encoder::<Q5_1>(),
    Format::quantized::<Q8_0>().with_quantizer(quantize_row::<Q8_0>).with_encoder::<Q8_0>(),
    Format::quantized::<Q8_1>(),
    Format::quantized::<Q2_K>().with_encoder::<Q2_K>(),
    Format::quantized::<Q3_K>().with_encoder::<Q3_K>(),
    Format::quantized::<Q4_K>().with_encoder::<Q4_K>(),
    Format::quantized::<Q5_K>().with_encoder::<Q5_K>(),
    Format::quantized::<Q6_K>().with_encoder::<Q6_K>(),
    Format::quantized::<Q8_K>(),
    Format::quantized::<IQ2_XXS>().with_encoder::<IQ2_XXS>(),
    Format::quantized::<IQ2_XS>().with_encoder::<IQ2_XS>(),
    Format::quantized::<IQ3_XXS>().with_encoder::<IQ3_XXS>(),
    Format::quantized::<IQ1_S>().with_encoder::<IQ1_S>(),
    Format::quantized::<IQ4_NL>().with_encoder::<IQ4_NL>(),
    Format::quantized::<IQ3_S>().with_encoder::<IQ3_S>(),
    Format::quantized::<IQ2_S>().with_encoder::<IQ2_S>(),
    Format::quantized::<IQ4_XS>().with_encoder::<IQ4_XS>(),
    Format::plain::<I8>(),
    Format::plain::<I16>(),
    Format::plain::<I32>(),
    Format::plain::<I64>(),
    Format::plain::<F64>(),
    Format::quantized::<IQ1_M>().with_encoder::<IQ1_M>(),
    Format::plain::<BF16>().with_quantizer(plain::write_bf16),
    Format::quantized::<TQ1_0>().with_encoder::<TQ1_0>(),
    Format::quantized::<TQ2_0>().with_encoder::<TQ2_0>(),
    Format::quantized::<MXFP4>().with_encoder::<MXFP4>(),
    Format::quantized::<NVFP4>().with_encoder::<NVFP4>(),
    Format::quantized::<Q1_0>().with_encoder::<Q1_0>(),
    Format::quantized::<Q2_0>().with_encoder::<Q2_0>(),
];

/// Runs `work` compiled for the quantized format of `tensor_type`; `None` if that is a plain type or unknown.
pub fn with_format<W: FormatWork>(tensor_type: TensorType, work: W) -> Option<W::Output> {
    Some(match tensor_type {
        TensorType::Q4_0 => work.run::<Q4_0>(),
        TensorType::Q4_1 => work.run::<Q4_1>(),
        TensorType::Q5_0 => work.run::<Q5_0>(),
        TensorType::Q5_1 => work.run::<Q5_1>(),
        TensorType::Q8_0 => work.run::<Q8_0>(),
        TensorType::Q8_1 => work.run::<Q8_1>(),
        TensorType::Q2_K => work.run::<Q2_K>(),
        TensorType::Q3_K => work.run::<Q3_K>(),
        TensorType::Q4_K => work.run::<Q4_K>(),
        TensorType::Q5_K => work.run::<Q5_K>(),
        TensorType::Q6_K => work.run::<Q6_K>(),
        TensorType::Q8_K => work.run::<Q8_K>(),
        TensorType::IQ2_XXS => work.run::<IQ2_XXS>(),
        TensorType::IQ2_XS => work.run::<IQ2_XS>(),
        TensorType::IQ3_XXS => work.run::<IQ3_XXS>(),
        TensorType::IQ1_S => work.run::<IQ1_S>(),
        TensorType::IQ4_NL => work.run::<IQ4_NL>(),
        TensorType::IQ3_S => work.run::<IQ3_S>(),
        TensorType::IQ2_S => work.run::<IQ2_S>(),
        TensorType::IQ4_XS => work.run::<IQ4_XS>(),
        TensorType::IQ1_M => work.run::<IQ1_M>(),
        TensorType::TQ1_0 => work.run::<TQ1_0>(),
        TensorType::TQ2_0 => work.run::<TQ2_0>(),
        TensorType::MXFP4 => work.run::<MXFP4>(),
        TensorType::NVFP4 => work.run::<NVFP4>(),
        TensorType::Q1_0 => work.run::<Q1_0>(),
        TensorType::Q2_0 => work.run::<Q2_0>(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives back which format it was run for.
    struct Name;

    impl FormatWork for Name {
        type Output = TensorType;

        fn run<F: BlockFormat>(self) -> TensorType {
            F::TENSOR_TYPE
        }
    }

    #[test]
    fn work_runs_for_every_quantized_format_and_for_no_other() {
        for format in FORMATS {
            let expected = format.shape.is_some().then_some(format.tensor_type);
            assert_eq!(with_format(format.tensor_type, Name), expected, "{:?}", format.tensor_type);
        }
    }

    #[test]
    fn tables_whose_places_are_not_stored_are_sorted() {
        struct HasPlaces;
        impl FormatWork for HasPlaces {
            type Output = bool;
            fn run<F: BlockFormat>(self) -> bool {
                F::HAS_PLACES
            }
        }
        for format in FORMATS {
            if let Some(table) = format.shape.as_ref().and_then(|shape| shape.code_table)
                && with_format(format.tensor_type, HasPlaces) == Some(false)
            {
                assert!(table.is_sorted(), "{:?}", format.tensor_type);
            }
        }
    }
}
