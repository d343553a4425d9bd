//! Chat templates: Jinja as model files carry it, turning a conversation into the text a model was trained on.
//!
//! The language is interpreted here, not by a general Jinja library, for two reasons. Templates are untrusted programs,
//! so work, memory and output must be bounded inside every operation. And every string carries, byte by byte, whether
//! the template or the conversation wrote it, so that the tokenizer can keep special tokens out of what users typed.
//! Semantics are those of Python's `ImmutableSandboxedEnvironment` with `trim_blocks`, `lstrip_blocks`, `loopcontrols`
//! and the `generation` tag. See `docs/decisions/0004-special-tokens-in-user-content.md`.

mod arguments;
mod attributes;
pub(crate) mod budget;
mod calendar;
pub(crate) mod error;
mod evaluate;
mod expression_parser;
mod filters;
mod format;
mod functions;
mod interpreter;
mod lexer;
mod operators;
mod parser;
mod predicates;
mod python_text;
mod scope;
mod sequence_filters;
mod sources;
mod syntax;
pub(crate) mod text;
mod text_methods;
mod value;

use std::ops::Range;
use std::rc::Rc;

use serde_json::{Map, Value as Json};

pub use calendar::LocalTime;
pub use error::{TemplateError, TemplateFault};
pub use sources::{TemplateSources, VariantTemplate};

use budget::Budget;
use interpreter::Interpreter;
use syntax::Block;
use text::Origin;
use value::{Dict, Function, SequenceBuilder, SequenceKind, Value};

/// The longest template source: the longest known one has 17 KiB.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;

/// The longest rendered text, whatever the context.
pub const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// The work of one rendering: about a second of interpretation.
const FUEL_DEFAULT: u64 = 20_000_000;

/// The memory of the values of one rendering.
const MEMORY_BYTES_DEFAULT: usize = 128 << 20;

/// How many extra variables a request may set.
const VARIABLES_MAX: usize = 64;

/// Roles whose name is trusted, because templates build special tokens from it (`<|user|>`). Another role is content.
const KNOWN_ROLES: [&str; 10] = [
    "user",
    "assistant",
    "system",
    "developer",
    "tool",
    "function",
    "ipython",
    "model",
    "tool_response",
    "environment",
];

/// ChatML, for models that come without a template.
const CHATML: &str = "\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
";

/// A parsed template; may be shared between threads.
#[derive(Debug)]
pub struct ChatTemplate {
    block: Block,
}

/// What one rendering may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenderLimits {
    /// Length of the rendered text in bytes.
    pub output_bytes_max: usize,
    /// Work: evaluated nodes, visited elements, and bytes by the 64.
    pub fuel: u64,
    /// Memory of all values alive at once, in bytes.
    pub memory_bytes_max: usize,
}

impl Default for RenderLimits {
    fn default() -> RenderLimits {
        RenderLimits { output_bytes_max: OUTPUT_BYTES_MAX, fuel: FUEL_DEFAULT, memory_bytes_max: MEMORY_BYTES_DEFAULT }
    }
}

impl RenderLimits {
    /// The limits for a context of about `context_bytes` bytes of text: four times that much output, at most 16 MiB.
    pub fn for_context(context_bytes: usize) -> RenderLimits {
        let output_bytes_max = context_bytes.saturating_mul(4).min(OUTPUT_BYTES_MAX);
        RenderLimits { output_bytes_max, ..RenderLimits::default() }
    }
}

/// The conversation and what else a template sees.
#[derive(Debug, Clone, Default)]
pub struct RenderInput<'a> {
    /// The messages: objects with `role`, `content` (a string, or parts), `tool_calls` and so on.
    pub messages: &'a [Json],
    /// The tools; a template sees `tools` as undefined if there are none.
    pub tools: Option<&'a [Json]>,
    /// Whether the text ends with the opening of the assistant's answer.
    pub add_generation_prompt: bool,
    /// The tokenizer's own tokens, trusted: `("bos_token", "<s>")`, `("eos_token", "</s>")` and others.
    pub tokens: &'a [(&'a str, &'a str)],
    /// Extra variables of the request (`enable_thinking`, `documents`): plain values under new names, never options of
    /// the engine.
    pub variables: Option<&'a Map<String, Json>>,
    /// What `strftime_now` formats; the system's clock in UTC if absent.
    pub now: Option<LocalTime>,
    /// What the rendering may use.
    pub limits: RenderLimits,
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Byte ranges that cover the text in order, each with whether it is trusted: written by the template, and so
    /// allowed to be special tokens. A special token counts only where all of its bytes are trusted.
    pub segments: Vec<(Range<usize>, bool)>,
    /// The work it took, in the unit of [`RenderLimits::fuel`].
    pub fuel_used: u64,
}

impl Rendered {
    /// The segments with their text.
    pub fn pieces(&self) -> impl Iterator<Item = (&str, bool)> {
        self.segments.iter().map(|(range, trusted)| (&self.text[range.clone()], *trusted))
    }

