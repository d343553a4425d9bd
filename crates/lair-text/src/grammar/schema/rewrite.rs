//! A schema in one form: its drafts made equal, its references resolved, what cannot be enforced refused by name.
//!
//! Only what can be reached from the root counts. Each schema that is referred to stands in `$defs` of the result once.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::super::error::GrammarError;
use super::super::limits::REPETITIONS_MAX;
use super::super::source::ExtraProperties;
use super::escaped;
use super::references::{References, base_of};

/// Formats whose expressions in the grammar library let more through than validators do: leap seconds at any time of the day,
/// local parts of more than 64 bytes (RFC 3339, section 5.6; RFC 5321, section 4.5.3.1.1). The 29th of February is left out.
const STRICTER_FORMATS: [(&str, &str); 3] = [
    ("time", r"^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"),
    (
        "date-time",
        concat!(
            r"^[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))",
            r"[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
        ),
    ),
    (
        "email",
        concat!(
            r"^[A-Za-z0-9!#$%&'*+/=?^_{|}~-]{1,24}(\.[A-Za-z0-9!#$%&'*+/=?^_{|}~-]{1,12}){0,3}",
            r"@([A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?\.){1,4}[A-Za-z]{2,20}$",
        ),
    ),
];

/// Keywords that need the whole value before they can be checked, or more than a grammar can say.
const UNSUPPORTED: &[&str] = &[
    "not",
    "if",
    "contains",
    "uniqueItems",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
];
/// Formats of the standard that are not enforced. Formats that it does not know are notes, as it says.
const UNSUPPORTED_FORMATS: &[&str] = &[
    "idn-email",
    "idn-hostname",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "uri-reference",
    "uri-template",
];
const FORMATS: &[&str] = &["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];
/// Keywords whose value is a schema.
const ONE_SCHEMA: &[&str] = &["additionalProperties", "items"];
/// Keywords whose value is a list of schemas.
const SCHEMA_LIST: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is a map of schemas.
const SCHEMA_MAP: &[&str] = &["properties", "patternProperties"];
/// Keywords that are handed on as they are.
const PLAIN: &[&str] = &[
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "multipleOf",
    "pattern",
    "required",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];
/// Counts that a grammar has to write out.
const COUNTS: &[&str] = &["minItems", "maxItems", "minProperties", "maxProperties", "minLength"];

/// The schema in one form.
pub(super) fn rewritten(schema: &Json, extra: ExtraProperties) -> Result<Json, GrammarError> {
    let ignores_siblings = schema["$schema"]
        .as_str()
        .is_some_and(|draft| ["draft-03", "draft-04", "draft-06", "draft-07"].iter().any(|old| draft.contains(old)));
    let mut rewrite = Rewrite {
        references: References::of(schema),
        ignores_siblings,
        names: HashMap::new(),
        open: Vec::new(),
        combines: false,
    };
    let mut root = rewrite.schema(schema, "#", &base_of(schema, ""))?;
    let mut definitions = Map::new();
    while let Some((name, value, pointer, base)) = rewrite.open.pop() {
        definitions.insert(name, rewrite.schema(value, &pointer, &base)?);
    }
    let closes = extra == ExtraProperties::OnlyNamed && !rewrite.combines;
    if closes {
        definitions.values_mut().for_each(close_objects);
        close_objects(&mut root);
    }
    if !definitions.is_empty()
        && let Json::Object(root) = &mut root
    {
        root.insert("$defs".to_owned(), Json::Object(definitions));
    }
    Ok(root)
}

struct Rewrite<'s> {
    references: References<'s>,
    /// Up to draft 7 what stands beside a reference does not count.
    ignores_siblings: bool,
    /// Names of definitions by pointer.
    names: HashMap<String, String>,
    /// Definitions that are not written yet: name, schema, pointer, base.
    open: Vec<(String, &'s Json, String, String)>,
    /// Whether one object is described in several places, so that none of them alone says which properties it has.
    combines: bool,
}

impl<'s> Rewrite<'s> {
    /// Extent was checked, so the recursion ends.
    fn schema(&mut self, schema: &'s Json, pointer: &str, base: &str) -> Result<Json, GrammarError> {
        let map = match schema {
            Json::Bool(_) => return Ok(schema.clone()),
            Json::Object(map) => map,
            other => return Err(wrong(pointer, other, "a schema: an object, true or false")),
        };
        let base = &base_of(schema, base);
        let mut result = Map::new();
        for (key, value) in map {
            let place = format!("{pointer}/{}", escaped(key));
            let has_reference = map.contains_key("$ref");
            if has_reference && self.ignores_siblings && key != "$ref" {
                continue;
            }
            match key.as_str() {
                "$ref" | "$recursiveRef" => {
                    result.insert("$ref".to_owned(), self.reference(value, &place, base)?);
                }
                "items" if value.is_array() => {
                    result.insert("prefixItems".to_owned(), self.list(value, &place, base)?);
                    if let Some(rest) = map.get("additionalItems") {
                        result.insert(
                            "items".to_owned(),
                            self.schema(rest, &format!("{pointer}/additionalItems"), base)?,
                        );
                    }
                }
                "exclusiveMinimum" | "exclusiveMaximum" => exclusive(&mut result, key, value, map),
                "format" => format_of(&mut result, value, &place)?,
                key if UNSUPPORTED.contains(&key) => check_harmless(key, value, pointer)?,
                key if ONE_SCHEMA.contains(&key) => {
                    result.insert(key.to_owned(), self.schema(value, &place, base)?);
                }
                key if SCHEMA_LIST.contains(&key) => {
                    result.insert(key.to_owned(), self.list(value, &place, base)?);
                }
                key if SCHEMA_MAP.contains(&key) => {
                    result.insert(key.to_owned(), self.map(value, &place, base)?);
                }
                key if PLAIN.contains(&key) => {
                    check_plain(key, value, &place)?;
                    result.insert(key.to_owned(), value.clone());
                }
                // Titles, notes, and keywords that the standard does not know.
                _ => {}
            }
        }
        let parts = ["$ref", "allOf", "anyOf", "oneOf"].iter().filter(|key| result.contains_key(**key)).count();
        let is_described = SCHEMA_MAP.iter().any(|key| result.contains_key(*key));
        let several = result.get("allOf").and_then(Json::as_array).is_some_and(|all| all.len() > 1);
        self.combines |= several || parts > 1 || (parts == 1 && is_described);
        Ok(Json::Object(result))
    }

    fn list(&mut self, value: &'s Json, pointer: &str, base: &str) -> Result<Json, GrammarError> {
        let items = value.as_array().ok_or_else(|| wrong(pointer, value, "a list of schemas"))?;
        let items =
            items.iter().enumerate().map(|(index, item)| self.schema(item, &format!("{pointer}/{index}"), base));
        items.collect::<Result<Vec<_>, _>>().map(Json::Array)
    }

    fn map(&mut self, value: &'s Json, pointer: &str, base: &str) -> Result<Json, GrammarError> {
        let map = value.as_object().ok_or_else(|| wrong(pointer, value, "an object of schemas"))?;
        let entry = |(key, item): (&String, &'s Json)| {
            Ok((key.clone(), self.schema(item, &format!("{pointer}/{}", escaped(key)), base)?))
        };
        map.iter().map(entry).collect::<Result<Map<_, _>, _>>().map(Json::Object)
    }

    /// The name of what is referred to in the result.
    fn reference(&mut self, value: &Json, place: &str, base: &str) -> Result<Json, GrammarError> {
        let reference = value.as_str().ok_or_else(|| wrong(place, value, "a string"))?;
        let (pointer, target, base) = self.references.resolve(reference, base).map_err(|problem| {
            GrammarError::Reference { pointer: place.to_owned(), reference: reference.to_owned(), problem }
        })?;
        let next = format!("d{}", self.names.len());
        let name = self.names.entry(pointer.clone()).or_insert_with(|| {
            self.open.push((next.clone(), target, pointer, base));
            next
        });
        Ok(json!(format!("#/$defs/{name}")))
    }
}

/// In draft 4 a switch beside `minimum`.
fn exclusive(result: &mut Map<String, Json>, key: &str, value: &Json, map: &Map<String, Json>) {
    let inclusive = if key == "exclusiveMinimum" { "minimum" } else { "maximum" };
    match value {
        Json::Bool(false) => {}
        Json::Bool(true) => {
            if let Some(bound) = map.get(inclusive) {
                result.insert(key.to_owned(), bound.clone());
            }
        }
        bound => {
            result.insert(key.to_owned(), bound.clone());
        }
    }
}

fn format_of(result: &mut Map<String, Json>, value: &Json, place: &str) -> Result<(), GrammarError> {
    let name = value.as_str().ok_or_else(|| wrong(place, value, "a string"))?;
    if UNSUPPORTED_FORMATS.contains(&name) {
        let keyword = format!("format: {name}");
        return Err(GrammarError::UnsupportedKeyword { keyword, pointer: place.to_owned() });
    }
    match STRICTER_FORMATS.iter().find(|(stricter, _)| *stricter == name) {
        Some((_, pattern)) if !result.contains_key("pattern") => {
            result.insert("pattern".to_owned(), Json::from(*pattern));
        }
        _ if FORMATS.contains(&name) => drop(result.insert("format".to_owned(), value.clone())),
        _ => {}
    }
    Ok(())
}

/// Refuses a keyword that cannot be enforced, unless it asks for nothing.
fn check_harmless(keyword: &str, value: &Json, pointer: &str) -> Result<(), GrammarError> {
    let asks_for_nothing = match keyword {
        "not" => value == &Json::Bool(false),
        "uniqueItems" => value == &Json::Bool(false),
        "dependentRequired" | "dependentSchemas" | "dependencies" => value.as_object().is_some_and(Map::is_empty),
        "propertyNames" | "unevaluatedItems" | "unevaluatedProperties" => {
            value == &Json::Bool(true) || value.as_object().is_some_and(Map::is_empty)
        }
        _ => false,
    };
    if asks_for_nothing {
        return Ok(());
    }
    Err(GrammarError::UnsupportedKeyword { keyword: keyword.to_owned(), pointer: pointer.to_owned() })
}

fn check_plain(key: &str, value: &Json, place: &str) -> Result<(), GrammarError> {
    // Numbers go through 64-bit floats, which hold whole numbers up to 2^53 exactly.
    let is_exact = |value: &Json| value.as_i64().is_none_or(|whole| whole.unsigned_abs() <= 1 << 53);
    let numbers = match key {
        "enum" => value.as_array().ok_or_else(|| wrong(place, value, "a list"))?.as_slice(),
        _ => std::slice::from_ref(value),
    };
    if let Some(number) = numbers.iter().find(|value| !is_exact(value) || value.as_u64().is_some_and(|n| n > 1 << 53)) {
        return Err(wrong(place, number, "a number of at most 2^53"));
    }
    if COUNTS.contains(&key) {
        let count = value.as_f64().ok_or_else(|| wrong(place, value, "a count"))?;
        if count > REPETITIONS_MAX as f64 {
            return Err(wrong(place, value, "a count of at most 1000"));
        }
    }
    Ok(())
}

/// Ends objects with the properties they name, where these are enough.
fn close_objects(schema: &mut Json) {
    let Json::Object(map) = schema else { return };
    for (key, value) in map.iter_mut() {
        match value {
            Json::Array(items) if SCHEMA_LIST.contains(&key.as_str()) => items.iter_mut().for_each(close_objects),
            Json::Object(named) if SCHEMA_MAP.contains(&key.as_str()) => named.values_mut().for_each(close_objects),
            Json::Object(_) if ONE_SCHEMA.contains(&key.as_str()) => close_objects(value),
            _ => {}
        }
    }
    let speaks_of_others = ["additionalProperties", "patternProperties", "enum", "const"];
    if speaks_of_others.iter().any(|key| map.contains_key(*key)) {
        return;
    }
    let Some(Json::Object(properties)) = map.get("properties") else { return };
    let required = map.get("required").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let has_all = required.iter().all(|name| name.as_str().is_some_and(|name| properties.contains_key(name)));
    let least = map.get("minProperties").and_then(Json::as_f64).unwrap_or(0.0);
    if !properties.is_empty() && has_all && least <= properties.len() as f64 {
        map.insert("additionalProperties".to_owned(), Json::Bool(false));
    }
}

fn wrong(pointer: &str, found: &Json, expected: &'static str) -> GrammarError {
    let mut found = found.to_string();
    if found.len() > 80 {
        found.truncate(found.floor_char_boundary(80));
        found.push_str("...");
    }
    GrammarError::WrongValue { pointer: pointer.to_owned(), found, expected }
}
