//! What the page's API says of what is kept, as JSON.

use serde_json::{Value as Json, json};

use super::store::{Conversation, ConversationLine, Folder, Message, Note};

pub(super) fn line_json(line: &ConversationLine) -> Json {
    let mut json = json!({
        "id": line.id,
        "title": line.title,
        "folder_id": line.folder_id,
        "is_pinned": line.is_pinned,
        "model": line.model,
        "created_ms": line.created_ms,
        "updated_ms": line.updated_ms,
    });
    if let Some(excerpt) = &line.excerpt {
        json["excerpt"] = json!(excerpt);
    }
    json
}

pub(super) fn message_json(message: &Message) -> Json {
    json!({
        "id": message.id,
        "parent_id": message.parent_id,
        "role": message.role,
        "content": message.content,
        "extra": message.extra,
        "created_ms": message.created_ms,
    })
}

pub(super) fn conversation_json(conversation: &Conversation) -> Json {
    let mut json = line_json(&conversation.line);
    json["settings"] = json!(conversation.settings);
    json["leaf_id"] = json!(conversation.leaf_id);
    json["messages"] = conversation.messages.iter().map(message_json).collect();
    json
}

pub(super) fn folder_json(folder: &Folder) -> Json {
    json!({ "id": folder.id, "name": folder.name })
}

pub(super) fn note_json(note: &Note) -> Json {
    json!({ "id": note.id, "body": note.body, "created_ms": note.created_ms })
}
