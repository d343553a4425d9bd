//! Rules that hold whatever the vocabulary: user text never steers the model, streams equal whole texts, damaged
//! vocabularies are refused.

use lair_gguf::{GgufFile, Metadata, StringArray};
use lair_testkit::shared_data;
use lair_text::tokenizer::{
    AddSpecial, Position, Segment, ShowSpecial, Special, StreamDecoder, Tokenizer, TokenizerError,
};
use proptest::prelude::*;

/// A small SentencePiece-like vocabulary: bytes, letters, a control token, a marker that is only user-defined.
fn small_metadata() -> Metadata {
    let mut pieces = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    let mut kinds = vec![2, 3, 3];
    pieces.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    kinds.resize(pieces.len(), 6);
    let more = [
        ("\u{2581}", 1),
        ("a", 1),
        ("b", 1),
        ("ab", 1),
        ("\u{2581}ab", 1),
        ("<|im_end|>", 3),
        ("<|user|>", 4),
        ("<tool>", 4),
    ];
    for (piece, kind) in more {
        pieces.push(piece.to_owned());
        kinds.push(kind);
    }
    let mut metadata = Metadata::default();
    metadata.set("tokenizer.ggml.model", "llama");
    metadata.set("tokenizer.ggml.scores", vec![0.0f32; pieces.len()]);
    metadata.set("tokenizer.ggml.tokens", pieces.into_iter().collect::<StringArray>());
    metadata.set("tokenizer.ggml.token_type", kinds);
    metadata
}

fn small() -> Tokenizer {
    Tokenizer::from_gguf(&small_metadata()).expect("a sound vocabulary")
}

const A: u32 = 260;
const SPACE_AB: u32 = 263;
const IM_END: u32 = 264;
const USER: u32 = 265;
const TOOL: u32 = 266;

#[test]
fn the_frame_and_the_roles_are_those_of_the_file() {
    let tokenizer = small();
    assert_eq!(tokenizer.encode("ab", Special::AsText, AddSpecial::Yes), [1, SPACE_AB]);
    assert_eq!(tokenizer.encode("", Special::AsText, AddSpecial::Yes), [1]);
    assert_eq!(tokenizer.encode("", Special::AsText, AddSpecial::No), [0u32; 0]);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
    assert_eq!(tokenizer.special_ids().eot, Some(IM_END));
    assert!(tokenizer.is_end_of_generation(2) && tokenizer.is_end_of_generation(IM_END));
    assert!(tokenizer.is_control(1) && !tokenizer.is_control(A) && !tokenizer.is_control(u32::MAX));
    assert!(!tokenizer.is_end_of_generation(u32::MAX));
}

#[test]
fn control_tokens_come_from_trusted_text_only() {
    let tokenizer = small();
    assert_eq!(tokenizer.encode("ab<|im_end|>", Special::Parse, AddSpecial::No), [SPACE_AB, IM_END]);
    let as_text = tokenizer.encode("ab<|im_end|>", Special::AsText, AddSpecial::No);
    assert!(!as_text.contains(&IM_END));
    assert_eq!(tokenizer.decode(&as_text, ShowSpecial::Hide).expect("known ids"), "ab<|im_end|>");
    // A user-defined token is text to the vocabulary, so plain encoding matches it ...
    assert_eq!(tokenizer.encode("<|user|>", Special::AsText, AddSpecial::No), [USER]);
    let encode = |segments: &[(&str, bool)]| {
        let segments: Vec<_> = segments.iter().map(|&(text, trusted)| Segment { text, trusted }).collect();
        tokenizer.encode_segments(&segments, AddSpecial::No)
    };
    // ... but what reads like a marker is not taken from the text of a user.
    assert_eq!(encode(&[("<|user|>", true), ("ab", false), ("<|im_end|>", true)]), [USER, SPACE_AB, IM_END]);
    for hostile in ["<|im_end|>", "<|user|>", "<s>", "</s>"] {
        let ids = encode(&[("<|user|>", true), (hostile, false), ("<|im_end|>", true)]);
        assert_eq!(ids.iter().filter(|&&id| tokenizer.is_control(id) || id == USER).count(), 2, "{hostile}");
    }
    assert_eq!(encode(&[("ab<tool>", false)]), [SPACE_AB, TOOL]);
    // No token is put together from trusted and other text.
    for (first, second) in [(true, false), (false, true), (false, false)] {
        assert!(!encode(&[("<|im_", first), ("end|>", second)]).contains(&IM_END));
    }
    assert_eq!(encode(&[("<|im_", true), ("", false), ("end|>", true)]), [IM_END]);
}

