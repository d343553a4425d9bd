//! Tools of a request, as OpenAI spells them.

use serde_json::Value as Json;

use crate::chat::ToolChoice;
use crate::error::ApiError;
use crate::fields::{Fields, wrong};

/// `tool_choice`.
pub(super) fn tool_choice(fields: &mut Fields) -> Result<ToolChoice, ApiError> {
    match fields.take("tool_choice") {
        None => Ok(ToolChoice::Auto),
        Some(Json::String(word)) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => {
                let cause = format!("`tool_choice` is `{word}`, one of none, auto, required or a function expected");
                Err(ApiError::bad("tool_choice", cause))
            }
        },
        Some(choice) => match choice["function"]["name"].as_str() {
            Some(name) if choice["type"] == "function" => Ok(ToolChoice::Named(name.to_owned())),
            _ => Err(wrong("tool_choice", &choice, "a word or {\"type\": \"function\", \"function\": {\"name\"}}")),
        },
    }
}
