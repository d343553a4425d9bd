//! A hub, a package client and a listener that the tests of the store share. None of them leaves this machine.

// Each test binary uses some of this.
#![allow(dead_code)]

pub mod announcing;
#[cfg(unix)]
pub mod client;
pub mod http;
pub mod registry;
pub mod server;
pub mod sim_fs;

use std::path::Path;
use std::time::Duration;

use lair_store::{Catalogue, Digest, Entry, Progress, ProxySetting, Reference, Resolved, Settings, Store, StoreError};

/// A file that begins like a model, of some chunks and a rest; the same every time.
pub fn blob() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = b"GGUF".to_vec();
    while bytes.len() < 700_001 {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push(state as u8);
    }
    bytes
}

/// JSON of a hub source. The fake server does not look at the path.
pub fn hub() -> serde_json::Value {
    serde_json::json!({"kind": "hub", "repository": "owner/name", "revision": "main", "file": "tiny.gguf"})
}

/// JSON of a package source of these `(package, member, size)`.
pub fn packages(parts: &[(&str, &str, usize)]) -> serde_json::Value {
    let parts: Vec<_> = parts
        .iter()
        .map(|(package, member, size_bytes)| {
            serde_json::json!({"package": package, "version": "1.0", "member": member, "size_bytes": size_bytes})
        })
        .collect();
    serde_json::json!({"kind": "package", "parts": parts})
}

/// A store in `root` whose one model `tiny` is [`blob`], and that model.
pub fn store(root: &Path, sources: &[serde_json::Value], adjust: impl FnOnce(&mut Settings)) -> (Store, Entry) {
    let json = serde_json::json!({
        "default": "tiny",
        "models": [{
            "name": "tiny", "aliases": ["tiny:1m"], "description": "for tests", "licence": "CC0-1.0",
            "size_bytes": blob().len(), "digest": Digest::of(&blob()).to_string(), "sources": sources,
        }],
    });
    let catalogue = Catalogue::parse(&json.to_string()).expect("a sound catalogue");
    let entry = catalogue.default_entry().clone();
    let mut settings = Settings::at(root);
    settings.proxy = ProxySetting::Direct;
    settings.stall_timeout = Duration::from_secs(20);
    settings.package_clients = Vec::new();
    settings.transfer.tries_max = 1;
    settings.transfer.first_wait = Duration::ZERO;
    adjust(&mut settings);
    (Store::with_catalogue(settings, catalogue), entry)
}

/// Writes what an earlier run that was killed would have left.
pub fn leave_partial(store: &Store, entry: &Entry, bytes: &[u8]) {
    let path = partial_path(store, entry);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
    std::fs::write(path, bytes).expect("writes");
}

/// Where the bytes of `entry` are kept while they arrive.
pub fn partial_path(store: &Store, entry: &Entry) -> std::path::PathBuf {
    store.blobs().partial_path(&entry.digest)
}

/// What `text` stands for in `store`.
pub fn resolve(store: &Store, text: &str) -> Result<Resolved, StoreError> {
    store.resolve(&Reference::parse(text)?)
}

/// The path of the weights of a model that is here.
pub fn weights(resolved: Resolved) -> std::path::PathBuf {
    let Resolved::Model(model) = resolved else { panic!("{resolved:?} is no model that is here") };
    model.weights().expect("weights").to_path_buf()
}

/// Remembers what it was told.
#[derive(Default)]
pub struct Told {
    /// Labels of the sources that began.
    pub sources: Vec<String>,
    /// Bytes since the last source began.
    pub bytes: u64,
    /// Total of the last source that began.
    pub total_bytes: u64,
    /// All notes.
    pub notes: Vec<String>,
    /// Whether it ended well.
    pub is_finished: bool,
}

impl Progress for Told {
    fn started(&mut self, total_bytes: u64, source: &str) {
        self.sources.push(source.to_string());
        self.total_bytes = total_bytes;
        self.bytes = 0;
    }

    fn advanced(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_string());
    }

    fn finished(&mut self) {
        self.is_finished = true;
    }
}
