//! Where models are and how they arrive: catalogue, sources, downloads.
//!
//! A [`Catalogue`] maps short names to entries: a digest, a size and an ordered list of sources. A [`Store`] is a
//! folder that keeps the bytes of entries under their digest:
//!
//! ```text
//! <root>/blobs/sha256-<64 hex>           verified bytes, nothing else ever has this name
//! <root>/blobs/sha256-<64 hex>.partial   what has arrived so far, hashed again before it is continued
//! <root>/manifests/<name>.json           which blob a name stands for, and where it came from
//! <root>/locks/sha256-<64 hex>.lock      held by the one process that fetches this blob
//! <root>/scratch/sha256-<64 hex>/        what a package client downloads, removed afterwards
//! ```

mod catalogue;
mod digest;
mod error;
mod file_system;
mod manifest;
mod model_name;
pub mod modelfile;
pub mod oci;
mod partial;
mod progress;
mod reference;
mod settings;
mod sources;
mod store;

pub use catalogue::{Catalogue, Entry, PackagePart, RecommendedSampling, SourceSpec};
pub use digest::{Digest, DigestError};
pub use error::{Attempt, CatalogueError, SourceError, StoreError};
pub use file_system::{FileFacts, FileKind, FileSystem, FolderEntry, OpenHow, RealFileSystem, StoreFile};
pub use manifest::Manifest;
pub use model_name::{DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, ModelName, ModelNameError};
pub use partial::Partial;
pub use progress::{Progress, Silent};
pub use reference::{Reference, ReferenceError};
pub use settings::{HubToken, ProxySetting, Settings, free_bytes};
pub use sources::Source;
pub use store::{Resolved, Store};
