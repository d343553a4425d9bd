//! Tests that no text makes a tokenizer slow or deep: work grows with the length of the text, the stack does not.

use lair_gguf::{Metadata, StringArray};

use super::byte_level::to_printable;
use super::decode::Position;
use super::merge::MergeBuffer;
use super::pre_tokenizers;
use super::special::{Allowed, Fragment};
use super::split::Splitter;
use super::{AddSpecial, ShowSpecial, Tokenizer};

/// All the stack that encoding may use.
const STACK_BYTES: usize = 64 << 10;

/// A vocabulary of `pieces` with scores that prefer long ones.
fn metadata(model: &str, pieces: Vec<String>, kinds: Vec<i32>) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.set("tokenizer.ggml.model", model);
    metadata.set("tokenizer.ggml.scores", pieces.iter().map(|piece| piece.len() as f32 - 40.0).collect::<Vec<_>>());
    metadata.set("tokenizer.ggml.tokens", pieces.into_iter().collect::<StringArray>());
    metadata.set("tokenizer.ggml.token_type", kinds);
    metadata
}

/// Units that repeat in the texts, doubled twice: work for every algorithm.
fn repeated_units() -> Vec<String> {
    let units = ["a", "\u{2581}", "\n", "0", "!", "日", "é", "\u{301}", "👩", "\u{200D}"];
    units.iter().flat_map(|unit| [1, 2, 4].map(|count| unit.repeat(count))).collect()
}

fn byte_level_tokenizer() -> Tokenizer {
    let mut pieces: Vec<String> = (0..=255u8).map(|byte| to_printable(&[byte])).collect();
    let mut merges = Vec::new();
    for byte in [b'a', b' ', b'\n', b'0', b'!', 0xCC, 0x81] {
        let one = to_printable(&[byte]);
        for count in [1, 2, 4, 8] {
            pieces.push(one.repeat(count * 2));
            merges.push(format!("{0} {0}", one.repeat(count)));
        }
    }
    let kinds = vec![1; pieces.len()];
    let mut metadata = metadata("gpt2", pieces, kinds);
    // One word for the whole text: the hardest case for merging.
    metadata.set("tokenizer.ggml.pre", "superbpe");
    metadata.set("tokenizer.ggml.merges", merges.into_iter().collect::<StringArray>());
    Tokenizer::from_gguf(&metadata).expect("a sound vocabulary")
}

/// One tokenizer of every kind.
pub(super) fn tokenizers() -> Vec<(&'static str, Tokenizer)> {
    let mut pieces = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    let mut kinds = vec![2, 3, 3];
    pieces.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    kinds.resize(pieces.len(), 6);
    pieces.extend(repeated_units());
    kinds.resize(pieces.len(), 1);
    let plain = |model: &str| metadata(model, pieces.clone(), kinds.clone());
    let mut gemma = plain("gemma4");
    let merges =
        ["a", "\u{2581}", "日"].iter().flat_map(|one| [format!("{one} {one}"), format!("{one}{one} {one}{one}")]);
    gemma.set("tokenizer.ggml.merges", merges.collect::<StringArray>());
    let mut words = plain("bert");
    words.set("tokenizer.ggml.unknown_token_id", 0u32);
    let mut rwkv = plain("rwkv");
    rwkv.set("tokenizer.ggml.unknown_token_id", 0u32);
    let mut tokenizers = vec![("gpt2", byte_level_tokenizer())];
    let others = [
        ("llama", plain("llama")),
        ("gemma4", gemma),
        ("t5", plain("t5")),
        ("bert", words),
        ("rwkv", rwkv),
        ("plamo2", plain("plamo2")),
    ];
    for (name, metadata) in others {
        tokenizers.push((name, Tokenizer::from_gguf(&metadata).unwrap_or_else(|error| panic!("{name}: {error}"))));
    }
    tokenizers
}

