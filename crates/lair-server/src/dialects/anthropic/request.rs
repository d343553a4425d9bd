//! A request in Anthropic's words, as a conversation in the form that templates know.

use lair_text::tokenizer::{AddSpecial, Special};
use serde_json::{Map, Value as Json, json};

use crate::answer::{SamplingWishes, stop_strings};
use crate::chat::{AnswerLength, ChatPrompt, ChatRequest, ToolChoice};
use crate::constrained::ConstraintWish;
use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::loaded::Lease;

/// Tokens of reasoning up to which the effort is low, and up to which it is medium.
const LOW_BUDGET: usize = 4096;
const MEDIUM_BUDGET: usize = 16384;
/// Least tokens of reasoning that may be asked for, as Anthropic has it.
const BUDGET_MIN: usize = 1024;

/// A message that is asked for.
#[derive(Debug)]
pub(super) struct MessageRequest {
    pub(super) model: String,
    pub(super) chat: ChatRequest,
    pub(super) is_stream: bool,
    /// What the answer begins with: the last message, if it is the assistant's.
    begun: Option<String>,
}

impl MessageRequest {
    pub(super) fn take(fields: &mut Fields) -> Result<MessageRequest, ApiError> {
        let missing = || ApiError::bad("max_tokens", "`max_tokens` is missing, a whole number is expected");
        let max_tokens = fields.count("max_tokens", 1, usize::MAX)?.ok_or_else(missing)?;
        let stop = match fields.list("stop_sequences")? {
            None => None,
            Some(items) => {
                let mut alone = Fields::of([("stop_sequences".to_owned(), Json::Array(items))].into_iter().collect());
                stop_strings(&mut alone, "stop_sequences")?
            }
        };
        let sampling = SamplingWishes {
            temperature: fields.number("temperature")?,
            top_k: fields.count("top_k", 0, 1 << 30)?,
            top_p: fields.number("top_p")?,
            ..SamplingWishes::default()
        };
        fields.object("metadata")?;
        fields.accept(&["service_tier", "inference_geo"]);
        fields.refuse("mcp_servers", "this server calls no other servers")?;
        fields.refuse("container", "there are no containers here")?;
        let constraint = output_format(fields)?;
        let is_stream = fields.switch("stream")?.unwrap_or(false);
        let mut request = Self::take_conversation(fields)?;
        let budget = request.chat.variables.as_mut().and_then(|variables| variables.remove(BUDGET));
        let budget = budget.and_then(|budget| usize::try_from(budget.as_u64()?).ok());
        if let Some(budget) = budget.filter(|budget| *budget >= max_tokens) {
            let cause = format!("`thinking.budget_tokens` is {budget}, less than `max_tokens` ({max_tokens}) expected");
            return Err(ApiError::bad("thinking.budget_tokens", cause));
        }
        request.chat =
            ChatRequest { sampling, stop, constraint, length: AnswerLength::at_most(Some(max_tokens)), ..request.chat };
        request.chat.reasoning_budget = budget;
        request.is_stream = is_stream;
        Ok(request)
    }

    /// What decides about the prompt.
    pub(super) fn take_conversation(fields: &mut Fields) -> Result<MessageRequest, ApiError> {
        let model = fields.required_text("model")?;
        let system = fields.take("system").map(|value| text_of(&value, "system")).transpose()?;
        let items = fields.list("messages")?.ok_or_else(|| ApiError::bad("messages", "`messages` is missing"))?;
        if items.is_empty() {
            return Err(ApiError::bad("messages", "`messages` is empty, at least one message expected"));
        }
        let mut messages: Vec<Json> = Vec::new();
        if let Some(system) = system.filter(|system| !system.is_empty()) {
            messages.push(json!({ "role": "system", "content": system }));
        }
        for (index, item) in items.into_iter().enumerate() {
            take_message(&mut messages, &format!("messages[{index}]"), item)?;
        }
        let begun = begun_answer(&mut messages);
        let tools = tools(fields)?;
        let (tool_choice, is_single_call) = tool_choice(fields)?;
        let variables = Some(thinking(fields)?);
        let chat = ChatRequest { messages, tools, tool_choice, is_single_call, variables, ..ChatRequest::default() };
        Ok(MessageRequest { model, chat, is_stream: false, begun })
    }

