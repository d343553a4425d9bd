//! Conversations: their titles, places and settings.

use rusqlite::{OptionalExtension, Row, named_params, params};
use serde_json::{Map, Value as Json};

use super::{Message, PageError, Shelf, checked_id, checked_length, now_ms};

/// Conversations of a profile.
const CONVERSATIONS_MAX: usize = 100_000;
/// Bytes of a title.
const TITLE_BYTES_MAX: usize = 1024;
/// Bytes of the settings of a conversation.
const SETTINGS_BYTES_MAX: usize = 1 << 20;
/// Bytes of the text around what a search found.
const EXCERPT_CHARS: usize = 80;

/// A conversation in a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConversationLine {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) folder_id: Option<String>,
    pub(crate) is_pinned: bool,
    pub(crate) model: Option<String>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    /// Around what a search found in one of its messages.
    pub(crate) excerpt: Option<String>,
}

/// All of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conversation {
    pub(crate) line: ConversationLine,
    /// What is set for it: system prompt, sampling and so on, as the page has it.
    pub(crate) settings: Map<String, Json>,
    /// The last message of the branch that is shown.
    pub(crate) leaf_id: Option<String>,
    /// In the order in which they came; each after its parent.
    pub(crate) messages: Vec<Message>,
}

/// What is to be different; what is not given stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConversationChange {
    pub(crate) title: Option<String>,
    /// `Some(None)` takes it out of its folder.
    pub(crate) folder_id: Option<Option<String>>,
    pub(crate) is_pinned: Option<bool>,
    pub(crate) model: Option<String>,
    pub(crate) settings: Option<Map<String, Json>>,
    pub(crate) leaf_id: Option<Option<String>>,
    /// When it was used last, where that is known from elsewhere.
    pub(crate) updated_ms: Option<i64>,
}

fn line_of(row: &Row<'_>) -> rusqlite::Result<ConversationLine> {
    Ok(ConversationLine {
        id: row.get("id")?,
        title: row.get("title")?,
        folder_id: row.get("folder_id")?,
        is_pinned: row.get("is_pinned")?,
        model: row.get("model")?,
        created_ms: row.get("created_ms")?,
        updated_ms: row.get("updated_ms")?,
        excerpt: None,
    })
}

