//! Blocks made with a search, against those that ggml's quantizers make of the same values (`goldens/make_encoded.py`):
//! equal bytes where the rule is simple, a smaller error elsewhere, and the same bytes on every instruction set.

use lair_gguf::TensorType;
use lair_quant::{QuantError, dequantize, encode, formats::FORMATS};
use lair_simd::Isa;

const GOLDENS: &[u8] = include_bytes!("goldens/encoded.bin");
const ROW: usize = 1024;
const LENGTH: usize = 4 * ROW;

/// In the order of the script: the type, whether it was made without importances too, and what is asked of ours.
const TYPES: &[(TensorType, bool, Wanted)] = &[
    (TensorType::Q4_0, true, Wanted::EqualIfPlain),
    (TensorType::Q4_1, true, Wanted::EqualIfPlain),
    (TensorType::Q5_0, true, Wanted::EqualIfPlain),
    (TensorType::Q5_1, true, Wanted::EqualIfPlain),
    (TensorType::Q8_0, true, Wanted::Equal),
    (TensorType::Q2_K, true, Wanted::SmallerError),
    (TensorType::Q3_K, true, Wanted::SmallerError),
    (TensorType::Q4_K, true, Wanted::SmallerError),
    (TensorType::Q5_K, true, Wanted::SmallerError),
    (TensorType::Q6_K, true, Wanted::SmallerError),
    (TensorType::IQ2_XXS, false, Wanted::SmallerError),
    (TensorType::IQ2_XS, false, Wanted::SmallerError),
    (TensorType::IQ3_XXS, true, Wanted::SmallerError),
    (TensorType::IQ1_S, false, Wanted::SmallerError),
    (TensorType::IQ4_NL, true, Wanted::SmallerError),
    (TensorType::IQ3_S, true, Wanted::SmallerError),
    (TensorType::IQ2_S, false, Wanted::SmallerError),
    (TensorType::IQ4_XS, true, Wanted::SmallerError),
    (TensorType::IQ1_M, false, Wanted::SmallerError),
    (TensorType::BF16, true, Wanted::Equal),
    (TensorType::TQ1_0, true, Wanted::Equal),
    (TensorType::TQ2_0, true, Wanted::Equal),
    (TensorType::MXFP4, true, Wanted::SmallerError),
    (TensorType::NVFP4, true, Wanted::SmallerError),
    (TensorType::Q1_0, true, Wanted::Equal),
    (TensorType::Q2_0, true, Wanted::Equal),
];

#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Equal,
    /// Without importances equal, with them a smaller error.
    EqualIfPlain,
    SmallerError,
}

/// Blocks of a type as ggml makes them.
struct Golden {
    tensor_type: TensorType,
    is_plain: bool,
    wanted: Wanted,
    blocks: &'static [u8],
}

struct Goldens {
    values: Vec<f32>,
    importance: Vec<f32>,
    blocks: Vec<Golden>,
}

fn goldens() -> Goldens {
    let floats = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let (values, rest) = GOLDENS.split_at(4 * LENGTH);
    let (importance, mut rest) = rest.split_at(4 * ROW);
    let mut blocks = Vec::new();
    for (tensor_type, has_plain, wanted) in TYPES {
        let size = LENGTH / tensor_type.block_length() * tensor_type.block_bytes();
        for is_plain in [true, false] {
            if is_plain && !has_plain {
                continue;
            }
            let (these, following) = rest.split_at(size);
            rest = following;
            blocks.push(Golden { tensor_type: *tensor_type, is_plain, wanted: *wanted, blocks: these });
        }
    }
    assert!(rest.is_empty());
    Goldens { values: floats(values), importance: floats(importance), blocks }
}

fn encoded(isa: Isa, tensor_type: TensorType, values: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let mut blocks = vec![0; values.len() / tensor_type.block_length() * tensor_type.block_bytes()];
    encode(isa, tensor_type, values, ROW, importance, &mut blocks).expect("whole rows of a type that can be written");
    blocks
}

/// The squared error of blocks, each element counted by its importance, and by its magnitude beside the mean of its 256,
/// or of its row in the formats of short blocks.
fn error(golden: &Golden, goldens: &Goldens, blocks: &[u8]) -> f64 {
    let mut back = vec![0.0; LENGTH];
    dequantize(golden.tensor_type, blocks, &mut back).expect("whole blocks");
    let mut total = 0.0;
    for (part, (values, back)) in goldens.values.chunks(256).zip(back.chunks(256)).enumerate() {
        let near =
            if golden.tensor_type.block_length() == 32 { &goldens.values[part / 4 * ROW..][..ROW] } else { values };
        let mean_square = near.iter().map(|x| f64::from(x * x)).sum::<f64>() / near.len() as f64;
        for (i, (x, y)) in values.iter().zip(back).enumerate() {
            let importance = if golden.is_plain { 1.0 } else { f64::from(goldens.importance[(256 * part + i) % ROW]) };
            // Relative to the part, so that the small ones count as much as the large ones.
            let magnitude = (1.0 + f64::from(x * x) / mean_square.max(1e-30)).sqrt();
            total += importance * magnitude * f64::from(x - y).powi(2) / mean_square.max(1e-30);
        }
    }
    total
}

