//! The tests of Jinja: `value is name`.

use super::arguments::CallArguments;
use super::error::{TemplateError, TemplateFault};
use super::interpreter::Interpreter;
use super::operators;
use super::syntax::Comparison;
use super::value::{SequenceKind, Value};

impl<'t> Interpreter<'t> {
    /// `value is name(arguments)`
    pub(super) fn apply_test(
        &mut self,
        name: &str,
        value: &Value<'t>,
        arguments: CallArguments<'t>,
    ) -> Result<bool, TemplateError> {
        if let Some(comparison) = comparison_of(name) {
            let [other] = arguments.bind(name, ["other"])?;
            let other = other.ok_or_else(|| TemplateFault::type_error(format!("test '{name}' needs an argument")))?;
            return operators::holds(comparison, value, &other, &self.budget);
        }
        if name == "divisibleby" || name == "sameas" {
            let [other] = arguments.bind(name, ["other"])?;
            let other = other.ok_or_else(|| TemplateFault::type_error(format!("test '{name}' needs an argument")))?;
            if name == "sameas" {
                let same_type = value.type_name() == other.type_name();
                return Ok(same_type && value.equals(&other, &self.budget)?);
            }
            return match (value.as_integer(), other.as_integer()) {
                (_, Some(0)) => Err(TemplateFault::type_error("integer modulo by zero")),
                (Some(value), Some(divisor)) => Ok(value.checked_rem(divisor).unwrap_or(0) == 0),
                _ => Err(TemplateFault::type_error("test 'divisibleby' needs integers")),
            };
        }
        if !arguments.is_empty() {
            return Err(TemplateFault::type_error(format!("test '{name}' takes no argument")));
        }
        self.simple_test(name, value)
    }

    fn simple_test(&mut self, name: &str, value: &Value<'t>) -> Result<bool, TemplateError> {
        Ok(match name {
            "defined" => !matches!(value, Value::Undefined(_)),
            "undefined" => matches!(value, Value::Undefined(_)),
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "integer" => matches!(value, Value::Integer(_)),
            "float" => matches!(value, Value::Float(_)),
            "number" => matches!(value, Value::Integer(_) | Value::Float(_) | Value::Bool(_)),
            "string" => matches!(value, Value::Text(_)),
            "mapping" => matches!(value, Value::Dict(_)),
            // Undefined has all of Python's methods for sequences, if only to complain.
            "sequence" => match value {
                Value::Sequence(sequence) => !matches!(sequence.kind, SequenceKind::Generator | SequenceKind::View(_)),
                _ => matches!(value, Value::Text(_) | Value::Dict(_) | Value::Undefined(_)),
            },
            "iterable" => matches!(
                value,
                Value::Text(_) | Value::Dict(_) | Value::Undefined(_) | Value::Sequence(_) | Value::Loop(_)
            ),
            "callable" => matches!(
                value,
                Value::Macro(_) | Value::Function(_) | Value::Method(_) | Value::Undefined(_) | Value::Loop(_)
            ),
            "escaped" => matches!(value, Value::Text(text) if text.is_markup()),
            "odd" | "even" => {
                let remainder = match (value.as_integer(), value) {
                    (Some(number), _) => number.rem_euclid(2) as f64,
                    (_, Value::Float(number)) => number.rem_euclid(2.0),
                    _ => return Err(TemplateFault::type_error(format!("test '{name}' needs a number"))),
                };
                remainder == if name == "odd" { 1.0 } else { 0.0 }
            }
            "lower" | "upper" => {
                let string = value.as_str().unwrap_or_default();
                self.budget.spend_bytes(string.len())?;
                let has_lower = string.chars().any(char::is_lowercase);
                let has_upper = string.chars().any(char::is_uppercase);
                if name == "lower" { has_lower && !has_upper } else { has_upper && !has_lower }
            }
            _ => {
                let what = format!("no test named '{}'", name.chars().take(80).collect::<String>());
                return Err(TemplateFault::type_error(what));
            }
        })
    }
}

fn comparison_of(name: &str) -> Option<Comparison> {
    Some(match name {
        "eq" | "equalto" => Comparison::Equal,
        "ne" => Comparison::NotEqual,
        "lt" | "lessthan" => Comparison::Less,
        "le" => Comparison::LessOrEqual,
        "gt" | "greaterthan" => Comparison::Greater,
        "ge" => Comparison::GreaterOrEqual,
        "in" => Comparison::In,
        _ => return None,
    })
}
