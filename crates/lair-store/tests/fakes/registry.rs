//! A registry with one model, `ns/tiny:latest`, that answers as it should; tests bend what they are about.

use lair_store::oci::{Layer, Manifest, media_type};
use lair_store::{Digest, ModelName, ProxySetting, Settings, Store};
use std::path::Path;
use std::time::Duration;

use super::http::{Call, Http, Reply};

/// The model.
#[derive(Clone)]
pub struct Model {
    pub weights: Vec<u8>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

impl Model {
    /// A model with these weights.
    pub fn new(weights: Vec<u8>) -> Model {
        let config = br#"{"model_format":"gguf"}"#.to_vec();
        let manifest = Manifest::new(layer(media_type::CONFIG, &config), vec![layer(media_type::MODEL, &weights)]);
        Model { manifest: manifest.to_bytes(), weights, config }
    }

    /// The answer of an honest registry.
    pub fn answer(&self, call: &Call) -> Reply {
        let path = call.path.split('?').next().unwrap_or_default();
        if path == "/v2/" {
            return Reply::bytes("{}");
        }
        if path == "/v2/ns/tiny/manifests/latest" {
            let digest = Digest::of(&self.manifest);
            return Reply::bytes(self.manifest.clone())
                .with("Content-Type", media_type::MANIFEST)
                .with("Docker-Content-Digest", digest);
        }
        for bytes in [&self.weights, &self.config] {
            if path == format!("/v2/ns/tiny/blobs/{}", Digest::of(bytes)) {
                return Reply::file(call, bytes);
            }
        }
        Reply::status(404)
    }

    /// An honest registry.
    pub fn serve(&self) -> Http {
        let model = self.clone();
        Http::start(move |call| model.answer(call))
    }
}

/// What a manifest says about these bytes.
pub fn layer(media_type: &str, bytes: &[u8]) -> Layer {
    Layer {
        media_type: media_type.to_string(),
        digest: Digest::of(bytes),
        size_bytes: bytes.len() as u64,
        from: None,
        name: None,
    }
}

/// `host/ns/tiny:latest`.
pub fn name_at(host: &str) -> ModelName {
    format!("{host}/ns/tiny").parse().expect("a name")
}

/// Settings of a test: quick to give up, small parts.
pub fn settings(root: &Path) -> Settings {
    let mut settings = Settings::at(root);
    settings.proxy = ProxySetting::Direct;
    settings.stall_timeout = Duration::from_secs(20);
    settings.transfer.tries_max = 2;
    settings.transfer.first_wait = Duration::from_millis(1);
    settings.transfer.part_bytes = 64 * 1024;
    settings
}

/// An empty store in `root`.
pub fn store(root: &Path, adjust: impl FnOnce(&mut Settings)) -> Store {
    let mut settings = settings(root);
    adjust(&mut settings);
    Store::open(settings)
}
