//! Prompt templates of Ollama's models: Go's template language, with the variables and the rules of Ollama.
//!
//! ```text
//! {{ if .System }}<|system|>{{ .System }}{{ end }}{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}{{ end }}<|assistant|>
//! ```
//!
//! Like the Jinja templates in [`crate::template`], templates come out of downloaded files: work, memory and output are
//! bounded, nothing reads a file, and every byte remembers whether the template or the conversation wrote it. See
//! `docs/concepts/go-templates.md`.
//!
//! Source: the documentation of Go's `text/template`, and Ollama's documentation of templates.

mod conversation;
mod functions;
mod interpreter;
mod lexer;
mod methods;
mod parser;
mod print;
mod printf;
mod response;
mod syntax;
mod value;

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value as Json;

use crate::template::budget::Budget;
use crate::template::error::TemplateFault;
use crate::template::text::{Origin, Text};
use crate::template::{LocalTime, RenderLimits, Rendered, SOURCE_BYTES_MAX, TemplateError};

use conversation::Message;
use interpreter::Interpreter;
use syntax::{List, Program};
use value::{Style, Value};

/// A parsed template; may be shared between threads.
#[derive(Debug)]
pub struct GoTemplate {
    program: Program,
    /// The main list up to the response.
    opening: List,
    names: BTreeSet<String>,
}

/// Whether the model is asked to think before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Thinking<'a> {
    /// The request does not say.
    #[default]
    Unset,
    /// It shall not.
    Off,
    /// It shall.
    On,
    /// It shall, this much: `low`, `medium`, `high`.
    Level(&'a str),
}

/// The conversation and what else a template sees.
#[derive(Debug, Clone, Default)]
pub struct GoTemplateInput<'a> {
    /// The messages: objects with `role`, `content` (a string, or parts), `thinking`, `tool_calls` and so on.
    pub messages: &'a [Json],
    /// The tools.
    pub tools: Option<&'a [Json]>,
    /// A text to fill in between the two, instead of a conversation.
    pub fill_in: Option<FillIn<'a>>,
    /// Whether the model thinks.
    pub thinking: Thinking<'a>,
    /// What `currentDate` says; the system's clock in UTC if absent.
    pub now: Option<LocalTime>,
    /// What the rendering may use.
    pub limits: RenderLimits,
}

/// What stands before and behind the text that the model writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillIn<'a> {
    /// `.Prompt`
    pub prompt: &'a str,
    /// `.Suffix`
    pub suffix: &'a str,
}