#[test]
fn words_reach_across_segments() {
    let tokenizer = small();
    let segments = [Segment { text: "a", trusted: true }, Segment { text: "b", trusted: false }];
    assert_eq!(tokenizer.encode_segments(&segments, AddSpecial::No), [SPACE_AB]);
    let Some(path) = shared_data("tokenizers/ggml-vocab-qwen2.gguf") else { return };
    let file = GgufFile::open(path).expect("a readable vocabulary");
    let tokenizer = Tokenizer::from_gguf(file.metadata()).expect("a known tokenizer");
    let text = "The quick  brown\n\nfox <|im_end|> I'll 1234";
    let whole = tokenizer.encode(text, Special::AsText, AddSpecial::No);
    for cut in (0..=text.len()).filter(|&cut| text.is_char_boundary(cut)) {
        let segments = [
            Segment { text: &text[..cut], trusted: false },
            Segment { text: &text[cut..], trusted: !text[cut..].contains("<|im_end|>") },
        ];
        assert_eq!(tokenizer.encode_segments(&segments, AddSpecial::No), whole, "cut at {cut}");
    }
}

#[test]
fn unknown_ids_are_errors() {
    let tokenizer = small();
    for id in [267, 1 << 20, u32::MAX] {
        let error = tokenizer.decode(&[A, id], ShowSpecial::Show).expect_err("not in the vocabulary");
        assert!(matches!(error, TokenizerError::TokenIdOutOfRange { count: 267, .. }), "{error}");
        assert!(tokenizer.token_bytes(id).is_err() && tokenizer.token_kind(id).is_none());
        let mut stream = StreamDecoder::new(&tokenizer, Position::Middle, ShowSpecial::Show);
        assert!(stream.push(id).is_err());
        assert_eq!(stream.push(A).expect("a known id"), "a");
    }
}

#[test]
fn the_space_in_front_is_taken_away_once() {
    let tokenizer = small();
    let ids = tokenizer.encode("ab ab", Special::AsText, AddSpecial::Yes);
    assert_eq!(tokenizer.decode(&ids, ShowSpecial::Hide).expect("known ids"), "ab ab");
    let middle = tokenizer.decode_bytes(&[SPACE_AB], Position::Middle, ShowSpecial::Hide).expect("a known id");
    assert_eq!(middle, b" ab");
}

proptest! {
    /// Any ids, any vocabulary kind: the chunks of a stream are the whole text, and each is text by itself.
    #[test]
    fn a_stream_equals_the_whole(ids in proptest::collection::vec(0u32..267, 0..40), starts in any::<bool>(), shows in any::<bool>()) {
        let tokenizer = small();
        let position = if starts { Position::Start } else { Position::Middle };
        let show = if shows { ShowSpecial::Show } else { ShowSpecial::Hide };
        let whole = tokenizer.decode_bytes(&ids, position, show).expect("known ids");
        let mut stream = StreamDecoder::new(&tokenizer, position, show);
        let mut text = String::new();
        for &id in &ids {
            text.push_str(&stream.push(id).expect("a known id"));
        }
        text.push_str(&stream.finish());
        prop_assert_eq!(text, String::from_utf8_lossy(&whole).into_owned());
    }

    /// Any text comes back, through bytes where the vocabulary has nothing better.
    #[test]
    fn any_text_comes_back(text in "[ab \u{2580}-\u{2582}<|s>\\PC]{0,40}") {
        let tokenizer = small();
        let ids = tokenizer.encode(&text, Special::AsText, AddSpecial::Yes);
        // The character that stands for a space is one, in all vocabularies of this kind.
        prop_assert_eq!(tokenizer.decode(&ids, ShowSpecial::Hide).expect("own ids"), text.replace('\u{2581}', " "));
    }
}

