//! What holds for every format and any bytes.

#![allow(clippy::unwrap_used)] // A test may.

use lair_gguf::TensorType;
use lair_quant::{
    Codes, Format, QuantError, dequantize, dot, f16_to_f32, format_of, formats::FORMATS, is_supported, quantize, unpack,
};
use proptest::prelude::*;

/// Bytes of every kind: random ones, and ones whose scales are likely to be infinite or not numbers.
fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => any::<u8>(), 1 => Just(0xff), 1 => Just(0x7c), 1 => Just(0)];
    proptest::collection::vec(byte, length)
}

fn quantized_formats() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().filter(|format| format.shape.is_some())
}

/// A format and a block of it.
fn quantized_block() -> impl Strategy<Value = (&'static Format, Vec<u8>)> {
    let formats: Vec<&'static Format> = quantized_formats().collect();
    proptest::sample::select(formats).prop_flat_map(|format| (Just(format), bytes(format.block_bytes)))
}

/// Equal bits, or both not a number.
fn is_same(left: f32, right: f32) -> bool {
    left.to_bits() == right.to_bits() || (left.is_nan() && right.is_nan())
}

#[test]
fn every_type_of_the_table_can_be_read() {
    for tensor_type in TensorType::all() {
        assert!(is_supported(tensor_type), "{tensor_type}");
        assert_eq!(FORMATS.iter().filter(|format| format.tensor_type == tensor_type).count(), 1, "{tensor_type}");
    }
}