impl GoTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TemplateFault::SourceTooLarge`], [`TemplateFault::Syntax`] or [`TemplateFault::NestedTooDeep`].
    ///
    /// [`TemplateFault::SourceTooLarge`]: crate::template::TemplateFault::SourceTooLarge
    /// [`TemplateFault::Syntax`]: crate::template::TemplateFault::Syntax
    /// [`TemplateFault::NestedTooDeep`]: crate::template::TemplateFault::NestedTooDeep
    pub fn parse(source: &str) -> Result<GoTemplate, TemplateError> {
        if source.len() > SOURCE_BYTES_MAX {
            let (found_bytes, limit_bytes) = (source.len(), SOURCE_BYTES_MAX);
            return Err(TemplateFault::SourceTooLarge { found_bytes, limit_bytes }.into());
        }
        let mut program = parser::parse(source)?;
        let names = response::names(&program);
        if !names.contains("messages") && !names.contains("response") {
            response::add_response(&mut program);
        }
        let opening = response::up_to_response(&program.main);
        Ok(GoTemplate { program, opening, names })
    }

    /// Whether the template names a field, such as `Tools`, `Suffix` or `Thinking`: what the model can be given.
    pub fn names(&self, field: &str) -> bool {
        self.names.contains(&field.to_lowercase())
    }

    /// Renders a conversation, up to where the answer begins.
    ///
    /// A template that names `.Messages` is run once. Another one writes one turn (`.System`, `.Prompt`, `.Response`) and is
    /// run for each; the last turn ends where its response stands.
    ///
    /// # Errors
    /// A mistake in the template, or a limit reached, with the line of the template.
    pub fn render(&self, input: &GoTemplateInput) -> Result<Rendered, TemplateError> {
        let budget = Budget::new(input.limits.fuel, input.limits.memory_bytes_max);
        let now = input.now.unwrap_or_else(LocalTime::now_utc);
        let mut run = Run {
            interpreter: Interpreter::new(&self.program, &budget, input.limits.output_bytes_max, now)?,
            budget: &budget,
            thinking: input.thinking,
        };
        match input.fill_in {
            Some(fill_in) if !fill_in.prompt.is_empty() && !fill_in.suffix.is_empty() => {
                let content = |text| Value::text(&budget, text, Origin::Content);
                let values = vec![("Prompt", content(fill_in.prompt)?), ("Suffix", content(fill_in.suffix)?)];
                run.run(&self.program.main, values, None)?;
            }
            Some(fill_in) => {
                let message = serde_json::json!({ "role": "user", "content": fill_in.prompt });
                self.converse(&mut run, std::slice::from_ref(&message), input.tools)?;
            }
            None => self.converse(&mut run, input.messages, input.tools)?,
        }
        let (text, runs) = run.interpreter.into_text().into_parts();
        let segments = runs.into_iter().map(|(range, origin)| (range, origin == Origin::Template)).collect();
        Ok(Rendered { text, segments, fuel_used: budget.fuel_used() })
    }

    fn converse<'p>(
        &'p self,
        run: &mut Run<'p, '_>,
        messages: &[Json],
        tools: Option<&[Json]>,
    ) -> Result<(), TemplateError> {
        let (system, messages) = conversation::collate(run.budget, messages)?;
        if !self.names.contains("messages") {
            return self.turn_by_turn(run, &messages);
        }
        let list: Result<Vec<Value>, _> = messages.iter().map(|message| message.to_value(run.budget)).collect();
        let values = vec![
            ("System", Value::Text(system)),
            ("Messages", Value::list(list?, Style::Plain)),
            ("Tools", conversation::tools(run.budget, tools.unwrap_or_default())?),
        ];
        run.run(&self.program.main, values, None)
    }

    /// One run for each turn: a turn ends where a message comes that does not fit behind what it has.
    fn turn_by_turn<'p>(&'p self, run: &mut Run<'p, '_>, messages: &[Message]) -> Result<(), TemplateError> {
        let mut turn = Turn::new(run.budget, true)?;
        for message in messages {
            let content = Rc::clone(&message.content);
            match message.role.as_str() {
                "system" => {
                    if turn.has_prompt() || turn.has_response() {
                        turn = turn.run(run, &self.program.main)?;
                    }
                    turn.system = content;
                }
                "user" => {
                    if turn.has_response() {
                        turn = turn.run(run, &self.program.main)?;
                    }
                    turn.prompt = content;
                }
                "assistant" => turn.response = content,
                _ => {}
            }
        }
        turn.run(run, &self.opening).map(|_| ())
    }
}

/// One rendering.
struct Run<'p, 'r> {
    interpreter: Interpreter<'p>,
    budget: &'r Rc<Budget>,
    thinking: Thinking<'r>,
}

impl<'p> Run<'p, '_> {
    /// Runs a list with these values, and those that every template sees.
    fn run(
        &mut self,
        list: &'p List,
        values: Vec<(&str, Value)>,
        response: Option<Rc<Text>>,
    ) -> Result<(), TemplateError> {
        let budget = self.budget;
        let response = response.map_or_else(|| Text::new(budget, "", Origin::Content), Ok)?;
        let level = match self.thinking {
            Thinking::Level(level) => level,
            _ => "",
        };
        let thinks = matches!(self.thinking, Thinking::On | Thinking::Level(_));
        let mut values = values;
        values.push(("Response", Value::Text(response)));
        values.push(("Think", Value::Bool(thinks)));
        values.push(("ThinkLevel", Value::text(budget, level, Origin::Content)?));
        values.push(("IsThinkSet", Value::Bool(self.thinking != Thinking::Unset)));
        let entry = |(name, value)| Ok((Text::new(budget, name, Origin::Template)?, value));
        let entries: Result<Vec<_>, TemplateError> = values.into_iter().map(entry).collect();
        self.interpreter.run(list, Value::map(entries?, Style::Plain))
    }
}

/// What one run of a template without messages sees.
struct Turn {
    is_first: bool,
    system: Rc<Text>,
    prompt: Rc<Text>,
    response: Rc<Text>,
}

impl Turn {
    fn new(budget: &Rc<Budget>, is_first: bool) -> Result<Turn, TemplateError> {
        let empty = Text::new(budget, "", Origin::Content)?;
        Ok(Turn { is_first, system: Rc::clone(&empty), prompt: Rc::clone(&empty), response: empty })
    }

    fn has_prompt(&self) -> bool {
        !self.prompt.as_str().is_empty()
    }

    fn has_response(&self) -> bool {
        !self.response.as_str().is_empty()
    }

    /// Runs the turn and gives the next one.
    fn run<'p>(self, run: &mut Run<'p, '_>, list: &'p List) -> Result<Turn, TemplateError> {
        let values = vec![
            ("System", Value::Text(self.system)),
            ("Prompt", Value::Text(self.prompt)),
            ("First", Value::Bool(self.is_first)),
        ];
        run.run(list, values, Some(self.response))?;
        Turn::new(run.budget, false)
    }
}
