//! Thousands of files that are wrong in one or two places: nothing may panic, and what is accepted must be sound.
#![allow(clippy::unwrap_used)]

mod raw_file;

use lair_gguf::{Header, TensorType};
use proptest::prelude::*;
use raw_file::{ARRAY, Kind, RawFile, STRING, U8, sample};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Parses; what is accepted must lie in the file, computed in 128 bits, and share no bytes.
fn check(bytes: &[u8]) -> bool {
    let length = bytes.len() as u64;
    let without_data = Header::parse_without_data(bytes);
    let Ok(header) = Header::parse(bytes, length) else { return false };
    assert_eq!(without_data.unwrap().tensors, header.tensors);
    let mut ranges = Vec::new();
    for tensor in &header.tensors {
        let elements: u128 = tensor.shape.iter().map(|length| u128::from(*length)).product();
        let tensor_type = tensor.tensor_type;
        let size = elements / tensor_type.block_length() as u128 * tensor_type.block_bytes() as u128;
        assert_eq!(size, u128::from(tensor.size_bytes));
        assert!((1..=4).contains(&tensor.shape.len()));
        assert!(tensor.offset.is_multiple_of(u64::from(header.alignment)));
        let start = u128::from(header.data_start) + u128::from(tensor.offset);
        if size > 0 {
            assert!(start + size <= u128::from(length), "{tensor:?}");
            ranges.push((start, start + size));
        }
    }
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    true
}

/// A generator of numbers from a seed (splitmix64), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// What a number of this kind may be replaced by: the ends of every range, and one off each limit.
fn replacements(kind: Kind, old: u64, file_length: u64) -> Vec<u64> {
    let mut values = vec![0, 1, 2, u64::MAX, u64::MAX - 1, old.wrapping_add(1), old.wrapping_sub(1), old << 32];
    for power in [7, 8, 15, 16, 31, 32, 33, 60, 61, 62, 63] {
        let value = 1_u64 << power;
        values.extend([value - 1, value, value + 1]);
    }
    values.extend([file_length - 1, file_length, file_length + 1, old ^ 0xff, old.swap_bytes()]);
    match kind {
        Kind::ValueType => values.extend(0..16),
        Kind::TensorType => values.extend((0..50).chain([133, 144, 158, 202, 337])),
        Kind::Count => values.extend([3, 4, 5, 65_535, 65_536, 65_537]),
        Kind::Length => values.extend([31, 32, 62, 63, 64, 65, 255, 256, 4_000_000, 65_535, 65_536, 65_537]),
        Kind::Number | Kind::Text => {}
    }
    values
}

fn number_at(bytes: &[u8], start: usize, length: usize) -> u64 {
    let mut number = [0; 8];
    number[..length].copy_from_slice(&bytes[start..start + length]);
    u64::from_le_bytes(number)
}

/// Every single replacement of a number of the sample; text is replaced by bytes that are not UTF-8 and the like.
fn single_mutations(file: &RawFile) -> Vec<(usize, Vec<u8>)> {
    let mut mutations = Vec::new();
    for field in &file.fields {
        if field.kind == Kind::Text || field.length > 8 {
            for byte in [0, b'\n', 0x80, 0xc0, 0xff] {
                mutations.push((field.start, vec![byte; field.length]));
            }
            continue;
        }
        let old = number_at(&file.bytes, field.start, field.length);
        for value in replacements(field.kind, old, file.bytes.len() as u64) {
            mutations.push((field.start, value.to_le_bytes()[..field.length].to_vec()));
        }
    }
    mutations
}