    /// Puts what the answer begins with behind the prompt.
    pub(super) fn begin_answer(&self, model: &Lease, prompt: &mut ChatPrompt) {
        if let Some(text) = &self.begun {
            prompt.tokens.extend(model.tokenizer.encode(text, Special::AsText, AddSpecial::No));
        }
    }
}

/// A string, or blocks of text.
fn text_of(value: &Json, place: &str) -> Result<String, ApiError> {
    match value {
        Json::String(text) => Ok(text.clone()),
        Json::Array(blocks) => {
            let mut texts = Vec::new();
            for (index, block) in blocks.iter().enumerate() {
                match block["type"].as_str() {
                    Some("text") => texts.push(block_text(block, "text", &format!("{place}[{index}]"))?),
                    kind => return Err(other_block(&format!("{place}[{index}]"), kind)),
                }
            }
            Ok(texts.join("\n"))
        }
        other => Err(wrong(place, other, "a string or a list of blocks")),
    }
}

fn block_text<'b>(block: &'b Json, key: &str, place: &str) -> Result<&'b str, ApiError> {
    block[key].as_str().ok_or_else(|| wrong(&format!("{place}.{key}"), &block[key], "a string"))
}

fn other_block(place: &str, kind: Option<&str>) -> ApiError {
    match kind {
        Some(kind) => {
            ApiError::unsupported(place, format!("`{place}` is a block of type `{kind}`, which is not supported here"))
        }
        None => ApiError::bad(place, format!("`{place}` has no type")),
    }
}

/// One message of Anthropic's can be several: results of tools stand alone.
fn take_message(messages: &mut Vec<Json>, place: &str, item: Json) -> Result<(), ApiError> {
    let role = match item["role"].as_str() {
        Some(role @ ("user" | "assistant")) => role.to_owned(),
        Some("system") => {
            messages
                .push(json!({ "role": "system", "content": text_of(&item["content"], &format!("{place}.content"))? }));
            return Ok(());
        }
        found => {
            let found = found.unwrap_or("missing");
            return Err(ApiError::bad("messages", format!("`{place}.role` is `{found}`, user or assistant expected")));
        }
    };
    let place = format!("{place}.content");
    let blocks = match &item["content"] {
        Json::String(text) => {
            messages.push(json!({ "role": role, "content": text }));
            return Ok(());
        }
        Json::Array(blocks) => blocks,
        other => return Err(wrong(&place, other, "a string or a list of blocks")),
    };
    let (mut texts, mut reasoning, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for (index, block) in blocks.iter().enumerate() {
        let place = format!("{place}[{index}]");
        match (block["type"].as_str(), role.as_str()) {
            (Some("text"), _) => texts.push(block_text(block, "text", &place)?),
            (Some("thinking"), "assistant") => reasoning.push(block_text(block, "thinking", &place)?),
            // What is hidden from the client is hidden from this model as well.
            (Some("redacted_thinking"), "assistant") => {}
            (Some("tool_use"), "assistant") => calls.push(call(block, &place)?),
            (Some("tool_result"), "user") => messages.push(tool_result(block, &place)?),
            (kind, _) => return Err(other_block(&place, kind)),
        }
    }
    let is_only_results = role == "user" && texts.is_empty() && !blocks.is_empty();
    if is_only_results {
        return Ok(());
    }
    let mut message = json!({ "role": role, "content": texts.join("\n") });
    if !reasoning.is_empty() {
        message["reasoning_content"] = json!(reasoning.join("\n"));
    }
    if !calls.is_empty() {
        message["tool_calls"] = Json::Array(calls);
    }
    messages.push(message);
    Ok(())
}

fn call(block: &Json, place: &str) -> Result<Json, ApiError> {
    let (id, name) = (block_text(block, "id", place)?, block_text(block, "name", place)?);
    let arguments = match &block["input"] {
        Json::Null => "{}".to_owned(),
        input @ Json::Object(_) => input.to_string(),
        other => return Err(wrong(&format!("{place}.input"), other, "an object")),
    };
    Ok(json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } }))
}

