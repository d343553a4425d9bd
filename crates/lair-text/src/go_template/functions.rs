//! The functions of the language and those that Ollama adds.

use std::cmp::Ordering;
use std::rc::Rc;

use super::methods::type_script_type;
use super::print::{json, print_formatted};
use super::printf::printf;
use super::value::Value;
use crate::template::budget::Budget;
use crate::template::error::TemplateFault;
use crate::template::text::{Origin, TextBuilder};
use crate::template::{LocalTime, TemplateError};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Or,
    Not,
    Len,
    Index,
    Slice,
    Print,
    Println,
    Printf,
    Html,
    Js,
    UrlQuery,
    Call,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Json,
    CurrentDate,
    YesterdayDate,
    ToTypeScriptType,
}

const FUNCTIONS: [(&str, Function); 23] = [
    ("and", Function::And),
    ("or", Function::Or),
    ("not", Function::Not),
    ("len", Function::Len),
    ("index", Function::Index),
    ("slice", Function::Slice),
    ("print", Function::Print),
    ("println", Function::Println),
    ("printf", Function::Printf),
    ("html", Function::Html),
    ("js", Function::Js),
    ("urlquery", Function::UrlQuery),
    ("call", Function::Call),
    ("eq", Function::Eq),
    ("ne", Function::Ne),
    ("lt", Function::Lt),
    ("le", Function::Le),
    ("gt", Function::Gt),
    ("ge", Function::Ge),
    ("json", Function::Json),
    ("currentDate", Function::CurrentDate),
    ("yesterdayDate", Function::YesterdayDate),
    ("toTypeScriptType", Function::ToTypeScriptType),
];

impl Function {
    pub(super) fn find(name: &str) -> Option<Function> {
        FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }
}

/// What functions need beside their arguments.
pub(super) struct Context<'c> {
    pub(super) budget: &'c Rc<Budget>,
    pub(super) now: LocalTime,
}

const DAY_SECONDS: i64 = 86_400;

pub(super) fn call(function: Function, arguments: Vec<Value>, context: &Context) -> Result<Value, TemplateError> {
    let budget = context.budget;
    budget.spend(arguments.len())?;
    match function {
        Function::And | Function::Or => unreachable!("the interpreter evaluates their arguments one by one"),
        Function::Not => Ok(Value::Bool(!one(&arguments)?.is_true())),
        Function::Len => length(one(&arguments)?),
        Function::Index => index(budget, &arguments),
        Function::Slice => slice(&arguments),
        Function::Print => written(budget, |out| print_all(out, &arguments, Spaces::BetweenOthers)),
        Function::Println => written(budget, |out| {
            print_all(out, &arguments, Spaces::Everywhere)?;
            out.push_own("\n")
        }),
        Function::Printf => written(budget, |out| printf(out, &arguments)),
        Function::Html => escaped(budget, &arguments, html),
        Function::Js => escaped(budget, &arguments, javascript),
        Function::UrlQuery => escaped(budget, &arguments, url_query),
        Function::Call => Err(TemplateFault::type_error("no value is a function")),
        Function::Eq => equal_to_any(&arguments),
        Function::Ne => match arguments.as_slice() {
            [left, right] => Ok(Value::Bool(!equal(budget, left, right)?)),
            _ => Err(wrong_count("2", arguments.len())),
        },
        Function::Lt => ordered(&arguments, Ordering::is_lt),
        Function::Le => ordered(&arguments, Ordering::is_le),
        Function::Gt => ordered(&arguments, Ordering::is_gt),
        Function::Ge => ordered(&arguments, Ordering::is_ge),
        Function::Json => {
            let value = one(&arguments)?;
            written(budget, |out| json(out, value))
        }
        Function::CurrentDate => date(context, 0),
        Function::YesterdayDate => date(context, -1),
        Function::ToTypeScriptType => type_script_type(budget, one(&arguments)?),
    }
}

fn one(arguments: &[Value]) -> Result<&Value, TemplateError> {
    match arguments {
        [value] => Ok(value),
        _ => Err(wrong_count("1", arguments.len())),
    }
}

fn wrong_count(wanted: &str, found: usize) -> TemplateError {
    TemplateFault::type_error(format!("wrong number of args: want {wanted} got {found}"))
}

