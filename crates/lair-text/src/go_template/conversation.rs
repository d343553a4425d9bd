//! A conversation as templates see it: messages and tools as the structures of Ollama, neighbours of one role as one
//! message.

use std::rc::Rc;

use serde_json::Value as Json;

use super::value::{
    MESSAGE, Record, RecordKind, Style, TOOL, TOOL_CALL, TOOL_CALL_FUNCTION, TOOL_FUNCTION, TOOL_PARAMETERS,
    TOOL_PROPERTY, Value,
};
use crate::template::TemplateError;
use crate::template::budget::Budget;
use crate::template::error::TemplateFault;
use crate::template::text::{Origin, Text, TextBuilder};

/// Properties in properties of a tool; real ones have three or four.
const PROPERTY_DEPTH_MAX: usize = 50;

/// Between the texts of messages that become one.
const SEPARATOR: &str = "\n\n";

/// Roles whose name is trusted, because templates build special tokens from it (`<|user|>`). Another role is content.
const KNOWN_ROLES: [&str; 5] = ["system", "user", "assistant", "tool", "developer"];

/// A message, or several neighbours of one role.
pub(super) struct Message {
    pub(super) role: String,
    pub(super) content: Rc<Text>,
    thinking: Rc<Text>,
    images: Vec<Value>,
    tool_calls: Vec<Value>,
    tool_name: Value,
    tool_call_id: Value,
}

impl Message {
    fn from_json(budget: &Rc<Budget>, json: &Json) -> Result<Message, TemplateError> {
        let list = |name: &str| json.get(name).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let images = list("images").iter().map(|image| Value::from_json(budget, image));
        let tool_calls = list("tool_calls").iter().map(|call| tool_call(budget, call));
        Ok(Message {
            role: json.get("role").and_then(Json::as_str).unwrap_or_default().to_string(),
            content: content(budget, json.get("content"))?,
            thinking: Text::new(budget, thinking(json), Origin::Content)?,
            images: images.collect::<Result<_, _>>()?,
            tool_calls: tool_calls.collect::<Result<_, _>>()?,
            tool_name: text(budget, json.get("tool_name").or_else(|| json.get("name")))?,
            tool_call_id: text(budget, json.get("tool_call_id"))?,
        })
    }

    pub(super) fn to_value(&self, budget: &Rc<Budget>) -> Result<Value, TemplateError> {
        let is_known = KNOWN_ROLES.contains(&self.role.as_str());
        let role = Value::text(budget, &self.role, if is_known { Origin::Template } else { Origin::Content })?;
        let fields = vec![
            role,
            Value::Text(Rc::clone(&self.content)),
            Value::Text(Rc::clone(&self.thinking)),
            Value::list(self.images.clone(), Style::Plain),
            Value::list(self.tool_calls.clone(), Style::Plain),
            self.tool_name.clone(),
            self.tool_call_id.clone(),
        ];
        Ok(Value::record(&MESSAGE, fields))
    }

    /// Takes a neighbour in: its text behind this one's, and what else it has.
    fn append(&mut self, budget: &Rc<Budget>, other: Message) -> Result<(), TemplateError> {
        self.content = joined(budget, [&*self.content, &*other.content])?;
        if !other.thinking.as_str().is_empty() {
            self.thinking = if self.thinking.as_str().is_empty() {
                other.thinking
            } else {
                joined(budget, [&*self.thinking, &*other.thinking])?
            };
        }
        self.images.extend(other.images);
        self.tool_calls.extend(other.tool_calls);
        Ok(())
    }
}

/// The texts of all system messages, and the messages with neighbours of one role as one, but for results of tools.
pub(super) fn collate(budget: &Rc<Budget>, messages: &[Json]) -> Result<(Rc<Text>, Vec<Message>), TemplateError> {
    let mut systems: Vec<Rc<Text>> = Vec::new();
    let mut collated: Vec<Message> = Vec::new();
    for json in messages {
        let message = Message::from_json(budget, json)?;
        if message.role == "system" {
            systems.push(Rc::clone(&message.content));
        }
        match collated.last_mut() {
            Some(last) if last.role == message.role && message.role != "tool" => last.append(budget, message)?,
            _ => collated.push(message),
        }
    }
    Ok((joined(budget, systems.iter().map(|text| &**text))?, collated))
}

fn joined<'t>(budget: &Rc<Budget>, texts: impl IntoIterator<Item = &'t Text>) -> Result<Rc<Text>, TemplateError> {
    let mut out = TextBuilder::new(budget)?;
    for (index, text) in texts.into_iter().enumerate() {
        out.push_own(if index > 0 { SEPARATOR } else { "" })?;
        out.push_text(text)?;
    }
    Ok(out.finish())
}

/// The text of a message: a string, or the texts of its parts.
fn content(budget: &Rc<Budget>, json: Option<&Json>) -> Result<Rc<Text>, TemplateError> {
    match json {
        Some(Json::String(text)) => Text::new(budget, text, Origin::Content),
        Some(Json::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Json::as_str));
            Text::new(budget, &texts.collect::<String>(), Origin::Content)
        }
        None | Some(Json::Null) => Text::new(budget, "", Origin::Content),
        Some(other) => Text::new(budget, &other.to_string(), Origin::Content),
    }
}

fn thinking(json: &Json) -> &str {
    let names = ["thinking", "reasoning_content"];
    names.iter().find_map(|name| json.get(name).and_then(Json::as_str)).unwrap_or_default()
}

