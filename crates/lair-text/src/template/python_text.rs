//! How values look as text: Python's `str`, `repr` and `json.dumps`, byte for byte.

use std::rc::Rc;

use super::budget::Budget;
use super::error::{TemplateError, TemplateFault};
use super::text::{Origin, Text, TextBuilder};
use super::value::{SequenceKind, Value};

/// `str(value)`
pub(super) fn to_text(value: &Value<'_>, budget: &Rc<Budget>) -> Result<Rc<Text>, TemplateError> {
    if let Value::Text(text) = value {
        return Ok(Rc::clone(text));
    }
    let mut builder = TextBuilder::new(budget)?;
    write_str(value, &mut builder)?;
    Ok(builder.finish())
}

/// Appends `str(value)`.
pub(super) fn write_str(value: &Value<'_>, builder: &mut TextBuilder) -> Result<(), TemplateError> {
    match value {
        Value::Text(text) => builder.push_text(text),
        Value::Undefined(_) => Ok(()),
        _ => write_repr(value, builder),
    }
}

/// Appends `repr(value)`.
pub(super) fn write_repr(value: &Value<'_>, builder: &mut TextBuilder) -> Result<(), TemplateError> {
    builder.budget().spend(1)?;
    match value {
        Value::Undefined(_) => builder.push_own("Undefined"),
        Value::None => builder.push_own("None"),
        Value::Bool(true) => builder.push_own("True"),
        Value::Bool(false) => builder.push_own("False"),
        Value::Integer(number) => builder.push_own(&number.to_string()),
        Value::Float(number) => builder.push_own(&float_repr(*number)),
        Value::Text(text) => write_quoted(text, builder),
        Value::Sequence(sequence) => {
            let (open, close) = match sequence.kind {
                SequenceKind::List => ("[", "]"),
                SequenceKind::Tuple => ("(", if sequence.items().len() == 1 { ",)" } else { ")" }),
                SequenceKind::View(name) => {
                    builder.push_own(name)?;
                    ("([", "])")
                }
                SequenceKind::Generator => return builder.push_own("<generator object>"),
                SequenceKind::Range => return builder.push_own(&range_repr(sequence.items())),
            };
            builder.push_own(open)?;
            for (index, item) in sequence.items().iter().enumerate() {
                if index > 0 {
                    builder.push_own(", ")?;
                }
                write_repr(item, builder)?;
            }
            builder.push_own(close)
        }
        Value::Dict(dict) => {
            builder.push_own("{")?;
            for (index, (key, value)) in dict.entries().iter().enumerate() {
                if index > 0 {
                    builder.push_own(", ")?;
                }
                write_repr(key, builder)?;
                builder.push_own(": ")?;
                write_repr(value, builder)?;
            }
            builder.push_own("}")
        }
        Value::Macro(found) => builder.push_own(&format!("<Macro '{}'>", found.definition.name)),
        other => builder.push_own(&format!("<{}>", other.type_name())),
    }
}

