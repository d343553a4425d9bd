//! Python's two ways to fill a template string: `"%s" % value` and `"{}".format(value)`.

use std::rc::Rc;

use super::arguments::CallArguments;
use super::budget::Budget;
use super::error::{TemplateError, TemplateFault};
use super::python_text::{float_repr, write_repr, write_str};
use super::text::{Text, TextBuilder};
use super::text_methods::{escape_html, pad_text};
use super::value::{SequenceKind, Value};

/// The longest precision of a number: Rust's formatting pads up to it.
const PRECISION_MAX: usize = 1000;

/// How one value is written: what stands between `%` or `:` and the letter.
#[derive(Debug, Default)]
struct Specification {
    fill: Option<char>,
    align: Option<char>,
    has_sign: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
    letter: Option<char>,
}

/// `template % value`
pub(super) fn percent_format<'t>(
    template: &Rc<Text>,
    value: &Value<'t>,
    budget: &Rc<Budget>,
) -> Result<Value<'t>, TemplateError> {
    let values = match value {
        Value::Sequence(sequence) if sequence.kind == SequenceKind::Tuple => sequence.items().to_vec(),
        other => vec![other.clone()],
    };
    budget.spend(values.len())?;
    let mut values = values.into_iter();
    let string = template.as_str();
    let mut builder = TextBuilder::like(template)?;
    let mut position = 0;
    let mut uses_names = false;
    while let Some(offset) = string[position..].find('%') {
        let start = position + offset;
        builder.push_slice(template, position..start)?;
        let mut rest = &string[start + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            builder.push_slice(template, start..start + 1)?;
            position = string.len() - after.len();
            continue;
        }
        let mut named = None;
        if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            let Value::Dict(dict) = value else {
                return Err(TemplateFault::type_error("format requires a mapping"));
            };
            let found = dict.get_text(name)?.cloned();
            named = Some(found.ok_or_else(|| TemplateFault::type_error(format!("'{name}'")))?);
            uses_names = true;
            rest = after;
        }
        let (specification, after) = percent_specification(rest);
        position = string.len() - after.len();
        let value = match named {
            Some(value) => value,
            None => values.next().ok_or_else(|| TemplateFault::type_error("not enough arguments for format string"))?,
        };
        write_specified(&value, &specification, &mut builder)?;
    }
    builder.push_slice(template, position..string.len())?;
    let is_used_up = uses_names || matches!(value, Value::Dict(_)) || values.next().is_none();
    if !is_used_up {
        return Err(TemplateFault::type_error("not all arguments converted during string formatting"));
    }
    Ok(Value::Text(builder.finish()))
}

/// Flags, width, precision and letter, and what follows them.
fn percent_specification(source: &str) -> (Specification, &str) {
    let mut specification = Specification::default();
    let mut rest = source;
    loop {
        match rest.bytes().next() {
            Some(b'-') => specification.align = Some('<'),
            Some(b'0') => specification.zero = true,
            Some(b'+') => specification.has_sign = true,
            Some(b' ' | b'#') => {}
            _ => break,
        }
        rest = &rest[1..];
    }
    (specification.width, rest) = leading_number(rest);
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = leading_number(after);
        specification.precision = Some(precision.unwrap_or(0));
        rest = after;
    }
    specification.letter = rest.chars().next();
    let letter_length = specification.letter.map_or(0, char::len_utf8);
    // Numbers and strings alike are aligned right by `%`.
    specification.align = specification.align.or(Some('>'));
    (specification, &rest[letter_length..])
}

fn leading_number(source: &str) -> (Option<usize>, &str) {
    let length = source.bytes().take_while(u8::is_ascii_digit).count();
    let number = (length > 0).then(|| source[..length].parse().unwrap_or(usize::MAX));
    (number, &source[length..])
}

