//! Folders of conversations.

use rusqlite::params;

use super::{PageError, Shelf, checked_id, checked_length, now_ms};

/// Folders of a profile.
const FOLDERS_MAX: usize = 1000;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 256;

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Shelf<'_> {
    /// All folders by name.
    pub(crate) fn folders(&self) -> Result<Vec<Folder>, PageError> {
        let all = "SELECT id, name FROM folder WHERE profile = ? ORDER BY name COLLATE NOCASE, id";
        let mut statement = self.sql.prepare_cached(all)?;
        let folders = statement.query_map([self.profile], |row| Ok(Folder { id: row.get(0)?, name: row.get(1)? }))?;
        Ok(folders.collect::<Result<_, _>>()?)
    }

    /// Makes a folder, or names one anew.
    pub(crate) fn put_folder(&self, folder: &Folder) -> Result<(), PageError> {
        checked_id(&folder.id, "id")?;
        checked_length(&folder.name, NAME_BYTES_MAX, "name")?;
        if folder.name.trim().is_empty() {
            return Err(PageError::Bad { field: "name", cause: "is empty".to_owned() });
        }
        if self.folders()?.len() >= FOLDERS_MAX {
            return Err(PageError::TooMany { what: "folders", most: FOLDERS_MAX });
        }
        let put = "INSERT INTO folder (profile, id, name, created_ms) VALUES (?, ?, ?, ?) \
            ON CONFLICT DO UPDATE SET name = excluded.name";
        self.sql.execute(put, params![self.profile, folder.id, folder.name.trim(), now_ms()])?;
        Ok(())
    }

    /// Removes a folder; its conversations stay.
    pub(crate) fn remove_folder(&self, id: &str) -> Result<(), PageError> {
        let key = params![self.profile, id];
        self.sql.execute("UPDATE conversation SET folder_id = NULL WHERE profile = ? AND folder_id = ?", key)?;
        match self.sql.execute("DELETE FROM folder WHERE profile = ? AND id = ?", key)? {
            0 => Err(PageError::Missing { what: "folder", id: id.to_owned() }),
            _ => Ok(()),
        }
    }

    pub(super) fn check_folder(&self, id: &str) -> Result<(), PageError> {
        let mut statement = self.sql.prepare_cached("SELECT 1 FROM folder WHERE profile = ? AND id = ?")?;
        if statement.exists(params![self.profile, id])? {
            return Ok(());
        }
        Err(PageError::Missing { what: "folder", id: id.to_owned() })
    }
}
