//! A request for a response: items in, messages out, in the form that templates know.

use serde_json::{Map, Value as Json, json};

use super::super::chat::template_variables;
use super::super::wire::now_s;
use super::tools::{Namespaces, Offer, tool_choice};
use crate::answer::{SamplingWishes, unique_name};
use crate::chat::{AnswerLength, ChatRequest, ToolChoice};
use crate::constrained::ConstraintWish;
use crate::error::ApiError;
use crate::fields::{Fields, wrong};

/// What decides about the answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) model: String,
    instructions: Option<String>,
    /// What this request adds to the conversation.
    pub(super) messages: Vec<Json>,
    tools: Vec<Json>,
    tool_choice: ToolChoice,
    variables: Option<Map<String, Json>>,
    sampling: SamplingWishes,
    max_tokens: Option<usize>,
    is_single_call: bool,
    constraint: Option<ConstraintWish>,
}

impl Asked {
    /// The conversation: instructions, what was said before, what is said now.
    pub(super) fn chat_request(&self, earlier: &[Json]) -> ChatRequest {
        let system = self.instructions.as_ref().map(|text| json!({ "role": "system", "content": text }));
        let messages = system.into_iter().chain(earlier.iter().cloned()).chain(self.messages.iter().cloned());
        ChatRequest {
            messages: messages.collect(),
            tools: self.tools.clone(),
            tool_choice: self.tool_choice.clone(),
            variables: self.variables.clone(),
            sampling: self.sampling.clone(),
            length: AnswerLength::at_most(self.max_tokens),
            is_single_call: self.is_single_call,
            constraint: self.constraint.clone(),
            ..ChatRequest::default()
        }
    }
}

/// What the answer is to look like.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) id: String,
    pub(super) is_stream: bool,
    pub(super) is_stored: bool,
    pub(super) previous: Option<String>,
    /// The response before anything is said.
    pub(super) response: Json,
    /// What the request put in, each with an id.
    pub(super) input: Vec<Json>,
    /// The conversation up to the answer.
    pub(super) conversation: Vec<Json>,
    /// How functions of the request are called.
    pub(super) namespaces: Namespaces,
    /// What of the request has no effect.
    pub(super) ignored: Vec<String>,
}

/// Fields that tell about the caller, or ask for what a local server does anyway.
const ACCEPTED: &[&str] =
    &["user", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "stream_options"];

pub(super) fn take(fields: &mut Fields) -> Result<(Asked, Shape), ApiError> {
    fields.accept(ACCEPTED);
    refuse_unsupported(fields)?;
    let model = fields.required_text("model")?;
    let instructions = fields.text("instructions")?;
    let items = input_items(fields)?;
    let messages = messages(&items)?;
    let tools_given = fields.list("tools")?.unwrap_or_default();
    let offer = Offer::of(&tools_given)?;
    let choice_given = fields.take("tool_choice");
    let tool_choice = tool_choice(choice_given.as_ref())?;
    let reasoning = fields.object("reasoning")?.unwrap_or_default();
    let variables = reasoning_variables(reasoning.clone())?;
    let (text, constraint) = text_format(fields)?;
    let is_parallel = fields.switch("parallel_tool_calls")?.unwrap_or(true);
    let max_tokens = fields.count("max_output_tokens", 1, usize::MAX)?;
    let sampling = SamplingWishes {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        ..SamplingWishes::default()
    };
    let is_stored = fields.switch("store")?.unwrap_or(true);
    let previous = fields.text("previous_response_id")?;
    let id = unique_name("resp_");
    let response = json!({
        "id": id,
        "object": "response",
        "created_at": now_s(),
        "completed_at": null,
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": instructions,
        "max_output_tokens": max_tokens,
        "model": model,
        "output": [],
        "parallel_tool_calls": is_parallel,
        "previous_response_id": previous,
        "reasoning": { "effort": reasoning.get("effort"), "summary": null },
        "store": is_stored,
        "temperature": sampling.temperature,
        "text": text,
        "tool_choice": choice_given.unwrap_or_else(|| json!("auto")),
        "tools": tools_given,
        "top_p": sampling.top_p,
        "truncation": "disabled",
        "usage": null,
        "metadata": fields.object("metadata")?.unwrap_or_default(),
    });
    let is_stream = fields.switch("stream")?.unwrap_or(false);
    let asked = Asked {
        model,
        instructions,
        messages,
        tools: offer.tools,
        tool_choice,
        variables,
        sampling,
        max_tokens,
        is_single_call: !is_parallel,
        constraint,
    };
    let shape = Shape {
        id,
        is_stream,
        is_stored,
        previous,
        response,
        input: items,
        conversation: Vec::new(),
        namespaces: offer.namespaces,
        ignored: offer.ignored,
    };
    Ok((asked, shape))
}

