//! What the page keeps: conversations, folders, presets, votes, in one SQLite file. Each row belongs to a profile; what is
//! another's is not there.
//!
//! The file is opened when it is first needed: a server whose page nobody opens makes none.

mod conversations;
mod folders;
mod messages;
mod notes;
mod schema;

pub(crate) use conversations::{Conversation, ConversationChange, ConversationLine};
pub(crate) use folders::Folder;
pub(crate) use messages::{Message, MessageChange};
pub(crate) use notes::{Note, NoteKind};

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// How long another program may hold the file before a request gives up.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Why something is not kept or found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// The file cannot be used.
    #[error("the file of conversations {path} cannot be used: {cause}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        cause: String,
    },
    /// It was made by a later version of the program.
    #[error("the file of conversations has version {found}, {expected} expected")]
    Version {
        /// Of the file.
        found: i64,
        /// Of this program.
        expected: i64,
    },
    /// There is no such thing, or it is another's.
    #[error("there is no {what} `{id}`")]
    Missing {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// A field has a value that cannot be.
    #[error("`{field}` {cause}")]
    Bad {
        /// Which field.
        field: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// There is no room.
    #[error("there would be more than {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// The data base says no.
    #[error("the file of conversations could not be read or written: {0}")]
    Sql(#[from] rusqlite::Error),
}

/// The file, opened when it is needed.
#[derive(Debug)]
pub(crate) struct PageStore {
    path: PathBuf,
    connection: Mutex<Option<Connection>>,
}

impl PageStore {
    pub(crate) fn at(path: PathBuf) -> PageStore {
        PageStore { path, connection: Mutex::new(None) }
    }

    /// Works on what belongs to a profile. All of it is kept, or none.
    pub(crate) fn with<T>(
        &self,
        profile: &str,
        work: impl FnOnce(&Shelf<'_>) -> Result<T, PageError>,
    ) -> Result<T, PageError> {
        // A panic within a transaction has rolled it back.
        let mut held = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match &mut *held {
            Some(connection) => connection,
            empty => empty.insert(self.open()?),
        };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let shelf = Shelf { sql: transaction, profile };
        let done = work(&shelf)?;
        shelf.sql.commit()?;
        Ok(done)
    }

    fn open(&self) -> Result<Connection, PageError> {
        let failed = |cause: String| PageError::File { path: self.path.display().to_string(), cause };
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
        }
        self.make_private().map_err(|error| failed(error.to_string()))?;
        let mut connection = Connection::open(&self.path).map_err(|error| failed(error.to_string()))?;
        connection.busy_timeout(BUSY_MAX)?;
        schema::prepare(&mut connection).map_err(|error| match error {
            PageError::Sql(cause) => failed(cause.to_string()),
            other => other,
        })?;
        Ok(connection)
    }

    /// Conversations are nobody else's business: the file is made so that only its owner reads it. SQLite gives the files
    /// beside it the same rights.
    fn make_private(&self) -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.path).map(drop)
    }
}

/// What belongs to one profile, within one transaction.
pub(crate) struct Shelf<'c> {
    sql: Transaction<'c>,
    profile: &'c str,
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}

/// A name that a client may give: it goes into paths of the API.
fn checked_id(id: &str, field: &'static str) -> Result<(), PageError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&id.len()) && id.bytes().all(is_plain) {
        return Ok(());
    }
    Err(PageError::Bad { field, cause: "is no name of 1 to 64 letters, digits, `-` and `_`".to_owned() })
}

fn checked_length(text: &str, most: usize, field: &'static str) -> Result<(), PageError> {
    if text.len() <= most {
        return Ok(());
    }
    Err(PageError::Bad { field, cause: format!("has {} bytes, at most {most} expected", text.len()) })
}

#[cfg(test)]
mod tests;
