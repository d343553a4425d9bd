//! Messages: a tree, in which each names the one it answers. An edited message is another child of the same parent.

use rusqlite::{OptionalExtension, Row, params};
use serde_json::{Map, Value as Json};

use super::{PageError, Shelf, checked_id, checked_length, now_ms};

/// Messages of a conversation, all branches.
const MESSAGES_MAX: usize = 200_000;
/// Bytes of a message's text.
const CONTENT_BYTES_MAX: usize = 16 << 20;
/// Bytes of what belongs to a message beside its text.
const EXTRA_BYTES_MAX: usize = 16 << 20;
/// Who speaks.
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: String,
    /// The message before; none for a first one.
    pub(crate) parent_id: Option<String>,
    pub(crate) role: String,
    pub(crate) content: String,
    /// Reasoning, calls of tools, times and the like, as the page has them.
    pub(crate) extra: Map<String, Json>,
    pub(crate) created_ms: i64,
}

/// What is to be different; what is not given stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct MessageChange {
    pub(crate) content: Option<String>,
    pub(crate) extra: Option<Map<String, Json>>,
}

fn message_of(row: &Row<'_>) -> rusqlite::Result<Message> {
    let extra: String = row.get("extra")?;
    Ok(Message {
        id: row.get("id")?,
        parent_id: row.get("parent_id")?,
        role: row.get("role")?,
        content: row.get("content")?,
        extra: serde_json::from_str(&extra).unwrap_or_default(),
        created_ms: row.get("created_ms")?,
    })
}

impl Shelf<'_> {
    /// The messages of a conversation, each after its parent.
    pub(super) fn messages(&self, conversation: &str) -> Result<Vec<Message>, PageError> {
        let all = "SELECT * FROM message WHERE profile = ? AND conversation_id = ? ORDER BY place";
        let mut statement = self.sql.prepare_cached(all)?;
        let messages = statement.query_map(params![self.profile, conversation], message_of)?;
        Ok(messages.collect::<Result<_, _>>()?)
    }

    /// Adds a message, which becomes the last one of the branch that is shown.
    pub(crate) fn add_message(&self, conversation: &str, message: &Message) -> Result<(), PageError> {
        checked_id(&message.id, "id")?;
        checked_length(&message.content, CONTENT_BYTES_MAX, "content")?;
        if !ROLES.contains(&message.role.as_str()) {
            return Err(PageError::Bad { field: "role", cause: format!("is not one of {}", ROLES.join(", ")) });
        }
        if let Some(parent) = &message.parent_id {
            self.check_message(conversation, parent)?;
        }
        let shown = "UPDATE conversation SET leaf_id = ?, updated_ms = max(updated_ms, ?) WHERE profile = ? AND id = ?";
        let shown = self.sql.prepare_cached(shown)?.execute(params![
            message.id,
            message.created_ms,
            self.profile,
            conversation
        ])?;
        if shown == 0 {
            return Err(PageError::Missing { what: "conversation", id: conversation.to_owned() });
        }
        let last = "SELECT coalesce(max(place), 0) FROM message WHERE profile = ? AND conversation_id = ?";
        let place: i64 =
            self.sql.prepare_cached(last)?.query_row(params![self.profile, conversation], |row| row.get(0))?;
        if place >= MESSAGES_MAX as i64 {
            return Err(PageError::TooMany { what: "messages", most: MESSAGES_MAX });
        }
        let extra = checked_extra(&message.extra)?;
        let added = "INSERT OR IGNORE INTO message (profile, conversation_id, id, parent_id, role, content, extra, \
            search_text, place, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let added = self.sql.prepare_cached(added)?.execute(params![
            self.profile,
            conversation,
            message.id,
            message.parent_id,
            message.role,
            message.content,
            extra,
            message.content.to_lowercase(),
            place + 1,
            message.created_ms,
        ])?;
        match added {
            0 => Err(PageError::Bad { field: "id", cause: format!("`{}` is taken", message.id) }),
            _ => Ok(()),
        }
    }

    /// Changes a message where it stands.
    pub(crate) fn change_message(&self, conversation: &str, id: &str, change: &MessageChange) -> Result<(), PageError> {
        self.check_message(conversation, id)?;
        if let Some(content) = &change.content {
            checked_length(content, CONTENT_BYTES_MAX, "content")?;
            let changed =
                "UPDATE message SET content = ?, search_text = ? WHERE profile = ? AND conversation_id = ? AND id = ?";
            self.sql.prepare_cached(changed)?.execute(params![
                content,
                content.to_lowercase(),
                self.profile,
                conversation,
                id
            ])?;
        }
        if let Some(extra) = &change.extra {
            let changed = "UPDATE message SET extra = ? WHERE profile = ? AND conversation_id = ? AND id = ?";
            self.sql.prepare_cached(changed)?.execute(params![
                checked_extra(extra)?,
                self.profile,
                conversation,
                id
            ])?;
        }
        let touched = "UPDATE conversation SET updated_ms = max(updated_ms, ?) WHERE profile = ? AND id = ?";
        self.sql.prepare_cached(touched)?.execute(params![now_ms(), self.profile, conversation])?;
        Ok(())
    }

    /// Removes a message and all that follows it. If the branch that is shown ended there, it now ends before.
    pub(crate) fn remove_message(&self, conversation: &str, id: &str) -> Result<(), PageError> {
        let parent = "SELECT parent_id FROM message WHERE profile = ? AND conversation_id = ? AND id = ?";
        let key = params![self.profile, conversation, id];
        let parent: Option<Option<String>> = self.sql.query_row(parent, key, |row| row.get(0)).optional()?;
        let Some(parent) = parent else { return Err(PageError::Missing { what: "message", id: id.to_owned() }) };
        let removed = "WITH RECURSIVE gone (id) AS (VALUES (?3) UNION SELECT message.id FROM message JOIN gone \
            ON message.parent_id = gone.id WHERE message.profile = ?1 AND message.conversation_id = ?2) \
            DELETE FROM message WHERE profile = ?1 AND conversation_id = ?2 AND id IN (SELECT id FROM gone)";
        self.sql.execute(removed, key)?;
        let shown = "UPDATE conversation SET leaf_id = ?1 WHERE profile = ?2 AND id = ?3 AND NOT EXISTS (SELECT 1 FROM message \
            WHERE profile = ?2 AND conversation_id = ?3 AND id = conversation.leaf_id)";
        self.sql.execute(shown, params![parent, self.profile, conversation])?;
        Ok(())
    }

    /// Whether there is this message.
    pub(super) fn check_message(&self, conversation: &str, id: &str) -> Result<(), PageError> {
        let found = "SELECT 1 FROM message WHERE profile = ? AND conversation_id = ? AND id = ?";
        if self.sql.prepare_cached(found)?.exists(params![self.profile, conversation, id])? {
            return Ok(());
        }
        Err(PageError::Missing { what: "message", id: id.to_owned() })
    }
}

fn checked_extra(extra: &Map<String, Json>) -> Result<String, PageError> {
    let extra = Json::Object(extra.clone()).to_string();
    checked_length(&extra, EXTRA_BYTES_MAX, "extra")?;
    Ok(extra)
}
