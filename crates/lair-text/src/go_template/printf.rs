//! `printf`: the verbs of Go's `fmt` for the values that templates have.

use std::rc::Rc;

use super::print::{float, print_formatted};
use super::value::Value;
use crate::template::TemplateError;
use crate::template::error::TemplateFault;
use crate::template::text::{Text, TextBuilder};

/// The widest field and the longest fraction: no prompt needs more.
const WIDTH_MAX: usize = 1000;

/// What stands between `%` and the verb.
#[derive(Default)]
struct Spec {
    is_left: bool,
    has_plus: bool,
    has_zeros: bool,
    has_space: bool,
    is_alternative: bool,
    width: usize,
    precision: Option<usize>,
}

/// Writes the arguments by the format, which is the first of them.
pub(super) fn printf(out: &mut TextBuilder, arguments: &[Value]) -> Result<(), TemplateError> {
    let Some((Value::Text(format), values)) = arguments.split_first() else {
        return Err(TemplateFault::type_error("wrong type for value; expected string"));
    };
    let format = Rc::clone(format);
    let mut values = values.iter();
    let text = format.as_str();
    let mut position = 0;
    while let Some(percent) = text[position..].find('%') {
        out.push_slice(&format, position..position + percent)?;
        position += percent + 1;
        let spec = Spec::read(text, &mut position)?;
        let Some(verb) = text[position..].chars().next() else {
            out.push_own("%!(NOVERB)")?;
            break;
        };
        position += verb.len_utf8();
        if verb == '%' {
            out.push_own("%")?;
            continue;
        }
        match values.next() {
            Some(value) => write_value(out, &spec, verb, value)?,
            None => out.push_own(&format!("%!{verb}(MISSING)"))?,
        }
    }
    out.push_slice(&format, position..text.len())?;
    let extra: Vec<&Value> = values.collect();
    for (index, value) in extra.iter().enumerate() {
        out.push_own(if index == 0 { "%!(EXTRA " } else { ", " })?;
        out.push_own(value.kind_name())?;
        out.push_own("=")?;
        print_formatted(out, value)?;
    }
    out.push_own(if extra.is_empty() { "" } else { ")" })
}

impl Spec {
    fn read(text: &str, position: &mut usize) -> Result<Spec, TemplateError> {
        let mut spec = Spec::default();
        let bytes = text.as_bytes();
        loop {
            match bytes.get(*position) {
                Some(b'-') => spec.is_left = true,
                Some(b'+') => spec.has_plus = true,
                Some(b'0') => spec.has_zeros = true,
                Some(b' ') => spec.has_space = true,
                Some(b'#') => spec.is_alternative = true,
                _ => break,
            }
            *position += 1;
        }
        spec.width = number(bytes, position)?;
        if bytes.get(*position) == Some(&b'.') {
            *position += 1;
            spec.precision = Some(number(bytes, position)?);
        }
        Ok(spec)
    }
}

fn number(bytes: &[u8], position: &mut usize) -> Result<usize, TemplateError> {
    let mut value = 0;
    while let Some(digit) = bytes.get(*position).filter(|byte| byte.is_ascii_digit()) {
        value = value * 10 + usize::from(digit - b'0');
        if value > WIDTH_MAX {
            return Err(TemplateFault::type_error(format!("printf: a width over {WIDTH_MAX}")));
        }
        *position += 1;
    }
    Ok(value)
}