    /// Whether all bytes of `range` are trusted.
    pub fn is_trusted(&self, range: Range<usize>) -> bool {
        let first = self.segments.partition_point(|(segment, _)| segment.end <= range.start);
        let touched = self.segments[first..].iter().take_while(|(segment, _)| segment.start < range.end);
        touched.into_iter().all(|(_, trusted)| *trusted)
    }
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TemplateFault::SourceTooLarge`], [`TemplateFault::Syntax`], [`TemplateFault::NestedTooDeep`], or
    /// [`TemplateFault::Unsupported`] for includes and inheritance.
    pub fn parse(source: &str) -> Result<ChatTemplate, TemplateError> {
        if source.len() > SOURCE_BYTES_MAX {
            let (found_bytes, limit_bytes) = (source.len(), SOURCE_BYTES_MAX);
            return Err(TemplateFault::SourceTooLarge { found_bytes, limit_bytes }.into());
        }
        Ok(ChatTemplate { block: parser::parse(source)? })
    }

    /// The ChatML template, which many models understand. Never chosen in silence: the caller decides.
    pub fn chatml() -> ChatTemplate {
        ChatTemplate::parse(CHATML).expect("the built-in template parses, as its test shows")
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// The template's own refusal ([`TemplateFault::Raised`]), a mistake in it or a conversation it does not expect
    /// ([`TemplateFault::Undefined`], [`TemplateFault::Type`]), a refused variable, or a limit reached. All but
    /// refused variables carry the line of the template.
    pub fn render(&self, input: &RenderInput) -> Result<Rendered, TemplateError> {
        let budget = Budget::new(input.limits.fuel, input.limits.memory_bytes_max);
        let now = input.now.unwrap_or_else(LocalTime::now_utc);
        let interpreter = Interpreter::new(Rc::clone(&budget), input.limits.output_bytes_max, now)?;
        set_variables(&interpreter, input)?;
        let text = interpreter.run(&self.block)?;
        let (text, runs) = text.into_parts();
        let segments = runs.into_iter().map(|(range, origin)| (range, origin == Origin::Template)).collect();
        Ok(Rendered { text, segments, fuel_used: budget.fuel_used() })
    }
}

fn set_variables<'t>(interpreter: &Interpreter<'t>, input: &'t RenderInput) -> Result<(), TemplateError> {
    let (frame, budget) = (&interpreter.frame, &interpreter.budget);
    let mut messages = SequenceBuilder::new(budget)?;
    for message in input.messages {
        messages.push(message_value(budget, message)?)?;
    }
    frame.set("messages", messages.finish(SequenceKind::List)?);
    if let Some(tools) = input.tools {
        let mut list = SequenceBuilder::new(budget)?;
        for tool in tools {
            list.push(Value::from_json(budget, tool, Origin::Content)?)?;
        }
        frame.set("tools", list.finish(SequenceKind::List)?);
    }
    frame.set("add_generation_prompt", Value::Bool(input.add_generation_prompt));
    for (name, token) in input.tokens {
        frame.set(name, Value::text(budget, token, Origin::Template)?);
    }
    let Some(variables) = input.variables else { return Ok(()) };
    for (index, (name, value)) in variables.iter().enumerate() {
        check_variable(name, index, input)?;
        frame.set(name, Value::from_json(budget, value, Origin::Content)?);
    }
    Ok(())
}

/// A message: all of it is content, except a role that is known.
fn message_value<'t>(budget: &Rc<Budget>, message: &Json) -> Result<Value<'t>, TemplateError> {
    let Json::Object(fields) = message else { return Value::from_json(budget, message, Origin::Content) };
    let mut dict = Dict::new(budget)?;
    for (name, field) in fields {
        let is_known_role = name == "role" && field.as_str().is_some_and(|role| KNOWN_ROLES.contains(&role));
        let origin = if is_known_role { Origin::Template } else { Origin::Content };
        dict.push(Value::text(budget, name, Origin::Content)?, Value::from_json(budget, field, origin)?)?;
    }
    Ok(Value::Dict(Rc::new(dict)))
}

fn check_variable(name: &str, index: usize, input: &RenderInput) -> Result<(), TemplateError> {
    let is_name_character = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let reserved = ["messages", "tools", "add_generation_prompt", "loop", "caller", "true", "false", "none"];
    let is_reserved = reserved.contains(&name)
        || Function::ALL.iter().any(|(function, _)| *function == name)
        || input.tokens.iter().any(|(token, _)| *token == name);
    let reason = if index >= VARIABLES_MAX {
        "too many variables"
    } else if is_reserved {
        "the engine sets it"
    } else if name.is_empty() || name.len() > 64 || name.starts_with('_') || !name.chars().all(is_name_character) {
        "its name must be letters, digits and `_`"
    } else {
        return Ok(());
    };
    let name = name.chars().take(64).collect();
    Err(TemplateFault::VariableRefused { name, reason }.into())
}
