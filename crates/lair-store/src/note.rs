//! What Lair remembers of a model beside its manifest: where it came from. Lies in Lair's own part of the store, so that
//! other programs that read the same store are not disturbed.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// No honest note is longer.
pub(crate) const NOTE_BYTES_MAX: u64 = 64 * 1024;

/// Where a model came from; what is not known is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What the source that completed it calls itself: `hub huggingface.co`, `package llm-x==1`, a registry, a path.
    pub source: String,
    /// When it was complete, in seconds since 1970.
    pub fetched_at_s: u64,
    /// Address of the file or the manifest, without a query, which may hold a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Commit of the repository it was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Licence that the source states, as an SPDX identifier where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The reference that was asked for, which an update asks for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl Note {
    /// A note of now.
    pub fn from_source(source: impl Into<String>) -> Note {
        Note { source: source.into(), fetched_at_s: seconds_now(), ..Note::default() }
    }
}

pub(crate) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