#[test]
fn sizes_agree_with_the_type_table() {
    for format in FORMATS {
        let tensor_type = format.tensor_type;
        assert_eq!(format.block_length, tensor_type.block_length(), "{tensor_type}");
        assert_eq!(format.block_bytes, tensor_type.block_bytes(), "{tensor_type}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn codes_multiply_out_to_the_values((format, block) in quantized_block()) {
        let mut codes = Codes::new();
        unpack(format.tensor_type, &block, &mut codes).unwrap();
        let mut values = vec![0.0; format.block_length];
        dequantize(format.tensor_type, &block, &mut values).unwrap();
        let sub_length = format.shape.as_ref().unwrap().sub_length;
        for (i, value) in values.iter().enumerate() {
            let sub = i / sub_length;
            let scale = codes.super_scale * codes.scales[sub] as f32;
            let min = codes.super_min * codes.mins[sub] as f32;
            let product = scale * f32::from(codes.codes[i]) - min;
            prop_assert!(is_same(*value, product), "{} element {i}: {value}, {product}", format.tensor_type);
        }
    }

    #[test]
    fn codes_are_what_the_shape_says((format, block) in quantized_block()) {
        let shape = format.shape.as_ref().unwrap();
        let mut codes = Codes::new();
        unpack(format.tensor_type, &block, &mut codes).unwrap();
        for code in &codes.codes[..format.block_length] {
            prop_assert!(shape.code_range.contains(code), "{code}");
            prop_assert!(shape.code_table.is_none_or(|table| table.contains(code)), "{code}");
        }
        let sub_count = format.block_length / shape.sub_length;
        for sub in 0..sub_count {
            prop_assert!(shape.scale_range.contains(&codes.scales[sub]), "scale {}", codes.scales[sub]);
            prop_assert!(shape.min_range.contains(&codes.mins[sub]), "min {}", codes.mins[sub]);
        }
        if !shape.has_mins() {
            prop_assert_eq!(codes.super_min.to_bits(), 0);
        }
    }

    #[test]
    fn codes_left_over_from_another_block_do_not_matter(
        (format, block) in quantized_block(),
        (before_format, before) in quantized_block(),
    ) {
        let mut fresh = Codes::new();
        unpack(format.tensor_type, &block, &mut fresh).unwrap();
        let mut used = Codes::new();
        unpack(before_format.tensor_type, &before, &mut used).unwrap();
        unpack(format.tensor_type, &block, &mut used).unwrap();
        prop_assert!(is_same(fresh.super_scale, used.super_scale) && is_same(fresh.super_min, used.super_min));
        let sub_count = format.block_length / format.shape.as_ref().unwrap().sub_length;
        prop_assert_eq!(&fresh.codes[..format.block_length], &used.codes[..format.block_length]);
        prop_assert_eq!(&fresh.scales[..sub_count], &used.scales[..sub_count]);
        prop_assert_eq!(&fresh.mins[..sub_count], &used.mins[..sub_count]);
    }

    #[test]
    fn a_row_is_its_blocks((format, block) in quantized_block(), other_seed in any::<u8>()) {
        let other: Vec<u8> = block.iter().map(|byte| byte.wrapping_mul(31).wrapping_add(other_seed)).collect();
        let row: Vec<u8> = [block.as_slice(), &other, &block].concat();
        let mut values = vec![0.0; 3 * format.block_length];
        dequantize(format.tensor_type, &row, &mut values).unwrap();
        for (block, values) in row.chunks(format.block_bytes).zip(values.chunks(format.block_length)) {
            let mut alone = vec![0.0; format.block_length];
            dequantize(format.tensor_type, block, &mut alone).unwrap();
            prop_assert!(values.iter().zip(&alone).all(|(a, b)| is_same(*a, *b)));
        }
    }

    #[test]
    fn lengths_that_disagree_are_refused(format in proptest::sample::select(FORMATS.iter().collect::<Vec<_>>()),
                                         length in 0usize..600, byte_count in 0usize..700) {
        let mut values = vec![0.0; length];
        let result = dequantize(format.tensor_type, &vec![0; byte_count], &mut values);
        let fits = format.tensor_type.size_bytes(length as u64) == Some(byte_count as u64);
        prop_assert_eq!(result.is_ok(), fits);
        prop_assert_eq!(dot(format.tensor_type, &vec![0; byte_count], &values).is_ok(), fits);
    }

    /// A code is at most half a step away, in the scale as it was before it was rounded to f16; that rounding moves a
    /// value by up to 2^-11 of the scale for each step of its code. Where the codes reach further on one side than on
    /// the other, the far end of the short side is cut off: one whole step.
    #[test]
    fn quantizing_is_off_by_little_more_than_half_a_step(
        values in proptest::collection::vec(-100.0f32..100.0, 64),
        (tensor_type, steps_max, error_steps) in proptest::sample::select(vec![
            (TensorType::Q8_0, 127.0, 0.5),
            (TensorType::Q4_0, 8.0, 1.0),
            (TensorType::Q5_0, 16.0, 1.0),
            (TensorType::Q4_1, 15.0, 0.5),
            (TensorType::Q5_1, 31.0, 0.5),
        ]),
    ) {
        let mut row = vec![0; tensor_type.size_bytes(64).unwrap() as usize];
        quantize(tensor_type, &values, &mut row).unwrap();
        let mut back = vec![0.0; 64];
        dequantize(tensor_type, &row, &mut back).unwrap();
        let has_mins = format_of(tensor_type).unwrap().shape.as_ref().unwrap().has_mins();
        for (values, back) in values.chunks(32).zip(back.chunks(32)) {
            let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            let span = if has_mins { high - low } else { high.max(-low) };
            let step = f64::from(span) / steps_max;
            let of_min = if has_mins { f64::from(low.abs()) / 2048.0 } else { 0.0 };
            let bound = step * error_steps + f64::from(span) / 2048.0 + of_min + 1e-4;
            for (value, back) in values.iter().zip(back) {
                let error = f64::from((value - back).abs());
                prop_assert!(error <= bound, "{tensor_type}: {value} became {back}, bound {bound}");
            }
        }
    }

    #[test]
    fn any_values_can_be_quantized(bits in proptest::collection::vec(any::<u32>(), 32)) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        for tensor_type in TensorType::all() {
            let length = tensor_type.size_bytes(32);
            if let Some(length) = length {
                let mut row = vec![0; length as usize];
                let refused = matches!(quantize(tensor_type, &values, &mut row), Err(QuantError::NoQuantizer { .. }));
                prop_assert_eq!(refused, !format_of(tensor_type).unwrap().is_writable());
            }
        }
    }
}

