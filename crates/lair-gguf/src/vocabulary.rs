//! Checks the vocabulary in a model's metadata, so that a tokenizer built on it cannot be led outside of it.

use std::collections::HashSet;

use crate::error::GgufError;
use crate::header::limits;
use crate::metadata::Metadata;
use crate::string_array::StringArray;
use crate::value::{Excerpt, Value};

const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

/// Checks the keys `tokenizer.ggml.*` against each other. A model without a vocabulary passes.
///
/// What holds afterwards: between one and [`limits::VOCABULARY_COUNT_MAX`] pieces of at most
/// [`limits::PIECE_LENGTH_MAX`] bytes; scores, if there are any, are as many and finite; token types, if there are
/// any, are as many and between 0 and 6; every id (keys ending in `_token_id`, and `suppress_tokens`) names a piece;
/// every merge joins two pieces into a piece; in a vocabulary with merges no piece comes twice.
///
/// # Errors
/// Names the key, the entry, and the rule.
pub fn check_vocabulary(metadata: &Metadata) -> Result<(), GgufError> {
    let Some(tokens) = metadata.optional_strings(TOKENS)? else {
        return check_nothing_refers_to_tokens(metadata);
    };
    check_tokens(tokens)?;
    if let Some(scores) = metadata.optional_f32_array(SCORES)? {
        check_length(SCORES, scores.len(), tokens.len())?;
        if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
            return Err(broken(SCORES, Some(index), scores[index], "a finite number"));
        }
    }
    if let Some(types) = metadata.optional_i32_array(TOKEN_TYPES)? {
        check_length(TOKEN_TYPES, types.len(), tokens.len())?;
        if let Some(index) = types.iter().position(|token_type| !(0..=6).contains(token_type)) {
            return Err(broken(TOKEN_TYPES, Some(index), types[index], "a token type, 0 to 6"));
        }
    }
    check_ids(metadata, tokens.len())?;
    match metadata.optional_strings(MERGES)? {
        Some(merges) if !merges.is_empty() => check_merges(merges, tokens),
        _ => Ok(()),
    }
}

fn check_nothing_refers_to_tokens(metadata: &Metadata) -> Result<(), GgufError> {
    match [SCORES, TOKEN_TYPES, MERGES].into_iter().find(|key| metadata.contains(key)) {
        Some(_) => Err(GgufError::MissingKey { key: TOKENS.to_owned(), expected: "an array of strings" }),
        None => Ok(()),
    }
}

fn check_tokens(tokens: &StringArray) -> Result<(), GgufError> {
    if tokens.is_empty() || tokens.len() > limits::VOCABULARY_COUNT_MAX {
        let expected = format!("1 to {}", limits::VOCABULARY_COUNT_MAX);
        return Err(broken(TOKENS, None, format!("{} pieces", tokens.len()), expected));
    }
    match tokens.iter().position(|piece| piece.len() > limits::PIECE_LENGTH_MAX) {
        Some(index) => {
            let length = tokens.get(index).map_or(0, str::len);
            Err(broken(TOKENS, Some(index), format!("{length} bytes"), format!("at most {}", limits::PIECE_LENGTH_MAX)))
        }
        None => Ok(()),
    }
}

fn check_length(key: &str, length: usize, token_count: usize) -> Result<(), GgufError> {
    if length != token_count {
        return Err(broken(key, None, format!("{length} entries"), format!("{token_count}, one for each piece")));
    }
    Ok(())
}

fn check_ids(metadata: &Metadata, token_count: usize) -> Result<(), GgufError> {
    let is_id = |id: i128| (0..token_count as i128).contains(&id);
    let expected = || format!("an id below {token_count}");
    for (key, value) in metadata.iter().filter(|(key, _)| key.starts_with("tokenizer.ggml.")) {
        if key.ends_with("_token_id") {
            match value.as_integer() {
                Some(id) if is_id(id) => {}
                Some(id) => return Err(broken(key, None, id, expected())),
                None => return Err(broken(key, None, value.describe_type(), expected())),
            }
        }
        if let ("tokenizer.ggml.suppress_tokens", Value::Array(ids)) = (key, value) {
            for index in 0..ids.len() {
                match ids.integer(index) {
                    Some(id) if is_id(id) => {}
                    Some(id) => return Err(broken(key, Some(index), id, expected())),
                    None => return Err(broken(key, Some(index), value.describe_type(), expected())),
                }
            }
        }
    }
    Ok(())
}

/// A merge is `LEFT RIGHT`; a piece may itself begin with the space, so the one that parts them is not the first byte.
fn check_merges(merges: &StringArray, tokens: &StringArray) -> Result<(), GgufError> {
    let mut pieces = HashSet::with_capacity(tokens.len());
    for (index, piece) in tokens.iter().enumerate() {
        // Some vocabularies leave unused places empty.
        if !pieces.insert(piece) && !piece.is_empty() {
            return Err(broken(TOKENS, Some(index), format!("`{}` again", Excerpt(piece)), "each piece once"));
        }
    }
    let mut joined = String::new();
    for (index, merge) in merges.iter().enumerate() {
        let first_length = merge.chars().next().map_or(0, char::len_utf8);
        let Some(place) = merge[first_length..].find(' ').map(|place| first_length + place) else {
            return Err(broken(
                MERGES,
                Some(index),
                format!("`{}`", Excerpt(merge)),
                "two pieces with a space between",
            ));
        };
        let (left, right) = (&merge[..place], &merge[place + 1..]);
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        if let Some(piece) = [left, right, &joined].into_iter().find(|piece| !pieces.contains(piece)) {
            let found = format!("`{}`, and `{}` is not in the vocabulary", Excerpt(merge), Excerpt(piece));
            return Err(broken(MERGES, Some(index), found, "pieces of the vocabulary"));
        }
    }
    Ok(())
}

fn broken(key: &str, index: Option<usize>, found: impl ToString, expected: impl ToString) -> GgufError {
    let (found, expected) = (found.to_string(), expected.to_string());
    GgufError::Vocabulary { key: key.to_owned(), index, found, expected }
}
