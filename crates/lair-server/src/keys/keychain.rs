//! The keys of a running server: those it was started with and those of the file, which is read again when it changes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::json;

use super::file::FileMark;
use super::record::id_of;
use super::{ApiKey, KeyFile, KeyFileError, KeyRecord, KeyRules};
use crate::error::{ApiError, ErrorKind};
use crate::log::{self, LogLevel};
use crate::rate_limit::Limiter;

/// A key that is in use.
#[derive(Debug)]
pub(crate) struct Key {
    /// What logs call it.
    pub(crate) name: String,
    pub(crate) rules: KeyRules,
    pub(crate) limiter: Arc<Limiter>,
}

/// All keys of a server.
#[derive(Debug)]
pub(crate) struct Keychain {
    fixed: Vec<(ApiKey, Arc<Key>)>,
    file: Option<KeyFile>,
    of_file: Mutex<OfFile>,
    /// Once keys were asked for they always are: a file that is emptied or removed opens nothing.
    is_demanded: AtomicBool,
}

#[derive(Debug, Default)]
struct OfFile {
    mark: Option<FileMark>,
    by_id: HashMap<String, (KeyRecord, Arc<Key>)>,
}

impl Keychain {
    /// The keys to start with. With `is_demanded` keys are asked for even where there is none.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub(crate) fn open(fixed: &[ApiKey], file: Option<KeyFile>, is_demanded: bool) -> Result<Keychain, KeyFileError> {
        let named = |(index, key): (usize, &ApiKey)| {
            let rules = KeyRules::unlimited();
            let limiter = Arc::new(Limiter::of(&rules));
            (key.clone(), Arc::new(Key { name: format!("api-key-{}", index + 1), rules, limiter }))
        };
        let fixed: Vec<_> = fixed.iter().enumerate().map(named).collect();
        let keychain = Keychain {
            is_demanded: AtomicBool::new(is_demanded || !fixed.is_empty()),
            fixed,
            of_file: Mutex::default(),
            file,
        };
        if let Some(file) = &keychain.file {
            let mark = file.mark();
            keychain.take(mark, file.read()?);
        }
        Ok(keychain)
    }

    fn of_file(&self) -> MutexGuard<'_, OfFile> {
        self.of_file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether clients must show a key.
    pub(crate) fn is_demanded(&self) -> bool {
        self.refresh();
        self.is_demanded.load(Ordering::Acquire)
    }

    /// Reads the file again if it has changed. What cannot be read leaves the keys as they are: no key is added by it, and
    /// nobody is locked out by an edit that went wrong.
    fn refresh(&self) {
        let Some(file) = &self.file else { return };
        let mark = file.mark();
        if mark == self.of_file().mark {
            return;
        }
        match file.read() {
            Ok(records) => {
                log::write(LogLevel::Info, "the keys were read again", &[("keys", json!(records.len()))]);
                self.take(mark, records);
            }
            Err(error) => {
                log::write(LogLevel::Error, "the keys stay as they were", &[("cause", json!(error.to_string()))]);
                // Told once, not with every request.
                self.of_file().mark = mark;
            }
        }
    }

    fn take(&self, mark: Option<FileMark>, records: Vec<KeyRecord>) {
        let mut of_file = self.of_file();
        let mut by_id = HashMap::new();
        for record in records {
            let earlier = of_file.by_id.remove(&record.id).filter(|(earlier, _)| *earlier == record);
            // A key that stays as it was keeps its count.
            let key = earlier.map_or_else(
                || {
                    let limiter = Arc::new(Limiter::of(&record.rules));
                    Arc::new(Key { name: record.name.clone(), rules: record.rules.clone(), limiter })
                },
                |(_, key)| key,
            );
            by_id.insert(record.id.clone(), (record, key));
        }
        if !by_id.is_empty() {
            self.is_demanded.store(true, Ordering::Release);
        }
        *of_file = OfFile { mark, by_id };
    }

    /// The key of this text.
    ///
    /// # Errors
    /// If there is none, or it has ended.
    pub(crate) fn find(&self, text: &str, now: SystemTime) -> Result<Arc<Key>, ApiError> {
        let unknown = || ApiError::new(ErrorKind::Unauthorized, "the key is not one of this server's");
        let shown = ApiKey::new(text).ok_or_else(unknown)?;
        let mut found = None;
        for (key, of_key) in &self.fixed {
            if key.is(&shown) {
                found = Some(Arc::clone(of_key));
            }
        }
        if let Some(key) = found {
            return Ok(key);
        }
        self.refresh();
        let text = text.trim();
        let of_file = self.of_file();
        let found = id_of(text).and_then(|id| of_file.by_id.get(id)).filter(|(record, _)| record.is(text));
        let (record, key) = found.ok_or_else(unknown)?;
        if record.rules.has_expired(now) {
            let cause = format!("the key `{}` has expired", record.name);
            return Err(ApiError::new(ErrorKind::Unauthorized, cause)
                .with_hint("make another one with `lair key create`".to_owned()));
        }
        Ok(Arc::clone(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn keys_of_the_file_come_and_go_while_the_server_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = KeyFile::at(folder.path().join("keys.json"));
        let keychain = Keychain::open(&[], Some(file.clone()), false).expect("opened");
        let now = SystemTime::now();
        assert!(!keychain.is_demanded());
        let rules = KeyRules { requests_per_minute: Some(1), ..KeyRules::unlimited() };
        let (record, text) = KeyRecord::create("ci", rules, now).expect("random numbers");
        file.add(record.clone()).expect("added");
        assert!(keychain.is_demanded());
        let key = keychain.find(&text, now).expect("known");
        let (other, _) = KeyRecord::create("other", KeyRules::unlimited(), now).expect("random numbers");
        file.add(other).expect("added");
        assert!(Arc::ptr_eq(&key, &keychain.find(&text, now).expect("known")), "its count is kept");
        assert!(keychain.find(&text.replace(&record.id, "000000000000"), now).is_err());
        std::fs::write(file.path(), "{").expect("written");
        assert!(keychain.find(&text, now).is_ok(), "a damaged file changes nothing");
        std::fs::remove_file(file.path()).expect("removed");
        assert!(keychain.find(&text, now).is_err());
        assert!(keychain.is_demanded(), "no file opens nothing");
    }

    #[test]
    fn keys_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = KeyFile::at(folder.path().join("keys.json"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let rules = KeyRules { expires_unix_s: Some(1010), ..KeyRules::unlimited() };
        let (record, text) = KeyRecord::create("short", rules, now).expect("random numbers");
        file.add(record).expect("added");
        let fixed = ApiKey::new("sesame").expect("a key");
        let keychain = Keychain::open(&[fixed], Some(file), false).expect("opened");
        assert!(keychain.find(&text, now).is_ok());
        let error = keychain.find(&text, now + Duration::from_secs(10)).expect_err("ended");
        assert!(error.status() == 401 && error.message.contains("expired"), "{error}");
        assert_eq!(keychain.find(" sesame ", now).expect("known").name, "api-key-1");
        assert!(keychain.find("sesam", now).is_err() && keychain.find("", now).is_err());
    }
}
