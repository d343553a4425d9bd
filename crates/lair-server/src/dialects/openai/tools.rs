//! Tools of a request, as OpenAI spells them, and calls of an answer.

use serde_json::{Value as Json, json};

use crate::chat::{Call, ToolChoice};
use crate::error::ApiError;
use crate::fields::{Fields, wrong};

/// Tools of a request, as OpenAI has it.
const TOOLS_MAX: usize = 128;
/// Bytes of a name; OpenAI allows 64.
const NAME_BYTES_MAX: usize = 128;

/// What a request says about tools.
#[derive(Clone, Debug, Default)]
pub(super) struct ToolWishes {
    pub(super) tools: Vec<Json>,
    pub(super) choice: ToolChoice,
    /// Whether an answer may call several.
    pub(super) is_parallel: bool,
    /// Whether they came as `functions`: then the answer says `function_call`.
    pub(super) is_legacy: bool,
    /// Members of tools that have no effect.
    pub(super) ignored: Vec<String>,
}

impl ToolWishes {
    /// Takes `tools`, `tool_choice`, `parallel_tool_calls`, and their predecessors `functions` and `function_call`.
    pub(super) fn take(fields: &mut Fields) -> Result<ToolWishes, ApiError> {
        let tools = fields.list("tools")?.unwrap_or_default();
        let functions = fields.list("functions")?.unwrap_or_default();
        let is_legacy = tools.is_empty() && !functions.is_empty();
        let name = if is_legacy { "functions" } else { "tools" };
        let list = if is_legacy {
            functions.into_iter().map(|function| json!({ "type": "function", "function": function })).collect()
        } else {
            tools
        };
        let is_strict = |tool: &Json| tool["function"]["strict"] == true;
        let ignored = if list.iter().any(is_strict) { vec!["strict".to_owned()] } else { Vec::new() };
        let tools = checked(name, list)?;
        let (choice_name, choice) = match fields.take("function_call") {
            Some(choice) if is_legacy => ("function_call", Some(choice)),
            _ => ("tool_choice", fields.take("tool_choice")),
        };
        let choice = tool_choice(choice_name, choice)?;
        check_choice(choice_name, &choice, &tools)?;
        // The predecessor had one call an answer.
        let is_parallel = fields.switch("parallel_tool_calls")?.unwrap_or(true) && !is_legacy;
        Ok(ToolWishes { tools, choice, is_parallel, is_legacy, ignored })
    }
}

/// Tools in OpenAI's form, checked.
pub(super) fn checked(field: &str, tools: Vec<Json>) -> Result<Vec<Json>, ApiError> {
    if tools.len() > TOOLS_MAX {
        let cause = format!("`{field}` has {} entries, at most {TOOLS_MAX} expected", tools.len());
        return Err(ApiError::bad(field, cause));
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let place = format!("{field}[{index}]");
        if let Some(kind) = tool["type"].as_str().filter(|kind| *kind != "function") {
            let cause = format!("`{place}` is a tool of type `{kind}`, only `function` is supported");
            return Err(ApiError::unsupported(field, cause));
        }
        let function = &tool["function"];
        let name = function["name"].as_str().filter(|name| is_name(name)).ok_or_else(|| {
            let cause = format!("`{place}` has no name of letters, digits, `_`, `-`, `.`, `:` and `/`");
            ApiError::bad(field, cause)
        })?;
        if names.contains(&name) {
            return Err(ApiError::bad(field, format!("`{field}` has two tools with the name `{name}`")));
        }
        names.push(name);
        if !matches!(function["parameters"], Json::Null | Json::Object(_)) {
            return Err(wrong(&format!("{place}.function.parameters"), &function["parameters"], "a schema"));
        }
        if !matches!(function["description"], Json::Null | Json::String(_)) {
            return Err(wrong(&format!("{place}.function.description"), &function["description"], "a string"));
        }
    }
    Ok(tools)
}

fn is_name(name: &str) -> bool {
    let is_name_character = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_name_character)
}

fn tool_choice(field: &str, choice: Option<Json>) -> Result<ToolChoice, ApiError> {
    match choice {
        None => Ok(ToolChoice::Auto),
        Some(Json::String(word)) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" | "any" => Ok(ToolChoice::Required),
            _ => {
                let cause = format!("`{field}` is `{word}`, one of none, auto, required or a function expected");
                Err(ApiError::bad(field, cause))
            }
        },
        Some(choice) => match choice["function"]["name"].as_str().or(choice["name"].as_str()) {
            Some(name) => Ok(ToolChoice::Named(name.to_owned())),
            None => Err(wrong(field, &choice, "a word or {\"type\": \"function\", \"function\": {\"name\"}}")),
        },
    }
}

