//! Files with their bytes in the other order, there and back.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use lair_gguf::{ByteOrder, GgufError, GgufFile, GgufWriter, Metadata, TensorType, byte_order, write_in_order};

/// Types that are turned, and for each the bytes of a block that are words, as pairs of start and width.
const TYPES: [(TensorType, &[(usize, usize)]); 8] = [
    (TensorType::F32, &[(0, 4)]),
    (TensorType::F16, &[(0, 2)]),
    (TensorType::BF16, &[(0, 2)]),
    (TensorType::I64, &[(0, 8)]),
    (TensorType::Q8_0, &[(0, 2)]),
    (TensorType::Q4_K, &[(0, 2), (2, 2)]),
    (TensorType::Q6_K, &[(208, 2)]),
    (TensorType::Q2_K, &[(80, 2), (82, 2)]),
];

fn write(path: &Path, types: &[TensorType]) {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", 0x0102_0304_u32);
    metadata.set("llama.rope.freq_base", 10_000.5_f32);
    metadata.set("some.wide", 0x0102_0304_0506_0708_u64);
    metadata.set("some.flag", true);
    metadata.set("tokenizer.ggml.tokens", ["a", "", "ccc"].to_vec());
    metadata.set("tokenizer.ggml.scores", vec![1.0_f32, -2.5, 0.0]);
    let mut writer = GgufWriter::new(metadata).unwrap();
    for tensor_type in types {
        writer.add_tensor(&format!("tensor.{tensor_type}"), &[512, 3], *tensor_type).unwrap();
    }
    let mut seed = 1_u8;
    let bytes = |length: u64| {
        seed = seed.wrapping_add(1);
        (0..length).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect::<Vec<u8>>()
    };
    let mut bytes = bytes;
    writer.write_file(path, |tensor, out| out.write_all(&bytes(tensor.size_bytes))).unwrap();
}

#[test]
fn a_file_goes_there_and_back_and_its_words_are_turned() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("little.gguf"), &TYPES.map(|row| row.0));
    write_in_order(&at("little.gguf"), &at("big.gguf"), ByteOrder::Big).unwrap();
    write_in_order(&at("big.gguf"), &at("again.gguf"), ByteOrder::Little).unwrap();
    let (little, big) = (std::fs::read(at("little.gguf")).unwrap(), std::fs::read(at("big.gguf")).unwrap());
    assert!(little == std::fs::read(at("again.gguf")).unwrap());
    assert_eq!((byte_order(&little).unwrap(), byte_order(&big).unwrap()), (ByteOrder::Little, ByteOrder::Big));
    assert_eq!((big.len(), &big[..8]), (little.len(), &b"GGUF\0\0\0\x03"[..]));
    assert!(big.windows(8).any(|window| window == 0x0102_0304_0506_0708_u64.to_be_bytes()));
    assert!(big.windows(4).any(|window| window == 10_000.5_f32.to_be_bytes()));
    // A big-endian file is refused by name until it is turned.
    let error = GgufFile::open(at("big.gguf")).unwrap_err();
    assert!(error.to_string().contains("big-endian") && error.hint().unwrap().contains("lair gguf endian"), "{error}");

    let file = GgufFile::open(at("little.gguf")).unwrap();
    let data_start =
        little.len() as u64 - file.tensors().last().map(|t| t.offset + t.size_bytes.next_multiple_of(32)).unwrap();
    for (tensor, (tensor_type, words)) in file.tensors().iter().zip(TYPES) {
        let start = (data_start + tensor.offset) as usize;
        let turned = &big[start..start + tensor.size_bytes as usize];
        for (block, (old, new)) in file
            .tensor_data(tensor)
            .chunks(tensor_type.block_bytes())
            .zip(turned.chunks(tensor_type.block_bytes()))
            .enumerate()
        {
            let mut expected = old.to_vec();
            words.iter().for_each(|(start, width)| expected[*start..start + width].reverse());
            assert!(expected == new, "{tensor_type}, block {block}");
        }
    }
}

#[test]
fn what_cannot_be_turned_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("x.gguf"), &[TensorType::Q5_0]);
    let error = write_in_order(&at("x.gguf"), &at("out.gguf"), ByteOrder::Big).unwrap_err().to_string();
    assert!(error.contains("tensor.Q5_0"), "{error}");
    let error = write_in_order(&at("x.gguf"), &at("out.gguf"), ByteOrder::Little).unwrap_err().to_string();
    assert!(error.contains("already"), "{error}");
    assert!(!at("out.gguf").exists());
    std::fs::write(at("text"), "hello").unwrap();
    assert!(write_in_order(&at("text"), &at("out.gguf"), ByteOrder::Big).is_err());
}

#[test]
fn no_damage_makes_the_walk_panic() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("little.gguf"), &[TensorType::F16]);
    write_in_order(&at("little.gguf"), &at("big.gguf"), ByteOrder::Big).unwrap();
    let sound = std::fs::read(at("big.gguf")).unwrap();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let mut refused = 0;
    for _ in 0..1000 {
        let mut bytes = sound.clone();
        for _ in 0..1 + random() % 4 {
            let place = random() % 500;
            bytes[place] = if random() % 3 == 0 { 0xff } else { random() as u8 };
        }
        if random() % 10 == 0 {
            bytes.truncate(random() % sound.len());
        }
        std::fs::write(at("damaged.gguf"), &bytes).unwrap();
        refused += usize::from(write_in_order(&at("damaged.gguf"), &at("out.gguf"), ByteOrder::Little).is_err());
    }
    assert!(refused > 300, "only {refused} of 1000 were refused");
    assert!(matches!(byte_order(b"GGUF"), Ok(ByteOrder::Little) | Err(GgufError::Truncated { .. })));
}