/// The families of texts, each of about `length` bytes.
fn texts(length: usize) -> Vec<(&'static str, String)> {
    let repeat = |unit: &str| unit.repeat(length / unit.len());
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from_u32((state >> 40) as u32 % 0x2500).unwrap_or('a')
    };
    vec![
        ("one letter", repeat("a")),
        ("one digit", repeat("0")),
        ("one mark", repeat("!")),
        ("spaces", repeat(" ")),
        ("line feeds", repeat("\n")),
        ("tabs and line feeds", repeat("\t\t\t\n")),
        ("upper case", repeat("A")),
        ("apostrophes", repeat("'")),
        ("ideographs", repeat("日")),
        ("combining marks", repeat("\u{301}")),
        ("mixed marks", repeat("\u{316}\u{301}")),
        ("joined emoji", repeat("👩\u{200D}")),
        ("control characters", repeat("\u{1}")),
        ("less-than signs", repeat("<s")),
        ("random characters", (0..length / 2).map(|_| random()).collect()),
    ]
}

/// Encodes; returns the ids and the steps it took.
fn encode_counting(tokenizer: &Tokenizer, text: &str) -> (Vec<u32>, u64) {
    let mut buffer = MergeBuffer::default();
    let whole = vec![Fragment::Text(0..text.len())];
    let fragments = tokenizer.special.partition(text, whole, Allowed::UserDefined);
    let ids = tokenizer.encode_fragments(text, &fragments, Allowed::UserDefined, AddSpecial::No, &mut buffer);
    (ids, buffer.step_count)
}

fn with_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).expect("a thread can be started");
    thread.join().expect("the stack is large enough");
}

fn run_every_kind(length: usize) {
    let tokenizers = tokenizers();
    let texts = texts(length);
    with_small_stack(move || {
        for (name, tokenizer) in &tokenizers {
            for (family, text) in &texts {
                let (ids, _) = encode_counting(tokenizer, text);
                let decoded = tokenizer.decode_bytes(&ids, Position::Start, ShowSpecial::Show).expect("ids of its own");
                let is_lossless = !matches!(*name, "bert" | "rwkv");
                assert!(!is_lossless || decoded == text.as_bytes(), "{name}: {family} does not come back");
            }
        }
    });
}

#[test]
fn every_kind_runs_on_a_small_stack() {
    run_every_kind(256 << 10);
}

/// The same with 16 MiB each; about a minute:
/// `cargo test --release -p lair-text linearity -- --ignored --nocapture`.
#[test]
#[ignore = "takes a minute and 2 GiB"]
fn every_kind_runs_on_a_small_stack_at_full_length() {
    run_every_kind(16 << 20);
}

#[test]
fn steps_grow_with_the_text() {
    let (short, long) = (texts(32 << 10), texts(64 << 10));
    for (name, tokenizer) in tokenizers() {
        for ((family, short), (_, long)) in short.iter().zip(&long) {
            let (_, short_steps) = encode_counting(&tokenizer, short);
            let (_, long_steps) = encode_counting(&tokenizer, long);
            assert!(
                long_steps * 2 <= short_steps * 5 + 100,
                "{name}, {family}: {short_steps} steps for {} bytes, {long_steps} for {}",
                short.len(),
                long.len()
            );
            assert!(long_steps <= 40 * long.len() as u64 + 100, "{name}, {family}: {long_steps} steps");
        }
    }
}

/// Splits every family with every pre-tokenizer; no character may be lost.
fn split_all(length: usize) {
    let splitters: Vec<_> = pre_tokenizers::ALL
        .iter()
        .map(|row| (row.names[0], Splitter::from_patterns(row.patterns).expect("it compiles")))
        .collect();
    let texts = texts(length);
    with_small_stack(move || {
        for (name, splitter) in &splitters {
            for (family, text) in &texts {
                let mut end = 0;
                splitter.split(text, &mut |word| end += word.len());
                let is_whole = *name == "whitespace" || end == text.len();
                assert!(is_whole, "{name}: {family} has {} bytes, its words have {end}", text.len());
            }
        }
    });
}

#[test]
fn every_pre_tokenizer_runs_on_a_small_stack() {
    split_all(64 << 10);
}

/// The same with 16 MiB each: `cargo test --release -p lair-text linearity -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn every_pre_tokenizer_runs_on_a_small_stack_at_full_length() {
    split_all(16 << 20);
}
