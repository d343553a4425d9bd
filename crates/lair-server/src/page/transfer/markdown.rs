//! A conversation to read: the branch that is shown, as Markdown.

use std::collections::HashMap;
use std::fmt::Write;

use crate::page::store::{Conversation, Message};

/// The branch that is shown.
pub(super) fn document(conversation: &Conversation) -> String {
    let title = conversation.line.title.replace('\n', " ");
    let mut out = format!("# {}\n", if title.is_empty() { "Conversation" } else { &title });
    if let Some(system) = conversation.settings.get("system").and_then(serde_json::Value::as_str) {
        section(&mut out, "System prompt", system);
    }
    for message in branch(conversation) {
        let model = message.extra.get("model").and_then(serde_json::Value::as_str);
        let speaker = match message.role.as_str() {
            "assistant" => model.map_or("Assistant".to_owned(), |model| format!("Assistant ({model})")),
            "tool" => "Result of a tool".to_owned(),
            "system" => "System".to_owned(),
            _ => "User".to_owned(),
        };
        section(&mut out, &speaker, &message.content);
    }
    out
}

fn section(out: &mut String, head: &str, text: &str) {
    writeln!(out, "\n## {head}\n\n{}", text.trim_end()).expect("writing to a string never fails");
}

/// The messages from the first one to the leaf.
fn branch(conversation: &Conversation) -> Vec<&Message> {
    let by_id: HashMap<&str, &Message> =
        conversation.messages.iter().map(|message| (message.id.as_str(), message)).collect();
    let mut path = Vec::new();
    let mut next = conversation.leaf_id.as_deref();
    while let Some(message) = next.and_then(|id| by_id.get(id)).filter(|_| path.len() < by_id.len()) {
        path.push(*message);
        next = message.parent_id.as_deref();
    }
    path.reverse();
    path
}
