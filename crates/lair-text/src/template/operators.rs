//! Arithmetic, comparison and containment, with Python's rules and messages.

use std::cmp::Ordering;
use std::rc::Rc;

use super::budget::{Budget, TEXT_BYTES_MAX};
use super::error::{TemplateError, TemplateFault};
use super::format::percent_format;
use super::python_text::write_str;
use super::syntax::{Comparison, Operator};
use super::text::{Text, TextBuilder};
use super::text_methods::escape_html;
use super::value::{Sequence, SequenceBuilder, SequenceKind, Value};

/// The texts of the values, one after the other.
pub(super) fn concatenate<'t>(values: &[Value<'t>], budget: &Rc<Budget>) -> Result<Value<'t>, TemplateError> {
    let mut builder = TextBuilder::new(budget)?;
    values.iter().try_for_each(|value| write_str(value, &mut builder))?;
    Ok(Value::Text(builder.finish()))
}

pub(super) fn negate<'t>(value: &Value<'t>) -> Result<Value<'t>, TemplateError> {
    match (value, value.as_integer()) {
        (Value::Float(number), _) => Ok(Value::Float(-number)),
        (_, Some(number)) => number.checked_neg().map(Value::Integer).ok_or_else(overflow),
        _ => Err(unary_error("-", value)),
    }
}

pub(super) fn positive<'t>(value: &Value<'t>) -> Result<Value<'t>, TemplateError> {
    match (value, value.as_integer()) {
        (Value::Float(number), _) => Ok(Value::Float(*number)),
        (_, Some(number)) => Ok(Value::Integer(number)),
        _ => Err(unary_error("+", value)),
    }
}

fn unary_error(symbol: &str, value: &Value<'_>) -> TemplateError {
    match value {
        Value::Undefined(message) => TemplateFault::undefined(&**message),
        _ => TemplateFault::type_error(format!("bad operand type for unary {symbol}: '{}'", value.type_name())),
    }
}

/// Python's integers have no end, ours have 127 bits.
fn overflow() -> TemplateError {
    TemplateFault::type_error("integer too large")
}

/// `left operator right`
pub(super) fn arithmetic<'t>(
    operator: Operator,
    left: &Value<'t>,
    right: &Value<'t>,
    budget: &Rc<Budget>,
) -> Result<Value<'t>, TemplateError> {
    match (operator, left, right) {
        (Operator::Remainder, Value::Text(template), _) => return percent_format(template, right, budget),
        (_, Value::Undefined(message), _) | (_, _, Value::Undefined(message)) => {
            return Err(TemplateFault::undefined(&**message));
        }
        (Operator::Add, Value::Text(left), Value::Text(right)) => return add_texts(left, right).map(Value::Text),
        (Operator::Add, Value::Sequence(first), Value::Sequence(second))
            if first.kind == second.kind && is_stored(first.kind) =>
        {
            let mut builder = SequenceBuilder::new(budget)?;
            builder.extend(first.items())?;
            builder.extend(second.items())?;
            return builder.finish(first.kind);
        }
        (Operator::Multiply, _, _) => {
            if let Some(repeated) = repeat(left, right, budget)? {
                return Ok(repeated);
            }
        }
        _ => {}
    }
    match (left.as_integer(), right.as_integer()) {
        (Some(left), Some(right)) => integer_arithmetic(operator, left, right),
        _ => match (left.as_float(), right.as_float()) {
            (Some(left), Some(right)) => float_arithmetic(operator, left, right).map(Value::Float),
            _ => Err(operand_error(operator, left, right)),
        },
    }
}

/// `left + right`; if one is markup, the other is escaped and the sum is markup.
fn add_texts(left: &Rc<Text>, right: &Rc<Text>) -> Result<Rc<Text>, TemplateError> {
    let mut builder = TextBuilder::new(left.budget())?;
    if left.is_markup() || right.is_markup() {
        builder.mark_up();
        builder.push_text(&*escape_html(left)?)?;
        builder.push_text(&*escape_html(right)?)?;
    } else {
        builder.push_text(left)?;
        builder.push_text(right)?;
    }
    Ok(builder.finish())
}

fn is_stored(kind: SequenceKind) -> bool {
    matches!(kind, SequenceKind::List | SequenceKind::Tuple)
}

fn operand_error(operator: Operator, left: &Value<'_>, right: &Value<'_>) -> TemplateError {
    let (left_name, right_name) = (left.type_name(), right.type_name());
    TemplateFault::type_error(match (operator, left) {
        (Operator::Add, Value::Text(_)) => format!("can only concatenate str (not \"{right_name}\") to str"),
        (Operator::Add, Value::Sequence(sequence)) if is_stored(sequence.kind) => {
            format!("can only concatenate {left_name} (not \"{right_name}\") to {left_name}")
        }
        _ => format!("unsupported operand type(s) for {}: '{left_name}' and '{right_name}'", operator.symbol()),
    })
}

