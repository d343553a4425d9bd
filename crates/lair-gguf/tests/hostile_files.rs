//! The hand-made files of llama.cpp's `test-gguf`, each under its name, and what else foreign bytes can try.
#![allow(missing_docs, reason = "the attack list calls these tests by their names, which say what they hold")]
#![allow(clippy::unwrap_used)]

mod raw_file;

use lair_gguf::{GgufError, Header};
use raw_file::{ARRAY, BOOL, I32, Kind, RawFile, STRING, U8, U32, sample};

pub const ACCEPTED: &str = "";

/// Takes the name of a file, the file, and a part of the message it must be refused with, or [`ACCEPTED`].
pub type Check<'c> = &'c mut dyn FnMut(&str, &RawFile, &str);

/// The lists of files.
pub const KINDS: [fn(Check<'_>); 5] = [header_kinds, key_kinds, tensor_kinds, data_kinds, other_defects];

#[test]
pub fn every_kind_is_accepted_or_refused_by_its_field() {
    KINDS.iter().for_each(|kind| kind(&mut check));
}

/// Parses the file; `expected` is a part of the message it must be refused with, or `ACCEPTED`.
fn check(name: &str, file: &RawFile, expected: &str) {
    match Header::parse(&file.bytes, file.bytes.len() as u64) {
        Ok(_) => assert_eq!(expected, ACCEPTED, "{name} was accepted"),
        Err(error) => {
            let message = error.to_string();
            assert!(expected != ACCEPTED && message.contains(expected), "{name}: `{message}`, not `{expected}`");
        }
    }
}

fn header_kinds(check: Check<'_>) {
    let start = |magic: &[u8], version| RawFile::with_start(magic, version, 0, 0);
    check("HEADER_BAD_MAGIC", &start(b"FUGG", 3), "`FUGG`");
    check("HEADER_BAD_VERSION_0", &start(b"GGUF", 0), "version 0 is unknown");
    check("HEADER_BAD_VERSION_1", &start(b"GGUF", 1), "expected a model in a file of version 1");
    check("HEADER_BAD_VERSION_FUTURE", &start(b"GGUF", 4), "version 4 is unknown");
    check("HEADER_BAD_N_TENSORS", &RawFile::new(u64::MAX, 0), "at byte 8, the field `tensor count`");
    check("HEADER_BAD_N_KV", &RawFile::new(0, u64::MAX), "at byte 16, the field `key count`");
    check("HEADER_EMPTY", &RawFile::new(0, 0), ACCEPTED);
}

fn with_keys(count: u64, build: impl FnOnce(&mut RawFile)) -> RawFile {
    let mut file = RawFile::new(0, count);
    build(&mut file);
    // Enough behind it that nothing is refused for being short only.
    file.data(32, 64);
    file
}

fn key_kinds(check: Check<'_>) {
    let bad_key_size = with_keys(1, |file| {
        file.u64(Kind::Length, u64::MAX);
        file.u32(Kind::ValueType, U32);
        file.u32(Kind::Number, 1);
    });
    check("KV_BAD_KEY_SIZE", &bad_key_size, "at byte 32, the name of key 0 needs 18446744073709551615 bytes");
    check("KV_EMPTY_KEY", &with_keys(1, |file| file.u32_key("", 1)), "the name of key 0: found 0 bytes");
    let bad_type = with_keys(1, |file| file.key("k", 13).u32(Kind::Number, 1));
    check("KV_BAD_TYPE", &bad_type, "at byte 33, the type of key `k`: found id 13");
    let bad_element_type = with_keys(1, |file| {
        file.array_key("k", 13, 1);
    });
    check("KV_BAD_TYPE (array)", &bad_element_type, "at byte 37, the type of key `k`: found id 13");
    let bad_value_size = with_keys(1, |file| {
        file.array_key("k", U32, u64::MAX);
    });
    check("KV_BAD_VALUE_SIZE", &bad_value_size, "the array length of key `k`");
    let bad_string_size = with_keys(1, |file| {
        file.key("k", STRING).u64(Kind::Length, 1 << 40);
    });
    check("KV_BAD_VALUE_SIZE (string)", &bad_string_size, "the value of key `k` needs 1099511627776 bytes");
    let duplicate = with_keys(2, |file| [1, 2].iter().for_each(|value| file.u32_key("k", *value)));
    check("KV_DUPLICATE_KEY", &duplicate, "the name of key 1: found `k`, which is key 0 too");
    let align = |value| with_keys(1, |file| file.u32_key("general.alignment", value));
    check("KV_BAD_ALIGN", &align(13), "at byte 24, the value of key `general.alignment`: found 13");
    check("KV_BAD_ALIGN (0)", &align(0), "expected a power of two");
    check("KV_BAD_ALIGN (2^31)", &align(1 << 31), "expected a power of two, at most 1048576");
    let wrong_type = with_keys(1, |file| file.key("general.alignment", I32).u32(Kind::Number, 32));
    check("KV_WRONG_TYPE_ALIGN", &wrong_type, "found a value of type i32, expected a value of type u32");
    check("KV_SUCCESS", &with_every_type(), ACCEPTED);
}

/// Each value type once, and an array of each.
fn with_every_type() -> RawFile {
    const SIZES: [usize; 13] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
    with_keys(25, |file| {
        for (value_type, size) in (0..).zip(SIZES) {
            if value_type != ARRAY {
                file.key(format!("one.{value_type}"), value_type);
                match value_type {
                    STRING => file.string("text"),
                    _ => file.push(Kind::Number, &vec![1; size]),
                }
            }
            file.array_key(&format!("many.{value_type}"), value_type, 3);
            for _ in 0..3 {
                match value_type {
                    STRING => file.string("text"),
                    ARRAY => file.array(BOOL, 1).push(Kind::Number, &[1]),
                    _ => file.push(Kind::Number, &vec![1; size]),
                }
            }
        }
    })
}

/// Two tensors F32 [8] in the middle of which `build` puts one of its own; 96 bytes of data.
fn with_tensors(count: u64, data_length: usize, build: impl FnOnce(&mut RawFile)) -> RawFile {
    let mut file = RawFile::new(count, 0);
    build(&mut file);
    file.data(32, data_length);
    file
}

fn tensor_kinds(check: Check<'_>) {
    let one = |shape: &[u64], tensor_type, offset| {
        let shape = shape.to_vec();
        with_tensors(1, 64, move |file| file.tensor("t", &shape, tensor_type, offset))
    };
    let name = "t".repeat(64);
    let bad_name = with_tensors(1, 64, |file| file.tensor(&name, &[8], 0, 0));
    check("TENSORS_BAD_NAME_SIZE", &bad_name, "the name of tensor 0: found 64 bytes, expected 1 to 63 bytes");
    check("TENSORS_BAD_N_DIMS", &one(&[1; 5], 0, 0), "the dimension count of tensor `t`: found 5, expected at most 4");
    check("TENSORS_BAD_SHAPE", &one(&[u64::MAX], 0, 0), "expected lengths below 2^63");
    check("TENSORS_BAD_SHAPE (2)", &one(&[1, u64::MAX], 0, 0), "expected lengths below 2^63");
    check("TENSORS_ZERO_DIM", &one(&[8, 0], 0, 0), ACCEPTED);
    check("TENSORS_ZERO_DIM (first)", &one(&[0, 8], 8, 0), ACCEPTED);
    let big = 4 * i32::MAX as u64;
    check("TENSORS_NE_TOO_BIG", &one(&[big, big], 0, 0), "expected fewer than 2^63 elements and bytes");
    // 2^62 elements of 8 bytes.
    check("TENSORS_NBYTES_TOO_BIG", &one(&[1 << 31, 1 << 31], 28, 0), "expected fewer than 2^63 elements and bytes");
    let pad_wrap = one(&[4, (1 << 30) - 1, (1 << 30) + 1], 0, 0);
    check("TENSORS_NBYTES_PAD_WRAP", &pad_wrap, "expected fewer than 2^63 elements and bytes");
    check("TENSORS_BAD_TYPE", &one(&[8], 43, 0), "tensor `t` has type id 43");
    check("TENSORS_BAD_OFFSET", &one(&[8], 0, u64::MAX), "the offset of tensor `t`: found 18446744073709551615");
    check("TENSORS_BAD_OFFSET (aligned)", &one(&[8], 0, u64::MAX - 31), "tensor `t` ends at byte");
    let duplicate = with_tensors(2, 64, |file| [0, 32].iter().for_each(|offset| file.tensor("t", &[8], 0, *offset)));
    check("TENSORS_DUPLICATE_NAME", &duplicate, "the name of tensor 1: found `t`, which is tensor 0 too");
    check("TENSORS_BAD_ALIGN", &aligned(13, 13, 64), "found 13, expected a power of two");
    check("TENSORS_INCONSISTENT_ALIGN", &aligned(32, 1, 64), "expected a multiple of the alignment, 32");
    check("TENSORS_SUCCESS", &aligned(32, 32, 64), ACCEPTED);
    check("TENSORS_CUSTOM_ALIGN", &aligned(1, 1, 64), ACCEPTED);
}

/// Two tensors of 20 bytes, laid out at multiples of `layout` in a file that declares `declared`.
fn aligned(declared: u32, layout: u64, data_length: usize) -> RawFile {
    let mut file = RawFile::new(2, 1);
    file.u32_key("general.alignment", declared);
    file.tensor("a", &[5], 0, 0);
    file.tensor("b", &[5], 0, 20_u64.next_multiple_of(layout));
    file.data(declared as usize, data_length);
    file
}

fn data_kinds(check: Check<'_>) {
    check("DATA_NOT_ENOUGH_DATA", &aligned(32, 32, 32 + 20 - 1), "tensor `b` ends at byte");
    check("DATA_NOT_ENOUGH_DATA (none missing)", &aligned(32, 32, 32 + 20), ACCEPTED);
    check("DATA_BAD_ALIGN", &aligned(13, 13, 64), "found 13, expected a power of two");
    check("DATA_INCONSISTENT_ALIGN", &aligned(32, 1, 64), "expected a multiple of the alignment, 32");
    let huge = 0x7FFF_FFFF_FFFF_FFC0;
    let overflow = with_tensors(2, 32, |file| {
        file.tensor("a", &[huge], 24, 0);
        file.tensor("b", &[huge], 24, huge);
    });
    check("DATA_MEM_SIZE_OVERFLOW", &overflow, "expected fewer than 2^63 elements and bytes");
    check("DATA_SUCCESS", &aligned(64, 64, 128), ACCEPTED);
    check("DATA_CUSTOM_ALIGN", &aligned(1, 1, 40), ACCEPTED);
}

fn other_defects(check: Check<'_>) {
    let rows = with_tensors(1, 64, |file| file.tensor("t", &[31], 2, 0));
    check("a row of 31 in Q4_0", &rows, "rows of a multiple of 32 elements for type Q4_0");
    let overlap = with_tensors(2, 64, |file| {
        file.tensor("second", &[8], 0, 32);
        file.tensor("first", &[9], 0, 0);
    });
    check("overlap", &overlap, "tensors `first` and `second` overlap");
    let inside_empty = with_tensors(2, 64, |file| {
        file.tensor("empty", &[0], 0, 32);
        file.tensor("whole", &[16], 0, 0);
    });
    check("an empty tensor inside another", &inside_empty, ACCEPTED);
    let scalar = with_tensors(1, 4, |file| file.tensor("t", &[], 0, 0));
    check("a scalar", &scalar, ACCEPTED);
    let name = with_tensors(1, 64, |file| file.tensor(b"t\xff", &[8], 0, 0));
    check("a tensor name that is not UTF-8", &name, "the name of tensor 0: found a byte that is not UTF-8 at place 1");
    let empty_name = with_tensors(1, 64, |file| file.tensor("", &[8], 0, 0));
    check("a tensor without name", &empty_name, "the name of tensor 0: found 0 bytes");
    let zero = with_tensors(1, 64, |file| file.tensor(b"t\0u", &[8], 0, 0));
    check("a tensor name with a zero byte", &zero, "the name of tensor 0: found a zero byte");
    check("a key with a zero byte", &with_keys(1, |file| file.u32_key("k\0", 1)), "key 0: found a zero byte");
    let key = with_keys(1, |file| file.key(b"\xc3", U8).push(Kind::Number, &[1]));
    check("a key that is not UTF-8", &key, "the name of key 0: found a byte that is not UTF-8");
    let value = with_keys(1, |file| file.key("k", STRING).string(b"ab\x80"));
    check("a value that is not UTF-8", &value, "at byte 37, the value of key `k`: found a byte that is not UTF-8");
    let piece = with_keys(1, |file| file.array_key("k", STRING, 1).string(b"ab\x80"));
    check("an element that is not UTF-8", &piece, "element 0 of key `k`: found a byte that is not UTF-8 at place 2");
    let truth = with_keys(1, |file| file.key("k", BOOL).push(Kind::Number, &[2]));
    check("a bool of 2", &truth, "the value of key `k`: found 2, expected 0 or 1 for a bool");
    let truths = with_keys(1, |file| file.array_key("k", BOOL, 3).push(Kind::Number, &[1, 0, 255]));
    check("an array of bools with 255", &truths, "at byte 51, element 2 of key `k`: found 255");
    let long_key = "k".repeat(65_536);
    check("a key of 65536 bytes", &with_keys(1, |file| file.u32_key(&long_key, 1)), "expected 1 to 65535 bytes");
    check("a key of 65535 bytes", &with_keys(1, |file| file.u32_key(&long_key[1..], 1)), ACCEPTED);
    check("big-endian", &RawFile::with_start(b"GGUF", 3_u32.swap_bytes(), 0, 0), "big-endian GGUF version 3");
}

#[test]
pub fn arrays_nest_a_little_and_no_more() {
    for depth in [1, 2, 3, 4, 5, 100, 1000, 100_000] {
        let file = with_keys(1, |file| {
            file.key("k", ARRAY);
            (1..depth).for_each(|_| {
                file.array(ARRAY, 1);
            });
            file.array(U8, 1).push(Kind::Number, &[1]);
        });
        check("nested", &file, if depth <= 4 { ACCEPTED } else { "the nesting of arrays of key `k`" });
    }
}

#[test]
pub fn types_of_other_programs_are_named() {
    let cases = [
        (4, "Q4_2, which ggml removed"),
        (5, "Q4_3, which ggml removed"),
        (31, "Q4_0_4_4, a repacked type"),
        (32, "Q4_0_4_8, a repacked type"),
        (33, "Q4_0_8_8, a repacked type"),
        (36, "I2_S of bitnet.cpp"),
        (37, "IQ4_NL_4_8, a repacked type"),
        (38, "IQ4_NL_8_8, a repacked type"),
        (133, "Q6_0 of the ik_llama.cpp fork"),
        (144, "IQ4_KS of the ik_llama.cpp fork"),
        (158, "IQ1_KT of the ik_llama.cpp fork"),
        (202, "Q4_0_R8 of the ik_llama.cpp fork"),
        (205, "perhaps of the ik_llama.cpp fork"),
        (337, "IQ2_K_R4 of the ik_llama.cpp fork"),
        (43, "which is not known"),
        (u32::MAX, "which is not known"),
    ];
    for (id, expected) in cases {
        let file = with_tensors(1, 64, |file| file.tensor("blk.0.ffn_up.weight", &[256], id, 0));
        check("type", &file, &format!("tensor `blk.0.ffn_up.weight` has type id {id}, {expected}"));
        let error = Header::parse_without_data(&file.bytes).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
    }
}

#[test]
pub fn every_truncation_is_refused_with_offset_and_field() {
    let file = sample();
    Header::parse(&file.bytes, file.bytes.len() as u64).unwrap();
    for length in 0..file.header_length {
        let error = Header::parse(&file.bytes[..length], length as u64).unwrap_err();
        match error {
            GgufError::NotGguf { .. } => assert_eq!(length, 0),
            GgufError::Truncated { offset, ref field, needed, available } => {
                assert!(offset <= length as u64 && needed > available && !field.is_empty(), "{length}: {error}");
                assert!(error.to_string().contains(&format!("at byte {offset}, {field} needs")));
            }
            other => panic!("{length}: {other}"),
        }
    }
    // The last tensor has 144 bytes from 256 on; behind them is padding only.
    let data_start = file.header_length.next_multiple_of(32);
    for length in file.header_length..data_start + 256 + 144 {
        let error = Header::parse(&file.bytes[..length], length as u64).unwrap_err();
        assert!(matches!(error, GgufError::TensorPastEnd { ref tensor, .. } if tensor == "d.q4_k"), "{error}");
    }
}

#[test]
pub fn files_of_one_byte_are_refused() {
    for byte in 0..=u8::MAX {
        let message = Header::parse(&[byte], 1).unwrap_err().to_string();
        assert!(message.contains("magic"), "{message}");
    }
    assert!(Header::parse(b"GGUF", 4).unwrap_err().to_string().contains("at byte 4, the field `version`"));
}
