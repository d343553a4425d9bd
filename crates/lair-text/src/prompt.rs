//! Conversations, and texts as the tokens a model is given.

use serde_json::{Map, Value as Json};

use crate::template::Rendered;
use crate::tokenizer::{AddSpecial, Segment, Special, TokenId, Tokenizer};

/// A conversation and what a template is told besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conversation<'c> {
    /// Objects with `role`, `content` and so on.
    pub messages: &'c [Json],
    /// Tools the model may call.
    pub tools: Option<&'c [Json]>,
    /// Extra variables, for example `enable_thinking`.
    pub variables: Option<&'c Map<String, Json>>,
}

/// The token that begins a text, where the model wants one.
pub fn begin_token(tokenizer: &Tokenizer) -> Option<TokenId> {
    tokenizer.bos().filter(|_| tokenizer.adds_bos())
}

/// Tokens of a text. With [`Special::Parse`] the spellings of control tokens in it are control tokens: only for text that
/// the operator of the program gives as it is.
pub fn tokens_of_text(tokenizer: &Tokenizer, text: &str, special: Special) -> Vec<TokenId> {
    with_begin_token(tokenizer, tokenizer.encode(text, special, AddSpecial::No))
}

/// Tokens of a rendered conversation: only what the template wrote can be control tokens.
pub fn tokens_of_rendered(tokenizer: &Tokenizer, rendered: &Rendered) -> Vec<TokenId> {
    let segments: Vec<Segment<'_>> = rendered.pieces().map(|(text, trusted)| Segment { text, trusted }).collect();
    with_begin_token(tokenizer, tokenizer.encode_segments(&segments, AddSpecial::No))
}

fn with_begin_token(tokenizer: &Tokenizer, mut tokens: Vec<TokenId>) -> Vec<TokenId> {
    if let Some(begin) = begin_token(tokenizer)
        && tokens.first() != Some(&begin)
    {
        tokens.insert(0, begin);
    }
    tokens
}