fn refuse_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    if fields.switch("background")?.unwrap_or(false) {
        return Err(ApiError::unsupported("background", "`background` is not supported: answers go to the client"));
    }
    for (name, why) in [
        ("conversation", "go on from an answer with `previous_response_id`"),
        ("prompt", "there are no prompts kept on this server"),
        ("context_management", "conversations are not cut"),
        ("max_tool_calls", "the client runs the tools, and counts them"),
    ] {
        if fields.take(name).is_some() {
            return Err(ApiError::unsupported(name, format!("`{name}` is not supported: {why}")));
        }
    }
    if fields.count("top_logprobs", 0, 20)?.is_some_and(|count| count > 0) {
        let cause = "`top_logprobs` is not supported here; `/v1/chat/completions` gives them";
        return Err(ApiError::unsupported("top_logprobs", cause));
    }
    for wish in fields.list("include")?.unwrap_or_default() {
        match wish.as_str() {
            // Reasoning is given as text, which can be put in again.
            Some("reasoning.encrypted_content") => {}
            Some(other) => {
                return Err(ApiError::unsupported("include", format!("`include` names `{other}`, which is not kept")));
            }
            None => return Err(wrong("include", &wish, "a list of strings")),
        }
    }
    match fields.text("truncation")?.as_deref() {
        None | Some("disabled") => Ok(()),
        Some("auto") => Err(ApiError::unsupported("truncation", "`truncation` is `auto`: conversations are never cut")),
        Some(other) => Err(ApiError::bad("truncation", format!("`truncation` is `{other}`, disabled expected"))),
    }
}

/// `input`, as items that have ids.
fn input_items(fields: &mut Fields) -> Result<Vec<Json>, ApiError> {
    let mut items = match fields.take("input") {
        None => return Err(ApiError::bad("input", "`input` is missing, a string or a list of items is expected")),
        Some(Json::String(text)) => {
            vec![json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": text }] })]
        }
        Some(Json::Array(items)) => items,
        Some(other) => return Err(wrong("input", &other, "a string or a list of items")),
    };
    if items.is_empty() {
        return Err(ApiError::bad("input", "`input` is empty, at least one item expected"));
    }
    for (index, item) in items.iter_mut().enumerate() {
        let map = match item {
            Json::Object(map) => map,
            other => return Err(wrong(&format!("input[{index}]"), other, "an object")),
        };
        map.entry("type").or_insert_with(|| json!("message"));
        if map.get("id").is_none_or(Json::is_null) {
            map.insert("id".to_owned(), json!(unique_name("item_")));
        }
    }
    Ok(items)
}

/// Items as messages: calls and reasoning become parts of the assistant's message that they stand beside.
fn messages(items: &[Json]) -> Result<Vec<Json>, ApiError> {
    let mut messages: Vec<Json> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let place = format!("input[{index}]");
        let text =
            |key: &str| item[key].as_str().ok_or_else(|| wrong(&format!("{place}.{key}"), &item[key], "a string"));
        match item["type"].as_str() {
            Some("message") => {
                let role = match text("role")? {
                    "developer" | "system" => "system",
                    role @ ("user" | "assistant") => role,
                    other => {
                        let cause =
                            format!("`{place}.role` is `{other}`, user, assistant, system or developer expected");
                        return Err(ApiError::bad("input", cause));
                    }
                };
                let content = content_text(&item["content"], &format!("{place}.content"))?;
                match messages.last_mut().filter(|last| role == "assistant" && is_open_assistant(last)) {
                    Some(last) => last["content"] = json!(content),
                    None => messages.push(json!({ "role": role, "content": content })),
                }
            }
            Some("function_call") => {
                let name = Namespaces::joined(item["namespace"].as_str(), text("name")?);
                let call = json!({
                    "id": text("call_id")?,
                    "type": "function",
                    "function": { "name": name, "arguments": text("arguments")? },
                });
                let last = assistant(&mut messages);
                match last["tool_calls"].as_array_mut() {
                    Some(calls) => calls.push(call),
                    None => last["tool_calls"] = json!([call]),
                }
            }
            Some("function_call_output") => {
                let content = content_text(&item["output"], &format!("{place}.output"))?;
                messages.push(json!({ "role": "tool", "tool_call_id": text("call_id")?, "content": content }));
            }
            Some("reasoning") => {
                let parts = item["content"].as_array().or(item["summary"].as_array());
                let texts = parts.into_iter().flatten().filter_map(|part| part["text"].as_str());
                let reasoning: String = texts.collect::<Vec<_>>().join("\n");
                messages.push(json!({ "role": "assistant", "content": "", "reasoning_content": reasoning }));
            }
            kind => {
                let kind = kind.unwrap_or("missing");
                let cause = format!("`{place}` is an item of type `{kind}`, which is not supported here");
                return Err(ApiError::unsupported("input", cause));
            }
        }
    }
    // Reasoning that nothing followed says nothing to a template.
    messages.retain(|message| !(is_open_assistant(message) && message["content"] == ""));
    Ok(messages)
}

