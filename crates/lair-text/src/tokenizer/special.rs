//! Finds special tokens in text, in linear time: the longest of those that start leftmost.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

use super::error::TokenizerError;
use super::vocabulary::TokenId;

/// A token that is matched as a whole, before the tokenizer's own algorithm sees the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpecialToken {
    pub(crate) id: TokenId,
    /// How it is written in text.
    pub(crate) text: Vec<u8>,
    /// Only matched where control tokens may be.
    pub(crate) is_control: bool,
    /// Takes the whitespace before it.
    pub(crate) strips_left: bool,
    /// Takes the whitespace behind it.
    pub(crate) strips_right: bool,
    /// Only matched where no letter or digit stands beside it.
    pub(crate) is_single_word: bool,
}

impl SpecialToken {
    /// A token without further conditions.
    pub(crate) fn new(id: TokenId, text: &[u8], is_control: bool) -> Self {
        let text = text.to_vec();
        Self { id, text, is_control, strips_left: false, strips_right: false, is_single_word: false }
    }

    /// Whether it reads like a marker of a conversation, `<|user|>`: then the text of a user must not become it even
    /// where the vocabulary does not call it a control token.
    fn is_marker(&self) -> bool {
        let is_between =
            |open: &str, close: &str| self.text.starts_with(open.as_bytes()) && self.text.ends_with(close.as_bytes());
        is_between("<|", "|>") || is_between("<｜", "｜>")
    }
}

/// Which special tokens a stretch of text may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// All of them.
    All,
    /// Those the vocabulary calls user-defined.
    UserDefined,
    /// User-defined ones that are no conversation markers.
    Harmless,
}

/// A part of a text: a special token, or text for the tokenizer's own algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fragment {
    Token(TokenId),
    Text(Range<usize>),
}

/// All special tokens of a vocabulary.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpecialTokens {
    all: Matcher,
    user_defined: Matcher,
    harmless: Matcher,
}

#[derive(Debug, Clone, Default)]
struct Matcher {
    tokens: Vec<SpecialToken>,
    /// `None`: no tokens.
    automaton: Option<AhoCorasick>,
}

impl SpecialTokens {
    /// Builds the automata. Of two tokens with one spelling the first counts.
    pub(crate) fn new(mut tokens: Vec<SpecialToken>) -> Result<Self, TokenizerError> {
        tokens.retain(|token| !token.text.is_empty());
        let user_defined: Vec<_> = tokens.iter().filter(|token| !token.is_control).cloned().collect();
        let harmless: Vec<_> = user_defined.iter().filter(|token| !token.is_marker()).cloned().collect();
        Ok(Self {
            all: Matcher::new(tokens)?,
            user_defined: Matcher::new(user_defined)?,
            harmless: Matcher::new(harmless)?,
        })
    }

    /// Cuts the `Text` fragments at the special tokens found in them.
    pub(crate) fn partition(&self, text: &str, fragments: Vec<Fragment>, allowed: Allowed) -> Vec<Fragment> {
        let matcher = match allowed {
            Allowed::All => &self.all,
            Allowed::UserDefined => &self.user_defined,
            Allowed::Harmless => &self.harmless,
        };
        let Some(automaton) = &matcher.automaton else { return fragments };
        let mut parts = Vec::with_capacity(fragments.len());
        for fragment in fragments {
            match fragment {
                Fragment::Token(_) => parts.push(fragment),
                Fragment::Text(range) => matcher.cut(automaton, text, range, &mut parts),
            }
        }
        parts
    }
}

impl Matcher {
    fn new(tokens: Vec<SpecialToken>) -> Result<Self, TokenizerError> {
        if tokens.is_empty() {
            return Ok(Self::default());
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(tokens.iter().map(|token| &token.text))
            .map_err(|error| TokenizerError::UnsupportedRegex {
                pattern: format!("{} special tokens", tokens.len()),
                reason: error.to_string(),
            })?;
        Ok(Self { tokens, automaton: Some(automaton) })
    }

    fn cut(&self, automaton: &AhoCorasick, text: &str, range: Range<usize>, parts: &mut Vec<Fragment>) {
        let mut start = range.start;
        for found in automaton.find_iter(&text[range.clone()]) {
            let token = &self.tokens[found.pattern().as_usize()];
            let (from, to) = (range.start + found.start(), range.start + found.end());
            // A token may not begin or end inside a character of the text, nor inside whitespace already taken.
            if from < start || !text.is_char_boundary(from) || !text.is_char_boundary(to) {
                continue;
            }
            let is_word = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
            if token.is_single_word && (is_word(text[..from].chars().next_back()) || is_word(text[to..].chars().next()))
            {
                continue;
            }
            let before = &text[start..from];
            let before = if token.strips_left { before.trim_end() } else { before };
            if !before.is_empty() {
                parts.push(Fragment::Text(start..start + before.len()));
            }
            parts.push(Fragment::Token(token.id));
            start = to;
            if token.strips_right {
                start += text[to..range.end].len() - text[to..range.end].trim_start().len();
            }
        }
        if start < range.end {
            parts.push(Fragment::Text(start..range.end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(tokens: Vec<SpecialToken>, text: &str, allowed: Allowed) -> Vec<String> {
        let special = SpecialTokens::new(tokens).expect("few tokens");
        let whole = vec![Fragment::Text(0..text.len())];
        let show = |fragment| match fragment {
            Fragment::Token(id) => format!("#{id}"),
            Fragment::Text(range) => text[range].to_owned(),
        };
        special.partition(text, whole, allowed).into_iter().map(show).collect()
    }

    #[test]
    fn the_longest_of_the_leftmost_wins() {
        let tokens = || {
            vec![
                SpecialToken::new(1, b"<a>", true),
                SpecialToken::new(2, b"<a><b>", true),
                SpecialToken::new(3, b"  ", false),
                SpecialToken::new(4, b"<|user|>", false),
            ]
        };
        assert_eq!(parts(tokens(), "x<a><b>  y<a>", Allowed::All), ["x", "#2", "#3", "y", "#1"]);
        assert_eq!(parts(tokens(), "<a>  <|user|>", Allowed::UserDefined), ["<a>", "#3", "#4"]);
        assert_eq!(parts(tokens(), "<a>  <|user|>", Allowed::Harmless), ["<a>", "#3", "<|user|>"]);
    }

    #[test]
    fn whitespace_is_stripped_on_the_side_asked_for() {
        let left = SpecialToken { strips_left: true, ..SpecialToken::new(1, b"<l>", true) };
        let right = SpecialToken { strips_right: true, ..SpecialToken::new(2, b"<r>", true) };
        assert_eq!(parts(vec![left.clone()], "a \n<l> b", Allowed::All), ["a", "#1", " b"]);
        assert_eq!(parts(vec![right.clone()], "a <r> \nb", Allowed::All), ["a ", "#2", "b"]);
        assert_eq!(parts(vec![left, right], " <r> <l> ", Allowed::All), [" ", "#2", "#1", " "]);
    }

    #[test]
    fn single_words_stand_alone() {
        let token = SpecialToken { is_single_word: true, ..SpecialToken::new(1, b"ab", false) };
        assert_eq!(parts(vec![token], "ab abc (ab)", Allowed::All), ["#1", " abc (", "#1", ")"]);
    }
}
