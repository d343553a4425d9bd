//! Evaluates expressions.

use std::rc::Rc;

use super::arguments::CallArguments;
use super::attributes;
use super::error::{TemplateError, TemplateFault};
use super::interpreter::{CALLS_MAX, Interpreter};
use super::operators;
use super::scope::Frame;
use super::syntax::{Arguments, Comparison, Expression, ExpressionKind};
use super::text::Origin;
use super::value::{Dict, Macro, SequenceBuilder, SequenceKind, Value};

impl<'t> Interpreter<'t> {
    pub(super) fn evaluate(&mut self, expression: &'t Expression) -> Result<Value<'t>, TemplateError> {
        let line = expression.line;
        self.enter().map_err(|error| error.at(line))?;
        let value = self.evaluate_kind(&expression.kind).map_err(|error| error.at(line))?;
        self.leave();
        Ok(value)
    }

    fn evaluate_kind(&mut self, kind: &'t ExpressionKind) -> Result<Value<'t>, TemplateError> {
        match kind {
            ExpressionKind::None => Ok(Value::None),
            ExpressionKind::Bool(value) => Ok(Value::Bool(*value)),
            ExpressionKind::Integer(value) => Ok(Value::Integer(*value)),
            ExpressionKind::Float(value) => Ok(Value::Float(*value)),
            ExpressionKind::Text(text) => Value::text(&self.budget, text, Origin::Template),
            ExpressionKind::Name(name) => Ok(self.frame.get(name).unwrap_or_else(|| Value::undefined_name(name))),
            ExpressionKind::List(elements) => self.sequence(elements, SequenceKind::List),
            ExpressionKind::Tuple(elements) => self.sequence(elements, SequenceKind::Tuple),
            ExpressionKind::Dict(entries) => self.dict(entries),
            ExpressionKind::Attribute { object, name } => {
                let object = self.evaluate(object)?;
                self.attribute(&object, name)
            }
            ExpressionKind::Item { object, key } => {
                let object = self.evaluate(object)?;
                let key = self.evaluate(key)?;
                self.item(&object, &key)
            }
            ExpressionKind::Slice { object, bounds } => self.slice(object, bounds),
            ExpressionKind::Call { callee, arguments } => self.call(callee, arguments),
            ExpressionKind::Filter { operand, name, arguments } => {
                let operand = self.evaluate(operand)?;
                let arguments = self.arguments(arguments)?;
                self.apply_filter(name, operand, arguments)
            }
            ExpressionKind::Test { operand, name, arguments, negated } => {
                let operand = self.evaluate(operand)?;
                let arguments = self.arguments(arguments)?;
                Ok(Value::Bool(self.apply_test(name, &operand, arguments)? != *negated))
            }
            ExpressionKind::Not(operand) => Ok(Value::Bool(!self.evaluate(operand)?.is_true())),
            ExpressionKind::Negative(operand) => operators::negate(&self.evaluate(operand)?),
            ExpressionKind::Positive(operand) => operators::positive(&self.evaluate(operand)?),
            ExpressionKind::Arithmetic { operator, left, right } => {
                let left = self.evaluate(left)?;
                let right = self.evaluate(right)?;
                operators::arithmetic(*operator, &left, &right, &self.budget)
            }
            ExpressionKind::Concatenation(parts) => {
                let values = parts.iter().map(|part| self.evaluate(part)).collect::<Result<Vec<_>, _>>()?;
                self.concatenation(&values)
            }
            ExpressionKind::Comparison { first, rest } => self.comparison(first, rest),
            ExpressionKind::And(left, right) => {
                let left = self.evaluate(left)?;
                if left.is_true() { self.evaluate(right) } else { Ok(left) }
            }
            ExpressionKind::Or(left, right) => {
                let left = self.evaluate(left)?;
                if left.is_true() { Ok(left) } else { self.evaluate(right) }
            }
            ExpressionKind::Conditional { test, then, otherwise } => {
                if self.evaluate(test)?.is_true() {
                    return self.evaluate(then);
                }
                match otherwise {
                    Some(otherwise) => self.evaluate(otherwise),
                    None => Ok(Value::Undefined("the inline if-expression has no else section".into())),
                }
            }
        }
    }

    #[inline(never)]
    fn sequence(&mut self, elements: &'t [Expression], kind: SequenceKind) -> Result<Value<'t>, TemplateError> {
        let mut builder = SequenceBuilder::new(&self.budget)?;
        for element in elements {
            builder.push(self.evaluate(element)?)?;
        }
        builder.finish(kind)
    }

    #[inline(never)]
    fn dict(&mut self, entries: &'t [(Expression, Expression)]) -> Result<Value<'t>, TemplateError> {
        let mut dict = Dict::new(&self.budget)?;
        for (key, value) in entries {
            let key = self.evaluate(key)?;
            dict.insert(key, self.evaluate(value)?)?;
        }
        Ok(Value::Dict(Rc::new(dict)))
    }

    #[inline(never)]
    fn slice(
        &mut self,
        object: &'t Expression,
        bounds: &'t [Option<Expression>; 3],
    ) -> Result<Value<'t>, TemplateError> {
        let object = self.evaluate(object)?;
        let mut values = [None, None, None];
        for (value, bound) in values.iter_mut().zip(bounds) {
            *value = match bound {
                Some(bound) => match self.evaluate(bound)? {
                    Value::None => None,
                    Value::Undefined(message) => return Err(TemplateFault::undefined(&*message)),
                    found => Some(found.as_integer().ok_or_else(|| {
                        TemplateFault::type_error("slice indices must be integers or None or have an __index__ method")
                    })?),
                },
                None => None,
            };
        }
        attributes::slice(&object, values, &self.budget)
    }

    #[inline(never)]
    fn comparison(
        &mut self,
        first: &'t Expression,
        rest: &'t [(Comparison, Expression)],
    ) -> Result<Value<'t>, TemplateError> {
        let mut left = self.evaluate(first)?;
        for (comparison, right) in rest {
            let right = self.evaluate(right)?;
            if !operators::holds(*comparison, &left, &right, &self.budget)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    pub(super) fn arguments(&mut self, arguments: &'t Arguments) -> Result<CallArguments<'t>, TemplateError> {
        let mut values = CallArguments::default();
        for argument in &arguments.positional {
            values.positional.push(self.evaluate(argument)?);
        }
        for (name, argument) in &arguments.keyword {
            values.keyword.push((name.clone(), self.evaluate(argument)?));
        }
        if let Some(spread) = &arguments.spread {
            values.positional.extend(self.evaluate(spread)?.iterate(&self.budget)?);
        }
        if let Some(spread) = &arguments.keyword_spread {
            let Value::Dict(dict) = self.evaluate(spread)? else {
                return Err(TemplateFault::type_error("argument after ** must be a mapping"));
            };
            for (key, value) in dict.entries() {
                let Some(name) = key.as_str() else {
                    return Err(TemplateFault::type_error("keywords must be strings"));
                };
                self.budget.spend_bytes(name.len())?;
                values.keyword.push((name.to_owned(), value.clone()));
            }
        }
        Ok(values)
    }

    #[inline(never)]
    fn call(&mut self, callee: &'t Expression, arguments: &'t Arguments) -> Result<Value<'t>, TemplateError> {
        // A method is called on its object, without a value for the method itself.
        if let ExpressionKind::Attribute { object, name } = &callee.kind {
            let object = self.evaluate(object)?;
            if let Some(method) = attributes::method_of(&object, name) {
                let arguments = self.arguments(arguments)?;
                return self.call_method(&object, method, arguments);
            }
            let callee = self.attribute(&object, name)?;
            let arguments = self.arguments(arguments)?;
            return self.call_value(&callee, arguments, None);
        }
        let callee = self.evaluate(callee)?;
        let arguments = self.arguments(arguments)?;
        self.call_value(&callee, arguments, None)
    }

    pub(super) fn evaluate_call_with_caller(
        &mut self,
        call: &'t Expression,
        caller: Value<'t>,
    ) -> Result<Value<'t>, TemplateError> {
        let ExpressionKind::Call { callee, arguments } = &call.kind else {
            return Err(TemplateFault::type_error("expected a call").at(call.line));
        };
        let callee = self.evaluate(callee)?;
        let arguments = self.arguments(arguments)?;
        self.call_value(&callee, arguments, Some(caller)).map_err(|error| error.at(call.line))
    }

    pub(super) fn call_value(
        &mut self,
        callee: &Value<'t>,
        arguments: CallArguments<'t>,
        caller: Option<Value<'t>>,
    ) -> Result<Value<'t>, TemplateError> {
        match callee {
            Value::Undefined(message) => Err(TemplateFault::undefined(&**message)),
            Value::Function(function) => self.call_function(*function, arguments),
            Value::Macro(callee) => self.call_macro(callee, arguments, caller),
            Value::Method(method) => self.call_method(&method.0, method.1, arguments),
            Value::Loop(state) => {
                let Some((definition, frame)) = &state.recursion else {
                    return Err(TemplateFault::type_error("the loop must have the 'recursive' marker to be called"));
                };
                let frame = frame.upgrade().ok_or_else(|| TemplateFault::type_error("the loop has ended"))?;
                let [iterable] = arguments.bind("loop", ["iterable"])?;
                let iterable = iterable.ok_or_else(|| TemplateFault::type_error("loop() needs an argument"))?;
                let level = state.level + 1;
                self.deeper_call(|interpreter| {
                    let text = interpreter.captured(|inner| {
                        inner.in_frame(frame, |inner| inner.loop_over(definition, &iterable, level))
                    })?;
                    Ok(Value::Text(text))
                })
            }
            other => Err(TemplateFault::type_error(format!("'{}' object is not callable", other.type_name()))),
        }
    }

    fn deeper_call(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<Value<'t>, TemplateError>,
    ) -> Result<Value<'t>, TemplateError> {
        if self.calls == CALLS_MAX {
            return Err(TemplateFault::CallsTooDeep { limit: CALLS_MAX }.into());
        }
        self.calls += 1;
        let value = run(self)?;
        self.calls -= 1;
        Ok(value)
    }

    fn call_macro(
        &mut self,
        callee: &Macro<'t>,
        arguments: CallArguments<'t>,
        caller: Option<Value<'t>>,
    ) -> Result<Value<'t>, TemplateError> {
        let parent = callee.frame.upgrade();
        let parent = parent.ok_or_else(|| TemplateFault::type_error("the block that defined the macro has ended"))?;
        let frame = Frame::new(Some(parent));
        let definition = callee.definition;
        self.deeper_call(|interpreter| {
            let text = interpreter.captured(|interpreter| {
                interpreter.in_frame(frame, |interpreter| {
                    interpreter.bind_parameters(callee, arguments, caller)?;
                    interpreter.block(&definition.body).map(|_| ())
                })
            })?;
            Ok(Value::Text(text))
        })
    }

