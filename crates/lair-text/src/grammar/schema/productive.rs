//! Whether a schema has finite values: one that asks for itself inside itself can be begun, never ended.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::super::error::{GrammarError, GrammarKind};

/// Refuses a rewritten schema without finite values.
pub(super) fn check(schema: &Json) -> Result<(), GrammarError> {
    let empty = Map::new();
    let definitions = schema.get("$defs").and_then(Json::as_object).unwrap_or(&empty);
    let mut finite = HashSet::new();
    // Each round finds one more, or it is the last.
    loop {
        let before = finite.len();
        for (name, definition) in definitions {
            if !finite.contains(name.as_str()) && is_finite(definition, &finite) {
                finite.insert(name.as_str());
            }
        }
        if finite.len() == before {
            break;
        }
    }
    if is_finite(schema, &finite) {
        return Ok(());
    }
    let cause = "every value would contain another one like itself, without end".to_owned();
    Err(GrammarError::Impossible { kind: GrammarKind::Schema, cause })
}

/// Whether a schema has finite values, given the definitions that have. Where it may be anything but an object or a list,
/// it has.
fn is_finite(schema: &Json, finite: &HashSet<&str>) -> bool {
    let Json::Object(map) = schema else { return true };
    if let Some(reference) = map.get("$ref").and_then(Json::as_str) {
        let name = reference.trim_start_matches("#/$defs/");
        if !finite.contains(name) {
            return false;
        }
    }
    let list = |key: &str| map.get(key).and_then(Json::as_array);
    if list("allOf").is_some_and(|all| !all.iter().all(|part| is_finite(part, finite))) {
        return false;
    }
    for key in ["anyOf", "oneOf"] {
        if list(key).is_some_and(|any| !any.is_empty() && !any.iter().any(|part| is_finite(part, finite))) {
            return false;
        }
    }
    if map.contains_key("const") || map.contains_key("enum") {
        return true;
    }
    match map.get("type") {
        Some(Json::String(word)) => is_type_finite(word, map, finite),
        Some(Json::Array(words)) => {
            words.is_empty() || words.iter().any(|word| is_type_finite(word.as_str().unwrap_or_default(), map, finite))
        }
        _ => true,
    }
}

fn is_type_finite(word: &str, map: &Map<String, Json>, finite: &HashSet<&str>) -> bool {
    match word {
        "object" => {
            let empty = Map::new();
            let properties = map.get("properties").and_then(Json::as_object).unwrap_or(&empty);
            let required = map.get("required").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
            let named = required.iter().filter_map(|name| properties.get(name.as_str()?));
            named.into_iter().all(|property| is_finite(property, finite))
        }
        "array" => {
            let least = map.get("minItems").and_then(Json::as_f64).unwrap_or(0.0) as usize;
            let prefix = map.get("prefixItems").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
            let rest = map.get("items").filter(|_| least > prefix.len());
            prefix.iter().take(least).chain(rest).all(|item| is_finite(item, finite))
        }
        _ => true,
    }
}
