//! Parts of Lark grammars as text.

use std::fmt::Write;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_lark_reads_them() {
        assert_eq!(lark_string("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\u0001é\"");
    }
}
