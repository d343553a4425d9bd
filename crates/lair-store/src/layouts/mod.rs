//! How other programs lay out their models, read in place. One file for each layout.

mod ollama;

pub use ollama::{OllamaLayout, StoredManifest};