/// Each damage to a sound vocabulary, and what the error must be.
#[test]
fn damaged_vocabularies_are_refused() {
    type Damage = (&'static str, fn(&mut Metadata), fn(&TokenizerError) -> bool);
    fn tokens(change: impl Fn(&mut Vec<String>)) -> StringArray {
        let metadata = small_metadata();
        let mut tokens: Vec<String> =
            metadata.strings("tokenizer.ggml.tokens").expect("tokens").iter().map(str::to_owned).collect();
        change(&mut tokens);
        tokens.into_iter().collect()
    }
    let damages: Vec<Damage> = vec![
        ("no model", |m| drop(m.remove("tokenizer.ggml.model")), |e| matches!(e, TokenizerError::Metadata(_))),
        ("no tokens", |m| drop(m.remove("tokenizer.ggml.tokens")), |e| matches!(e, TokenizerError::Metadata(_))),
        (
            "unknown model",
            |m| m.set("tokenizer.ggml.model", "hybriddna"),
            |e| matches!(e, TokenizerError::UnknownModel { name } if name == "hybriddna"),
        ),
        (
            "unknown pre-tokenizer",
            |m| {
                m.set("tokenizer.ggml.model", "gpt2");
                m.set("tokenizer.ggml.pre", "new-one");
            },
            |e| matches!(e, TokenizerError::UnknownPreTokenizer { name } if name == "new-one"),
        ),
        (
            "byte token with a sign",
            |m| m.set("tokenizer.ggml.tokens", tokens(|t| t[3] = "<0x-1>".to_owned())),
            |e| matches!(e, TokenizerError::MalformedByteToken { token: 3, .. }),
        ),
        (
            "piece too long",
            |m| m.set("tokenizer.ggml.tokens", tokens(|t| t[260] = "x".repeat(65_537))),
            |e| matches!(e, TokenizerError::LimitExceeded { found: 65_537, .. }),
        ),
        (
            "the same piece twice",
            |m| m.set("tokenizer.ggml.tokens", tokens(|t| t[261] = "a".to_owned())),
            |e| matches!(e, TokenizerError::DuplicatePiece { first: 260, second: 261, .. }),
        ),
        (
            "score without end",
            |m| m.set("tokenizer.ggml.scores", vec![f32::INFINITY; 267]),
            |e| matches!(e, TokenizerError::ScoreNotFinite { token: 0 }),
        ),
        (
            "score that is no number",
            |m| m.set("tokenizer.ggml.scores", vec![f32::NAN; 267]),
            |e| matches!(e, TokenizerError::ScoreNotFinite { token: 0 }),
        ),
        (
            "too few scores",
            |m| m.set("tokenizer.ggml.scores", vec![0.0f32; 266]),
            |e| matches!(e, TokenizerError::LengthMismatch { found: 266, expected: 267, .. }),
        ),
        (
            "too few kinds",
            |m| m.set("tokenizer.ggml.token_type", vec![1i32; 2]),
            |e| matches!(e, TokenizerError::LengthMismatch { found: 2, .. }),
        ),
        (
            "role beyond the vocabulary",
            |m| m.set("tokenizer.ggml.eos_token_id", 267u32),
            |e| matches!(e, TokenizerError::SpecialTokenOutOfRange { id: 267, count: 267, .. }),
        ),
        (
            "merges that are no pairs",
            |m| {
                m.set("tokenizer.ggml.model", "gpt2");
                m.set("tokenizer.ggml.merges", ["ab"].iter().collect::<StringArray>());
            },
            |e| matches!(e, TokenizerError::MalformedMerge { index: 0, .. }),
        ),
        (
            "merge of no piece",
            |m| {
                m.set("tokenizer.ggml.model", "gpt2");
                m.set("tokenizer.ggml.merges", ["a b", "ab b"].iter().collect::<StringArray>());
            },
            |e| matches!(e, TokenizerError::MergeOfUnknownPiece { index: 1, piece } if piece == "abb"),
        ),
        (
            "no merges",
            |m| m.set("tokenizer.ggml.model", "gpt2"),
            |e| matches!(e, TokenizerError::MissingKey { key } if key == "tokenizer.ggml.merges"),
        ),
        (
            "damaged character map",
            |m| {
                m.set("tokenizer.ggml.model", "t5");
                m.set("tokenizer.ggml.precompiled_charsmap", vec![255u8, 255, 255, 255, 0]);
            },
            |e| matches!(e, TokenizerError::MalformedCharacterMap { .. }),
        ),
    ];
    for (name, damage, is_expected) in damages {
        let mut metadata = small_metadata();
        damage(&mut metadata);
        match Tokenizer::from_gguf(&metadata) {
            Ok(_) => panic!("{name}: accepted"),
            Err(error) => assert!(is_expected(&error), "{name}: {error}"),
        }
    }
}

#[test]
fn an_empty_vocabulary_does_no_harm() {
    let mut metadata = Metadata::default();
    metadata.set("tokenizer.ggml.model", "llama");
    metadata.set("tokenizer.ggml.tokens", StringArray::default());
    let tokenizer = Tokenizer::from_gguf(&metadata).expect("nothing is wrong with it");
    assert_eq!(tokenizer.encode("text", Special::Parse, AddSpecial::Yes), [0u32; 0]);
    assert!(tokenizer.decode(&[0], ShowSpecial::Show).is_err());
}

#[test]
fn damaged_json_is_refused() {
    for (text, expected) in [
        ("{", "cannot be read"),
        ("[]", "model.vocab"),
        (r#"{"model": {"type": "WordLevel", "vocab": {}}}"#, "WordLevel"),
        (r#"{"model": {"vocab": {"a": 4294967296}}}"#, "token id"),
        (r#"{"model": {"vocab": {"a": -1}}}"#, "model.vocab"),
        (r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["ab"]}}"#, "merge 0"),
        (r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}"#, "merge 0"),
        (r#"{"model": {"type": "BPE", "vocab": {}, "end_of_word_suffix": "</w>"}}"#, "end_of_word_suffix"),
        (r#"{"model": {"vocab": {}}, "added_tokens": [{"id": 1}]}"#, "added_tokens[0]"),
    ] {
        let error = Tokenizer::from_tokenizer_json(text.as_bytes()).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn json_in_the_form_of_llama_works() {
    let text = r#"{
        "added_tokens": [
            {"id": 1, "content": "<s>", "special": true, "normalized": false},
            {"id": 9, "content": "<x>", "special": false, "normalized": false}
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        ]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        ]},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true,
            "vocab": {"<unk>": 0, "<s>": 1, "▁": 2, "a": 3, "b": 4, "ab": 5, "▁ab": 6, "<0xC3>": 7, "<0xA9>": 8},
            "merges": ["a b", "▁ ab"]}
    }"#;
    let tokenizer = Tokenizer::from_tokenizer_json(text.as_bytes()).expect("a supported file");
    let ids = tokenizer.encode("ab é<x>ab日本b", Special::AsText, AddSpecial::Yes);
    assert_eq!(ids, [1, 6, 2, 7, 8, 9, 6, 0, 4]);
    assert_eq!(tokenizer.decode(&ids[..6], ShowSpecial::Hide).expect("own ids"), "ab é<x>");
}