/// A choice that the tools allow.
fn check_choice(field: &str, choice: &ToolChoice, tools: &[Json]) -> Result<(), ApiError> {
    match choice {
        ToolChoice::Required if tools.is_empty() => {
            Err(ApiError::bad(field, format!("`{field}` asks for a call, but the request has no tools")))
        }
        ToolChoice::Named(name) if !tools.iter().any(|tool| tool["function"]["name"] == **name) => {
            Err(ApiError::bad(field, format!("`{field}` is `{name}`, which is none of the request's tools")))
        }
        _ => Ok(()),
    }
}

/// Earlier calls in a message of the assistant, checked.
pub(super) fn check_calls(place: &str, message: &Json) -> Result<(), ApiError> {
    let calls = match &message["tool_calls"] {
        Json::Null => return Ok(()),
        Json::Array(calls) => calls,
        other => return Err(wrong(&format!("{place}.tool_calls"), other, "a list")),
    };
    for (index, call) in calls.iter().enumerate() {
        let function = &call["function"];
        let is_whole = function["name"].is_string()
            && matches!(function["arguments"], Json::Null | Json::String(_) | Json::Object(_));
        if !is_whole {
            let cause = format!("`{place}.tool_calls[{index}]` has no `function` with a `name` and `arguments`");
            return Err(ApiError::bad("messages", cause));
        }
    }
    Ok(())
}

/// Puts calls into a message of an answer.
pub(super) fn put_calls(message: &mut Json, calls: &[Call], is_legacy: bool) {
    let Some(first) = calls.first() else { return };
    if message["content"] == "" {
        message["content"] = Json::Null;
    }
    if is_legacy {
        message["function_call"] = json!({ "name": first.name, "arguments": first.arguments });
        return;
    }
    let call = |call: &Call| {
        let function = json!({ "name": call.name, "arguments": call.arguments });
        json!({ "id": call.id, "type": "function", "function": function })
    };
    message["tool_calls"] = calls.iter().map(call).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(body: Json) -> Result<ToolWishes, String> {
        let mut fields = Fields::parse(body.to_string().as_bytes()).expect("an object");
        ToolWishes::take(&mut fields).map_err(|error| error.message)
    }

    #[test]
    fn choices_and_tools_are_read_in_both_ways() {
        let tool = json!({ "type": "function", "function": { "name": "weather", "strict": true } });
        let named = json!({ "type": "function", "function": { "name": "weather" } });
        for (choice, expected) in [
            (Json::Null, ToolChoice::Auto),
            (json!("auto"), ToolChoice::Auto),
            (json!("none"), ToolChoice::None),
            (json!("required"), ToolChoice::Required),
            (named, ToolChoice::Named("weather".to_owned())),
        ] {
            let wishes = take(json!({ "tools": [tool], "tool_choice": choice })).expect("fine");
            assert_eq!((wishes.choice, wishes.is_parallel, wishes.is_legacy), (expected, true, false));
            assert_eq!(wishes.ignored, ["strict"]);
        }
        let legacy = take(json!({ "functions": [{ "name": "f" }], "function_call": { "name": "f" } })).expect("fine");
        assert_eq!((legacy.choice, legacy.is_legacy), (ToolChoice::Named("f".to_owned()), true));
        assert_eq!(legacy.tools[0]["function"]["name"], "f");
        assert!(!take(json!({ "tools": [tool], "parallel_tool_calls": false })).expect("fine").is_parallel);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let function = |function: Json| json!({ "tools": [{ "type": "function", "function": function }] });
        for (body, words) in [
            (json!({ "tools": [{ "type": "web_search" }] }), "`web_search`"),
            (json!({ "tools": "all" }), "`tools` is a string"),
            (function(json!({ "name": "two words" })), "`tools[0]` has no name"),
            (function(json!({})), "`tools[0]` has no name"),
            (function(json!({ "name": "f", "parameters": 3 })), "`tools[0].function.parameters`"),
            (json!({ "tool_choice": "required" }), "has no tools"),
            (json!({ "tool_choice": "perhaps" }), "`perhaps`"),
            (json!({ "tool_choice": { "function": { "name": "f" } } }), "`f`, which is none"),
            (json!({ "functions": [{ "name": "f" }, { "name": "f" }] }), "two tools with the name `f`"),
            (json!({ "tools": vec![json!({ "function": { "name": "f" } }); 129] }), "129 entries"),
        ] {
            let message = take(body.clone()).expect_err("refused");
            assert!(message.contains(words), "{message} should mention {words}");
        }
    }
}