/// A message that holds reasoning only: what follows belongs to it.
fn is_open_assistant(message: &Json) -> bool {
    message["role"] == "assistant"
        && message["content"] == ""
        && message.get("reasoning_content").is_some()
        && message.get("tool_calls").is_none()
}

/// The assistant's message that a call belongs to.
fn assistant(messages: &mut Vec<Json>) -> &mut Json {
    if messages.last().is_none_or(|last| last["role"] != "assistant") {
        messages.push(json!({ "role": "assistant", "content": "" }));
    }
    let last = messages.len() - 1;
    &mut messages[last]
}

/// A string, or parts of text.
fn content_text(content: &Json, place: &str) -> Result<String, ApiError> {
    let parts = match content {
        Json::String(text) => return Ok(text.clone()),
        Json::Array(parts) => parts,
        other => return Err(wrong(place, other, "a string or a list of parts")),
    };
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        let key = match part["type"].as_str() {
            Some("input_text" | "output_text" | "text" | "reasoning_text") => "text",
            Some("refusal") => "refusal",
            kind => {
                let kind = kind.unwrap_or("missing");
                let cause = format!("`{place}[{index}]` is a part of type `{kind}`, only text is supported");
                return Err(ApiError::unsupported("input", cause));
            }
        };
        let found = &part[key];
        text.push_str(found.as_str().ok_or_else(|| wrong(&format!("{place}[{index}].{key}"), found, "a string"))?);
    }
    Ok(text)
}

/// `reasoning.effort`; a summary is not made, the reasoning itself is given.
fn reasoning_variables(reasoning: Map<String, Json>) -> Result<Option<Map<String, Json>>, ApiError> {
    let mut reasoning = Fields::of(reasoning);
    let Some(effort) = reasoning.text("effort")? else { return Ok(None) };
    template_variables(&mut Fields::of([("reasoning_effort".to_owned(), json!(effort))].into_iter().collect()))
}

