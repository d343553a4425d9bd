//! Sets of strings, and of names of properties.

use super::pattern::{any_character, quoted_text};
use super::scalars::Algebra;
use super::terminal::{Terminal, TerminalFacts};
use crate::grammar::GrammarError;

/// Some strings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Text {
    /// All.
    Any,
    /// None.
    Nothing,
    /// One.
    Exactly(String),
    /// Those in which a pattern is found: the expression of what stands in the quotation marks.
    Matching(String),
    /// Those of so many characters.
    Length(usize, Option<usize>),
    /// What all have.
    All(Vec<Text>),
    /// What one has.
    Some(Vec<Text>),
    /// The others.
    Not(Box<Text>),
}

impl Text {
    /// The others.
    pub(super) fn not(self) -> Text {
        match self {
            Text::Any => Text::Nothing,
            Text::Nothing => Text::Any,
            Text::Not(inner) => *inner,
            other => Text::Not(Box::new(other)),
        }
    }

    /// What is in one of these.
    pub(super) fn some_of(parts: impl IntoIterator<Item = Text>) -> Text {
        parts.into_iter().fold(Text::Nothing, Algebra::or)
    }

    /// The strings that are mentioned one by one.
    pub(super) fn mentioned<'t>(&'t self, found: &mut Vec<&'t str>) {
        match self {
            Text::Exactly(text) => {
                if !found.contains(&text.as_str()) {
                    found.push(text);
                }
            }
            Text::All(parts) | Text::Some(parts) => parts.iter().for_each(|part| part.mentioned(found)),
            Text::Not(part) => part.mentioned(found),
            Text::Any | Text::Nothing | Text::Matching(_) | Text::Length(..) => {}
        }
    }

    /// The same, given that none of the strings that are mentioned is meant.
    pub(super) fn of_others(&self) -> Text {
        match self {
            Text::Exactly(_) => Text::Nothing,
            Text::All(parts) => parts.iter().map(Text::of_others).fold(Text::Any, Algebra::and),
            Text::Some(parts) => Text::some_of(parts.iter().map(Text::of_others)),
            Text::Not(part) => part.of_others().not(),
            other => other.clone(),
        }
    }

    /// Whether a string is in.
    pub(super) fn has(&self, text: &str, facts: &mut TerminalFacts) -> Result<bool, GrammarError> {
        Ok(match self {
            Text::Any => true,
            Text::Nothing => false,
            Text::Exactly(one) => one == text,
            Text::Matching(expression) => {
                let quoted = serde_json::Value::from(text).to_string();
                let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default();
                // JSON's writer leaves this one as it is; in answers it has a backslash.
                facts.matches(&Terminal::Regex(expression.clone()), &inside.replace('\u{7f}', "\\u007f"))?
            }
            Text::Length(least, most) => {
                let length = text.chars().count();
                length >= *least && most.is_none_or(|most| length <= most)
            }
            Text::All(parts) => {
                for part in parts {
                    if !part.has(text, facts)? {
                        return Ok(false);
                    }
                }
                true
            }
            Text::Some(parts) => {
                for part in parts {
                    if part.has(text, facts)? {
                        return Ok(true);
                    }
                }
                false
            }
            Text::Not(part) => !part.has(text, facts)?,
        })
    }

    /// The word of the grammar that spells them, in quotation marks; nothing if there is none for certain.
    pub(super) fn terminal(&self) -> Option<Terminal> {
        match self {
            Text::Nothing => None,
            text if text.is_string() => Some(text.expression()),
            text => Some(Terminal::And(vec![any(), text.expression()])),
        }
    }

    /// Whether its expression matches strings only.
    fn is_string(&self) -> bool {
        match self {
            Text::All(parts) => parts.iter().any(Text::is_string),
            Text::Some(parts) => parts.iter().all(Text::is_string),
            Text::Not(_) | Text::Nothing => false,
            Text::Any | Text::Exactly(_) | Text::Matching(_) | Text::Length(..) => true,
        }
    }

    /// What matches them, and may match what is no string.
    fn expression(&self) -> Terminal {
        match self {
            Text::Any => any(),
            Text::Nothing => Terminal::Not(Box::new(any())),
            Text::Exactly(text) => {
                let quoted = serde_json::Value::from(text.as_str()).to_string();
                if text.contains(|character: char| character < ' ' || character == '\u{7f}') {
                    Terminal::Regex(format!("\"{}\"", quoted_text(text)))
                } else {
                    Terminal::Literal(quoted)
                }
            }
            Text::Matching(expression) => Terminal::Regex(format!("\"(?:{expression})\"")),
            Text::Length(least, most) => {
                let most = most.map_or(String::new(), |most| most.to_string());
                Terminal::Regex(format!("\"{}{{{least},{most}}}\"", any_character()))
            }
            Text::All(parts) => Terminal::And(parts.iter().map(Text::expression).collect()),
            Text::Some(parts) => Terminal::Or(parts.iter().map(Text::expression).collect()),
            Text::Not(part) => Terminal::Not(Box::new(part.expression())),
        }
    }
}

fn any() -> Terminal {
    Terminal::Regex(format!("\"{}*\"", any_character()))
}

impl Algebra for Text {
    fn all() -> Text {
        Text::Any
    }

    fn none() -> Text {
        Text::Nothing
    }

    fn and(self, other: Text) -> Text {
        match (self, other) {
            (Text::Nothing, _) | (_, Text::Nothing) => Text::Nothing,
            (Text::Any, text) | (text, Text::Any) => text,
            (Text::Exactly(one), Text::Exactly(two)) if one != two => Text::Nothing,
            (one, two) if one == two => one,
            (Text::All(mut parts), Text::All(more)) => {
                parts.extend(more);
                Text::All(parts)
            }
            (Text::All(mut parts), part) | (part, Text::All(mut parts)) => {
                if !parts.contains(&part) {
                    parts.push(part);
                }
                Text::All(parts)
            }
            (one, two) => Text::All(vec![one, two]),
        }
    }

    fn or(self, other: Text) -> Text {
        match (self, other) {
            (Text::Any, _) | (_, Text::Any) => Text::Any,
            (Text::Nothing, text) | (text, Text::Nothing) => text,
            (one, two) if one == two => one,
            (Text::Some(mut parts), Text::Some(more)) => {
                parts.extend(more);
                Text::Some(parts)
            }
            (Text::Some(mut parts), part) | (part, Text::Some(mut parts)) => {
                if !parts.contains(&part) {
                    parts.push(part);
                }
                Text::Some(parts)
            }
            (one, two) => Text::Some(vec![one, two]),
        }
    }

    fn is_all(&self) -> bool {
        *self == Text::Any
    }

    fn is_none(&self) -> bool {
        *self == Text::Nothing
    }

    fn size(&self) -> usize {
        match self {
            Text::All(parts) | Text::Some(parts) => parts.iter().map(Algebra::size).sum(),
            Text::Not(part) => part.size(),
            _ => 1,
        }
    }
}
