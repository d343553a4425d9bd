//! Rewrites text before it is split: the form in which the vocabulary was learnt.

use std::borrow::Cow;

use regex::Regex;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfkc_quick};

use super::character_map::CharacterMap;
use super::error::TokenizerError;
use super::split::compile;
use super::trie::Trie;

/// How sentence-piece vocabularies write a space.
pub(crate) const ESCAPED_SPACE: char = '\u{2581}';

/// Where a fragment stands in its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing precedes it.
    First,
    /// A special token precedes it.
    AfterSpecial,
}

/// One rewriting.
#[derive(Debug, Clone)]
pub(crate) enum Normalization {
    /// `text` in front of every fragment, or only of one that begins the input; not where it is there already if
    /// `once`.
    Prefix {
        /// What is put in front.
        text: String,
        /// Only at the beginning of the input.
        only_first: bool,
        /// Not if the fragment begins with it.
        once: bool,
    },
    /// Spaces become [`ESCAPED_SPACE`].
    EscapeSpaces,
    /// Letters become lower case.
    Lowercase,
    /// Canonical composition.
    Nfc,
    /// Canonical decomposition.
    Nfd,
    /// Compatibility composition.
    Nfkc,
    /// Compatibility decomposition.
    Nfkd,
    /// Every match becomes a text.
    Replace(Regex, String),
    /// A space before and behind every match.
    SpacesAround(Regex),
    /// Whitespace goes at the ends named.
    Trim {
        /// At the start.
        left: bool,
        /// At the end.
        right: bool,
    },
    /// All that SentencePiece does.
    SentencePiece(Box<SentencePieceNormalizer>),
    /// Only its character map, character by character.
    CharacterMap(CharacterMap),
}

impl Normalization {
    /// A step that replaces what `pattern` matches.
    pub(crate) fn replace(pattern: &str, with: &str) -> Result<Self, TokenizerError> {
        Ok(Self::Replace(compile(pattern)?, with.to_owned()))
    }

    fn apply<'t>(&self, text: &'t str, place: Place) -> Cow<'t, str> {
        match self {
            Self::Prefix { text: prefix, only_first, once } => {
                if text.is_empty()
                    || (*only_first && place != Place::First)
                    || (*once && text.starts_with(prefix.as_str()))
                {
                    return Cow::Borrowed(text);
                }
                Cow::Owned(format!("{prefix}{text}"))
            }
            Self::EscapeSpaces if text.contains(' ') => {
                Cow::Owned(text.replace(' ', ESCAPED_SPACE.encode_utf8(&mut [0; 4])))
            }
            Self::EscapeSpaces => Cow::Borrowed(text),
            // Character by character, without the rule for a final sigma, as all tokenizers do it.
            Self::Lowercase => Cow::Owned(text.chars().flat_map(char::to_lowercase).collect()),
            Self::Nfc if is_nfc_quick(text.chars()) == IsNormalized::Yes => Cow::Borrowed(text),
            Self::Nfkc if is_nfkc_quick(text.chars()) == IsNormalized::Yes => Cow::Borrowed(text),
            Self::Nfc => Cow::Owned(text.nfc().collect()),
            Self::Nfd => Cow::Owned(text.nfd().collect()),
            Self::Nfkc => Cow::Owned(text.nfkc().collect()),
            Self::Nfkd => Cow::Owned(text.nfkd().collect()),
            Self::Replace(pattern, with) => pattern.replace_all(text, regex::NoExpand(with)),
            Self::SpacesAround(pattern) => pattern.replace_all(text, " $0 "),
            Self::Trim { left, right } => {
                let text = if *left { text.trim_start() } else { text };
                Cow::Borrowed(if *right { text.trim_end() } else { text })
            }
            Self::SentencePiece(normalizer) => Cow::Owned(normalizer.normalize(text)),
            Self::CharacterMap(map) => {
                let mut rewritten = String::with_capacity(text.len());
                let mut rest = text;
                while let Some(character) = rest.chars().next() {
                    let plain = (character.len_utf8(), &rest[..character.len_utf8()]);
                    let (length, replacement) = map.find(rest).unwrap_or(plain);
                    rewritten.push_str(replacement);
                    rest = &rest[length..];
                }
                Cow::Owned(rewritten)
            }
        }
    }
}

