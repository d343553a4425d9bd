//! Keys read as what they are needed as, and the messages when they are something else.
#![allow(clippy::unwrap_used)]

use lair_gguf::{Array, GgufError, Metadata, StringArray, Value};

fn message<T: std::fmt::Debug>(result: Result<T, GgufError>) -> String {
    result.unwrap_err().to_string()
}

fn one(value: impl Into<Value>) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.set("k", value);
    metadata
}

#[test]
fn integers_of_any_width_that_fit() {
    let same: [Value; 8] =
        [7_u8.into(), 7_i8.into(), 7_u16.into(), 7_i16.into(), 7_u32.into(), 7_i32.into(), 7_u64.into(), 7_i64.into()];
    for value in same {
        let metadata = one(value);
        assert_eq!(metadata.u32("k").unwrap(), 7);
        assert_eq!(metadata.u64("k").unwrap(), 7);
        assert_eq!(metadata.i32("k").unwrap(), 7);
        assert_eq!(metadata.required::<i64>("k").unwrap(), 7);
        assert!(message(metadata.f32("k")).contains("expected a floating-point number"));
        assert!(message(metadata.bool("k")).contains("expected a bool"));
    }
    assert_eq!(one(u64::MAX).u64("k").unwrap(), u64::MAX);
    assert_eq!(message(one(-1_i32).u32("k")), "the key `k` holds the i32 -1, expected an integer from 0 to 4294967295");
    assert!(message(one(1_u64 << 32).u32("k")).contains("the u64 4294967296"));
    assert!(message(one(1_u32 << 31).i32("k")).contains("the u32 2147483648"));
    assert!(message(one(true).u32("k")).contains("holds a value of type bool"));
    assert!(message(one(1.0_f32).u32("k")).contains("holds a value of type f32"));
}

#[test]
fn other_types_only_from_themselves() {
    assert_eq!(one(1.5_f32).f32("k").unwrap(), 1.5);
    assert_eq!(one(1.5_f64).f32("k").unwrap(), 1.5);
    assert!(one(true).bool("k").unwrap());
    assert_eq!(one("text").str("k").unwrap(), "text");
    assert!(message(one("1").bool("k")).contains("holds a value of type string, expected a bool"));
    assert!(message(one(1_u8).str("k")).contains("holds a value of type u8, expected a string"));
}

#[test]
fn arrays() {
    assert_eq!(one(vec![1_i8, 2]).u32_array("k").unwrap(), [1, 2]);
    assert_eq!(one(vec![1_u64, 2]).i32_array("k").unwrap(), [1, 2]);
    assert_eq!(one(vec![1.0_f64]).f32_array("k").unwrap(), [1.0]);
    assert_eq!(one(vec![true, false]).bool_array("k").unwrap(), [true, false]);
    let strings = StringArray::from_iter(["", "é", "", "abc"]);
    let metadata = one(strings.clone());
    let read = metadata.strings("k").unwrap();
    assert_eq!(read.iter().collect::<Vec<_>>(), ["", "é", "", "abc"]);
    assert_eq!((read.get(1), read.get(3), read.get(4), read.len()), (Some("é"), Some("abc"), None, 4));
    assert!(message(one(vec![1_i32, -2]).u32_array("k")).contains("holds -2 as element 1"));
    assert!(message(one(vec![1.0_f32]).u32_array("k")).contains("holds an array of 1 f32, expected an array of int"));
    assert!(message(one(Array::String(StringArray::default())).u32_array("k")).contains("an array of 0 string"));
    assert!(message(one(5_u32).u32_array("k")).contains("a value of type u32, expected an array"));
    assert!(message(one(vec![1_u8]).u32("k")).contains("an array of 1 u8, expected an integer"));
    assert!(message(one(vec![1_u8]).bool_array("k")).contains("expected an array of bools"));
}

#[test]
fn missing_keys() {
    let metadata = Metadata::default();
    assert_eq!(
        message(metadata.u32("llama.block_count")),
        "the key `llama.block_count` is missing, expected an integer from 0 to 4294967295"
    );
    assert_eq!(metadata.optional_u32("k").unwrap(), None);
    assert_eq!(metadata.optional_str("k").unwrap(), None);
    // Optional is not careless: what is there must be right.
    assert!(one("x").optional_u32("k").is_err());
}

#[test]
fn keeps_the_order_of_keys_when_they_change() {
    let mut metadata = Metadata::default();
    for (index, key) in ["c", "a", "d", "b"].into_iter().enumerate() {
        metadata.set(key, index as u32);
    }
    metadata.set("a", "new");
    assert_eq!(metadata.remove("c"), Some(Value::U32(0)));
    assert_eq!(metadata.remove("c"), None);
    metadata.set("e", 9_u8);
    assert_eq!(metadata.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "d", "b", "e"]);
    assert_eq!(metadata.str("a").unwrap(), "new");
    assert_eq!(metadata.u32("d").unwrap(), 2);
    assert_eq!(metadata.u32("b").unwrap(), 3);
    assert_eq!((metadata.u32("e").unwrap(), metadata.len()), (9, 4));
    assert!(!metadata.contains("c"));
}