/// `text`: the form of the answer, as it was given, and what constrains the answer to it.
fn text_format(fields: &mut Fields) -> Result<(Json, Option<ConstraintWish>), ApiError> {
    let mut text = Fields::of(fields.object("text")?.unwrap_or_default());
    let format = text.object("format")?.unwrap_or_default();
    let given = if format.is_empty() { json!({ "type": "text" }) } else { Json::Object(format.clone()) };
    let constraint = match format.get("type").map(|kind| kind.as_str().unwrap_or_default()) {
        None | Some("text") => None,
        Some("json_object") => Some(ConstraintWish::json("text.format")),
        Some("json_schema") => match format.get("schema").cloned() {
            Some(schema) if !schema.is_null() => Some(ConstraintWish::schema("text.format.schema", schema)),
            _ => {
                return Err(ApiError::bad(
                    "text.format.schema",
                    "`text.format.schema` is missing, a JSON schema is expected",
                ));
            }
        },
        Some(kind) => {
            let cause = format!("`text.format` is of type `{kind}`, text, json_object or json_schema expected");
            return Err(ApiError::bad("text.format", cause));
        }
    };
    Ok((json!({ "format": given }), constraint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(extra: Json) -> Result<(Asked, Shape), ApiError> {
        let mut body = json!({ "model": "m", "input": "hi" });
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        take(&mut Fields::parse(body.to_string().as_bytes()).expect("an object"))
    }

    #[test]
    fn items_become_messages_that_templates_know() {
        let input = json!([
            { "role": "developer", "content": "Be brief." },
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "a" }] },
            { "type": "reasoning", "summary": [], "content": [{ "type": "reasoning_text", "text": "hm" }] },
            { "type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}" },
            { "type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "c1", "output": "seen" },
            { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "so" }] },
            { "role": "assistant", "content": [{ "type": "output_text", "text": "done" }] },
            { "role": "user", "content": "go on" },
            { "type": "reasoning", "summary": [] },
        ]);
        let (asked, shape) = request(json!({ "input": input })).expect("fine");
        let call =
            |id: &str| json!({ "id": id, "type": "function", "function": { "name": "look", "arguments": "{}" } });
        assert_eq!(
            Json::Array(asked.messages),
            json!([
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "a" },
                { "role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [call("c1"), call("c2")] },
                { "role": "tool", "tool_call_id": "c1", "content": "seen" },
                { "role": "assistant", "content": "done", "reasoning_content": "so" },
                { "role": "user", "content": "go on" },
            ])
        );
        assert!(shape.input.iter().all(|item| item["id"].is_string() && item["type"].is_string()));
    }

    #[test]
    fn instructions_stand_before_what_was_said_earlier() {
        let (asked, _) =
            request(json!({ "instructions": "Be brief.", "reasoning": { "effort": "low" } })).expect("fine");
        let chat = asked.chat_request(&[json!({ "role": "user", "content": "earlier" })]);
        let contents: Vec<&str> = chat.messages.iter().filter_map(|message| message["content"].as_str()).collect();
        assert_eq!(contents, ["Be brief.", "earlier", "hi"]);
        assert_eq!(chat.variables.expect("some")["reasoning_effort"], "low");
    }

    #[test]
    fn every_field_is_honoured_or_refused_by_name() {
        for (extra, place) in [
            (json!({ "input": [] }), "input"),
            (json!({ "input": 5 }), "input"),
            (json!({ "input": [5] }), "input[0]"),
            (json!({ "input": [{ "role": "king", "content": "x" }] }), "input"),
            (json!({ "input": [{ "role": "user", "content": [{ "type": "input_image" }] }] }), "input"),
            (
                json!({ "input": [{ "role": "user", "content": [{ "type": "input_text" }] }] }),
                "input[0].content[0].text",
            ),
            (json!({ "input": [{ "type": "item_reference", "id": "x" }] }), "input"),
            (json!({ "input": [{ "type": "function_call", "call_id": "x" }] }), "input[0].name"),
            (json!({ "tools": [{ "type": "file_search" }] }), "tools"),
            (json!({ "tools": [{ "type": "function" }] }), "tools[0].name"),
            (json!({ "tool_choice": "maybe" }), "tool_choice"),
            (json!({ "text": { "format": { "type": "json_schema", "name": "x" } } }), "text.format.schema"),
            (json!({ "text": { "format": { "type": 5 } } }), "text.format"),
            (json!({ "reasoning": { "effort": "vast" } }), "reasoning_effort"),
            (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
            (json!({ "background": true }), "background"),
            (json!({ "conversation": "c" }), "conversation"),
            (json!({ "truncation": "auto" }), "truncation"),
            (json!({ "include": ["file_search_call.results"] }), "include"),
            (json!({ "top_logprobs": 3 }), "top_logprobs"),
        ] {
            let error = request(extra.clone()).expect_err(&extra.to_string());
            assert_eq!((error.parameter.as_deref(), error.status()), (Some(place), 400), "{extra}");
        }
        let tool = json!({ "type": "function", "name": "t", "description": "d", "parameters": {}, "strict": true });
        let (asked, shape) = request(json!({
            "tools": [tool], "tool_choice": { "type": "function", "name": "t" }, "max_output_tokens": 5, "store": false,
            "temperature": 0.5, "top_p": 0.9, "stream": true, "include": ["reasoning.encrypted_content"],
            "text": { "format": { "type": "text" } }, "truncation": "disabled", "metadata": { "a": "b" },
        }))
        .expect("fine");
        assert_eq!((asked.tool_choice, asked.max_tokens), (ToolChoice::Named("t".to_owned()), Some(5)));
        assert_eq!(asked.tools[0]["function"]["name"], "t");
        assert!(shape.is_stream && !shape.is_stored);
        assert_eq!(shape.response["metadata"]["a"], "b");
    }
}