impl Shelf<'_> {
    /// All conversations, the latest first; with words only those that have them in their title or a message.
    pub(crate) fn conversations(&self, words: &str) -> Result<Vec<ConversationLine>, PageError> {
        let words = words.trim().to_lowercase();
        let found = "SELECT * FROM conversation WHERE profile = :profile AND (:words = '' OR instr(search_title, :words) \
            OR EXISTS (SELECT 1 FROM message WHERE profile = :profile AND conversation_id = conversation.id \
            AND instr(search_text, :words))) ORDER BY updated_ms DESC, id";
        let mut statement = self.sql.prepare_cached(found)?;
        let rows = statement.query_map(named_params! { ":profile": self.profile, ":words": words }, line_of)?;
        let mut lines: Vec<ConversationLine> = rows.collect::<Result<_, _>>()?;
        if !words.is_empty() {
            for line in &mut lines {
                line.excerpt = self.excerpt(&line.id, &words)?;
            }
        }
        Ok(lines)
    }

    /// What stands around the words in the first message that has them.
    fn excerpt(&self, id: &str, words: &str) -> Result<Option<String>, PageError> {
        let first = "SELECT content FROM message WHERE profile = ? AND conversation_id = ? AND instr(search_text, ?) \
            ORDER BY place LIMIT 1";
        let mut statement = self.sql.prepare_cached(first)?;
        let content: Option<String> =
            statement.query_row(params![self.profile, id, words], |row| row.get(0)).optional()?;
        Ok(content.map(|content| around(&content, words)))
    }

    /// Makes a conversation.
    pub(crate) fn add_conversation(&self, id: &str, change: &ConversationChange) -> Result<(), PageError> {
        checked_id(id, "id")?;
        let count: i64 =
            self.sql
                .query_row("SELECT count(*) FROM conversation WHERE profile = ?", [self.profile], |row| row.get(0))?;
        if count >= CONVERSATIONS_MAX as i64 {
            return Err(PageError::TooMany { what: "conversations", most: CONVERSATIONS_MAX });
        }
        let now = now_ms();
        let added = "INSERT OR IGNORE INTO conversation (profile, id, title, search_title, is_pinned, settings, created_ms, \
            updated_ms) VALUES (?, ?, '', '', 0, '{}', ?, ?)";
        if self.sql.execute(added, params![self.profile, id, now, now])? == 0 {
            return Err(PageError::Bad { field: "id", cause: format!("`{id}` is taken") });
        }
        self.change_conversation(id, change)
    }

    /// Changes a conversation.
    pub(crate) fn change_conversation(&self, id: &str, change: &ConversationChange) -> Result<(), PageError> {
        let set = |column: &str, value: &dyn rusqlite::ToSql| -> Result<(), PageError> {
            let changed = format!("UPDATE conversation SET {column} = ? WHERE profile = ? AND id = ?");
            self.sql.execute(&changed, params![value, self.profile, id])?;
            Ok(())
        };
        if !self.has_conversation(id)? {
            return Err(PageError::Missing { what: "conversation", id: id.to_owned() });
        }
        if let Some(title) = &change.title {
            checked_length(title, TITLE_BYTES_MAX, "title")?;
            set("title", title)?;
            set("search_title", &title.to_lowercase())?;
        }
        if let Some(folder_id) = &change.folder_id {
            if let Some(folder_id) = folder_id {
                self.check_folder(folder_id)?;
            }
            set("folder_id", folder_id)?;
        }
        if let Some(is_pinned) = change.is_pinned {
            set("is_pinned", &is_pinned)?;
        }
        if let Some(model) = &change.model {
            checked_length(model, TITLE_BYTES_MAX, "model")?;
            set("model", model)?;
        }
        if let Some(settings) = &change.settings {
            let settings = Json::Object(settings.clone()).to_string();
            checked_length(&settings, SETTINGS_BYTES_MAX, "settings")?;
            set("settings", &settings)?;
        }
        if let Some(leaf_id) = &change.leaf_id {
            if let Some(leaf_id) = leaf_id {
                self.check_message(id, leaf_id)?;
            }
            set("leaf_id", leaf_id)?;
        }
        if let Some(updated_ms) = change.updated_ms {
            set("updated_ms", &updated_ms)?;
        }
        Ok(())
    }

    fn has_conversation(&self, id: &str) -> Result<bool, PageError> {
        let mut statement = self.sql.prepare_cached("SELECT 1 FROM conversation WHERE profile = ? AND id = ?")?;
        Ok(statement.exists(params![self.profile, id])?)
    }

    /// All of a conversation.
    pub(crate) fn conversation(&self, id: &str) -> Result<Conversation, PageError> {
        let mut statement = self.sql.prepare_cached("SELECT * FROM conversation WHERE profile = ? AND id = ?")?;
        let found = statement.query_row(params![self.profile, id], |row| {
            let settings: String = row.get("settings")?;
            let settings = serde_json::from_str(&settings).unwrap_or_default();
            let (line, leaf_id) = (line_of(row)?, row.get("leaf_id")?);
            Ok(Conversation { line, settings, leaf_id, messages: Vec::new() })
        });
        let found = found.optional()?.ok_or_else(|| PageError::Missing { what: "conversation", id: id.to_owned() })?;
        Ok(Conversation { messages: self.messages(id)?, ..found })
    }

    /// Forgets a conversation with all of its messages.
    pub(crate) fn remove_conversation(&self, id: &str) -> Result<(), PageError> {
        match self.sql.execute("DELETE FROM conversation WHERE profile = ? AND id = ?", params![self.profile, id])? {
            0 => Err(PageError::Missing { what: "conversation", id: id.to_owned() }),
            _ => Ok(()),
        }
    }
}

/// The text around the first place that has these words in lower case.
fn around(text: &str, words: &str) -> String {
    let lower = text.to_lowercase();
    // Lower case may have other lengths than the text: the place is counted in characters, which is near enough to show.
    let before = lower.find(words).map_or(0, |at| lower[..at].chars().count());
    let start = before.saturating_sub(EXCERPT_CHARS / 2);
    let excerpt: String = text.chars().skip(start).take(EXCERPT_CHARS).collect();
    let excerpt = excerpt.split_whitespace().collect::<Vec<_>>().join(" ");
    if start > 0 { format!("…{excerpt}") } else { excerpt }
}
