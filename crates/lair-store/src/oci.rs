//! Image manifests as Ollama's store and OCI registries keep them: a configuration and layers, each a blob with a media
//! type. The bytes of a manifest are kept as they came: their digest is the identity that listings show.
//!
//! Source: OCI Image Manifest Specification 1.1; Docker Image Manifest Version 2, Schema 2.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::Digest;

/// No honest manifest is longer.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Nor has more layers.
pub const LAYERS_MAX: usize = 1024;

/// Media types of a manifest and its parts.
pub mod media_type {
    /// The manifest itself.
    pub const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// The same by the OCI.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// The configuration.
    pub const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// A GGUF file.
    pub const MODEL: &str = "application/vnd.ollama.image.model";
    /// A GGUF file of a vision or audio tower.
    pub const PROJECTOR: &str = "application/vnd.ollama.image.projector";
    /// A LoRA adapter.
    pub const ADAPTER: &str = "application/vnd.ollama.image.adapter";
    /// A draft model for speculative decoding.
    pub const DRAFT: &str = "application/vnd.ollama.image.draft";
    /// A Go template.
    pub const TEMPLATE: &str = "application/vnd.ollama.image.template";
    /// The old name of a template.
    pub const PROMPT: &str = "application/vnd.ollama.image.prompt";
    /// A system prompt.
    pub const SYSTEM: &str = "application/vnd.ollama.image.system";
    /// Sampling parameters, JSON.
    pub const PARAMS: &str = "application/vnd.ollama.image.params";
    /// Messages a chat begins with, JSON.
    pub const MESSAGES: &str = "application/vnd.ollama.image.messages";
    /// A licence.
    pub const LICENSE: &str = "application/vnd.ollama.image.license";
    /// One tensor of a safetensors model.
    pub const TENSOR: &str = "application/vnd.ollama.image.tensor";
    /// A JSON file of a safetensors model, with its path in the layer's `name`.
    pub const JSON: &str = "application/vnd.ollama.image.json";
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// One of [`media_type::MANIFEST`], [`media_type::OCI_MANIFEST`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// What the model is, as JSON.
    pub config: Layer,
    /// The parts, in order.
    pub layers: Vec<Layer>,
}

/// A blob and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// What the blob is.
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its length.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// The model this layer was taken over from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Path of a file inside the model, for layers that are files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Bytes that are no manifest Lair would follow.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Longer than any honest one.
    #[error("manifest has {found} bytes, at most {MANIFEST_BYTES_MAX} are read")]
    TooLong {
        /// Its length.
        found: u64,
    },
    /// Not JSON of the right shape.
    #[error("manifest is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// Another schema.
    #[error("manifest has schema version {found}, 2 is expected")]
    SchemaVersion {
        /// As it says.
        found: u32,
    },
    /// A list of manifests, a signature, or something newer.
    #[error("manifest has media type `{found}`, an image manifest is expected")]
    MediaType {
        /// As it says.
        found: String,
    },
    /// More layers than any honest one.
    #[error("manifest has {found} layers, at most {LAYERS_MAX} are read")]
    TooManyLayers {
        /// How many.
        found: usize,
    },
    /// The same blob with two lengths.
    #[error("manifest gives {digest} two lengths, {first} and {second} bytes")]
    TwoLengths {
        /// The blob.
        digest: Digest,
        /// Length given first.
        first: u64,
        /// Length given later.
        second: u64,
    },
    /// The lengths do not fit in a number.
    #[error("the lengths in the manifest add up to more than a disk can hold")]
    TooLarge,
}

impl Manifest {
    /// A manifest of these parts.
    pub fn new(config: Layer, layers: Vec<Layer>) -> Manifest {
        Manifest { schema_version: 2, media_type: media_type::MANIFEST.to_string(), config, layers }
    }