fn apply(bytes: &mut [u8], (start, replacement): &(usize, Vec<u8>)) {
    bytes[*start..start + replacement.len()].copy_from_slice(replacement);
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn broken_fields_alone_in_pairs_and_with_a_short_file() {
    let file = sample();
    assert!(check(&file.bytes));
    let mutations = single_mutations(&file);
    let mut random = Random(7);
    let (mut distinct, mut accepted) = (HashSet::new(), 0);
    let mut run = |bytes: &[u8]| {
        if distinct.insert(digest(bytes)) && check(bytes) {
            accepted += 1;
        }
    };
    for mutation in &mutations {
        let mut bytes = file.bytes.clone();
        apply(&mut bytes, mutation);
        run(&bytes);
        run(&bytes[..random.below(bytes.len())]);
        for _ in 0..4 {
            let mut twice = bytes.clone();
            apply(&mut twice, &mutations[random.below(mutations.len())]);
            run(&twice);
        }
    }
    assert!(distinct.len() >= 10_000, "only {} distinct files", distinct.len());
    // Some changes are harmless (a number, a text), most are not.
    assert!(accepted > 100 && accepted < distinct.len() / 2, "{accepted} of {}", distinct.len());
}

#[test]
fn broken_bytes_anywhere() {
    let file = sample();
    let mut random = Random(11);
    for place in 0..file.header_length {
        for bit in 0..8 {
            let mut bytes = file.bytes.clone();
            bytes[place] ^= 1 << bit;
            check(&bytes);
        }
    }
    for _ in 0..5_000 {
        let mut bytes = file.bytes.clone();
        for _ in 0..1 + random.below(16) {
            let place = random.below(file.header_length);
            bytes[place] = random.next() as u8;
        }
        // Bytes go missing or come in between.
        let (start, length) = (random.below(file.header_length), random.below(12));
        match random.below(3) {
            0 => drop(bytes.drain(start..start + length)),
            1 => drop(bytes.splice(start..start, std::iter::repeat_n(0, length))),
            _ => {}
        }
        check(&bytes);
    }
}

#[test]
fn noise_after_a_valid_start() {
    let mut random = Random(13);
    for _ in 0..5_000 {
        let version = [1, 2, 3][random.below(3)];
        let mut file = RawFile::with_start(b"GGUF", version, random.next() % 4, random.next() % 4);
        file.bytes.extend((0..random.below(400)).map(|_| [0, 1, 9, 255, b'a'][random.below(5)]));
        check(&file.bytes);
    }
}

#[test]
fn many_small_arrays_at_every_depth() {
    let mut random = Random(17);
    for _ in 0..2_000 {
        let mut file = RawFile::new(0, 1);
        file.key("k", ARRAY);
        for _ in 0..1 + random.below(12) {
            let element_type = [ARRAY, ARRAY, U8, STRING][random.below(4)];
            file.array(element_type, random.next() % 4);
        }
        file.bytes.extend((0..random.below(40)).map(|_| random.below(3) as u8));
        check(&file.bytes);
    }
}

proptest! {
    /// Whatever shapes, types and offsets a table has: what is accepted lies in the file.
    #[test]
    fn accepted_tensors_lie_in_the_file(
        tensors in prop::collection::vec((shape(), 0_u32..45, offset()), 1..6),
        data_length in 0_usize..4096,
    ) {
        let mut file = RawFile::new(tensors.len() as u64, 0);
        for (index, (shape, tensor_type, offset)) in tensors.iter().enumerate() {
            file.tensor(format!("t{index}"), shape, *tensor_type, *offset);
        }
        file.data(32, data_length);
        check(&file.bytes);
    }

    /// A header that declares one tensor fits a file exactly when the tensor's end does.
    #[test]
    fn a_tensor_fits_exactly_when_its_end_does(
        rows in 0_u64..40, blocks in 0_u64..40, kind in 0_usize..35, offset in 0_u64..20, data_length in 0_usize..9000,
    ) {
        let tensor_type = TensorType::all().nth(kind).unwrap();
        let mut file = RawFile::new(1, 0);
        file.tensor("t", &[blocks * tensor_type.block_length() as u64, rows], tensor_type.id(), offset * 32);
        file.data(32, data_length);
        let size = rows * blocks * tensor_type.block_bytes() as u64;
        let fits = size == 0 || offset * 32 + size <= data_length as u64;
        prop_assert_eq!(check(&file.bytes), fits);
    }
}

fn shape() -> impl Strategy<Value = Vec<u64>> {
    let length = prop_oneof![0_u64..3, (0_u64..20).prop_map(|blocks| blocks * 32), any::<u64>(), power()];
    prop::collection::vec(length, 0..5)
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![(0_u64..100).prop_map(|index| index * 32), any::<u64>(), power()]
}

fn power() -> impl Strategy<Value = u64> {
    (0_u32..64, -1_i64..2).prop_map(|(power, off)| (1_u64 << power).wrapping_add_signed(off))
}
