//! The configuration blob of a stored model: what it is, as Ollama writes and reads it.

use std::path::{Path, PathBuf};

use lair_gguf::{GgufFile, TensorInfo};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::error::StoreError;

/// No honest configuration is longer.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// The configuration of a model. Fields that Lair does not know are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `gguf` or `safetensors`.
    pub model_format: String,
    /// Architecture as the file says: `llama`.
    pub model_family: String,
    /// The same, and that of a projector.
    pub model_families: Option<Vec<String>>,
    /// Count of parameters for people: `8.0B`.
    pub model_type: String,
    /// Quantization: `Q4_K_M`.
    pub file_type: String,
    /// For which processor the image is; models are for all, but the field must be there.
    pub architecture: String,
    /// For which system; the same.
    pub os: String,
    /// The digests of the layers.
    pub rootfs: RootFs,
    /// Everything else: `renderer`, `parser`, `requires`, `capabilities`, `context_length`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The layers of an image, as images of containers list them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// In the order of the manifest.
    pub diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// The configuration of a model whose weights are the GGUF file at `path`, with these layers.
    pub fn of_gguf(path: &Path, layers: &[Digest]) -> Result<ImageConfig, StoreError> {
        ImageConfig::of_gguf_files(&[path.to_path_buf()], layers)
    }

    /// The same of a model whose shards, in order, are these files, whatever they are called.
    pub fn of_gguf_files(paths: &[PathBuf], layers: &[Digest]) -> Result<ImageConfig, StoreError> {
        let first = paths.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
        let file = open_files(paths).map_err(|reason| StoreError::BadModel { path: first.to_path_buf(), reason })?;
        let family = file.architecture().unwrap_or_default().to_string();
        let parameters: u64 = file.tensors().iter().map(TensorInfo::element_count).fold(0, u64::saturating_add);
        let file_type = file.metadata().get("general.file_type").and_then(lair_gguf::Value::as_integer);
        Ok(ImageConfig {
            model_format: "gguf".to_string(),
            model_families: Some(vec![family.clone()]),
            model_family: family,
            model_type: human_count(parameters),
            file_type: file_type.and_then(lair_gguf::file_type_name).unwrap_or("unknown").to_string(),
            architecture: "amd64".to_string(),
            os: "linux".to_string(),
            rootfs: RootFs { kind: "layers".to_string(), diff_ids: layers.to_vec() },
            other: Map::new(),
        })
    }

    /// Reads the bytes of a configuration blob.
    pub fn parse(bytes: &[u8]) -> Result<ImageConfig, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The bytes to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a configuration has only keys that are text, and no failing serializer")
    }
}

/// Opens a model in one file, or its shards in their order.
pub(crate) fn open_files(paths: &[PathBuf]) -> Result<GgufFile, lair_gguf::GgufError> {
    match paths {
        [path] => GgufFile::open(path),
        shards => lair_gguf::OpenOptions::default().open_shards(shards),
    }
}

/// `134.52M`, `8.0B`: a count as Ollama writes it, without a fraction where there is none.
pub fn human_count(count: u64) -> String {
    let scaled = |unit: f64, digits: usize, letter: char| {
        let number = count as f64 / unit;
        if number == number.floor() { format!("{number:.0}{letter}") } else { format!("{number:.digits$}{letter}") }
    };
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{:.0}K", count as f64 / 1e3),
        1_000_000..1_000_000_000 => scaled(1e6, 2, 'M'),
        _ => scaled(1e9, 1, 'B'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_it_does_not_know() {
        let text = r#"{"model_format":"gguf","model_family":"qwen3","model_families":["qwen3"],"model_type":"8.2B",
            "file_type":"Q4_K_M","architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},
            "renderer":"qwen3-coder","context_length":4096}"#;
        let config = ImageConfig::parse(text.as_bytes()).expect("parses");
        assert_eq!(config.model_family, "qwen3");
        assert_eq!(config.other["renderer"], "qwen3-coder");
        assert_eq!(ImageConfig::parse(&config.to_bytes()).expect("parses"), config);
        assert!(ImageConfig::parse(b"[1]").is_err());
        assert_eq!(ImageConfig::parse(b"{}").expect("parses").model_families, None);
    }

    #[test]
    fn counts_for_people() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (259_000, "259K"),
            (134_515_008, "134.52M"),
            (7_000_000, "7M"),
            (8_030_261_248, "8.0B"),
            (70_000_000_000, "70B"),
        ] {
            assert_eq!(human_count(count), text);
        }
    }
}