fn write_specified(
    value: &Value<'_>,
    specification: &Specification,
    builder: &mut TextBuilder,
) -> Result<(), TemplateError> {
    let budget = Rc::clone(builder.budget());
    let mut body = TextBuilder::new(&budget)?;
    let precision = specification.precision;
    if precision.is_some_and(|precision| precision > PRECISION_MAX) {
        return Err(TemplateFault::type_error("precision too big"));
    }
    let number = || {
        value.as_float().ok_or_else(|| {
            TemplateFault::type_error(format!("a number is required for this format, not {}", value.type_name()))
        })
    };
    let integer = || match value {
        Value::Float(float) => Ok(*float as i128),
        _ => value.as_integer().ok_or_else(|| {
            let letter = specification.letter.unwrap_or('d');
            let message = format!("%{letter} format: a real number is required, not {}", value.type_name());
            TemplateFault::type_error(message)
        }),
    };
    let plus = if specification.has_sign && value.as_float().is_some_and(|number| number >= 0.0) { "+" } else { "" };
    match specification.letter {
        Some('d' | 'i' | 'u') => body.push_own(&format!("{plus}{}", integer()?))?,
        Some('x') => body.push_own(&format!("{plus}{:x}", integer()?))?,
        Some('X') => body.push_own(&format!("{plus}{:X}", integer()?))?,
        Some('o') => body.push_own(&format!("{plus}{:o}", integer()?))?,
        Some('f' | 'F') => body.push_own(&format!("{plus}{:.*}", precision.unwrap_or(6), number()?))?,
        Some('g') => body.push_own(&format!("{plus}{}", float_repr(number()?).trim_end_matches(".0")))?,
        Some('r') => write_repr(value, &mut body)?,
        Some('s') | None => write_str(value, &mut body)?,
        Some(other) => return Err(TemplateFault::type_error(format!("unsupported format character '{other}'"))),
    }
    let mut body = body.finish();
    let is_markup = matches!(value, Value::Text(text) if text.is_markup());
    if builder.is_markup() && !is_markup {
        body = escape_html(&body)?;
    }
    if let (Some(precision), Some('s') | None) = (precision, specification.letter) {
        let end = body.as_str().char_indices().nth(precision).map_or(body.as_str().len(), |(position, _)| position);
        body = body.slice(0..end)?;
    }
    let Some(width) = specification.width else { return builder.push_text(&body) };
    let is_number = value.as_float().is_some();
    let (fill, method) = match (specification.zero && is_number, specification.align) {
        (true, _) => ('0', "zfill"),
        (_, Some('<')) => (specification.fill.unwrap_or(' '), "ljust"),
        (_, Some('^')) => (specification.fill.unwrap_or(' '), "center"),
        (_, Some(_)) => (specification.fill.unwrap_or(' '), "rjust"),
        (_, None) => (' ', if is_number { "rjust" } else { "ljust" }),
    };
    builder.push_text(&*pad_text(&body, width as i128, fill, method)?)
}

/// `template.format(...)`, with the fields of the sandbox: names and places, no attributes.
pub(super) fn brace_format<'t>(template: &Rc<Text>, arguments: &CallArguments<'t>) -> Result<Value<'t>, TemplateError> {
    let string = template.as_str();
    let mut builder = TextBuilder::like(template)?;
    let mut position = 0;
    let mut next_place = 0;
    while let Some(offset) = string[position..].find(['{', '}']) {
        let start = position + offset;
        builder.push_slice(template, position..start)?;
        let bracket = &string[start..=start];
        if string[start + 1..].starts_with(bracket) {
            builder.push_slice(template, start..start + 1)?;
            position = start + 2;
            continue;
        }
        if bracket == "}" {
            return Err(TemplateFault::type_error("Single '}' encountered in format string"));
        }
        let Some(length) = string[start..].find('}') else {
            return Err(TemplateFault::type_error("expected '}' before end of string"));
        };
        position = start + length + 1;
        let field = &string[start + 1..start + length];
        let (field, specification) = field.split_once(':').unwrap_or((field, ""));
        let (name, conversion) = field.split_once('!').unwrap_or((field, ""));
        let value = if name.is_empty() {
            next_place += 1;
            arguments.positional.get(next_place - 1)
        } else if let Ok(place) = name.parse::<usize>() {
            arguments.positional.get(place)
        } else {
            arguments.keyword.iter().find(|(keyword, _)| keyword == name).map(|(_, value)| value)
        };
        let value = value.ok_or_else(|| {
            TemplateFault::type_error(format!("no argument for field '{{{name}}}' of the format string"))
        })?;
        let mut specification = brace_specification(specification);
        if conversion == "r" {
            specification.letter = Some('r');
        }
        write_specified(value, &specification, &mut builder)?;
    }
    builder.push_slice(template, position..string.len())?;
    Ok(Value::Text(builder.finish()))
}

/// `[[fill]align][sign][0][width][.precision][letter]`
fn brace_specification(source: &str) -> Specification {
    let mut specification = Specification::default();
    let mut rest = source;
    let mut characters = source.chars();
    let is_align = |c: Option<char>| matches!(c, Some('<' | '>' | '^'));
    let (first, second) = (characters.next(), characters.next());
    if is_align(second) {
        specification.fill = first;
        specification.align = second;
        rest = characters.as_str();
    } else if is_align(first) {
        specification.align = first;
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('+') {
        specification.has_sign = true;
        rest = after;
    }
    specification.zero = rest.starts_with('0');
    (specification.width, rest) = leading_number(rest);
    if let Some(after) = rest.strip_prefix('.') {
        (specification.precision, rest) = leading_number(after);
    }
    specification.letter = rest.chars().next();
    specification
}
