//! Values as text: as Go's `%v` writes them, and as its JSON encoder does.

use crate::template::TemplateError;
use crate::template::error::TemplateFault;
use crate::template::text::{Origin, Text, TextBuilder};

use super::value::{Slice, Style, Value};

/// Lists in lists that are written; values nest at most a hundred deep.
const DEPTH_MAX: usize = 200;

/// Writes a value as `{{ value }}` does.
pub(super) fn print(out: &mut TextBuilder, value: &Value) -> Result<(), TemplateError> {
    match value {
        Value::Nil => out.push_own("<no value>"),
        _ => print_inner(out, value, 0),
    }
}

/// Writes a value as `%v` does, where no value is `<nil>`.
pub(super) fn print_formatted(out: &mut TextBuilder, value: &Value) -> Result<(), TemplateError> {
    print_inner(out, value, 0)
}

fn print_inner(out: &mut TextBuilder, value: &Value, depth: usize) -> Result<(), TemplateError> {
    check_depth(depth)?;
    out.budget().spend(1)?;
    match value {
        Value::Nil => out.push_own("<nil>"),
        Value::Bool(value) => out.push_own(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_own(&value.to_string()),
        Value::Float(value) => out.push_own(&float(*value)),
        Value::Text(text) => out.push_text(text),
        Value::List(slice) => match slice.style {
            Style::Json => json_at(out, value, depth),
            Style::Types if slice.items().len() == 1 => print_inner(out, &slice.items()[0], depth + 1),
            Style::Types if slice.items().is_empty() => Ok(()),
            _ => print_items(out, "[", slice, "]", depth),
        },
        Value::Map(map) if map.style == Style::Json => json_at(out, value, depth),
        Value::Map(map) => {
            out.push_own("map[")?;
            for (index, (key, entry)) in map.entries.iter().enumerate() {
                out.push_own(if index > 0 { " " } else { "" })?;
                out.push_text(key)?;
                out.push_own(":")?;
                print_inner(out, entry, depth + 1)?;
            }
            out.push_own("]")
        }
        Value::Record(record) if record.kind.style == Style::Json => json_at(out, value, depth),
        Value::Record(record) => {
            out.push_own("{")?;
            for (index, field) in record.fields.iter().enumerate() {
                out.push_own(if index > 0 { " " } else { "" })?;
                print_inner(out, field, depth + 1)?;
            }
            out.push_own("}")
        }
    }
}

fn print_items(
    out: &mut TextBuilder,
    open: &str,
    slice: &Slice,
    close: &str,
    depth: usize,
) -> Result<(), TemplateError> {
    out.push_own(open)?;
    for (index, item) in slice.items().iter().enumerate() {
        out.push_own(if index > 0 { " " } else { "" })?;
        print_inner(out, item, depth + 1)?;
    }
    out.push_own(close)
}

/// Writes a value as `json` does.
pub(super) fn json(out: &mut TextBuilder, value: &Value) -> Result<(), TemplateError> {
    json_at(out, value, 0)
}

fn json_at(out: &mut TextBuilder, value: &Value, depth: usize) -> Result<(), TemplateError> {
    check_depth(depth)?;
    out.budget().spend(1)?;
    match value {
        Value::Nil => out.push_own("null"),
        Value::Bool(value) => out.push_own(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_own(&value.to_string()),
        Value::Float(value) if value.is_finite() => out.push_own(&json_float(*value)),
        Value::Float(_) => out.push_own("null"),
        Value::Text(text) => json_text(out, text),
        Value::List(slice) if slice.style == Style::Types && slice.items().len() == 1 => {
            json_at(out, &slice.items()[0], depth + 1)
        }
        Value::List(slice) => {
            out.push_own("[")?;
            for (index, item) in slice.items().iter().enumerate() {
                out.push_own(if index > 0 { "," } else { "" })?;
                json_at(out, item, depth + 1)?;
            }
            out.push_own("]")
        }
        Value::Map(map) => {
            out.push_own("{")?;
            for (index, (key, entry)) in map.entries.iter().enumerate() {
                out.push_own(if index > 0 { "," } else { "" })?;
                json_text(out, key)?;
                out.push_own(":")?;
                json_at(out, entry, depth + 1)?;
            }
            out.push_own("}")
        }
        Value::Record(record) => {
            let mut separator = "{";
            for (kind, field) in record.kind.fields.iter().zip(&record.fields) {
                if kind.omits_empty && !field.is_true() {
                    continue;
                }
                out.push_own(separator)?;
                out.push_own(&format!("\"{}\":", kind.json))?;
                json_at(out, field, depth + 1)?;
                separator = ",";
            }
            for (key, other) in &record.others {
                out.push_own(separator)?;
                json_text(out, key)?;
                out.push_own(":")?;
                json_at(out, other, depth + 1)?;
                separator = ",";
            }
            out.push_own(if separator == "{" { "{}" } else { "}" })
        }
    }
}

fn json_text(out: &mut TextBuilder, text: &Text) -> Result<(), TemplateError> {
    out.push_own("\"")?;
    for (range, origin) in text.runs(0..text.as_str().len()) {
        push_json_escaped(out, &text.as_str()[range], origin)?;
    }
    out.push_own("\"")
}

fn push_json_escaped(out: &mut TextBuilder, run: &str, origin: Origin) -> Result<(), TemplateError> {
    out.budget().spend_characters(run.len())?;
    let mut plain_from = 0;
    for (index, character) in run.char_indices() {
        let escaped = match character {
            '"' => "\\\"".to_string(),
            '\\' => "\\\\".to_string(),
            '\n' => "\\n".to_string(),
            '\r' => "\\r".to_string(),
            '\t' => "\\t".to_string(),
            '\u{8}' => "\\b".to_string(),
            '\u{c}' => "\\f".to_string(),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => format!("\\u{:04x}", u32::from(character)),
            _ => continue,
        };
        out.push(&run[plain_from..index], origin)?;
        out.push(&escaped, origin)?;
        plain_from = index + character.len_utf8();
    }
    out.push(&run[plain_from..], origin)
}

/// A float as `%v` writes it: shortest digits, an exponent of two digits below 1e-4 and from 1e6.
pub(super) fn float(value: f64) -> String {
    with_exponent(value, 1e-4..1e6)
}

/// A float in JSON: an exponent below 1e-6 and from 1e21, with one digit if one is enough.
fn json_float(value: f64) -> String {
    let text = with_exponent(value, 1e-6..1e21);
    match text.split_once("e-0") {
        Some((mantissa, digit)) => format!("{mantissa}e-{digit}"),
        None => text,
    }
}

fn with_exponent(value: f64, plain: std::ops::Range<f64>) -> String {
    if value.is_nan() {
        return "NaN".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_string();
    }
    if value == 0.0 || plain.contains(&value.abs()) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn check_depth(depth: usize) -> Result<(), TemplateError> {
    if depth > DEPTH_MAX { Err(TemplateFault::ValueTooDeep { limit: DEPTH_MAX }.into()) } else { Ok(()) }
}