#[test]
fn dot_adds_up_in_double_precision() {
    // 1 + 2^-30 would be lost in f32; the row is exact in every plain type.
    let row: Vec<u8> = [1.0f32, 1.0, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let tiny = 2f32.powi(-30);
    assert_eq!(dot(TensorType::F32, &row, &[1.0, tiny, 0.5]), Ok(f64::from(tiny)));

    let values: Vec<f32> = (0..64).map(|i| (i as f32 - 20.0) / 8.0).collect();
    let mut row = vec![0; 68];
    quantize(TensorType::Q8_0, &values, &mut row).unwrap();
    let mut back = vec![0.0; 64];
    dequantize(TensorType::Q8_0, &row, &mut back).unwrap();
    let expected: f64 = back.iter().zip(&values).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    assert!((dot(TensorType::Q8_0, &row, &values).unwrap() - expected).abs() < 1e-9);
}

#[test]
fn every_half_is_converted_exactly() {
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    let mut values = vec![0.0; halves.len()];
    f16_to_f32(&bytes, &mut values).unwrap();
    for (half, value) in halves.iter().zip(&values) {
        let (exponent, mantissa) = (i32::from(half >> 10 & 31), f32::from(half & 1023));
        let magnitude = match (exponent, mantissa) {
            (31, 0.0) => f32::INFINITY,
            (31, _) => f32::NAN,
            (0, _) => mantissa * 2f32.powi(-24),
            _ => (1024.0 + mantissa) * 2f32.powi(exponent - 25),
        };
        let expected = if half >> 15 == 1 { -magnitude } else { magnitude };
        assert!(is_same(*value, expected), "{half:04x}: {value}, {expected}");
    }
    for length in [0, 1, 63, 64, 65, 129] {
        let mut part = vec![0.0; length];
        f16_to_f32(&bytes[30_000..][..2 * length], &mut part).unwrap();
        assert_eq!(part, values[15_000..][..length]);
    }
}

#[test]
fn plain_numbers_are_read() {
    let check = |tensor_type: TensorType, bytes: &[u8], expected: &[f32]| {
        let mut values = vec![0.0; expected.len()];
        dequantize(tensor_type, bytes, &mut values).unwrap();
        assert_eq!(values, expected, "{tensor_type}");
    };
    check(TensorType::F32, &1.5f32.to_le_bytes(), &[1.5]);
    check(TensorType::F64, &[1.5f64.to_le_bytes(), 0.1f64.to_le_bytes()].concat(), &[1.5, 0.1]);
    check(TensorType::BF16, &[0x80, 0x3f, 0x40, 0xc0], &[1.0, -3.0]);
    check(TensorType::I8, &[0x7f, 0x80], &[127.0, -128.0]);
    check(TensorType::I16, &(-12_345i16).to_le_bytes(), &[-12_345.0]);
    check(TensorType::I32, &(i32::MIN).to_le_bytes(), &[-2_147_483_648.0]);
    check(TensorType::I64, &(1i64 << 40).to_le_bytes(), &[1_099_511_627_776.0]);
}

#[test]
fn plain_numbers_are_written() {
    let check = |tensor_type: TensorType, expected: &[u8]| {
        let mut bytes = vec![0; expected.len()];
        quantize(tensor_type, &[1.0, -0.1], &mut bytes).unwrap();
        assert_eq!(bytes, expected, "{tensor_type}");
    };
    check(TensorType::F32, &[0, 0, 0x80, 0x3f, 0xcd, 0xcc, 0xcc, 0xbd]);
    check(TensorType::F16, &[0, 0x3c, 0x66, 0xae]);
    check(TensorType::BF16, &[0x80, 0x3f, 0xcd, 0xbd]);
}

#[test]
fn errors_say_what_and_how_much() {
    let partial = dequantize(TensorType::Q4_K, &[0; 144], &mut [0.0; 255]).unwrap_err();
    assert_eq!(partial.to_string(), "255 elements are no whole number of Q4_K blocks of 256");
    let short = dequantize(TensorType::Q8_0, &[0; 33], &mut [0.0; 32]).unwrap_err();
    assert_eq!(short.to_string(), "32 elements of Q8_0 take 34 bytes, found 33");
    let plain = unpack(TensorType::F16, &[0; 2], &mut Codes::new()).unwrap_err();
    assert_eq!(plain, QuantError::NotQuantized { tensor_type: TensorType::F16 });
    let unwritable = quantize(TensorType::IQ1_S, &[0.0; 256], &mut [0; 50]).unwrap_err();
    assert_eq!(
        unwritable.hint().as_deref(),
        Some("these types can be written: F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, BF16")
    );
}