#[test]
fn blocks_are_equal_to_the_reference_or_better() {
    let goldens = goldens();
    let mut worse = Vec::new();
    for golden in &goldens.blocks {
        let importance = (!golden.is_plain).then_some(goldens.importance.as_slice());
        let ours = encoded(Isa::available()[0], golden.tensor_type, &goldens.values, importance);
        let name = format!("{}{}", golden.tensor_type, if golden.is_plain { "" } else { " with importance" });
        if golden.wanted == Wanted::Equal || golden.wanted == Wanted::EqualIfPlain && golden.is_plain {
            let block_bytes = golden.tensor_type.block_bytes();
            for (block, (ours, theirs)) in ours.chunks(block_bytes).zip(golden.blocks.chunks(block_bytes)).enumerate() {
                assert_eq!(ours, theirs, "{name}, block {block}");
            }
            continue;
        }
        let (our_error, their_error) = (error(golden, &goldens, &ours), error(golden, &goldens, golden.blocks));
        let ratio = our_error / their_error;
        println!("{name}: error {our_error:.4e}, of the reference {their_error:.4e}, ratio {ratio:.4}");
        if ratio > 1.0 {
            worse.push(format!("{name}: {ratio:.4}"));
        }
    }
    assert!(worse.is_empty(), "larger errors than the reference: {worse:?}");
}

#[test]
fn the_same_bytes_come_out_on_every_instruction_set() {
    let goldens = goldens();
    for golden in &goldens.blocks {
        let importance = (!golden.is_plain).then_some(goldens.importance.as_slice());
        let of = |isa| encoded(isa, golden.tensor_type, &goldens.values[..2 * ROW], importance);
        let expected = of(Isa::Scalar);
        for isa in Isa::available() {
            assert!(of(isa) == expected, "{} on {}", golden.tensor_type, isa.name());
        }
    }
}

#[test]
fn values_that_a_type_holds_exactly_come_back() {
    let goldens = goldens();
    for golden in goldens.blocks.iter().filter(|golden| golden.is_plain) {
        // Decoded blocks of the reference are such values; simple types give them back to the bit.
        let is_simple = matches!(golden.tensor_type, TensorType::MXFP4 | TensorType::NVFP4 | TensorType::BF16);
        if !is_simple {
            continue;
        }
        let mut values = vec![0.0; LENGTH];
        dequantize(golden.tensor_type, golden.blocks, &mut values).expect("whole blocks");
        let mut back = vec![0.0; LENGTH];
        let blocks = encoded(Isa::available()[0], golden.tensor_type, &values, None);
        dequantize(golden.tensor_type, &blocks, &mut back).expect("whole blocks");
        for (i, (back, value)) in back.iter().zip(&values).enumerate() {
            assert_eq!(back, value, "{} element {i}", golden.tensor_type);
        }
    }
}

#[test]
fn odd_values_make_valid_blocks() {
    type Value = fn(usize) -> f32;
    let cases: [(&str, Value); 7] = [
        ("zeros", |_| 0.0),
        ("one value", |_| 0.3),
        ("one negative value", |_| -7.0),
        ("one outlier", |i| if i == 100 { 1e4 } else { 1e-4 }),
        ("subnormal", |i| i as f32 * 1e-42),
        ("too large for half precision", |i| if i % 2 == 0 { 3e8 } else { -1e8 }),
        ("infinite and no numbers", |i| if i % 3 == 0 { f32::INFINITY } else { f32::NAN }),
    ];
    let importances: [Vec<f32>; 2] = [vec![0.0; 256], vec![1e30; 256]];
    for (name, value) in cases {
        let values: Vec<f32> = (0..256).map(value).collect();
        for format in FORMATS.iter().filter(|format| format.is_encodable() && format.shape.is_some()) {
            for importance in [None, Some(&importances[0]), Some(&importances[1])] {
                let mut blocks = vec![0; 256 / format.block_length * format.block_bytes];
                let of = importance.map(|importance| importance.as_slice());
                encode(Isa::available()[0], format.tensor_type, &values, 256, of, &mut blocks).expect("whole rows");
                let mut back = vec![0.0; 256];
                dequantize(format.tensor_type, &blocks, &mut back).expect("whole blocks");
                if name == "zeros" {
                    assert!(back.iter().all(|x| x.abs() < 1e-30), "{name} in {}", format.tensor_type);
                }
                // The simple rules are the reference's to the bit, infinite scales included.
                if values.iter().all(|x| x.is_finite()) && !format.is_writable() {
                    assert!(back.iter().all(|x| x.is_finite()), "{name} in {}", format.tensor_type);
                }
            }
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let isa = Isa::Scalar;
    let refused = |row_length, importance: Option<&[f32]>, size| {
        encode(isa, TensorType::Q4_K, &[0.0; 512], row_length, importance, &mut vec![0; size]).expect_err("wrong")
    };
    let partial = QuantError::PartialBlock { tensor_type: TensorType::Q4_K, length: 128, block_length: 256 };
    assert_eq!(refused(128, None, 288), partial);
    assert!(matches!(refused(256, None, 287), QuantError::LengthMismatch { expected: 288, .. }));
    assert!(matches!(refused(512, Some(&[1.0; 256]), 288), QuantError::ImportanceLength { expected: 512, found: 256 }));
    let none = encode(isa, TensorType::I32, &[0.0], 1, None, &mut [0; 4]).expect_err("no quantizer");
    assert_eq!(none, QuantError::NoQuantizer { tensor_type: TensorType::I32 });
}
