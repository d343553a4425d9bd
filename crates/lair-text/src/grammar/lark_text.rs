//! Parts of Lark grammars as text.

use std::fmt::Write;

use super::error::{GrammarError, GrammarKind};
use super::limits::DEPTH_MAX;
use crate::tokenizer::{AddSpecial, Special, Tokenizer};

/// A quoted string of Lark that stands for exactly this text.
pub fn lark_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control < ' ' || control == '\u{7f}' => {
                let _ = write!(quoted, "\\u{:04x}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// An expression of Lark for a text in which spellings of control tokens stand for these tokens: a marker before a tool
/// call, for example, which one model writes as a token of its own and another as plain text. It can be used in rules, not
/// in terminals.
pub fn lark_literal(tokenizer: &Tokenizer, text: &str) -> String {
    let is_apart = |token: &u32| tokenizer.is_control(*token) || tokenizer.is_end_of_generation(*token);
    let tokens = tokenizer.encode(text, Special::Parse, AddSpecial::No);
    if !tokens.iter().any(is_apart) {
        return lark_string(text);
    }
    let (mut parts, mut rest) = (Vec::new(), text);
    for token in tokens.iter().filter(|token| is_apart(token)) {
        let spelling = String::from_utf8_lossy(tokenizer.token_bytes(*token).unwrap_or_default()).into_owned();
        let Some((before, after)) = rest.split_once(spelling.as_str()) else { continue };
        if !before.is_empty() {
            parts.push(lark_string(before));
        }
        parts.push(format!("<[{token}]>"));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(lark_string(rest));
    }
    parts.join(" ")
}

/// Refuses a grammar whose brackets are nested more deeply than its compiler's stack is meant for. Those in strings and
/// regular expressions do not count.
pub(super) fn check_nesting(lark: &str) -> Result<(), GrammarError> {
    let (mut depth, mut quote, mut is_escaped) = (0usize, None, false);
    for character in lark.chars() {
        match (quote, character) {
            _ if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            // Neither a string nor an expression goes over a line.
            (Some(end), found) if found == end || found == '\n' => quote = None,
            (Some(_), _) => {}
            (None, '"' | '/') => quote = Some(character),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            let (kind, what) = (GrammarKind::Lark, "levels of nesting");
            return Err(GrammarError::TooLarge { kind, what, found: depth, limit: DEPTH_MAX });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_lark_reads_them() {
        assert_eq!(lark_string("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\u0001é\"");
    }
}
