//! Rewrites text before it is split: the form in which the vocabulary was learnt.

use std::borrow::Cow;

/// How sentence-piece vocabularies write a space.
pub(crate) const ESCAPED_SPACE: char = '\u{2581}';

/// One rewriting.
#[derive(Debug, Clone)]
pub(crate) enum Normalization {
    /// A space in front of a text that begins the input or follows a special token.
    SpacePrefix,
    /// Spaces become [`ESCAPED_SPACE`].
    EscapeSpaces,
    /// Letters become lower case.
    Lowercase,
}

/// Rewrites `text`, a fragment between special tokens.
pub(crate) fn normalize<'t>(steps: &[Normalization], text: &'t str, follows_special: bool) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    for step in steps {
        text = match step {
            Normalization::SpacePrefix if follows_special => Cow::Owned(format!(" {text}")),
            Normalization::SpacePrefix => text,
            Normalization::EscapeSpaces if text.contains(' ') => {
                Cow::Owned(text.replace(' ', ESCAPED_SPACE.encode_utf8(&mut [0; 4])))
            }
            Normalization::EscapeSpaces => text,
            Normalization::Lowercase => Cow::Owned(text.to_lowercase()),
        };
    }
    text
}
