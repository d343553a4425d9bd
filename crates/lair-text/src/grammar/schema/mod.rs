//! JSON schemas: checked for size and for what can be enforced, written anew in one form, and handed over with their
//! style.

mod productive;
mod references;
mod rewrite;

use llguidance::api::TopLevelGrammar;
use serde_json::{Map, Value as Json, json};

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
pub(super) fn any_object(style: &SchemaStyle) -> TopLevelGrammar {
    with_options(json!({ "type": "object" }), style)
}

/// The grammar of a schema whose extent has been checked.
pub(super) fn prepared(schema: &Json, style: &SchemaStyle) -> Result<TopLevelGrammar, GrammarError> {
    let rewritten = rewrite::rewritten(schema, style.extra_properties)?;
    productive::check(&rewritten)?;
    let schema = match rewritten {
        Json::Bool(true) => json!({}),
        Json::Bool(false) => {
            let cause = "it is `false`".to_owned();
            return Err(GrammarError::Impossible { kind: GrammarKind::Schema, cause });
        }
        object => object,
    };
    Ok(with_options(schema, style))
}

fn with_options(mut schema: Json, style: &SchemaStyle) -> TopLevelGrammar {
    let mut options = Map::new();
    match &style.whitespace {
        Whitespace::Usual => options.insert("whitespace_pattern".to_owned(), json!(USUAL_WHITESPACE)),
        Whitespace::None => options.insert("whitespace_flexible".to_owned(), json!(false)),
        Whitespace::Pattern(pattern) => options.insert("whitespace_pattern".to_owned(), json!(pattern)),
    };
    schema[OPTIONS_KEY] = Json::Object(options);
    TopLevelGrammar::from_json_schema(schema)
}

/// A part of a pointer, as RFC 6901 writes it.
fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// A schema as an expression of a Lark rule: `%json {...}`.
///
/// # Errors
/// As when a grammar is compiled from the schema.
pub fn lark_schema(schema: &Json, style: &SchemaStyle) -> Result<String, GrammarError> {
    check_extent(schema)?;
    let grammar = prepared(schema, style)?;
    let json = grammar.grammars.into_iter().find_map(|grammar| grammar.json_schema).unwrap_or_default();
    Ok(format!("%json {json}"))
}
