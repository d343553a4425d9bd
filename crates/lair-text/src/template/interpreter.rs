//! Runs the statements of a template.

use std::rc::Rc;

use super::budget::{Budget, Charge};
use super::calendar::LocalTime;
use super::error::{TemplateError, TemplateFault};
use super::operators;
use super::python_text::write_str;
use super::scope::Frame;
use super::syntax::{Block, FilterCall, ForLoop, Statement, Target};
use super::text::{Origin, Text, TextBuilder};
use super::value::{Function, LoopState, Macro, Value};

/// How deep macros and recursive loops may call each other.
pub(super) const CALLS_MAX: usize = 100;

/// How many levels of blocks and expressions may be open at once, over all calls: bounds the stack.
const LEVELS_MAX: usize = 1500;

/// Memory of a namespace or of one of its attributes.
const NAMESPACE_BYTES: usize = 128;

/// How a block ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Normal,
    Break,
    Continue,
}

/// The state of one rendering. An error ends the rendering: nothing is unwound.
pub(super) struct Interpreter<'t> {
    pub(super) budget: Rc<Budget>,
    pub(super) frame: Rc<Frame<'t>>,
    /// The text being written: the rendered text first, then that of the macros and `set` blocks being run.
    outputs: Vec<TextBuilder>,
    /// Namespaces live as long as the rendering, so that they may refer to each other.
    namespaces: Vec<Vec<(String, Value<'t>)>>,
    namespace_charge: Charge,
    levels: usize,
    pub(super) calls: usize,
    pub(super) now: LocalTime,
}