/// Rewrites `text`, a fragment between special tokens.
pub(crate) fn normalize<'t>(steps: &[Normalization], text: &'t str, place: Place) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    for step in steps {
        text = match text {
            Cow::Borrowed(text) => step.apply(text, place),
            Cow::Owned(text) => Cow::Owned(step.apply(&text, place).into_owned()),
        };
    }
    text
}

/// Parts of BERT's normalizer (Hugging Face's `BertNormalizer`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bert {
    /// Drop control characters; all whitespace becomes a space.
    pub(crate) cleans: bool,
    /// Put spaces around ideographs.
    pub(crate) sets_ideographs_apart: bool,
    /// Drop accents.
    pub(crate) strips_accents: bool,
    /// Lower the case.
    pub(crate) lowers: bool,
}

impl Bert {
    /// The steps.
    pub(crate) fn steps(self) -> Result<Vec<Normalization>, TokenizerError> {
        let mut steps = Vec::new();
        if self.cleans {
            steps.push(Normalization::replace(r"[\p{C}\x{FFFD}&&[^\t\n\r]]+", "")?);
            steps.push(Normalization::replace(r"\s", " ")?);
        }
        if self.sets_ideographs_apart {
            steps.push(Normalization::SpacesAround(compile(IDEOGRAPHS)?));
        }
        if self.strips_accents {
            steps.push(Normalization::Nfd);
            steps.push(Normalization::replace(r"\p{Mn}+", "")?);
        }
        if self.lowers {
            steps.push(Normalization::Lowercase);
        }
        Ok(steps)
    }
}

/// The blocks that BERT calls Chinese; 2B820 reads 2B920 in the implementation that trained its descendants.
const IDEOGRAPHS: &str = r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B920}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]";

/// The normalizer of a SentencePiece model.
#[derive(Debug, Clone)]
pub(crate) struct SentencePieceNormalizer {
    /// Which characters are replaced.
    pub(crate) characters: Option<CharacterMap>,
    /// Pieces that are not rewritten.
    pub(crate) user_defined: Trie,
    /// A space in front of the text.
    pub(crate) adds_space_prefix: bool,
    /// Runs of spaces become one; none at the ends.
    pub(crate) removes_extra_spaces: bool,
    /// Spaces become [`ESCAPED_SPACE`].
    pub(crate) escapes_spaces: bool,
}

impl SentencePieceNormalizer {
    /// The next characters of `text` and what they become.
    fn next<'t>(&'t self, text: &'t str) -> (usize, &'t str) {
        if let Some((length, _)) = self.user_defined.longest_prefix(text.as_bytes())
            && text.is_char_boundary(length)
        {
            return (length, &text[..length]);
        }
        let plain = || {
            let length = text.chars().next().map_or(0, char::len_utf8);
            (length, &text[..length])
        };
        self.characters.as_ref().and_then(|map| map.find(text)).unwrap_or_else(plain)
    }

    fn normalize(&self, text: &str) -> String {
        let space = if self.escapes_spaces { "\u{2581}" } else { " " };
        let mut rest = text;
        if self.removes_extra_spaces {
            while !rest.is_empty() {
                let (length, rewritten) = self.next(rest);
                if rewritten != " " {
                    break;
                }
                rest = &rest[length..];
            }
        }
        let mut output = String::with_capacity(text.len() + text.len() / 2);
        if rest.is_empty() {
            return output;
        }
        if self.adds_space_prefix {
            output.push_str(space);
        }
        let mut follows_space = self.removes_extra_spaces;
        while !rest.is_empty() {
            let (length, mut rewritten) = self.next(rest);
            rest = &rest[length..];
            if follows_space {
                rewritten = rewritten.trim_start_matches(' ');
            }
            if !rewritten.is_empty() {
                for (index, part) in rewritten.split(' ').enumerate() {
                    if index > 0 {
                        output.push_str(space);
                    }
                    output.push_str(part);
                }
                follows_space = self.removes_extra_spaces && rewritten.ends_with(' ');
            }
        }
        if self.removes_extra_spaces {
            output.truncate(output.trim_end_matches(space).len());
        }
        output
    }
}