fn written(
    budget: &Rc<Budget>,
    write: impl FnOnce(&mut TextBuilder) -> Result<(), TemplateError>,
) -> Result<Value, TemplateError> {
    let mut out = TextBuilder::new(budget)?;
    write(&mut out)?;
    Ok(Value::Text(out.finish()))
}

fn length(value: &Value) -> Result<Value, TemplateError> {
    let length = match value {
        Value::Text(text) => text.as_str().len(),
        Value::List(slice) => slice.items().len(),
        Value::Map(map) => map.entries.len(),
        _ => return Err(TemplateFault::type_error(format!("len of type {}", value.kind_name()))),
    };
    Ok(Value::Int(length as i64))
}

fn index(budget: &Rc<Budget>, arguments: &[Value]) -> Result<Value, TemplateError> {
    let (first, keys) = arguments.split_first().ok_or_else(|| wrong_count("at least 1", 0))?;
    keys.iter().try_fold(first.clone(), |value, key| {
        budget.spend(1)?;
        match (&value, key) {
            (Value::Map(map), Value::Text(key)) => Ok(map.get(key.as_str()).cloned().unwrap_or(Value::Nil)),
            (Value::List(slice), Value::Int(_)) => {
                let index = position(key, slice.items().len(), false)?;
                Ok(slice.items()[index].clone())
            }
            (Value::Text(text), Value::Int(_)) => {
                let index = position(key, text.as_str().len(), false)?;
                Ok(Value::Int(i64::from(text.as_str().as_bytes()[index])))
            }
            (Value::Nil, _) => Err(TemplateFault::type_error("index of untyped nil")),
            (Value::Map(_) | Value::List(_) | Value::Text(_), _) => {
                Err(TemplateFault::type_error(format!("cannot index {} with {}", value.kind_name(), key.kind_name())))
            }
            _ => Err(TemplateFault::type_error(format!("can't index item of type {}", value.kind_name()))),
        }
    })
}

/// A place in something of `length`, at most at its end if `takes_end`.
fn position(key: &Value, length: usize, takes_end: bool) -> Result<usize, TemplateError> {
    let Value::Int(index) = key else {
        return Err(TemplateFault::type_error(format!("cannot index slice/array with type {}", key.kind_name())));
    };
    let limit = length + usize::from(takes_end);
    usize::try_from(*index)
        .ok()
        .filter(|index| *index < limit)
        .ok_or_else(|| TemplateFault::type_error(format!("index out of range: {index}")))
}