fn write_value(out: &mut TextBuilder, spec: &Spec, verb: char, value: &Value) -> Result<(), TemplateError> {
    match (verb, value) {
        ('v', Value::Text(_)) if spec.is_alternative => write_value(out, spec, 'q', value),
        ('s' | 'v', Value::Text(text)) => {
            let count = spec.precision.unwrap_or(usize::MAX);
            let end = text.as_str().char_indices().nth(count).map_or(text.as_str().len(), |(index, _)| index);
            padded(out, spec, &*text.slice(0..end)?)
        }
        ('q', Value::Text(text)) => padded(out, spec, &*quoted(text)?),
        ('d', Value::Int(value)) => padded_number(out, spec, &value.to_string()),
        ('v', Value::Int(value)) => padded_number(out, spec, &value.to_string()),
        ('x', Value::Int(value)) => padded_number(out, spec, &signed(*value, |size| format!("{size:x}"))),
        ('X', Value::Int(value)) => padded_number(out, spec, &signed(*value, |size| format!("{size:X}"))),
        ('o', Value::Int(value)) => padded_number(out, spec, &signed(*value, |size| format!("{size:o}"))),
        ('b', Value::Int(value)) => padded_number(out, spec, &signed(*value, |size| format!("{size:b}"))),
        ('c', Value::Int(value)) => {
            let character = u32::try_from(*value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            padded_number(out, spec, &character.to_string())
        }
        ('U', Value::Int(value)) => padded_number(out, spec, &format!("U+{value:04X}")),
        ('f' | 'F', Value::Float(value)) => {
            padded_number(out, spec, &format!("{value:.precision$}", precision = spec.precision.unwrap_or(6)))
        }
        ('e', Value::Float(value)) => padded_number(out, spec, &exponential(*value, spec.precision.unwrap_or(6))),
        ('g' | 'v', Value::Float(value)) if spec.precision.is_none() => padded_number(out, spec, &float(*value)),
        ('t' | 'v', Value::Bool(value)) => padded_plain(out, spec, if *value { "true" } else { "false" }),
        ('v', value) => formatted(out, spec, value),
        // Anything that says how it is written as text takes `%s` too.
        ('s', Value::List(slice)) if slice.style != super::value::Style::Plain => formatted(out, spec, value),
        ('s', Value::Map(map)) if map.style != super::value::Style::Plain => formatted(out, spec, value),
        ('s', Value::Record(record)) if record.kind.style != super::value::Style::Plain => formatted(out, spec, value),
        (_, Value::Nil) => out.push_own(&format!("%!{verb}(<nil>)")),
        _ => {
            out.push_own(&format!("%!{verb}({}=", value.kind_name()))?;
            print_formatted(out, value)?;
            out.push_own(")")
        }
    }
}

fn formatted(out: &mut TextBuilder, spec: &Spec, value: &Value) -> Result<(), TemplateError> {
    let mut text = TextBuilder::new(out.budget())?;
    print_formatted(&mut text, value)?;
    padded(out, spec, &text.finish())
}

fn padded(out: &mut TextBuilder, spec: &Spec, text: &Text) -> Result<(), TemplateError> {
    let missing = spec.width.saturating_sub(text.as_str().chars().count());
    if !spec.is_left {
        out.push_repeated(if spec.has_zeros { '0' } else { ' ' }, missing)?;
    }
    out.push_text(text)?;
    if spec.is_left { out.push_repeated(' ', missing) } else { Ok(()) }
}

fn padded_plain(out: &mut TextBuilder, spec: &Spec, text: &str) -> Result<(), TemplateError> {
    let missing = spec.width.saturating_sub(text.chars().count());
    if spec.is_left {
        out.push_own(text)?;
        return out.push_repeated(' ', missing);
    }
    out.push_repeated(' ', missing)?;
    out.push_own(text)
}

fn padded_number(out: &mut TextBuilder, spec: &Spec, number: &str) -> Result<(), TemplateError> {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None if spec.has_plus => ("+", number.strip_prefix('+').unwrap_or(number)),
        None if spec.has_space => (" ", number),
        None => ("", number),
    };
    if spec.has_zeros && !spec.is_left {
        out.push_own(sign)?;
        out.push_repeated('0', spec.width.saturating_sub(sign.len() + digits.len()))?;
        return out.push_own(digits);
    }
    padded_plain(out, spec, &format!("{sign}{digits}"))
}

fn signed(value: i64, digits: impl Fn(u64) -> String) -> String {
    format!("{}{}", if value < 0 { "-" } else { "" }, digits(value.unsigned_abs()))
}

fn exponential(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A text between quotes, with escapes as in Go.
fn quoted(text: &Text) -> Result<Rc<Text>, TemplateError> {
    let escaped = text.map_runs(|run| {
        let mut quoted = String::new();
        for character in run.chars() {
            match character {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\u{7}' => quoted.push_str("\\a"),
                '\u{8}' => quoted.push_str("\\b"),
                '\u{c}' => quoted.push_str("\\f"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\u{b}' => quoted.push_str("\\v"),
                '\0'..='\u{1f}' | '\u{7f}' => quoted.push_str(&format!("\\x{:02x}", u32::from(character))),
                '\u{80}'..='\u{a0}' | '\u{ad}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                    quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
                }
                _ => quoted.push(character),
            }
        }
        quoted
    })?;
    let mut out = TextBuilder::new(text.budget())?;
    out.push_own("\"")?;
    out.push_text(&escaped)?;
    out.push_own("\"")?;
    Ok(out.finish())
}
