//! What a Go template computes with: the kinds of Go values that prompts are made of.
//!
//! Every text remembers which of its bytes came from the conversation; see `template/text.rs`.

use std::rc::Rc;

use serde_json::Value as Json;

use crate::template::TemplateError;
use crate::template::budget::Budget;
use crate::template::error::TemplateFault;
use crate::template::text::{Origin, Text};

/// Values in values; no tool comes near.
const VALUE_DEPTH_MAX: usize = 100;

#[derive(Clone)]
pub(super) enum Value {
    /// No value: a missing key, `nil`.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<Text>),
    List(Slice),
    Map(Rc<Map>),
    Record(Rc<Record>),
}

/// How `{{ . }}` writes a list or a map.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As Go does: `[a b]`, `map[a:1]`.
    Plain,
    /// As JSON.
    Json,
    /// The types of a property: the type, if there is one; in JSON too.
    Types,
}

/// A part of a list.
#[derive(Clone)]
pub(super) struct Slice {
    items: Rc<Vec<Value>>,
    start: usize,
    end: usize,
    pub(super) style: Style,
}

/// Entries sorted by key.
pub(super) struct Map {
    pub(super) entries: Vec<(Rc<Text>, Value)>,
    pub(super) style: Style,
}

/// A value of a Go structure.
pub(super) struct Record {
    pub(super) kind: &'static RecordKind,
    /// One for each field of the kind.
    pub(super) fields: Vec<Value>,
    /// What JSON has beside the fields: parts of a schema that Ollama's types do not know.
    pub(super) others: Vec<(Rc<Text>, Value)>,
}

/// A Go structure.
pub(super) struct RecordKind {
    /// Its name in Go, for errors.
    pub(super) name: &'static str,
    pub(super) fields: &'static [FieldKind],
    /// How `{{ . }}` writes it.
    pub(super) style: Style,
}

/// A field: its name in templates, in JSON, and whether JSON leaves it out when it is empty.
pub(super) struct FieldKind {
    pub(super) name: &'static str,
    pub(super) json: &'static str,
    pub(super) omits_empty: bool,
}

const fn field(name: &'static str, json: &'static str) -> FieldKind {
    FieldKind { name, json, omits_empty: false }
}

const fn optional(name: &'static str, json: &'static str) -> FieldKind {
    FieldKind { name, json, omits_empty: true }
}

// The structures that templates see. Source: Ollama's `template/template.go` and `api/types.go` (MIT).

pub(super) const MESSAGE: RecordKind = RecordKind {
    name: "Message",
    style: Style::Plain,
    fields: &[
        field("Role", "role"),
        field("Content", "content"),
        optional("Thinking", "thinking"),
        optional("Images", "images"),
        optional("ToolCalls", "tool_calls"),
        optional("ToolName", "tool_name"),
        optional("ToolCallID", "tool_call_id"),
    ],
};

pub(super) const TOOL_CALL: RecordKind = RecordKind {
    name: "ToolCall",
    style: Style::Plain,
    fields: &[optional("ID", "id"), field("Function", "function")],
};

pub(super) const TOOL_CALL_FUNCTION: RecordKind = RecordKind {
    name: "ToolCallFunction",
    style: Style::Plain,
    fields: &[field("Index", "index"), field("Name", "name"), field("Arguments", "arguments")],
};

pub(super) const TOOL: RecordKind = RecordKind {
    name: "Tool",
    style: Style::Json,
    fields: &[field("Type", "type"), optional("Items", "items"), field("Function", "function")],
};

pub(super) const TOOL_FUNCTION: RecordKind = RecordKind {
    name: "ToolFunction",
    style: Style::Json,
    fields: &[field("Name", "name"), field("Description", "description"), field("Parameters", "parameters")],
};

pub(super) const TOOL_PARAMETERS: RecordKind = RecordKind {
    name: "ToolFunctionParameters",
    style: Style::Json,
    fields: &[
        field("Type", "type"),
        optional("Defs", "$defs"),
        optional("Items", "items"),
        optional("Required", "required"),
        field("Properties", "properties"),
    ],
};