fn range_repr(items: &[Value<'_>]) -> String {
    let bounds: Vec<i128> = items.iter().take(2).chain(items.last()).filter_map(Value::as_integer).collect();
    match bounds[..] {
        [first, second, last] if second - first != 1 => {
            let step = second - first;
            format!("range({first}, {}, {step})", last + step)
        }
        [first, .., last] => format!("range({first}, {})", last + 1),
        _ => "range(0, 0)".to_owned(),
    }
}

/// A string as Python's `repr` quotes it: single quotes, unless it holds those and no double ones.
fn write_quoted(text: &Text, builder: &mut TextBuilder) -> Result<(), TemplateError> {
    let string = text.as_str();
    let quote = if string.contains('\'') && !string.contains('"') { '"' } else { '\'' };
    builder.push_char(quote, Origin::Template)?;
    write_escaped(text, builder, |character| match character {
        '\\' => Some("\\\\".to_owned()),
        '\n' => Some("\\n".to_owned()),
        '\r' => Some("\\r".to_owned()),
        '\t' => Some("\\t".to_owned()),
        _ if character == quote => Some(format!("\\{quote}")),
        _ if (character as u32) < 0x20 || (0x7f..=0xa0).contains(&(character as u32)) || character == '\u{ad}' => {
            Some(format!("\\x{:02x}", character as u32))
        }
        '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{feff}' => {
            Some(format!("\\u{:04x}", character as u32))
        }
        _ => None,
    })?;
    builder.push_char(quote, Origin::Template)
}

/// Appends `text` with the characters replaced for which `escape` gives something; origins are kept.
pub(super) fn write_escaped(
    text: &Text,
    builder: &mut TextBuilder,
    escape: impl Fn(char) -> Option<String>,
) -> Result<(), TemplateError> {
    let string = text.as_str();
    builder.budget().spend_characters(string.len())?;
    for (range, origin) in text.runs(0..string.len()) {
        let mut plain_start = range.start;
        for (offset, character) in string[range.clone()].char_indices() {
            if let Some(escaped) = escape(character) {
                let at = range.start + offset;
                builder.push(&string[plain_start..at], origin)?;
                builder.push(&escaped, origin)?;
                plain_start = at + character.len_utf8();
            }
        }
        builder.push(&string[plain_start..range.end], origin)?;
    }
    Ok(())
}

/// A float as Python prints it: the shortest digits that read back equal, an exponent below 1e-4 and from 1e16 on.
pub(super) fn float_repr(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').expect("the format always writes an exponent");
    let exponent: i32 = exponent.parse().expect("the format writes a decimal exponent");
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// The options of `json.dumps` that templates use.
#[derive(Debug, Clone)]
pub(super) struct JsonStyle {
    /// What one level of nesting is indented by; `None` for a single line.
    pub indent: Option<String>,
    pub item_separator: String,
    pub key_separator: String,
    pub ascii_only: bool,
    pub sort_keys: bool,
}

/// `json.dumps(value)`
pub(super) fn to_json(value: &Value<'_>, style: &JsonStyle, budget: &Rc<Budget>) -> Result<Rc<Text>, TemplateError> {
    let mut builder = TextBuilder::new(budget)?;
    write_json(value, style, 0, &mut builder)?;
    Ok(builder.finish())
}

fn write_json(
    value: &Value<'_>,
    style: &JsonStyle,
    level: usize,
    builder: &mut TextBuilder,
) -> Result<(), TemplateError> {
    builder.budget().spend(1)?;
    match value {
        Value::None => builder.push_own("null"),
        Value::Bool(true) => builder.push_own("true"),
        Value::Bool(false) => builder.push_own("false"),
        Value::Integer(number) => builder.push_own(&number.to_string()),
        Value::Float(number) => builder.push_own(&match float_repr(*number).as_str() {
            "nan" => "NaN".to_owned(),
            "inf" => "Infinity".to_owned(),
            "-inf" => "-Infinity".to_owned(),
            other => other.to_owned(),
        }),
        Value::Text(text) => write_json_string(text, style, builder),
        Value::Sequence(sequence) if matches!(sequence.kind, SequenceKind::List | SequenceKind::Tuple) => {
            if sequence.items().is_empty() {
                return builder.push_own("[]");
            }
            builder.push_own("[")?;
            for (index, item) in sequence.items().iter().enumerate() {
                write_json_break(style, level + 1, index > 0, builder)?;
                write_json(item, style, level + 1, builder)?;
            }
            write_json_break(style, level, false, builder)?;
            builder.push_own("]")
        }
        Value::Dict(dict) => {
            if dict.entries().is_empty() {
                return builder.push_own("{}");
            }
            let mut entries: Vec<_> = dict.entries().iter().collect();
            if style.sort_keys {
                entries.sort_by(|(left, _), (right, _)| left.as_str().cmp(&right.as_str()));
            }
            builder.push_own("{")?;
            for (index, (key, value)) in entries.into_iter().enumerate() {
                write_json_break(style, level + 1, index > 0, builder)?;
                write_json_key(key, style, builder)?;
                builder.push_own(&style.key_separator)?;
                write_json(value, style, level + 1, builder)?;
            }
            write_json_break(style, level, false, builder)?;
            builder.push_own("}")
        }
        other => {
            Err(TemplateFault::type_error(format!("Object of type {} is not JSON serializable", other.type_name())))
        }
    }
}

/// The separator before an item that is not the first, and the line break of an indented style.
fn write_json_break(
    style: &JsonStyle,
    level: usize,
    separates: bool,
    builder: &mut TextBuilder,
) -> Result<(), TemplateError> {
    if separates {
        builder.push_own(&style.item_separator)?;
    }
    if let Some(indent) = &style.indent {
        builder.push_own("\n")?;
        for _ in 0..level {
            builder.push_own(indent)?;
        }
    }
    Ok(())
}

fn write_json_key(key: &Value<'_>, style: &JsonStyle, builder: &mut TextBuilder) -> Result<(), TemplateError> {
    match key {
        Value::Text(text) => write_json_string(text, style, builder),
        Value::None | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
            builder.push_own("\"")?;
            write_json(key, style, 0, builder)?;
            builder.push_own("\"")
        }
        other => Err(TemplateFault::type_error(format!(
            "keys must be str, int, float, bool or None, not {}",
            other.type_name()
        ))),
    }
}

fn write_json_string(text: &Text, style: &JsonStyle, builder: &mut TextBuilder) -> Result<(), TemplateError> {
    builder.push_own("\"")?;
    write_escaped(text, builder, |character| match character {
        '"' => Some("\\\"".to_owned()),
        '\\' => Some("\\\\".to_owned()),
        '\n' => Some("\\n".to_owned()),
        '\r' => Some("\\r".to_owned()),
        '\t' => Some("\\t".to_owned()),
        '\x08' => Some("\\b".to_owned()),
        '\x0c' => Some("\\f".to_owned()),
        _ if (character as u32) < 0x20 => Some(format!("\\u{:04x}", character as u32)),
        _ if style.ascii_only && !(' '..='\x7e').contains(&character) && character != '\x7f' => {
            let mut units = [0; 2];
            Some(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect())
        }
        _ => None,
    })?;
    builder.push_own("\"")
}
