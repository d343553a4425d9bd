//! The ways a blob can arrive. One file for each kind; the list of kinds is [`open`].

mod address;
mod challenge;
mod error;
pub(crate) mod http;
pub(crate) mod https;
pub(crate) mod hub;
pub(crate) mod hub_choice;
mod login;
mod ollama_key;
pub(crate) mod package;
pub(crate) mod package_client;
pub(crate) mod registry;
pub(crate) mod remote;
mod roots;
pub(crate) mod upload;

use std::path::PathBuf;

use crate::catalogue::SourceSpec;
pub(crate) use address::is_this_machine;
pub use error::SourceError;

use crate::partial::Partial;
use crate::settings::Settings;

/// Something that can deliver the bytes of one blob.
///
/// The contract, checked for every kind by `tests/source_contract.rs`: a source continues where the partial ends,
/// says what is missing or wrong, and fails soon when there is no network. It need not check the digest.
pub trait Source {
    /// What it is, in a few words for the user.
    fn label(&self) -> String;

    /// Space it needs beside the blob, while it works.
    fn scratch_bytes(&self) -> u64 {
        0
    }

    /// Appends bytes from `partial.length()` on until the blob has its size.
    fn deliver(&self, partial: &mut Partial<'_>) -> Result<(), SourceError>;
}

/// The source that `spec` describes. `scratch` is a folder of its own that need not exist yet.
pub(crate) fn open(spec: &SourceSpec, settings: &Settings, scratch: PathBuf) -> Result<Box<dyn Source>, SourceError> {
    Ok(match spec {
        SourceSpec::Hub { repository, revision, file } => {
            Box::new(https::HttpsSource::hub(repository, revision, file, settings)?)
        }
        SourceSpec::Package { parts } => Box::new(package::PackageSource::new(parts, settings, scratch)),
    })
}
