//! The page's own form: everything, so that what is exported and imported is the same again.

use serde_json::{Value as Json, json};

use super::{Imported, moment_ms, plain_message, text};
use crate::page::store::{Conversation, Folder, Message, now_ms};
use crate::page::wire::{conversation_json, folder_json};

/// What `format` says.
const FORMAT: &str = "lair-conversations";

/// A file of these conversations.
pub(super) fn document(conversations: &[Conversation], folders: &[Folder]) -> Json {
    json!({
        "format": FORMAT,
        "version": 1,
        "folders": folders.iter().map(folder_json).collect::<Vec<_>>(),
        "conversations": conversations.iter().map(conversation_json).collect::<Vec<_>>(),
    })
}

/// The conversations of such a file.
pub(super) fn read(data: &Json) -> Option<Vec<Imported>> {
    if data["format"] != FORMAT {
        return None;
    }
    let folder_name = |id: &str| {
        let folders = data["folders"].as_array()?;
        text(folders.iter().find(|folder| folder["id"] == id)?, "name")
    };
    let conversations = data["conversations"].as_array()?.iter().map(|one| Imported {
        title: text(one, "title").unwrap_or_default(),
        folder: one["folder_id"].as_str().and_then(folder_name),
        is_pinned: one["is_pinned"].as_bool().unwrap_or(false),
        model: text(one, "model"),
        settings: one["settings"].as_object().cloned().unwrap_or_default(),
        updated_ms: moment_ms(&one["updated_ms"]),
        leaf_id: text(one, "leaf_id"),
        messages: one["messages"].as_array().into_iter().flatten().filter_map(message).collect(),
    });
    Some(conversations.collect())
}

fn message(json: &Json) -> Option<Message> {
    let plain =
        plain_message(text(json, "id")?, text(json, "parent_id"), json["role"].as_str()?, text(json, "content")?);
    let created_ms = moment_ms(&json["created_ms"]).unwrap_or_else(now_ms);
    Some(Message { extra: json["extra"].as_object().cloned().unwrap_or_default(), created_ms, ..plain })
}
