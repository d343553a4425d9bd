//! Vocabularies that a tokenizer must not be given.
#![allow(clippy::unwrap_used)]

use lair_gguf::{GgufFile, Metadata, StringArray, Value, check_vocabulary, limits};
use lair_testkit::shared_data;

fn strings<S: AsRef<str>>(strings: impl IntoIterator<Item = S>) -> Value {
    Value::from(StringArray::from_iter(strings))
}

/// A small good vocabulary with merges.
fn sample() -> Metadata {
    let mut metadata = Metadata::default();
    metadata.set("tokenizer.ggml.model", "gpt2");
    metadata.set("tokenizer.ggml.tokens", strings(["a", "b", "ab", "Ġ", "Ġab", "<s>"]));
    metadata.set("tokenizer.ggml.token_type", vec![1_i32, 1, 1, 1, 1, 3]);
    metadata.set("tokenizer.ggml.scores", vec![0.0_f32; 6]);
    metadata.set("tokenizer.ggml.merges", strings(["a b", "Ġ ab"]));
    metadata.set("tokenizer.ggml.bos_token_id", 5_u32);
    metadata.set("tokenizer.ggml.suppress_tokens", vec![0_i32, 5]);
    metadata
}

#[test]
fn accepts_a_good_vocabulary_and_none_at_all() {
    check_vocabulary(&sample()).unwrap();
    check_vocabulary(&Metadata::default()).unwrap();
}

#[test]
fn refuses_each_broken_rule_by_name() {
    let long_piece = "x".repeat(limits::PIECE_LENGTH_MAX + 1);
    let many = || strings(std::iter::repeat_n("", limits::VOCABULARY_COUNT_MAX + 1));
    let cases: Vec<(&str, Value, &str)> = vec![
        ("tokens", strings(Vec::<&str>::new()), "`tokenizer.ggml.tokens` holds 0 pieces"),
        ("tokens", many(), "holds 4000001 pieces, expected 1 to 4000000"),
        ("tokens", strings(["a", &long_piece]), "entry 1 holds 65537 bytes"),
        ("tokens", vec![1_u32].into(), "holds an array of 1 u32, expected an array of strings"),
        ("tokens", strings(["a", "b", "ab", "Ġ", "Ġab", "a"]), "entry 5 holds `a` again"),
        ("scores", vec![0.0_f32; 5].into(), "holds 5 entries, expected 6, one for each piece"),
        ("scores", vec![0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0].into(), "entry 2 holds NaN"),
        ("scores", vec![0.0, 0.0, 0.0, f32::INFINITY, 0.0, 0.0].into(), "entry 3 holds inf"),
        ("scores", vec![0_i32; 6].into(), "expected an array of floating-point numbers"),
        ("token_type", vec![1_i32; 7].into(), "holds 7 entries, expected 6"),
        ("token_type", vec![1_i32, 1, 1, 1, 1, 7].into(), "entry 5 holds 7, expected a token type"),
        ("token_type", vec![1_i32, -1, 1, 1, 1, 1].into(), "entry 1 holds -1"),
        ("bos_token_id", 6_u32.into(), "`tokenizer.ggml.bos_token_id` holds 6, expected an id below 6"),
        ("eos_token_id", u32::MAX.into(), "holds 4294967295, expected an id below 6"),
        ("fim_pre_token_id", (-1_i32).into(), "holds -1, expected an id below 6"),
        ("unknown_token_id", "0".into(), "holds a value of type string, expected an id below 6"),
        ("suppress_tokens", vec![0_i32, 6].into(), "entry 1 holds 6, expected an id below 6"),
        ("suppress_tokens", vec![0.0_f32].into(), "expected an id below 6"),
        ("merges", strings(["a b", "ab"]), "entry 1 holds `ab`, expected two pieces with a space between"),
        ("merges", strings([""]), "entry 0 holds ``, expected two pieces"),
        ("merges", strings(["é"]), "entry 0 holds `é`, expected two pieces"),
        ("merges", strings(["a c"]), "`c` is not in the vocabulary"),
        ("merges", strings(["ab".repeat(1_000_000)]), "ababab... (2000000 bytes)`, expected two pieces"),
        ("merges", strings(["b a"]), "`ba` is not in the vocabulary"),
    ];
    for (key, value, expected) in cases {
        let mut metadata = sample();
        metadata.set(&format!("tokenizer.ggml.{key}"), value);
        let message = check_vocabulary(&metadata).unwrap_err().to_string();
        assert!(message.contains(expected), "{key}: `{message}`, not `{expected}`");
    }
    let mut without_tokens = sample();
    without_tokens.remove("tokenizer.ggml.tokens");
    let message = check_vocabulary(&without_tokens).unwrap_err().to_string();
    assert!(message.contains("the key `tokenizer.ggml.tokens` is missing"), "{message}");
}

#[test]
fn only_merges_need_unique_pieces_and_empty_ones_are_none() {
    let mut metadata = sample();
    metadata.set("tokenizer.ggml.tokens", strings(["a", "b", "ab", "Ġ", "Ġab", "", ""]));
    metadata.remove("tokenizer.ggml.token_type");
    metadata.remove("tokenizer.ggml.scores");
    check_vocabulary(&metadata).unwrap();
    metadata.set("tokenizer.ggml.tokens", strings(["a", "b", "b", "b", "b", "b"]));
    metadata.remove("tokenizer.ggml.merges");
    check_vocabulary(&metadata).unwrap();
}

#[test]
fn accepts_every_real_vocabulary() {
    let Some(folder) = shared_data("tokenizers") else { return };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            let model = GgufFile::open(&path).unwrap();
            check_vocabulary(model.metadata()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}
