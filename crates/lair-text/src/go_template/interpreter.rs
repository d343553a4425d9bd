//! Runs a parsed template.

use std::rc::Rc;

use super::functions::{Context, Function, call};
use super::methods::method;
use super::print::print;
use super::syntax::{Command, List, NodeKind, Operand, Pipeline, Program};
use super::value::Value;
use crate::template::budget::Budget;
use crate::template::error::TemplateFault;
use crate::template::text::{Origin, Text, TextBuilder};
use crate::template::{LocalTime, TemplateError};

/// Templates that call templates.
const CALLS_MAX: usize = 50;

/// Lists in lists, over all calls: what fits the stack of a thread.
const LEVELS_MAX: usize = 600;

pub(super) struct Interpreter<'p> {
    program: &'p Program,
    budget: Rc<Budget>,
    out: TextBuilder,
    now: LocalTime,
    variables: Vec<(&'p str, Value)>,
    calls: usize,
    levels: usize,
}

/// How a list ended.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'p> Interpreter<'p> {
    pub(super) fn new(
        program: &'p Program,
        budget: &Rc<Budget>,
        output_bytes_max: usize,
        now: LocalTime,
    ) -> Result<Interpreter<'p>, TemplateError> {
        let out = TextBuilder::with_limit(budget, output_bytes_max)?;
        let budget = Rc::clone(budget);
        Ok(Interpreter { program, budget, out, now, variables: Vec::new(), calls: 0, levels: 0 })
    }

    /// Runs `list`, a part of the program, with `dot`, and adds what it writes to the output.
    pub(super) fn run(&mut self, list: &'p List, dot: Value) -> Result<(), TemplateError> {
        self.variables = vec![("", dot.clone())];
        self.list(list, &dot).map(|_| ())
    }

    /// What was written by all runs.
    pub(super) fn into_text(self) -> Text {
        self.out.into_text()
    }

    fn list(&mut self, list: &'p List, dot: &Value) -> Result<Flow, TemplateError> {
        self.levels += 1;
        if self.levels > LEVELS_MAX {
            return Err(TemplateFault::CallsTooDeep { limit: LEVELS_MAX }.into());
        }
        let mut flow = Flow::Next;
        for node in list {
            self.budget.spend(1)?;
            flow = self.node(&node.kind, dot).map_err(|error| error.at(node.line))?;
            if flow != Flow::Next {
                break;
            }
        }
        self.levels -= 1;
        Ok(flow)
    }

    fn node(&mut self, kind: &'p NodeKind, dot: &Value) -> Result<Flow, TemplateError> {
        match kind {
            NodeKind::Text(text) => self.out.push_own(text)?,
            NodeKind::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    print(&mut self.out, &value)?;
                }
            }
            NodeKind::Choice { sets_dot, branches, otherwise } => {
                return self.choice(*sets_dot, branches, otherwise.as_ref(), dot);
            }
            NodeKind::Range { pipeline, body, otherwise } => {
                return self.range(pipeline, body, otherwise.as_ref(), dot);
            }
            NodeKind::Template { name, argument } => self.template(name, argument.as_ref(), dot)?,
            NodeKind::Break => return Ok(Flow::Break),
            NodeKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn choice(
        &mut self,
        sets_dot: bool,
        branches: &'p [(Pipeline, List)],
        otherwise: Option<&'p List>,
        dot: &Value,
    ) -> Result<Flow, TemplateError> {
        let scope = self.variables.len();
        let mut flow = Flow::Next;
        let mut is_decided = false;
        for (condition, body) in branches {
            let value = self.pipeline(condition, dot)?;
            if value.is_true() {
                flow = self.list(body, if sets_dot { &value } else { dot })?;
                is_decided = true;
                break;
            }
        }
        if let (false, Some(list)) = (is_decided, otherwise) {
            flow = self.list(list, dot)?;
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(
        &mut self,
        pipeline: &'p Pipeline,
        body: &'p List,
        otherwise: Option<&'p List>,
        dot: &Value,
    ) -> Result<Flow, TemplateError> {
        let scope = self.variables.len();
        let value = self.pipeline_value(pipeline, dot)?;
        let mut flow = Flow::Next;
        let mut is_empty = true;
        let count = match &value {
            Value::List(slice) => slice.items().len(),
            Value::Map(map) => map.entries.len(),
            Value::Int(count) => usize::try_from(*count).unwrap_or(0),
            Value::Nil => 0,
            _ => return Err(TemplateFault::type_error(format!("range can't iterate over {}", value.kind_name()))),
        };
        for index in 0..count {
            is_empty = false;
            self.budget.spend(1)?;
            let (key, element) = match &value {
                Value::List(slice) => (Value::Int(index as i64), slice.items()[index].clone()),
                Value::Map(map) => {
                    let (key, element) = &map.entries[index];
                    (Value::Text(Rc::clone(key)), element.clone())
                }
                _ => (Value::Int(index as i64), Value::Int(index as i64)),
            };
            self.set_range_variables(pipeline, key, &element)?;
            let inner = self.variables.len();
            let step = self.list(body, &element)?;
            debug_assert!(self.variables.len() >= inner);
            self.variables.truncate(scope);
            if step == Flow::Break {
                break;
            }
        }
        if let (true, Some(list)) = (is_empty, otherwise) {
            flow = self.list(list, dot)?;
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    /// One variable takes the element, two take key and element.
    fn set_range_variables(
        &mut self,
        pipeline: &'p Pipeline,
        key: Value,
        element: &Value,
    ) -> Result<(), TemplateError> {
        let values = match pipeline.variables.len() {
            0 => vec![],
            1 => vec![element.clone()],
            _ => vec![key, element.clone()],
        };
        for (name, value) in pipeline.variables.iter().zip(values) {
            self.set_variable(name, value, pipeline.is_assignment)?;
        }
        Ok(())
    }

    fn template(&mut self, name: &str, argument: Option<&'p Pipeline>, dot: &Value) -> Result<(), TemplateError> {
        let program = self.program;
        let Some(list) = program.definitions.get(name) else {
            return Err(TemplateFault::undefined(format!("template \"{name}\" not defined")));
        };
        let dot = match argument {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Nil,
        };
        self.calls += 1;
        if self.calls > CALLS_MAX {
            return Err(TemplateFault::CallsTooDeep { limit: CALLS_MAX }.into());
        }
        let variables = std::mem::replace(&mut self.variables, vec![("", dot.clone())]);
        self.list(list, &dot)?;
        self.variables = variables;
        self.calls -= 1;
        Ok(())
    }

    /// The value of a pipeline, put into its variables.
    fn pipeline(&mut self, pipeline: &'p Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let value = self.pipeline_value(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set_variable(name, value.clone(), pipeline.is_assignment)?;
        }
        Ok(value)
    }

    fn pipeline_value(&mut self, pipeline: &'p Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value).map_err(|error| error.at(pipeline.line))?);
        }
        Ok(value.expect("the parser lets no pipeline be empty"))
    }

    fn set_variable(&mut self, name: &'p str, value: Value, is_assignment: bool) -> Result<(), TemplateError> {
        if !is_assignment {
            self.variables.push((name, value));
            return Ok(());
        }
        let slot = self.variables.iter_mut().rev().find(|(variable, _)| *variable == name);
        let Some((_, slot)) = slot else {
            return Err(TemplateFault::undefined(format!("variable ${name} is not in scope")));
        };
        *slot = value;
        Ok(())
    }

    /// A command; `last` is what the pipe brings, the last argument.
    fn command(&mut self, command: &'p Command, dot: &Value, last: Option<Value>) -> Result<Value, TemplateError> {
        self.budget.spend(1)?;
        let (first, arguments) = command.operands.split_first().expect("the parser lets no command be empty");
        if let Operand::Function(name) = first {
            return self.function(name, arguments, dot, last);
        }
        let takes_arguments = !arguments.is_empty() || last.is_some();
        if let (Operand::Nil, false) = (first, takes_arguments) {
            return Err(TemplateFault::type_error("nil is not a command"));
        }
        if takes_arguments {
            return Err(TemplateFault::type_error("can't give arguments to what is not a function"));
        }
        self.operand(first, dot)
    }

    fn function(
        &mut self,
        name: &str,
        arguments: &'p [Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let function = Function::find(name).expect("the parser knows every function");
        if matches!(function, Function::And | Function::Or) {
            return self.and_or(function, arguments, dot, last);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        call(function, values, &Context { budget: &self.budget, now: self.now }).map_err(|error| within(name, error))
    }

    /// `and` and `or` look at no argument behind the one that decides.
    fn and_or(
        &mut self,
        function: Function,
        arguments: &'p [Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let mut value = None;
        for argument in arguments {
            let next = self.operand(argument, dot)?;
            let decides = next.is_true() == (function == Function::Or);
            value = Some(next);
            if decides {
                return Ok(value.unwrap_or(Value::Nil));
            }
        }
        let value = last.or(value);
        value.ok_or_else(|| TemplateFault::type_error("wrong number of args for and, or: want at least 1 got 0"))
    }

    fn operand(&mut self, operand: &'p Operand, dot: &Value) -> Result<Value, TemplateError> {
        self.budget.spend(1)?;
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::Int(value) => Ok(Value::Int(*value)),
            Operand::Float(value) => Ok(Value::Float(*value)),
            Operand::Text(text) => Value::text(&self.budget, text, Origin::Template),
            Operand::Field(names) => self.fields(dot.clone(), names),
            Operand::Variable(name, names) => {
                let value = self.variables.iter().rev().find(|(variable, _)| variable == name);
                let Some((_, value)) = value else {
                    return Err(TemplateFault::undefined(format!("variable ${name} is not in scope")));
                };
                self.fields(value.clone(), names)
            }
            Operand::Function(name) => self.function(name, &[], dot, None),
            Operand::Pipeline(pipeline) => {
                let scope = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                // A variable that is declared in parentheses lives on, as in Go.
                debug_assert!(self.variables.len() >= scope);
                Ok(value)
            }
            Operand::Chain(operand, names) => {
                let value = self.operand(operand, dot)?;
                self.fields(value, names)
            }
        }
    }

    fn fields(&mut self, value: Value, names: &[String]) -> Result<Value, TemplateError> {
        names.iter().try_fold(value, |value, name| {
            self.budget.spend(1)?;
            field(&self.budget, &value, name)
        })
    }
}

fn within(function: &str, error: TemplateError) -> TemplateError {
    match error.fault {
        TemplateFault::Type { message } => {
            let fault = TemplateFault::Type { message: format!("error calling {function}: {message}") };
            TemplateError { line: error.line, fault }
        }
        _ => error,
    }
}

/// `value.name`
fn field(budget: &Rc<Budget>, value: &Value, name: &str) -> Result<Value, TemplateError> {
    if let Some(found) = method(budget, value, name)? {
        return Ok(found);
    }
    match value {
        Value::Nil => Err(TemplateFault::undefined(format!("nil pointer evaluating interface {{}}.{name}"))),
        Value::Map(map) => Ok(map.get(name).cloned().unwrap_or(Value::Nil)),
        Value::Record(record) if record.get(name).is_some() => Ok(record.get(name).cloned().unwrap_or(Value::Nil)),
        _ => Err(TemplateFault::undefined(format!("can't evaluate field {name} in type {}", value.kind_name()))),
    }
}
