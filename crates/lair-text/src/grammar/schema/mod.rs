//! JSON schemas: read in every draft, carried out for each kind of values, and written as rules of a grammar.
//!
//! | step | where |
//! | --- | --- |
//! | documents, addresses, anchors; what a reference leads to | `documents`, `drafts` |
//! | the keywords of each schema, checked | `node`, `nodes` |
//! | "and", "or", "not", "if" carried out for one kind of values | `expand`, `kinds` |
//! | sets of words, numbers and strings | `scalars`, `numbers`, `decimal`, `text`, `pattern`, `formats` |
//! | ways to fulfil a schema with a list or an object | `alternative` |
//! | rules, without those that nothing completes | `writer`, `lists`, `unique`, `objects`, `rules`, `terminal` |

mod alternative;
mod decimal;
mod documents;
mod drafts;
mod expand;
mod formats;
mod kinds;
mod lists;
mod node;
mod nodes;
mod numbers;
mod objects;
mod pattern;
mod rules;
mod scalars;
mod terminal;
mod text;
mod unique;
mod writer;

use llguidance::api::TopLevelGrammar;
use llguidance::regex_to_lark;
use serde_json::{Value as Json, json};

use self::documents::KnownDocuments;
use self::expand::Expansion;
use self::nodes::Nodes;
use self::writer::Writer;
use super::error::{GrammarError, GrammarKind};
use super::limits::{DEPTH_MAX, SCHEMA_NODES_MAX};
use super::source::{SchemaStyle, Whitespace};

/// What models write between the parts of JSON. Bounded, for a small model may write white space for ever.
const USUAL_WHITESPACE: &str = r"( |\r?\n[ \t]{0,40})";
/// The compiler's options stand under this key of a schema; those of a stranger's schema are left out.
const OPTIONS_KEY: &str = "x-guidance";

/// Refuses a schema that is too large or too deep; gives its length in bytes, roughly.
pub(super) fn check_extent(schema: &Json) -> Result<usize, GrammarError> {
    let too_large = |what, found, limit| GrammarError::TooLarge { kind: GrammarKind::Schema, what, found, limit };
    let (mut nodes, mut size_bytes) = (0usize, 0usize);
    let mut open = vec![(schema, 1usize)];
    while let Some((value, depth)) = open.pop() {
        nodes += 1;
        if nodes > SCHEMA_NODES_MAX {
            return Err(too_large("parts", nodes, SCHEMA_NODES_MAX));
        }
        // A level of a schema is two of JSON: `properties`, and a property in it.
        if depth > 2 * DEPTH_MAX {
            return Err(too_large("levels of nesting", depth / 2, DEPTH_MAX));
        }
        size_bytes += match value {
            Json::String(text) => text.len(),
            Json::Object(map) => {
                open.extend(map.values().map(|value| (value, depth + 1)));
                map.keys().map(String::len).sum()
            }
            Json::Array(items) => {
                open.extend(items.iter().map(|value| (value, depth + 1)));
                1
            }
            _ => 4,
        };
    }
    Ok(size_bytes)
}

/// The grammar of any JSON object.
pub(super) fn any_object(style: &SchemaStyle) -> Result<TopLevelGrammar, GrammarError> {
    prepared(&json!({ "type": "object" }), style, &KnownDocuments::new())
}

/// The grammar of a schema whose extent has been checked.
pub(super) fn prepared(
    schema: &Json,
    style: &SchemaStyle,
    known: &KnownDocuments,
) -> Result<TopLevelGrammar, GrammarError> {
    Ok(TopLevelGrammar::from_lark(lark(schema, style, known)?))
}

fn lark(schema: &Json, style: &SchemaStyle, known: &KnownDocuments) -> Result<String, GrammarError> {
    let (mut nodes, root) = Nodes::of(schema, known)?;
    let root = nodes.claim(root, 0)?;
    let rules = Writer::new(Expansion::new(nodes), style.extra_properties).write(root)?;
    let (space, options) = match &style.whitespace {
        Whitespace::Usual => (Some(USUAL_WHITESPACE.to_owned()), json!({ "whitespace_pattern": USUAL_WHITESPACE })),
        Whitespace::None => (None, json!({ "whitespace_flexible": false })),
        Whitespace::Pattern(pattern) => (Some(regex_to_lark(pattern, "")), json!({ "whitespace_pattern": pattern })),
    };
    Ok(rules.lark(space.as_deref(), &options))
}

/// A part of a pointer, as RFC 6901 writes it.
fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

fn wrong(pointer: &str, found: &Json, expected: &'static str) -> GrammarError {
    let mut found = found.to_string();
    if found.len() > 80 {
        found.truncate(found.floor_char_boundary(80));
        found.push_str("...");
    }
    GrammarError::WrongValue { pointer: pointer.to_owned(), found, expected }
}

fn endless() -> GrammarError {
    let cause = "every value would contain another one like itself, without end".to_owned();
    GrammarError::Impossible { kind: GrammarKind::Schema, cause }
}

/// A schema as an expression of a Lark rule: a grammar inside the grammar.
///
/// # Errors
/// As when a grammar is compiled from the schema.
pub fn lark_schema(schema: &Json, style: &SchemaStyle) -> Result<String, GrammarError> {
    check_extent(schema)?;
    Ok(format!("%lark {{\n{}}}", lark(schema, style, &KnownDocuments::new())?))
}