    /// Sets the parameters of a macro in its frame, which is the current one.
    fn bind_parameters(
        &mut self,
        callee: &Macro<'t>,
        arguments: CallArguments<'t>,
        caller: Option<Value<'t>>,
    ) -> Result<(), TemplateError> {
        let definition = callee.definition;
        let CallArguments { positional, mut keyword } = arguments;
        let mut positional = positional.into_iter();
        let caller = caller.or_else(|| {
            let at = keyword.iter().position(|(name, _)| name == "caller")?;
            Some(keyword.remove(at).1)
        });
        for (name, default) in &definition.parameters {
            let value = match positional.next() {
                Some(value) => value,
                None => match (keyword.iter().position(|(keyword, _)| keyword == name), default) {
                    (Some(at), _) => keyword.remove(at).1,
                    (None, Some(default)) => self.evaluate(default)?,
                    (None, None) => Value::Undefined(format!("parameter '{name}' was not provided").into()),
                },
            };
            self.frame.set(name, value);
        }
        let name = &definition.name;
        let rest: Vec<_> = positional.collect();
        if definition.uses_varargs {
            self.frame.set("varargs", Value::tuple(&self.budget, rest)?);
        } else if !rest.is_empty() {
            let count = definition.parameters.len();
            let message = format!("macro '{name}' takes not more than {count} argument(s)");
            return Err(TemplateFault::type_error(message));
        }
        if definition.uses_kwargs {
            let mut dict = Dict::new(&self.budget)?;
            for (name, value) in keyword {
                dict.insert(Value::text(&self.budget, &name, Origin::Content)?, value)?;
            }
            self.frame.set("kwargs", Value::Dict(Rc::new(dict)));
        } else if let Some((unknown, _)) = keyword.first() {
            let message = format!("macro '{name}' takes no keyword argument '{unknown}'");
            return Err(TemplateFault::type_error(message));
        }
        if let Some(caller) = caller {
            self.frame.set("caller", caller);
        }
        Ok(())
    }
}
