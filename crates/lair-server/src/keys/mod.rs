//! Keys of clients: who made them, what each may do, how much of it, and until when.
//!
//! A key is 256 random bits, so guessing it is hopeless and no slow hash is needed: what is kept is SHA-256 of a salt and
//! the key, compared in a time that does not tell where two digests differ. The text of a key is shown once, when it is made.

mod file;
mod keychain;
mod models;
mod record;

pub use file::{KEYS_MAX, KeyFile, KeyFileError};
pub(crate) use keychain::{Key, Keychain};
pub(crate) use models::SourceForCaller;
pub use record::{KeyRecord, KeyRules};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a key may do. Every route names the one it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Generate text, count and show the tokens of it.
    #[serde(rename = "chat")]
    Chat,
    /// Embed and rank texts.
    #[serde(rename = "embeddings")]
    Embeddings,
    /// List and show models.
    #[serde(rename = "models:read")]
    ModelsRead,
    /// Fetch, make, copy, remove, load and unload models.
    #[serde(rename = "models:write")]
    ModelsWrite,
    /// Read counts and what is being answered.
    #[serde(rename = "metrics")]
    Metrics,
    /// Everything.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 6] =
        [Scope::Chat, Scope::Embeddings, Scope::ModelsRead, Scope::ModelsWrite, Scope::Metrics, Scope::Admin];
    /// What a key may do if nothing else is said: use models.
    pub const USUAL: [Scope; 3] = [Scope::Chat, Scope::Embeddings, Scope::ModelsRead];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Chat => "chat",
            Scope::Embeddings => "embeddings",
            Scope::ModelsRead => "models:read",
            Scope::ModelsWrite => "models:write",
            Scope::Metrics => "metrics",
            Scope::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Scope, String> {
        Scope::ALL.into_iter().find(|scope| scope.name() == text.trim()).ok_or_else(|| {
            let names: Vec<&str> = Scope::ALL.iter().map(|scope| scope.name()).collect();
            format!("`{text}` is no scope, one of {} expected", names.join(", "))
        })
    }
}

/// A key that a client may show, given to the server as it starts. Only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// Takes a key; an empty one is none.
    pub fn new(text: &str) -> Option<ApiKey> {
        let text = text.trim();
        (!text.is_empty()).then(|| ApiKey(Sha256::digest(text).into()))
    }

    /// The digest of its text, which tells users apart.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.0
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, other: &ApiKey) -> bool {
        are_equal(&self.0, &other.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(..)")
    }
}

/// Compares in a time that does not tell where two digests differ.
fn are_equal(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).fold(0, |difference, (left, right)| difference | (left ^ right)) == 0
}