    /// Reads and checks the bytes of a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLong { found: bytes.len() as u64 });
        }
        let manifest: Manifest = serde_json::from_slice(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.schema_version != 2 {
            return Err(ManifestError::SchemaVersion { found: self.schema_version });
        }
        if ![media_type::MANIFEST, media_type::OCI_MANIFEST, ""].contains(&self.media_type.as_str()) {
            return Err(ManifestError::MediaType { found: self.media_type.clone() });
        }
        if self.layers.len() > LAYERS_MAX {
            return Err(ManifestError::TooManyLayers { found: self.layers.len() });
        }
        let mut lengths = std::collections::HashMap::new();
        let mut sum = 0u64;
        for blob in self.blobs() {
            sum = sum.checked_add(blob.size_bytes).ok_or(ManifestError::TooLarge)?;
            let first = *lengths.entry(blob.digest).or_insert(blob.size_bytes);
            if first != blob.size_bytes {
                return Err(ManifestError::TwoLengths { digest: blob.digest, first, second: blob.size_bytes });
            }
        }
        if sum > i64::MAX as u64 { Err(ManifestError::TooLarge) } else { Ok(()) }
    }

    /// The bytes to store and to push. Reading and writing again gives the same bytes for manifests made by Lair; those
    /// of others are kept as they came.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has no map with keys that are not text, and no failing serializer")
    }

    /// Configuration and layers: every blob that the model needs. One may occur twice.
    pub fn blobs(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// The layers with this media type.
    pub fn layers_of<'m>(&'m self, media_type: &'m str) -> impl Iterator<Item = &'m Layer> {
        self.layers.iter().filter(move |layer| layer.media_type == media_type)
    }

    /// Bytes of all parts, each blob counted once.
    pub fn size_bytes(&self) -> u64 {
        let mut seen = std::collections::HashSet::new();
        self.blobs().filter(|blob| seen.insert(blob.digest)).map(|blob| blob.size_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(media_type: &str, bytes: &[u8]) -> Layer {
        let size_bytes = bytes.len() as u64;
        Layer { media_type: media_type.to_string(), digest: Digest::of(bytes), size_bytes, from: None, name: None }
    }

    fn example() -> Manifest {
        Manifest::new(
            layer(media_type::CONFIG, b"{}"),
            vec![
                layer(media_type::MODEL, b"GGUF"),
                layer(media_type::LICENSE, b"MIT"),
                layer(media_type::LICENSE, b"MIT"),
            ],
        )
    }

    #[test]
    fn reads_what_it_writes_and_counts_a_blob_once() {
        let manifest = example();
        assert_eq!(Manifest::parse(&manifest.to_bytes()).expect("parses"), manifest);
        assert_eq!(manifest.size_bytes(), 2 + 4 + 3);
        assert_eq!(manifest.layers_of(media_type::LICENSE).count(), 2);
    }

    #[test]
    fn refuses_what_a_hostile_registry_could_send() {
        let edited = |edit: &dyn Fn(&mut serde_json::Value)| {
            let mut json = serde_json::to_value(example()).expect("json");
            edit(&mut json);
            Manifest::parse(json.to_string().as_bytes()).expect_err("must be refused").to_string()
        };
        for (message, words) in [
            (edited(&|json| json["schemaVersion"] = 1.into()), "schema version 1"),
            (edited(&|json| json["mediaType"] = "text/html".into()), "text/html"),
            (edited(&|json| json["layers"][0]["digest"] = "sha256:../../etc/passwd".into()), "digest"),
            (edited(&|json| json["layers"][0]["size"] = (-1).into()), "not valid"),
            (edited(&|json| json["layers"][0]["size"] = u64::MAX.into()), "add up"),
            (edited(&|json| json["layers"][0]["size"] = (1u64 << 63).into()), "add up"),
            (edited(&|json| json["layers"][1]["size"] = 4.into()), "two lengths"),
            (edited(&|json| json["layers"] = vec![json["layers"][0].clone(); 1025].into()), "1025 layers"),
            (edited(&|json| json["config"] = serde_json::Value::Null), "not valid"),
        ] {
            assert!(message.contains(words), "{message} should mention {words}");
        }
        assert!(matches!(Manifest::parse(&vec![b' '; (4 << 20) + 1]), Err(ManifestError::TooLong { .. })));
    }
}
