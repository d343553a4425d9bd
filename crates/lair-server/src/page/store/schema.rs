//! The tables, and how older files become new ones.

use rusqlite::Connection;

use super::PageError;

/// What `user_version` says of a file with these tables.
const VERSION: i64 = 1;

/// `search_text` is in lower case: SQLite by itself folds only the letters of English.
const TABLES: &str = "
    CREATE TABLE folder (
        profile TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, created_ms INTEGER NOT NULL,
        PRIMARY KEY (profile, id)
    ) WITHOUT ROWID;
    CREATE TABLE conversation (
        profile TEXT NOT NULL, id TEXT NOT NULL, title TEXT NOT NULL, search_title TEXT NOT NULL,
        folder_id TEXT, is_pinned INTEGER NOT NULL, model TEXT, settings TEXT NOT NULL, leaf_id TEXT,
        created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,
        PRIMARY KEY (profile, id),
        FOREIGN KEY (profile, folder_id) REFERENCES folder (profile, id)
    );
    CREATE INDEX conversation_by_time ON conversation (profile, updated_ms DESC);
    CREATE TABLE message (
        profile TEXT NOT NULL, conversation_id TEXT NOT NULL, id TEXT NOT NULL, parent_id TEXT,
        role TEXT NOT NULL, content TEXT NOT NULL, extra TEXT NOT NULL, search_text TEXT NOT NULL,
        place INTEGER NOT NULL, created_ms INTEGER NOT NULL,
        PRIMARY KEY (profile, conversation_id, id),
        FOREIGN KEY (profile, conversation_id) REFERENCES conversation (profile, id) ON DELETE CASCADE
    );
    CREATE UNIQUE INDEX message_by_place ON message (profile, conversation_id, place);
    CREATE INDEX message_by_parent ON message (profile, conversation_id, parent_id);
    CREATE TABLE note (
        profile TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, created_ms INTEGER NOT NULL,
        PRIMARY KEY (profile, kind, id)
    ) WITHOUT ROWID;
";

/// Makes the tables if the file is new.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), PageError> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // With a log that is written ahead, this loses at most the latest changes when the power goes, never the file.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        VERSION => {}
        found => return Err(PageError::Version { found, expected: VERSION }),
    }
    Ok(transaction.commit()?)
}
