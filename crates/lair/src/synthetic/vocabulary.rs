//! Vocabularies that are made up: of the right size and kind, so that reading them costs what it costs with a real one.

use lair_gguf::Metadata;

/// How a vocabulary is made.
#[derive(Clone, Copy, Debug)]
pub enum VocabularyKind {
    /// Pieces with scores (SentencePiece): three control tokens, the bytes, and words.
    SentencePiece,
    /// Merges of bytes (GPT-2): the bytes, merged tokens, and a control token at the end.
    BytePair {
        /// `tokenizer.ggml.pre`: how texts are cut before.
        pre: &'static str,
    },
}

/// Kinds of tokens, as files number them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

impl VocabularyKind {
    /// Puts a vocabulary of `size` tokens, at least 300, into the metadata of a model.
    pub fn describe(self, size: usize, metadata: &mut Metadata) {
        assert!(size >= 300, "a vocabulary has all bytes and a few tokens more");
        match self {
            VocabularyKind::SentencePiece => sentence_piece(size, metadata),
            VocabularyKind::BytePair { pre } => byte_pair(size, pre, metadata),
        }
    }
}

fn sentence_piece(size: usize, metadata: &mut Metadata) {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let mut kinds = vec![UNKNOWN, CONTROL, CONTROL];
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    kinds.resize(tokens.len(), BYTE);
    // What a space is written as.
    tokens.push("\u{2581}".to_owned());
    let words = size - tokens.len();
    tokens.extend((0..words).map(word));
    kinds.resize(size, NORMAL);
    let scores: Vec<f32> = (0..size).map(|index| if kinds[index] == NORMAL { -(index as f32) } else { 0.0 }).collect();
    metadata.set("tokenizer.ggml.model", "llama");
    metadata.set("tokenizer.ggml.tokens", tokens);
    metadata.set("tokenizer.ggml.scores", scores);
    metadata.set("tokenizer.ggml.token_type", kinds);
    metadata.set("tokenizer.ggml.bos_token_id", 1u32);
    metadata.set("tokenizer.ggml.eos_token_id", 2u32);
    metadata.set("tokenizer.ggml.unknown_token_id", 0u32);
}

/// Words of letters, each a different one: its index in base 26.
fn word(mut index: usize) -> String {
    let mut letters = String::new();
    loop {
        letters.insert(0, char::from(b'a' + (index % 26) as u8));
        index /= 26;
        if index == 0 {
            return letters;
        }
        index -= 1;
    }
}

fn byte_pair(size: usize, pre: &str, metadata: &mut Metadata) {
    let letters: Vec<char> = (0..=255).map(printable).collect();
    let mut tokens: Vec<String> = letters.iter().map(char::to_string).collect();
    let mut merges = Vec::new();
    // Each token so far, with each letter in turn behind it: "aa", "ab", ..., and after all of two, "aaa".
    let merged = size - 1 - tokens.len();
    for index in 0..merged {
        let (left, right) = (tokens[index / letters.len()].clone(), letters[index % letters.len()]);
        merges.push(format!("{left} {right}"));
        tokens.push(format!("{left}{right}"));
    }
    let mut kinds = vec![NORMAL; tokens.len()];
    tokens.push("<|endoftext|>".to_owned());
    kinds.push(CONTROL);
    let end = size as u32 - 1;
    metadata.set("tokenizer.ggml.model", "gpt2");
    metadata.set("tokenizer.ggml.pre", pre);
    metadata.set("tokenizer.ggml.tokens", tokens);
    metadata.set("tokenizer.ggml.token_type", kinds);
    metadata.set("tokenizer.ggml.merges", merges);
    metadata.set("tokenizer.ggml.bos_token_id", end);
    metadata.set("tokenizer.ggml.eos_token_id", end);
}

/// The character that stands for a byte in such vocabularies: itself where it can be printed, else one from U+0100 on
/// (GPT-2, `bytes_to_unicode`).
fn printable(byte: u8) -> char {
    let is_itself = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if is_itself(byte) {
        return char::from(byte);
    }
    let others_before = (0..byte).filter(|other| !is_itself(*other)).count() as u32;
    char::from_u32(0x100 + others_before).expect("below U+0144, where all are characters")
}

#[cfg(test)]
mod tests {
    use lair_text::tokenizer::{AddSpecial, ShowSpecial, Special, Tokenizer};

    use super::*;

    #[test]
    fn made_up_vocabularies_tokenize_any_text_and_give_it_back() {
        for (kind, size) in [
            (VocabularyKind::SentencePiece, 1024),
            (VocabularyKind::SentencePiece, 32_000),
            (VocabularyKind::BytePair { pre: "qwen2" }, 151_936),
            (VocabularyKind::BytePair { pre: "llama-bpe" }, 128_256),
            (VocabularyKind::BytePair { pre: "smollm" }, 300),
        ] {
            let mut metadata = Metadata::default();
            kind.describe(size, &mut metadata);
            let tokens = metadata.required::<&lair_gguf::StringArray>("tokenizer.ggml.tokens").expect("a list");
            assert_eq!(tokens.len(), size, "{kind:?}");
            let tokenizer = Tokenizer::from_gguf(&metadata).expect("a tokenizer");
            let text = "Hello, world: äöü 12345 \u{1f980}";
            let ids = tokenizer.encode(text, Special::AsText, AddSpecial::No);
            assert!(ids.iter().all(|id| (*id as usize) < size));
            let back = tokenizer.decode(&ids, ShowSpecial::Hide).expect("its own tokens");
            assert_eq!(back.trim_start(), text, "{kind:?}");
        }
    }

    #[test]
    fn words_are_all_different() {
        let words: std::collections::HashSet<String> = (0..40_000).map(word).collect();
        assert_eq!((words.len(), word(0), word(25), word(26)), (40_000, "a".into(), "z".into(), "aa".into()));
    }
}
