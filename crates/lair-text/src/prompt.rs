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

/// Tokens of a text to be embedded, framed as the model wants it. Control tokens that the text spells out stay text: it
/// is a user's.
pub fn tokens_of_input(tokenizer: &Tokenizer, text: &str) -> Vec<TokenId> {
    tokenizer.encode(text, Special::AsText, AddSpecial::Yes)
}

/// Cuts the tokens of a text to be embedded to `length`; what frames its end stays.
pub fn cut_input(tokenizer: &Tokenizer, tokens: &mut Vec<TokenId>, length: usize) {
    let (_, after) = tokenizer.frame();
    if tokens.len() > length {
        let is_framed = tokens.ends_with(after) && after.len() < length;
        let kept = if is_framed { length - after.len() } else { length };
        tokens.truncate(kept);
        tokens.extend(after.iter().filter(|_| is_framed));
    }
}

/// Tokens of a query and a document that a reranker reads together.
pub fn tokens_of_pair(tokenizer: &Tokenizer, query: &str, document: &str) -> Vec<TokenId> {
    let encode = |text: &str| tokenizer.encode(text, Special::AsText, AddSpecial::No);
    let (before, after) = tokenizer.frame();
    let mut tokens = before.to_vec();
    tokens.extend(encode(query));
    tokens.extend_from_slice(after);
    tokens.extend(tokenizer.separator_between());
    tokens.extend(encode(document));
    tokens.extend_from_slice(after);
    tokens
}

/// Tokens of a query and a document in a template with the places `{query}` and `{document}`: only what the template
/// writes can be control tokens.
pub fn tokens_of_rank_template(tokenizer: &Tokenizer, template: &str, query: &str, document: &str) -> Vec<TokenId> {
    let mut segments = Vec::new();
    let mut rest = template;
    let next_place = |text: &str| {
        let places = [("{query}", query), ("{document}", document)];
        places
            .into_iter()
            .filter_map(|(place, value)| Some((text.find(place)?, place, value)))
            .min_by_key(|found| found.0)
    };
    while let Some((start, place, value)) = next_place(rest) {
        segments.push(Segment { text: &rest[..start], trusted: true });
        segments.push(Segment { text: value, trusted: false });
        rest = &rest[start + place.len()..];
    }
    segments.push(Segment { text: rest, trusted: true });
    with_begin_token(tokenizer, tokenizer.encode_segments(&segments, AddSpecial::No))
}
