//! A tokenizer's vocabulary as the grammar engine sees it: a trie of the bytes that tokens add to a text.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use toktrie::{INVALID_TOKEN, TokRxInfo, TokTrie, TokenizerEnv};

use super::error::GrammarError;
use crate::tokenizer::{AddSpecial, Special, TokenId, TokenKind, Tokenizer};

/// Longest token in the trie. Longer ones, of which vocabularies have none that a grammar needs, are never allowed.
const TOKEN_BYTES_MAX: usize = 1000;
/// Marks a token that is not text in the trie; no UTF-8 has this byte.
const CONTROL_MARK: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

/// A trie over a tokenizer's vocabulary, and the tokenizer for texts that a grammar forces.
pub(super) struct VocabularyTrie {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
    is_canonical: bool,
}

impl VocabularyTrie {
    /// Builds the trie, in about a second for 150,000 tokens.
    pub(super) fn new(tokenizer: Arc<Tokenizer>) -> Result<VocabularyTrie, GrammarError> {
        let words = words(&tokenizer);
        let ends = tokenizer.ends_of_generation();
        let end = tokenizer.eos().filter(|token| ends.contains(token)).or(ends.first().copied());
        let info = TokRxInfo::new(words.len() as u32, end.unwrap_or(INVALID_TOKEN));
        // The trie asserts its own limits of size.
        let trie = catch_unwind(AssertUnwindSafe(|| {
            let trie = TokTrie::from(&info, &words);
            match end {
                Some(end) => {
                    let others = ends.iter().copied().filter(|&token| token != end);
                    trie.with_eos_tokens(&std::iter::once(end).chain(others).collect::<Vec<_>>())
                }
                None => trie,
            }
        }))
        .map_err(|_| GrammarError::Vocabulary { cause: format!("{} tokens do not fit in a trie", words.len()) })?;
        let is_canonical = tokenizer.spells_text_as_it_is();
        Ok(VocabularyTrie { tokenizer, trie, is_canonical })
    }
}

/// The bytes of each token, with a mark before those that are not text; nothing for tokens that may never come.
fn words(tokenizer: &Tokenizer) -> Vec<Vec<u8>> {
    let count = tokenizer.vocabulary_size() as TokenId;
    let word = |id: TokenId| {
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        if bytes.len() > TOKEN_BYTES_MAX {
            return Vec::new();
        }
        match tokenizer.token_kind(id) {
            Some(TokenKind::Unknown | TokenKind::Unused) | None => Vec::new(),
            _ if tokenizer.is_control(id) || tokenizer.is_end_of_generation(id) => [&[CONTROL_MARK], bytes].concat(),
            Some(_) => bytes.to_vec(),
        }
    };
    let mut words: Vec<Vec<u8>> = (0..count).map(word).collect();
    // A byte that is also a token of its own is written as that token.
    let is_byte = |id: usize| tokenizer.token_kind(id as TokenId) == Some(TokenKind::Byte);
    let mut single = HashMap::new();
    for (id, word) in words.iter().enumerate().filter(|(id, word)| word.len() == 1 && !is_byte(*id)) {
        single.insert(word[0], id);
    }
    for (id, word) in words.iter_mut().enumerate() {
        if is_byte(id) && word.first().is_some_and(|byte| single.contains_key(byte)) {
            word.clear();
        }
    }
    words
}

impl TokenizerEnv for VocabularyTrie {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let tokens = std::str::from_utf8(bytes).ok().map(|text| {
            let tokens = self.tokenizer.encode(text, Special::AsText, AddSpecial::No);
            let spelled: Vec<u8> = tokens
                .iter()
                .flat_map(|&token| self.tokenizer.token_bytes(token).unwrap_or_default())
                .copied()
                .collect();
            (tokens, spelled)
        });
        match tokens {
            Some((tokens, spelled)) if spelled == bytes => tokens,
            _ => self.trie.greedy_tokenize(bytes),
        }
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.is_canonical
    }
}