fn text(budget: &Rc<Budget>, json: Option<&Json>) -> Result<Value, TemplateError> {
    Value::text(budget, json.and_then(Json::as_str).unwrap_or_default(), Origin::Content)
}

/// A call of a tool; arguments may be an object, or its JSON as a text.
fn tool_call(budget: &Rc<Budget>, json: &Json) -> Result<Value, TemplateError> {
    let function = json.get("function").unwrap_or(&Json::Null);
    let parsed: Option<Json> = match function.get("arguments") {
        Some(Json::String(text)) => Some(serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone()))),
        _ => None,
    };
    let empty = Json::Object(serde_json::Map::new());
    let arguments = parsed.as_ref().or(function.get("arguments")).filter(|json| !json.is_null()).unwrap_or(&empty);
    let index = function.get("index").or_else(|| json.get("index")).and_then(Json::as_i64).unwrap_or(0);
    let fields =
        vec![Value::Int(index), text(budget, function.get("name"))?, Value::from_json_as_json(budget, arguments)?];
    let function = Value::record(&TOOL_CALL_FUNCTION, fields);
    Ok(Value::record(&TOOL_CALL, vec![text(budget, json.get("id"))?, function]))
}

/// The tools of a request.
pub(super) fn tools(budget: &Rc<Budget>, tools: &[Json]) -> Result<Value, TemplateError> {
    let tools: Result<Vec<Value>, _> = tools.iter().map(|json| tool(budget, json)).collect();
    Ok(Value::list(tools?, Style::Json))
}

fn tool(budget: &Rc<Budget>, json: &Json) -> Result<Value, TemplateError> {
    let function = json.get("function").unwrap_or(&Json::Null);
    let parameters = function.get("parameters").unwrap_or(&Json::Null);
    let parameters_fields = vec![
        text(budget, parameters.get("type"))?,
        any(budget, parameters.get("$defs"))?,
        any(budget, parameters.get("items"))?,
        list(budget, parameters.get("required"))?,
        properties(budget, parameters.get("properties"), 0)?,
    ];
    let parameters = record(budget, &TOOL_PARAMETERS, parameters_fields, parameters)?;
    let function_fields =
        vec![text(budget, function.get("name"))?, text(budget, function.get("description"))?, parameters];
    let function = record(budget, &TOOL_FUNCTION, function_fields, function)?;
    record(budget, &TOOL, vec![text(budget, json.get("type"))?, any(budget, json.get("items"))?, function], json)
}

fn properties(budget: &Rc<Budget>, json: Option<&Json>, depth: usize) -> Result<Value, TemplateError> {
    if depth > PROPERTY_DEPTH_MAX {
        return Err(TemplateFault::ValueTooDeep { limit: PROPERTY_DEPTH_MAX }.into());
    }
    let Some(Json::Object(fields)) = json else { return Ok(Value::map(Vec::new(), Style::Json)) };
    let entries = fields
        .iter()
        .map(|(name, field)| Ok((Text::new(budget, name, Origin::Content)?, property(budget, field, depth)?)));
    Ok(Value::map(entries.collect::<Result<_, TemplateError>>()?, Style::Json))
}

fn property(budget: &Rc<Budget>, json: &Json, depth: usize) -> Result<Value, TemplateError> {
    if depth > PROPERTY_DEPTH_MAX {
        return Err(TemplateFault::ValueTooDeep { limit: PROPERTY_DEPTH_MAX }.into());
    }
    let alternatives = json.get("anyOf").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let alternatives: Result<Vec<Value>, _> =
        alternatives.iter().map(|alternative| property(budget, alternative, depth + 1)).collect();
    let types = match json.get("type") {
        Some(Json::Array(types)) => types.as_slice(),
        Some(single) => std::slice::from_ref(single),
        None => &[],
    };
    let types: Result<Vec<Value>, _> = types.iter().map(|name| text(budget, Some(name))).collect();
    let fields = vec![
        Value::list(alternatives?, Style::Plain),
        Value::list(types?, Style::Types),
        any(budget, json.get("items"))?,
        text(budget, json.get("description"))?,
        list(budget, json.get("enum"))?,
        properties(budget, json.get("properties"), depth + 1)?,
        list(budget, json.get("required"))?,
    ];
    record(budget, &TOOL_PROPERTY, fields, json)
}

fn any(budget: &Rc<Budget>, json: Option<&Json>) -> Result<Value, TemplateError> {
    json.map_or(Ok(Value::Nil), |json| Value::from_json(budget, json))
}

fn list(budget: &Rc<Budget>, json: Option<&Json>) -> Result<Value, TemplateError> {
    let items = json.and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let items: Result<Vec<Value>, _> = items.iter().map(|item| Value::from_json(budget, item)).collect();
    Ok(Value::list(items?, Style::Plain))
}

/// A record, with what the JSON has beside its fields.
fn record(
    budget: &Rc<Budget>,
    kind: &'static RecordKind,
    fields: Vec<Value>,
    json: &Json,
) -> Result<Value, TemplateError> {
    let mut others = Vec::new();
    for (name, value) in json.as_object().into_iter().flatten() {
        if kind.fields.iter().all(|field| field.json != name) {
            others.push((Text::new(budget, name, Origin::Content)?, Value::from_json(budget, value)?));
        }
    }
    Ok(Value::Record(Rc::new(Record { kind, fields, others })))
}