impl<'t> Interpreter<'t> {
    pub(super) fn new(
        budget: Rc<Budget>,
        output_bytes_max: usize,
        now: LocalTime,
    ) -> Result<Interpreter<'t>, TemplateError> {
        let frame = Frame::new(None);
        for (name, function) in Function::ALL {
            frame.set(name, Value::Function(function));
        }
        Ok(Interpreter {
            outputs: vec![TextBuilder::with_limit(&budget, output_bytes_max)?],
            namespaces: Vec::new(),
            namespace_charge: Charge::new(&budget, 0)?,
            levels: 0,
            calls: 0,
            now,
            frame,
            budget,
        })
    }

    /// Runs the whole template in a scope of its own and gives the text.
    pub(super) fn run(mut self, block: &'t Block) -> Result<Text, TemplateError> {
        self.frame = Frame::new(Some(Rc::clone(&self.frame)));
        self.block(block)?;
        let output = self.outputs.pop().expect("the output of the template is the first and is taken last");
        Ok(output.into_text())
    }

    /// Opens a level of nesting; the caller closes it with [`Self::leave`].
    pub(super) fn enter(&mut self) -> Result<(), TemplateError> {
        self.budget.spend(1)?;
        if self.levels == LEVELS_MAX {
            return Err(TemplateFault::CallsTooDeep { limit: LEVELS_MAX }.into());
        }
        self.levels += 1;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.levels -= 1;
    }

    fn output(&mut self) -> &mut TextBuilder {
        self.outputs.last_mut().expect("the output of the template is there until the end")
    }

    /// The text that `run` writes.
    pub(super) fn captured(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<(), TemplateError>,
    ) -> Result<Rc<Text>, TemplateError> {
        self.outputs.push(TextBuilder::new(&self.budget)?);
        run(self)?;
        Ok(self.outputs.pop().expect("it was pushed above").finish())
    }

    /// Runs with a frame inside the current one.
    fn scoped<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, TemplateError>) -> Result<T, TemplateError> {
        let inner = Frame::new(Some(Rc::clone(&self.frame)));
        self.in_frame(inner, run)
    }

    pub(super) fn in_frame<T>(
        &mut self,
        frame: Rc<Frame<'t>>,
        run: impl FnOnce(&mut Self) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        let outer = std::mem::replace(&mut self.frame, frame);
        let result = run(self)?;
        self.frame = outer;
        Ok(result)
    }

    pub(super) fn block(&mut self, block: &'t Block) -> Result<Flow, TemplateError> {
        self.enter()?;
        for statement in block {
            let flow = self.statement(statement)?;
            if flow != Flow::Normal {
                self.leave();
                return Ok(flow);
            }
        }
        self.leave();
        Ok(Flow::Normal)
    }

    fn statement(&mut self, statement: &'t Statement) -> Result<Flow, TemplateError> {
        self.budget.spend(1)?;
        match statement {
            Statement::Raw(text) => self.output().push(text, Origin::Template)?,
            Statement::Emit(expression) => {
                let value = self.evaluate(expression)?;
                write_str(&value, self.output()).map_err(|error| error.at(expression.line))?;
            }
            Statement::If { branches, otherwise } => {
                for (test, body) in branches {
                    if self.evaluate(test)?.is_true() {
                        return self.block(body);
                    }
                }
                return self.block(otherwise);
            }
            Statement::For(definition) => self.for_loop(definition)?,
            Statement::Set { target, value } => {
                let line = value.line;
                let value = self.evaluate(value)?;
                // `{% do %}` is an assignment to nothing.
                if !matches!(target, Target::Tuple(targets) if targets.is_empty()) {
                    self.assign(target, value).map_err(|error| error.at(line))?;
                }
            }
            Statement::SetBlock { target, filters, body } => {
                let value = self.filtered_block(filters, body)?;
                self.assign(target, value)?;
            }
            Statement::FilterBlock { filters, body } => {
                let value = self.filtered_block(filters, body)?;
                write_str(&value, self.output())?;
            }
            Statement::Macro(definition) => {
                let frame = Rc::downgrade(&self.frame);
                self.frame.set(&definition.name, Value::Macro(Rc::new(Macro { definition, frame })));
            }
            Statement::CallBlock { call, body } => {
                let frame = Rc::downgrade(&self.frame);
                let caller = Value::Macro(Rc::new(Macro { definition: body, frame }));
                let value = self.evaluate_call_with_caller(call, caller)?;
                write_str(&value, self.output())?;
            }
            Statement::With { assignments, body } => {
                let values = assignments.iter().map(|(_, value)| self.evaluate(value));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                return self.scoped(|interpreter| {
                    for ((target, _), value) in assignments.iter().zip(values) {
                        interpreter.assign(target, value)?;
                    }
                    interpreter.block(body)
                });
            }
            Statement::Scope(body) => return self.scoped(|interpreter| interpreter.block(body)),
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Normal)
    }

    fn filtered_block(&mut self, filters: &'t [FilterCall], body: &'t Block) -> Result<Value<'t>, TemplateError> {
        let text = self.captured(|interpreter| interpreter.scoped(|inner| inner.block(body).map(|_| ())))?;
        let mut value = Value::Text(text);
        for filter in filters {
            let arguments = self.arguments(&filter.arguments)?;
            value = self.apply_filter(&filter.name, value, arguments).map_err(|error| error.at(filter.line))?;
        }
        Ok(value)
    }

    fn assign(&mut self, target: &'t Target, value: Value<'t>) -> Result<(), TemplateError> {
        match target {
            Target::Name(name) => self.frame.set(name, value),
            Target::Attribute { namespace, attribute, line } => match self.frame.get(namespace) {
                Some(Value::Namespace(index)) => self.set_attribute(index, attribute, value)?,
                _ => {
                    let fault = TemplateFault::type_error("cannot assign attribute on non-namespace object");
                    return Err(fault.at(*line));
                }
            },
            Target::Tuple(targets) => {
                let values = match &value {
                    Value::Undefined(message) => return Err(TemplateFault::undefined(&**message)),
                    Value::None | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                        let message = format!("cannot unpack non-iterable {} object", value.type_name());
                        return Err(TemplateFault::type_error(message));
                    }
                    _ => value.iterate(&self.budget)?,
                };
                let (expected, found) = (targets.len(), values.len());
                if found != expected {
                    let message = if found > expected {
                        format!("too many values to unpack (expected {expected})")
                    } else {
                        format!("not enough values to unpack (expected {expected}, got {found})")
                    };
                    return Err(TemplateFault::type_error(message));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value)?;
                }
            }
        }
        Ok(())
    }

    fn for_loop(&mut self, definition: &'t ForLoop) -> Result<(), TemplateError> {
        let iterable = self.evaluate(&definition.iterable)?;
        let line = definition.iterable.line;
        let level = self.frame.get("loop").and_then(|found| match found {
            Value::Loop(state) if state.recursion.is_some() => Some(state.level + 1),
            _ => None,
        });
        let level = if definition.recursive { level.unwrap_or(0) } else { 0 };
        self.loop_over(definition, &iterable, level).map_err(|error| error.at(line))
    }

    /// Runs a loop over `iterable` in the current frame; `level` counts the calls of a recursive loop.
    pub(super) fn loop_over(
        &mut self,
        definition: &'t ForLoop,
        iterable: &Value<'t>,
        level: usize,
    ) -> Result<(), TemplateError> {
        let mut items = iterable.iterate(&self.budget)?;
        // The copy of the items is counted while the loop runs.
        let _charge = Charge::new(&self.budget, items.len() * size_of::<Value<'t>>())?;
        if let Some(condition) = &definition.condition {
            let mut kept = Vec::new();
            for item in items {
                let keeps = self.scoped(|interpreter| {
                    interpreter.assign(&definition.target, item.clone())?;
                    Ok(interpreter.evaluate(condition)?.is_true())
                })?;
                if keeps {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            self.scoped(|interpreter| interpreter.block(&definition.otherwise))?;
            return Ok(());
        }
        let recursion = definition.recursive.then(|| (definition, Rc::downgrade(&self.frame)));
        let state = LoopState::new(&self.budget, items, level, recursion)?;
        for (index, item) in state.items.iter().enumerate() {
            state.index.set(index);
            let flow = self.scoped(|interpreter| {
                interpreter.frame.set("loop", Value::Loop(Rc::clone(&state)));
                interpreter.assign(&definition.target, item.clone())?;
                interpreter.block(&definition.body)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn new_namespace(&mut self) -> Result<usize, TemplateError> {
        self.namespace_charge.grow(NAMESPACE_BYTES)?;
        self.namespaces.push(Vec::new());
        Ok(self.namespaces.len() - 1)
    }

    pub(super) fn set_attribute(&mut self, index: usize, name: &str, value: Value<'t>) -> Result<(), TemplateError> {
        let attributes = &mut self.namespaces[index];
        self.budget.spend(1 + attributes.len() / 16)?;
        match attributes.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => {
                self.namespace_charge.grow(NAMESPACE_BYTES + name.len())?;
                attributes.push((name.to_owned(), value));
            }
        }
        Ok(())
    }

    pub(super) fn namespace_attribute(&self, index: usize, name: &str) -> Option<Value<'t>> {
        let attributes = &self.namespaces[index];
        attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// `a ~ b ~ c`: the texts of the values, one after the other.
    pub(super) fn concatenation(&mut self, values: &[Value<'t>]) -> Result<Value<'t>, TemplateError> {
        operators::concatenate(values, &self.budget)
    }
}
