//! Blocks of every format against outside references, bit for bit. `goldens/make_goldens.py` made the files and says
//! what the references are.

use lair_gguf::TensorType;
use lair_quant::{dequantize, formats::FORMATS, quantize};

const INDEX: &str = include_str!("goldens/blocks.json");
const BLOCKS: &[u8] = include_bytes!("goldens/blocks.bin");
const QUANTIZED: &[u8] = include_bytes!("goldens/quantized.bin");
const QUANTIZED_VALUES: usize = 48 * 32;
const QUANTIZED_TYPES: [TensorType; 5] =
    [TensorType::Q4_0, TensorType::Q4_1, TensorType::Q5_0, TensorType::Q5_1, TensorType::Q8_0];

/// One entry of the index.
struct Golden {
    tensor_type: TensorType,
    blocks: &'static [u8],
    values: Vec<f32>,
    bulk_block_count: usize,
    bulk_fnv1a: u64,
}

fn goldens() -> Vec<Golden> {
    let index: Vec<serde_json::Value> = serde_json::from_str(INDEX).expect("the index is JSON");
    let read = |entry: &serde_json::Value| {
        let number = |field: &str| entry[field].as_u64().expect("a number") as usize;
        let text = |field: &str| entry[field].as_str().expect("a text").to_owned();
        let tensor_type = TensorType::from_name(&text("type")).expect("a known type");
        let (count, start) = (number("block_count"), number("start"));
        let (blocks, rest) = BLOCKS[start..].split_at(count * tensor_type.block_bytes());
        Golden {
            tensor_type,
            blocks,
            values: floats(&rest[..4 * count * tensor_type.block_length()]),
            bulk_block_count: number("bulk_block_count"),
            bulk_fnv1a: u64::from_str_radix(&text("bulk_fnv1a"), 16).expect("a hash"),
        }
    };
    index.iter().map(read).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn dequantized(tensor_type: TensorType, blocks: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; blocks.len() / tensor_type.block_bytes() * tensor_type.block_length()];
    dequantize(tensor_type, blocks, &mut values).expect("whole blocks");
    values
}

/// The bits of a value; those of one not-a-number for all of them.
fn bits(value: f32) -> u32 {
    if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }
}

fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The bytes that the script's function of this name makes.
fn random_bytes(name: &str, count: usize) -> Vec<u8> {
    let mut state = fnv1a(name.bytes());
    let mut bytes = Vec::new();
    while bytes.len() < count {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

#[test]
fn special_blocks_have_the_reference_values() {
    for golden in goldens() {
        let values = dequantized(golden.tensor_type, golden.blocks);
        assert_eq!(values.len(), golden.values.len());
        for (i, (found, expected)) in values.iter().zip(&golden.values).enumerate() {
            let (block, element) = (i / golden.tensor_type.block_length(), i % golden.tensor_type.block_length());
            let place = format!("{} block {block} element {element}", golden.tensor_type);
            assert_eq!(bits(*found), bits(*expected), "{place}: found {found}, expected {expected}");
        }
    }
}

/// Enough blocks to meet every point of every grid.
#[test]
fn many_random_blocks_have_the_reference_values() {
    for golden in goldens() {
        let name = golden.tensor_type.name();
        let row = random_bytes(name, golden.bulk_block_count * golden.tensor_type.block_bytes());
        let values = dequantized(golden.tensor_type, &row);
        let found = fnv1a(values.iter().flat_map(|value| bits(*value).to_le_bytes()));
        assert_eq!(found, golden.bulk_fnv1a, "{name}: {found:016x}");
    }
}

#[test]
fn every_quantized_format_has_goldens() {
    let golden_types: Vec<TensorType> = goldens().iter().map(|golden| golden.tensor_type).collect();
    for format in FORMATS.iter().filter(|format| format.shape.is_some()) {
        assert!(golden_types.contains(&format.tensor_type), "{} has none", format.tensor_type);
    }
}

#[test]
fn quantizers_write_the_reference_bytes() {
    let (values, mut rest) = QUANTIZED.split_at(4 * QUANTIZED_VALUES);
    let values = floats(values);
    for tensor_type in QUANTIZED_TYPES {
        let (expected, following) = rest.split_at(QUANTIZED_VALUES / 32 * tensor_type.block_bytes());
        rest = following;
        let mut found = vec![0; expected.len()];
        quantize(tensor_type, &values, &mut found).expect("whole blocks");
        let chunks = found.chunks(tensor_type.block_bytes()).zip(expected.chunks(tensor_type.block_bytes()));
        for (block, (found, expected)) in chunks.enumerate() {
            assert_eq!(found, expected, "{tensor_type} block {block}");
        }
    }
    assert!(rest.is_empty());
}
