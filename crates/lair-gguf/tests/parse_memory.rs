//! Parsing takes at most four times the file's length and 16 MiB, whatever the file says.
#![allow(clippy::unwrap_used)]

mod raw_file;

use lair_gguf::Header;
use lair_testkit::counting::{Counting, peak_of};
use lair_testkit::shared_data;
use raw_file::{ARRAY, Kind, RawFile, STRING, U8, U64};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Parses `bytes` and gives the most memory that was in use for it at any moment.
fn peak_of_parsing(bytes: &[u8]) -> usize {
    // The header is dropped within.
    peak_of(|| drop(Header::parse_without_data(bytes))).1
}

fn check(name: &str, bytes: &[u8]) {
    let (peak, limit) = (peak_of_parsing(bytes), 4 * bytes.len() + (16 << 20));
    assert!(peak <= limit, "{name}: {peak} bytes for a file of {}", bytes.len());
}

fn one_array(element_type: u32, length: u64, element: &[u8]) -> Vec<u8> {
    let mut file = RawFile::new(0, 1);
    file.array_key("k", element_type, length);
    let mut bytes = file.bytes;
    bytes.extend(element.repeat(length as usize));
    bytes
}

/// One test, since the counters are of the whole process.
#[test]
fn parsing_takes_little_memory() {
    // Counts that the file cannot hold are refused before anything is allocated.
    for (tensors, keys) in [(u64::MAX, 0), (0, u64::MAX), (1 << 40, 1), (65_536, 0), (0, 65_536)] {
        let peak = peak_of_parsing(&RawFile::new(tensors, keys).bytes);
        assert!(peak < 1024, "{tensors} tensors, {keys} keys: {peak}");
    }
    for element_type in 0..13 {
        let mut file = RawFile::new(0, 1);
        file.array_key("k", element_type, 1 << 36);
        file.data(32, 4096);
        let peak = peak_of_parsing(&file.bytes);
        assert!(peak < 64 << 10, "an array of type {element_type}: {peak}");
    }

    check("empty strings", &one_array(STRING, 4_000_000, &[0; 8]));
    check("short strings", &one_array(STRING, 2_000_000, b"\x01\0\0\0\0\0\0\0a"));
    check("bytes", &one_array(U8, 40_000_000, &[7]));
    check("numbers", &one_array(U64, 4_000_000, &[7; 8]));
    check("empty arrays", &one_array(ARRAY, 3_000_000, &[0; 12]));
    let nested = [&[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], [8_u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].as_slice()].concat();
    check("arrays of arrays", &one_array(ARRAY, 1_000_000, &nested));

    let mut keys = RawFile::new(0, 65_536);
    (0..65_536).for_each(|index| keys.key(format!("{index:x}"), U8).push(Kind::Number, &[1]));
    check("keys", &keys.bytes);
    let mut tensors = RawFile::new(65_536, 0);
    (0..65_536).for_each(|index| tensors.tensor(format!("{index:x}"), &[], 24, index * 32));
    check("tensors", &tensors.bytes);
    let mut both = keys.clone();
    both.bytes[8..16].copy_from_slice(&65_536_u64.to_le_bytes());
    both.bytes.extend_from_slice(&tensors.bytes[24..]);
    check("keys and tensors", &both.bytes);

    for name in ["ggml-vocab-qwen2.gguf", "ggml-vocab-falcon.gguf", "ggml-vocab-phi-3.gguf"] {
        let Some(path) = shared_data(&format!("tokenizers/{name}")) else { return };
        let bytes = std::fs::read(path).unwrap();
        let peak = peak_of_parsing(&bytes);
        // A real vocabulary takes about as much as the file.
        assert!(peak < 2 * bytes.len() + (1 << 20), "{name}: {peak} bytes for a file of {}", bytes.len());
    }
}
