//! Conversations of LM Studio: one a file, `*.conversation.json`.
//!
//! Form: `{"name", "createdAt", "pinned", "systemPrompt", "messages": [{"versions": [VERSION], "currentlySelected"}]}`. A
//! version is `{"type": "singleStep", "role", "content": [{"type": "text", "text"}]}` or `{"type": "multiStep", "role",
//! "steps": [{"type": "contentBlock", "content": [...], "style"}]}`; a step with the style `thinking` is reasoning. Times in
//! milliseconds. Every version becomes a branch; what follows goes on from the selected one.

use serde_json::{Map, Value as Json, json};

use super::{Imported, moment_ms, plain_message, text};
use crate::page::store::Message;

/// The conversation of such a file.
pub(super) fn read(data: &Json, file_name: &str) -> Option<Vec<Imported>> {
    let list = data["messages"].as_array()?;
    if !list.iter().all(|message| message["versions"].is_array()) || list.is_empty() {
        return None;
    }
    let mut messages = Vec::new();
    let mut last: Option<String> = None;
    for (index, message) in list.iter().enumerate() {
        let versions = message["versions"].as_array()?;
        let selected = message["currentlySelected"].as_u64().unwrap_or(0) as usize;
        let name = |version: usize| format!("{index}-{version}");
        messages.extend(versions.iter().enumerate().map(|(at, version)| read_version(version, name(at), last.clone())));
        if !versions.is_empty() {
            last = Some(name(selected.min(versions.len() - 1)));
        }
    }
    let mut settings = Map::new();
    let system = text(data, "systemPrompt").filter(|system| !system.is_empty());
    settings.extend(system.map(|system| ("system".to_owned(), json!(system))));
    let title = text(data, "name").filter(|name| !name.is_empty());
    let of_file = || file_name.trim_end_matches(".json").trim_end_matches(".conversation").to_owned();
    let updated_ms = moment_ms(&data["assistantLastMessagedAt"])
        .or_else(|| moment_ms(&data["userLastMessagedAt"]))
        .or_else(|| moment_ms(&data["createdAt"]));
    Some(vec![Imported {
        title: title.unwrap_or_else(of_file),
        is_pinned: data["pinned"].as_bool().unwrap_or(false),
        model: text(&data["lastUsedModel"], "identifier"),
        settings,
        updated_ms,
        leaf_id: last,
        messages,
        ..Imported::default()
    }])
}

fn read_version(version: &Json, id: String, parent: Option<String>) -> Message {
    let role = version["role"].as_str().unwrap_or("user");
    let (mut content, mut reasoning) = (Vec::new(), Vec::new());
    match version["steps"].as_array() {
        Some(steps) => {
            for step in steps.iter().filter(|step| step["type"] == "contentBlock") {
                let is_thought = step["style"]["type"] == "thinking";
                if is_thought { &mut reasoning } else { &mut content }.push(texts(&step["content"]));
            }
        }
        None => content.push(texts(&version["content"])),
    }
    let mut extra = Map::new();
    if !reasoning.is_empty() {
        extra.insert("reasoning".to_owned(), json!(reasoning.join("\n")));
    }
    extra.extend(text(&version["senderInfo"], "senderName").map(|model| ("model".to_owned(), json!(model))));
    Message { extra, ..plain_message(id, parent, role, content.join("\n")) }
}

/// The texts of a list of parts.
fn texts(parts: &Json) -> String {
    let parts = parts.as_array().map(Vec::as_slice).unwrap_or_default();
    parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("")
}