pub(super) const TOOL_PROPERTY: RecordKind = RecordKind {
    name: "ToolProperty",
    style: Style::Json,
    fields: &[
        optional("AnyOf", "anyOf"),
        optional("Type", "type"),
        optional("Items", "items"),
        optional("Description", "description"),
        optional("Enum", "enum"),
        optional("Properties", "properties"),
        optional("Required", "required"),
    ],
};

impl Value {
    pub(super) fn text(budget: &Rc<Budget>, text: &str, origin: Origin) -> Result<Value, TemplateError> {
        Ok(Value::Text(Text::new(budget, text, origin)?))
    }

    pub(super) fn list(items: Vec<Value>, style: Style) -> Value {
        let end = items.len();
        Value::List(Slice { items: Rc::new(items), start: 0, end, style })
    }

    pub(super) fn record(kind: &'static RecordKind, fields: Vec<Value>) -> Value {
        debug_assert_eq!(kind.fields.len(), fields.len(), "one value for each field of {}", kind.name);
        Value::Record(Rc::new(Record { kind, fields, others: Vec::new() }))
    }

    /// JSON as Go reads it into `any`: numbers are floats. All of it came from the conversation.
    pub(super) fn from_json(budget: &Rc<Budget>, json: &Json) -> Result<Value, TemplateError> {
        Value::from_json_at(budget, json, Style::Plain, 0)
    }

    /// The same for a map that `{{ . }}` writes as JSON.
    pub(super) fn from_json_as_json(budget: &Rc<Budget>, json: &Json) -> Result<Value, TemplateError> {
        Value::from_json_at(budget, json, Style::Json, 0)
    }

    fn from_json_at(budget: &Rc<Budget>, json: &Json, style: Style, depth: usize) -> Result<Value, TemplateError> {
        if depth > VALUE_DEPTH_MAX {
            return Err(TemplateFault::ValueTooDeep { limit: VALUE_DEPTH_MAX }.into());
        }
        budget.spend(1)?;
        Ok(match json {
            Json::Null => Value::Nil,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Value::text(budget, text, Origin::Content)?,
            Json::Array(items) => {
                let items: Result<_, _> =
                    items.iter().map(|item| Value::from_json_at(budget, item, Style::Plain, depth + 1)).collect();
                Value::list(items?, style)
            }
            Json::Object(fields) => {
                let entry = |(name, field): (&String, &Json)| -> Result<(Rc<Text>, Value), TemplateError> {
                    let key = Text::new(budget, name, Origin::Content)?;
                    Ok((key, Value::from_json_at(budget, field, Style::Plain, depth + 1)?))
                };
                Value::map(fields.iter().map(entry).collect::<Result<_, _>>()?, style)
            }
        })
    }

    pub(super) fn map(mut entries: Vec<(Rc<Text>, Value)>, style: Style) -> Value {
        entries.sort_by(|left, right| left.0.as_str().cmp(right.0.as_str()));
        Value::Map(Rc::new(Map { entries, style }))
    }

    /// Go's truth: what is not empty or zero; a structure always.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.as_str().is_empty(),
            Value::List(slice) => !slice.items().is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            Value::Record(_) => true,
        }
    }

    /// The kind in the words of Go.
    pub(super) fn kind_name(&self) -> &'static str {
        match self {
            Value::Nil => "nil",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Record(record) => record.kind.name,
        }
    }

    pub(super) fn as_text(&self) -> Option<&Rc<Text>> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Slice {
    pub(super) fn items(&self) -> &[Value] {
        &self.items[self.start..self.end]
    }

    /// The items from `start` to `end`, which must lie in the slice.
    pub(super) fn part(&self, start: usize, end: usize) -> Slice {
        assert!(start <= end && end <= self.items().len(), "the caller has checked the bounds");
        let items = Rc::clone(&self.items);
        Slice { items, start: self.start + start, end: self.start + end, style: self.style }
    }
}

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let index = self.entries.binary_search_by(|(name, _)| name.as_str().cmp(key)).ok()?;
        Some(&self.entries[index].1)
    }
}

impl Record {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let index = self.kind.fields.iter().position(|field| field.name == name)?;
        Some(&self.fields[index])
    }
}
