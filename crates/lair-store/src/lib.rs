//! Where models are and how they arrive: names, manifests, blobs, the catalogue, sources, downloads.
//!
//! A [`Store`] is a folder in Ollama's layout, with a corner of its own for what only Lair needs:
//!
//! ```text
//! <models>/blobs/sha256-<64 hex>                            verified bytes, nothing else ever has this name
//! <models>/manifests/<host>/<namespace>/<model>/<tag>       which blobs a name stands for
//! <models>/.lair/                                           Lair's own: work under way, notes, pins, quarantine
//! ```
//!
//! A [`Reference`] is what a user writes where a model is meant; [`Store::resolve`] finds what it means. A [`Catalogue`]
//! maps short names to entries: a digest, a size and an ordered list of sources.

mod blobs;
mod catalogue;
mod digest;
mod error;
mod fetch;
mod file_system;
mod found;
mod freshness;
mod gc;
mod hub_download;
mod image_config;
mod import;
mod layouts;
mod legacy;
mod mend;
mod model_name;
pub mod modelfile;
mod near;
mod note;
pub mod oci;
mod package_pull;
mod partial;
mod piece_sums;
mod progress;
mod pull;
mod push;
mod reference;
mod remote_model;
mod resolve;
mod running;
mod settings;
mod sources;
mod store;
pub mod transfer;
mod verify;
mod view;
mod workplace;

pub use blobs::{Adopt, BlobLock, BlobStore};
pub use catalogue::{Catalogue, Entry, PackagePart, RecommendedSampling, SourceSpec};
pub use digest::{Digest, DigestError};
pub use error::{Attempt, CatalogueError, StoreError};
pub use file_system::{FileFacts, FileKind, FileSystem, FolderEntry, OpenHow, RealFileSystem, StoreFile};
pub use found::{Damage, FileRole, FoundModel, ModelFile, Owner, Repository, size_bytes_once};
pub use freshness::{Freshness, Tracked};
pub use gc::{GcOptions, GcReport};
pub use hub_download::HubPulled;
pub use image_config::{CONFIG_BYTES_MAX, ImageConfig, RootFs, human_count};
pub use layouts::{HubCache, LmStudio, OllamaLayout, Place, ReadManifest, StoredManifest};
pub use mend::Fetcher;
pub use model_name::{DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, ModelName, ModelNameError};
pub use note::Note;
pub use partial::Partial;
pub use progress::{Progress, Silent};
pub use pull::{Available, Pulled};
pub use push::Pushed;
pub use reference::{HubPart, HubReference, PackageReference, Reference, ReferenceError};
pub use remote_model::{RemoteError, RemoteHeaders, RemoteModel};
pub use resolve::{Listing, Resolved};
pub use running::{RunningModel, RunningServer, is_on_this_machine};
pub use settings::{HubToken, ProxySetting, Settings, free_bytes};
pub use sources::hub::{FoundRepository, Hub, HubFile, HubQuant, HubRevision};
pub use sources::registry::{FetchedManifest, Registry};
pub use sources::remote::RemoteFile;
pub use sources::{Source, SourceError};
pub use store::{Removed, Store};
pub use transfer::TransferSettings;
pub use verify::{Repairer, Verdict, Verified};