fn tool_result(block: &Json, place: &str) -> Result<Json, ApiError> {
    let id = block_text(block, "tool_use_id", place)?;
    let text = match &block["content"] {
        Json::Null => String::new(),
        content => text_of(content, &format!("{place}.content"))?,
    };
    let failed = match &block["is_error"] {
        Json::Null => false,
        Json::Bool(failed) => *failed,
        other => return Err(wrong(&format!("{place}.is_error"), other, "true or false")),
    };
    let content = if failed { format!("Error: {text}") } else { text };
    Ok(json!({ "role": "tool", "tool_call_id": id, "content": content }))
}

/// Takes the last message if it is text of the assistant: the answer goes on from there.
fn begun_answer(messages: &mut Vec<Json>) -> Option<String> {
    let last = messages.last()?;
    if messages.len() < 2 || last["role"] != "assistant" || last.get("tool_calls").is_some() {
        return None;
    }
    let text = last["content"].as_str()?.trim_end().to_owned();
    messages.pop();
    Some(text)
}

fn tools(fields: &mut Fields) -> Result<Vec<Json>, ApiError> {
    let items = fields.list("tools")?.unwrap_or_default();
    let one = |(index, item): (usize, &Json)| {
        let place = format!("tools[{index}]");
        match item["type"].as_str() {
            None | Some("custom") => {}
            Some(kind) => {
                let cause = format!("`{place}` is of type `{kind}`: only tools that the client runs are supported");
                return Err(ApiError::unsupported("tools", cause));
            }
        }
        let name = block_text(item, "name", &place)?;
        let schema = item.get("input_schema").filter(|schema| schema.is_object());
        let schema =
            schema.ok_or_else(|| wrong(&format!("{place}.input_schema"), &item["input_schema"], "an object"))?;
        let mut function = json!({ "name": name, "parameters": schema });
        if let Some(description) = item["description"].as_str() {
            function["description"] = json!(description);
        }
        Ok(json!({ "type": "function", "function": function }))
    };
    items.iter().enumerate().map(one).collect()
}

/// Which tools are called, and whether the answer ends with its first call.
fn tool_choice(fields: &mut Fields) -> Result<(ToolChoice, bool), ApiError> {
    let mut choice = match fields.object("tool_choice")? {
        Some(choice) => Fields::of(choice),
        None => return Ok((ToolChoice::Auto, false)),
    };
    let is_single_call = choice.switch("disable_parallel_tool_use")?.unwrap_or(false);
    let choice = match choice.text("type")?.as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => ToolChoice::Named(choice.required_text("name")?),
        found => {
            let found = found.unwrap_or("missing");
            let cause = format!("`tool_choice.type` is `{found}`, auto, any, tool or none expected");
            return Err(ApiError::bad("tool_choice", cause));
        }
    };
    Ok((choice, is_single_call))
}

/// `output_format`, or the same inside `output_config`: a schema for the answer.
fn output_format(fields: &mut Fields) -> Result<Option<ConstraintWish>, ApiError> {
    let mut config = Fields::of(fields.object("output_config")?.unwrap_or_default());
    if let Some(effort) = config.text("effort")? {
        // `thinking` takes it.
        fields.put(EFFORT, json!(effort));
    }
    let (place, format) = match (fields.object("output_format")?, config.object("format")?) {
        (Some(format), None) => ("output_format", format),
        (None, Some(format)) => ("output_config.format", format),
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(ApiError::bad("output_format", "give one of `output_format` and `output_config.format`"));
        }
    };
    let kind = format.get("type").and_then(Json::as_str).unwrap_or("missing");
    match format.get("schema") {
        Some(schema) if kind == "json_schema" => {
            Ok(Some(ConstraintWish::schema(&format!("{place}.schema"), schema.clone())))
        }
        _ => Err(ApiError::bad(place, format!("`{place}` is of type `{kind}`, json_schema with a `schema` expected"))),
    }
}