/// A string or sequence times a number, in either order.
fn repeat<'t>(left: &Value<'t>, right: &Value<'t>, budget: &Rc<Budget>) -> Result<Option<Value<'t>>, TemplateError> {
    let (value, count) = match (left, left.as_integer(), right.as_integer()) {
        (Value::Text(_) | Value::Sequence(_), _, Some(count)) => (left, count),
        (_, Some(count), _) => (right, count),
        _ => return Ok(None),
    };
    let count = count.max(0);
    match value {
        Value::Text(text) if text.as_str().is_empty() => Ok(Some(value.clone())),
        Value::Text(text) => repeat_text(text, count).map(|text| Some(Value::Text(text))),
        Value::Sequence(sequence) if is_stored(sequence.kind) => repeat_sequence(sequence, count, budget).map(Some),
        _ => Ok(None),
    }
}

fn repeat_text(text: &Rc<Text>, count: i128) -> Result<Rc<Text>, TemplateError> {
    // Refused before the work, not after it.
    if count.saturating_mul(text.as_str().len() as i128) > TEXT_BYTES_MAX as i128 {
        return Err(TemplateFault::OutputTooLarge { limit_bytes: TEXT_BYTES_MAX }.into());
    }
    let mut builder = TextBuilder::like(text)?;
    for _ in 0..count {
        builder.push_text(text)?;
    }
    Ok(builder.finish())
}

fn repeat_sequence<'t>(sequence: &Sequence<'t>, count: i128, budget: &Rc<Budget>) -> Result<Value<'t>, TemplateError> {
    let mut builder = SequenceBuilder::new(budget)?;
    if !sequence.items().is_empty() {
        for _ in 0..count {
            builder.extend(sequence.items())?;
        }
    }
    builder.finish(sequence.kind)
}

fn integer_arithmetic<'t>(operator: Operator, left: i128, right: i128) -> Result<Value<'t>, TemplateError> {
    let zero = || TemplateFault::type_error("division by zero");
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide => {
            let quotient = if right == 0 { return Err(zero()) } else { left as f64 / right as f64 };
            return Ok(Value::Float(quotient));
        }
        Operator::FloorDivide | Operator::Remainder if right == 0 => return Err(zero()),
        Operator::FloorDivide => left.checked_div(right).map(|quotient| {
            let is_inexact = left.checked_rem(right).is_some_and(|remainder| remainder != 0);
            quotient - i128::from(is_inexact && (left < 0) != (right < 0))
        }),
        Operator::Remainder => left.checked_rem(right).map(|remainder| {
            if remainder != 0 && (remainder < 0) != (right < 0) { remainder + right } else { remainder }
        }),
        Operator::Power if right < 0 => return float_arithmetic(operator, left as f64, right as f64).map(Value::Float),
        Operator::Power => u32::try_from(right).ok().and_then(|exponent| left.checked_pow(exponent)),
    };
    result.map(Value::Integer).ok_or_else(overflow)
}

fn float_arithmetic(operator: Operator, left: f64, right: f64) -> Result<f64, TemplateError> {
    let divides = matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Remainder);
    if right == 0.0 && divides || operator == Operator::Power && left == 0.0 && right < 0.0 {
        return Err(TemplateFault::type_error("float division by zero"));
    }
    Ok(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::FloorDivide => (left / right).floor(),
        Operator::Remainder => {
            let remainder = left % right;
            if remainder != 0.0 && (remainder < 0.0) != (right < 0.0) { remainder + right } else { remainder }
        }
        Operator::Power => left.powf(right),
    })
}

/// Whether `left comparison right`.
pub(super) fn holds<'t>(
    comparison: Comparison,
    left: &Value<'t>,
    right: &Value<'t>,
    budget: &Rc<Budget>,
) -> Result<bool, TemplateError> {
    let ordered = |symbol, accepts: fn(Ordering) -> bool| {
        left.compare(right, symbol, budget).map(|order| order.is_some_and(accepts))
    };
    match comparison {
        Comparison::Equal => left.equals(right, budget),
        Comparison::NotEqual => left.equals(right, budget).map(|equal| !equal),
        Comparison::Less => ordered("<", Ordering::is_lt),
        Comparison::LessOrEqual => ordered("<=", Ordering::is_le),
        Comparison::Greater => ordered(">", Ordering::is_gt),
        Comparison::GreaterOrEqual => ordered(">=", Ordering::is_ge),
        Comparison::In => contains(right, left, budget),
        Comparison::NotIn => contains(right, left, budget).map(|found| !found),
    }
}

/// `value in container`
pub(super) fn contains<'t>(
    container: &Value<'t>,
    value: &Value<'t>,
    budget: &Rc<Budget>,
) -> Result<bool, TemplateError> {
    match container {
        Value::Text(text) => match value {
            Value::Text(needle) => {
                budget.spend_bytes(text.as_str().len() + needle.as_str().len())?;
                Ok(text.as_str().contains(needle.as_str()))
            }
            Value::Undefined(message) => Err(TemplateFault::undefined(&**message)),
            other => Err(TemplateFault::type_error(format!(
                "'in <string>' requires string as left operand, not {}",
                other.type_name()
            ))),
        },
        Value::Dict(dict) => Ok(dict.get(value)?.is_some()),
        Value::Sequence(sequence) => {
            for item in sequence.read() {
                if item.equals(value, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Undefined(_) => Ok(false),
        other => Err(TemplateFault::type_error(format!("argument of type '{}' is not iterable", other.type_name()))),
    }
}