fn slice(arguments: &[Value]) -> Result<Value, TemplateError> {
    let (value, bounds) = arguments.split_first().ok_or_else(|| wrong_count("at least 1", 0))?;
    if bounds.len() > 3 {
        return Err(TemplateFault::type_error(format!("too many slice indexes: {}", bounds.len())));
    }
    let length = match value {
        Value::List(slice) => slice.items().len(),
        Value::Text(_) if bounds.len() == 3 => return Err(TemplateFault::type_error("cannot 3-index slice a string")),
        Value::Text(text) => text.as_str().len(),
        Value::Nil => return Err(TemplateFault::type_error("slice of untyped nil")),
        _ => return Err(TemplateFault::type_error(format!("can't slice item of type {}", value.kind_name()))),
    };
    let places: Result<Vec<usize>, _> = bounds.iter().map(|bound| position(bound, length, true)).collect();
    let places = places?;
    let (start, end) = (places.first().copied().unwrap_or(0), places.get(1).copied().unwrap_or(length));
    if start > end || places.get(2).is_some_and(|capacity| end > *capacity) {
        return Err(TemplateFault::type_error(format!("invalid slice index: {start} > {end}")));
    }
    match value {
        Value::List(slice) => Ok(Value::List(slice.part(start, end))),
        Value::Text(text) if text.as_str().is_char_boundary(start) && text.as_str().is_char_boundary(end) => {
            Ok(Value::Text(text.slice(start..end)?))
        }
        _ => Err(TemplateFault::type_error("slice index is inside of a character")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spaces {
    /// Between operands of which neither is a text.
    BetweenOthers,
    Everywhere,
}

fn print_all(out: &mut TextBuilder, arguments: &[Value], spaces: Spaces) -> Result<(), TemplateError> {
    let mut previous: Option<&Value> = None;
    for value in arguments {
        let is_apart = previous.is_some_and(|previous| {
            spaces == Spaces::Everywhere || (previous.as_text().is_none() && value.as_text().is_none())
        });
        if is_apart {
            out.push_own(" ")?;
        }
        print_formatted(out, value)?;
        previous = Some(value);
    }
    Ok(())
}

/// The printed arguments with characters replaced.
fn escaped(
    budget: &Rc<Budget>,
    arguments: &[Value],
    escape: fn(char) -> Option<String>,
) -> Result<Value, TemplateError> {
    let mut out = TextBuilder::new(budget)?;
    match arguments {
        [Value::Nil] => out.push_own("<no value>")?,
        _ => print_all(&mut out, arguments, Spaces::BetweenOthers)?,
    }
    let text = out.finish();
    budget.spend_characters(text.as_str().len())?;
    let replaced = text.map_runs(|run| {
        run.chars().fold(String::new(), |mut replaced, character| {
            match escape(character) {
                Some(escaped) => replaced.push_str(&escaped),
                None => replaced.push(character),
            }
            replaced
        })
    })?;
    Ok(Value::Text(replaced))
}

fn html(character: char) -> Option<String> {
    let escaped = match character {
        '\0' => "\u{fffd}",
        '"' => "&#34;",
        '\'' => "&#39;",
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        _ => return None,
    };
    Some(escaped.to_string())
}

fn javascript(character: char) -> Option<String> {
    match character {
        '\\' => Some("\\\\".to_string()),
        '\'' => Some("\\'".to_string()),
        '"' => Some("\\\"".to_string()),
        '<' | '>' | '&' | '=' | '\0'..='\u{1f}' => Some(format!("\\u{:04X}", u32::from(character))),
        // Go writes other characters that cannot be printed as \u too.
        '\u{7f}'..='\u{a0}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}' => {
            Some(format!("\\u{:04X}", u32::from(character)))
        }
        _ => None,
    }
}

fn url_query(character: char) -> Option<String> {
    if character.is_ascii_alphanumeric() || "-_.~".contains(character) {
        return None;
    }
    if character == ' ' {
        return Some("+".to_string());
    }
    Some(character.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect())
}

fn equal_to_any(arguments: &[Value]) -> Result<Value, TemplateError> {
    let (first, others) = arguments.split_first().ok_or_else(|| wrong_count("at least 1", 0))?;
    if others.is_empty() {
        return Err(TemplateFault::type_error("missing argument for comparison"));
    }
    for other in others {
        if compare_equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal(budget: &Rc<Budget>, left: &Value, right: &Value) -> Result<bool, TemplateError> {
    if let (Value::Text(left), Value::Text(right)) = (left, right) {
        budget.spend_bytes(left.as_str().len().min(right.as_str().len()))?;
    }
    compare_equal(left, right)
}

/// Values of different kinds cannot be compared; nothing equals only nothing.
fn compare_equal(left: &Value, right: &Value) -> Result<bool, TemplateError> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        (Value::Int(left), Value::Int(right)) => Ok(left == right),
        (Value::Float(left), Value::Float(right)) => Ok(left == right),
        (Value::Text(left), Value::Text(right)) => Ok(left.as_str() == right.as_str()),
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        (Value::List(_) | Value::Map(_) | Value::Record(_), Value::List(_) | Value::Map(_) | Value::Record(_)) => {
            Err(TemplateFault::type_error(format!("non-comparable types {}, {}", left.kind_name(), right.kind_name())))
        }
        _ => Err(TemplateFault::type_error("incompatible types for comparison")),
    }
}

fn ordered(arguments: &[Value], holds: fn(Ordering) -> bool) -> Result<Value, TemplateError> {
    let [left, right] = arguments else { return Err(wrong_count("2", arguments.len())) };
    let ordering = match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Text(left), Value::Text(right)) => Some(left.as_str().cmp(right.as_str())),
        (Value::Bool(_), Value::Bool(_))
        | (Value::Nil, Value::Nil)
        | (Value::List(_) | Value::Map(_) | Value::Record(_), Value::List(_) | Value::Map(_) | Value::Record(_)) => {
            return Err(TemplateFault::type_error("invalid type for comparison"));
        }
        _ => return Err(TemplateFault::type_error("incompatible types for comparison")),
    };
    Ok(Value::Bool(ordering.is_some_and(holds)))
}

fn date(context: &Context, days: i64) -> Result<Value, TemplateError> {
    let text = context.now.plus_seconds(days * DAY_SECONDS).format("%Y-%m-%d");
    Value::text(context.budget, &text, Origin::Template)
}