/// Where [`output_format`] leaves `output_config.effort`.
const EFFORT: &str = "output_config.effort";
/// Where [`thinking`] leaves the budget until `max_tokens` is known.
const BUDGET: &str = "thinking_budget";

/// What templates are told: whether to reason, and how much. Without the field the model does not, as with Anthropic.
fn thinking(fields: &mut Fields) -> Result<Map<String, Json>, ApiError> {
    let mut variables = Map::new();
    let mut thinking = Fields::of(fields.object("thinking")?.unwrap_or_default());
    let budget = thinking.count("budget_tokens", BUDGET_MIN, usize::MAX)?;
    let effort = match fields.text(EFFORT)?.as_deref() {
        None => None,
        Some("low") => Some("low"),
        Some("medium") => Some("medium"),
        Some("high" | "xhigh" | "max") => Some("high"),
        Some(other) => {
            let cause = format!("`{EFFORT}` is `{other}`, low, medium, high or max expected");
            return Err(ApiError::bad(EFFORT, cause));
        }
    };
    let is_on = match thinking.text("type")?.as_deref() {
        None | Some("disabled") => false,
        Some("enabled") if budget.is_none() => {
            return Err(ApiError::bad("thinking.budget_tokens", "`thinking.budget_tokens` is missing"));
        }
        Some("enabled" | "adaptive") => true,
        Some(other) => {
            let cause = format!("`thinking.type` is `{other}`, enabled, adaptive or disabled expected");
            return Err(ApiError::bad("thinking", cause));
        }
    };
    variables.insert("enable_thinking".to_owned(), Json::Bool(is_on));
    variables.insert("thinking".to_owned(), Json::Bool(is_on));
    if let Some(budget) = budget.filter(|_| is_on) {
        let effort = match budget {
            0..LOW_BUDGET => "low",
            LOW_BUDGET..MEDIUM_BUDGET => "medium",
            _ => "high",
        };
        variables.insert("reasoning_effort".to_owned(), json!(effort));
        variables.insert(BUDGET.to_owned(), json!(budget));
    }
    if let Some(effort) = effort.filter(|_| is_on) {
        variables.insert("reasoning_effort".to_owned(), json!(effort));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(extra: Json) -> Result<MessageRequest, ApiError> {
        let mut body = json!({ "model": "m", "max_tokens": 5000, "messages": [{ "role": "user", "content": "hi" }] });
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        MessageRequest::take(&mut Fields::parse(body.to_string().as_bytes()).expect("an object"))
    }

    #[test]
    fn blocks_become_messages_that_templates_know() {
        let messages = json!([
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "x" },
                { "type": "text", "text": "I look" },
                { "type": "tool_use", "id": "t1", "name": "look", "input": { "at": 1 } },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "content": [{ "type": "text", "text": "seen" }] },
                { "type": "tool_result", "tool_use_id": "t2", "content": "gone", "is_error": true },
                { "type": "text", "text": "go on" },
            ] },
        ]);
        let request = take(json!({ "messages": messages, "system": [{ "type": "text", "text": "Be brief." }] }));
        assert_eq!(
            Json::Array(request.expect("fine").chat.messages),
            json!([
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "a\nb" },
                { "role": "assistant", "content": "I look", "reasoning_content": "hm", "tool_calls": [
                    { "id": "t1", "type": "function", "function": { "name": "look", "arguments": "{\"at\":1}" } },
                ] },
                { "role": "tool", "tool_call_id": "t1", "content": "seen" },
                { "role": "tool", "tool_call_id": "t2", "content": "Error: gone" },
                { "role": "user", "content": "go on" },
            ])
        );
    }

    #[test]
    fn what_the_assistant_began_is_gone_on_from() {
        let messages = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": "Once " }]);
        let request = take(json!({ "messages": messages })).expect("fine");
        assert_eq!((request.chat.messages.len(), request.begun.as_deref()), (1, Some("Once")));
    }

    #[test]
    fn every_field_is_honoured_or_refused_by_name() {
        for (extra, place) in [
            (json!({ "max_tokens": null }), "max_tokens"),
            (json!({ "max_tokens": 0 }), "max_tokens"),
            (json!({ "messages": [] }), "messages"),
            (json!({ "messages": [{ "role": "king", "content": "x" }] }), "messages"),
            (json!({ "messages": [{ "role": "user", "content": 5 }] }), "messages[0].content"),
            (json!({ "messages": [{ "role": "user", "content": [{ "type": "image" }] }] }), "messages[0].content[0]"),
            (
                json!({ "messages": [{ "role": "user", "content": [{ "type": "text" }] }] }),
                "messages[0].content[0].text",
            ),
            (json!({ "messages": [{ "role": "user", "content": [{}] }] }), "messages[0].content[0]"),
            (json!({ "system": 5 }), "system"),
            (json!({ "tools": [{ "name": "x" }] }), "tools[0].input_schema"),
            (json!({ "tools": [{ "type": "web_search_20250305", "name": "x" }] }), "tools"),
            (json!({ "tool_choice": { "type": "x" } }), "tool_choice"),
            (json!({ "tool_choice": { "type": "tool" } }), "name"),
            (json!({ "thinking": { "type": "enabled" } }), "thinking.budget_tokens"),
            (json!({ "thinking": { "type": "enabled", "budget_tokens": 5000 } }), "thinking.budget_tokens"),
            (json!({ "thinking": { "type": "enabled", "budget_tokens": 5 } }), "budget_tokens"),
            (json!({ "mcp_servers": [{}] }), "mcp_servers"),
            (json!({ "output_format": { "type": "xml" } }), "output_format"),
            (json!({ "output_config": { "effort": "much" } }), "output_config.effort"),
            (json!({ "output_config": { "format": { "type": "json_schema" } } }), "output_config.format"),
            (json!({ "stop_sequences": [1] }), "stop_sequences"),
        ] {
            let error = take(extra.clone()).expect_err(&extra.to_string());
            assert_eq!((error.parameter.as_deref(), error.status()), (Some(place), 400), "{extra}");
        }
        let request = take(json!({
            "temperature": 0.5, "top_k": 4, "top_p": 0.9, "stop_sequences": ["x"], "stream": true,
            "tool_choice": { "type": "any" }, "tools": [{ "name": "t", "description": "d", "input_schema": {} }],
            "thinking": { "type": "enabled", "budget_tokens": 2000 }, "metadata": { "user_id": "u" },
        }))
        .expect("fine");
        let ChatRequest { sampling, stop, tool_choice, tools, variables, .. } = request.chat;
        assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p), (Some(0.5), Some(4), Some(0.9)));
        assert_eq!((stop, tool_choice, tools.len()), (Some(vec!["x".to_owned()]), ToolChoice::Required, 1));
        let variables = variables.expect("some");
        assert_eq!((&variables["enable_thinking"], &variables["reasoning_effort"]), (&json!(true), &json!("low")));
        assert!(!variables.contains_key(BUDGET) && request.is_stream);
        assert_eq!(take(json!({})).expect("fine").chat.variables.expect("some")["enable_thinking"], false);
        let adaptive = json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "max" } });
        let variables = take(adaptive).expect("fine").chat.variables.expect("some");
        assert_eq!(variables["reasoning_effort"], "high");
    }
}
