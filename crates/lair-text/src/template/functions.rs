//! The functions every template can call.

use std::rc::Rc;

use super::arguments::CallArguments;
use super::error::{TemplateError, TemplateFault};
use super::interpreter::Interpreter;
use super::python_text::to_text;
use super::text::Origin;
use super::value::{Dict, Function, SequenceBuilder, SequenceKind, Value};

/// The longest range: the limit of Jinja's own sandbox.
const RANGE_MAX: i128 = 100_000;

/// The longest message of `raise_exception` that is passed on.
const MESSAGE_CHARS_MAX: usize = 2000;

impl<'t> Interpreter<'t> {
    pub(super) fn call_function(
        &mut self,
        function: Function,
        arguments: CallArguments<'t>,
    ) -> Result<Value<'t>, TemplateError> {
        match function {
            Function::Range => self.range(arguments),
            Function::Namespace => {
                let index = self.new_namespace()?;
                for (name, value) in self.pairs(arguments, "namespace")? {
                    let Some(name) = name.as_str() else { continue };
                    self.set_attribute(index, name, value)?;
                }
                Ok(Value::Namespace(index))
            }
            Function::Dict => {
                let mut dict = Dict::new(&self.budget)?;
                for (key, value) in self.pairs(arguments, "dict")? {
                    dict.insert(key, value)?;
                }
                Ok(Value::Dict(Rc::new(dict)))
            }
            Function::RaiseException => {
                let [message] = arguments.bind("raise_exception", ["message"])?;
                let message = to_text(&message.unwrap_or(Value::None), &self.budget)?;
                let message = message.as_str().chars().take(MESSAGE_CHARS_MAX).collect();
                Err(TemplateFault::Raised { message }.into())
            }
            Function::StrftimeNow => {
                let [format] = arguments.bind("strftime_now", ["format"])?;
                let Some(Value::Text(format)) = format else {
                    return Err(TemplateFault::type_error("strftime_now() needs a format string"));
                };
                self.budget.spend(format.as_str().len())?;
                Value::text(&self.budget, &self.now.format(format.as_str()), Origin::Template)
            }
        }
    }

    /// The entries of a dict, or of a list of pairs, and the keyword arguments.
    fn pairs(
        &mut self,
        arguments: CallArguments<'t>,
        function: &str,
    ) -> Result<Vec<(Value<'t>, Value<'t>)>, TemplateError> {
        let CallArguments { positional, keyword } = arguments;
        if positional.len() > 1 {
            return Err(TemplateFault::type_error(format!("{function} expected at most 1 argument")));
        }
        let mut pairs = Vec::new();
        match positional.into_iter().next() {
            None => {}
            Some(Value::Dict(dict)) => {
                self.budget.spend(dict.entries().len())?;
                pairs.extend_from_slice(dict.entries());
            }
            Some(other) => {
                for pair in other.iterate(&self.budget)? {
                    match <[Value<'t>; 2]>::try_from(pair.iterate(&self.budget)?) {
                        Ok([key, value]) => pairs.push((key, value)),
                        Err(_) => return Err(TemplateFault::type_error(format!("{function} needs pairs"))),
                    }
                }
            }
        }
        for (name, value) in keyword {
            pairs.push((Value::text(&self.budget, &name, Origin::Template)?, value));
        }
        Ok(pairs)
    }

    fn range(&mut self, arguments: CallArguments<'t>) -> Result<Value<'t>, TemplateError> {
        let [first, second, step] = arguments.bind("range", ["start", "stop", "step"])?;
        let integer = |value: Value<'t>| match &value {
            Value::Undefined(message) => Err(TemplateFault::undefined(&**message)),
            other => other.as_integer().ok_or_else(|| {
                TemplateFault::type_error(format!("'{}' object cannot be interpreted as an integer", other.type_name()))
            }),
        };
        let first = integer(first.ok_or_else(|| TemplateFault::type_error("range expected at least 1 argument"))?)?;
        let step = step.map_or(Ok(1), integer)?;
        let (start, stop) = match second {
            Some(second) => (first, integer(second)?),
            None => (0, first),
        };
        if step == 0 {
            return Err(TemplateFault::type_error("range() arg 3 must not be zero"));
        }
        let distance = if step > 0 { stop.saturating_sub(start) } else { start.saturating_sub(stop) }.max(0);
        let count = (distance as u128).div_ceil(step.unsigned_abs());
        if count > RANGE_MAX as u128 {
            return Err(TemplateFault::type_error(format!(
                "Range too big. The sandbox blocks ranges larger than MAX_RANGE ({RANGE_MAX})."
            )));
        }
        let mut range = SequenceBuilder::new(&self.budget)?;
        for place in 0..count as i128 {
            range.push(Value::Integer(start + place * step))?;
        }
        range.finish(SequenceKind::Range)
    }
}
