//! The configuration blob, written byte for byte as Ollama writes it, so that the same model gets the same ID.

use serde_json::{Map, Value as Json, json};

use super::go_json;
use crate::image_config::ImageConfig;

/// Fields of [`ImageConfig::other`] that Ollama writes behind `file_type`, in its order; what else there is follows.
const FIELDS_BEHIND_FILE_TYPE: [&str; 12] = [
    "generation_defaults",
    "renderer",
    "parser",
    "requires",
    "remote_host",
    "remote_model",
    "capabilities",
    "capabilities_explicit",
    "context_length",
    "embedding_length",
    "base_name",
    "draft",
];

/// The bytes to store.
pub(super) fn to_bytes(config: &ImageConfig) -> Vec<u8> {
    let mut fields = Map::new();
    fields.insert("model_format".to_string(), json!(config.model_format));
    fields.insert("model_family".to_string(), json!(config.model_family));
    fields.insert("model_families".to_string(), json!(config.model_families));
    fields.insert("model_type".to_string(), json!(config.model_type));
    fields.insert("file_type".to_string(), json!(config.file_type));
    let known = FIELDS_BEHIND_FILE_TYPE.iter().filter_map(|name| Some((*name, config.other.get(*name)?)));
    let others = config.other.iter().filter(|(name, _)| !FIELDS_BEHIND_FILE_TYPE.contains(&name.as_str()));
    for (name, value) in known.chain(others.map(|(name, value)| (name.as_str(), value))) {
        fields.insert(name.to_string(), value.clone());
    }
    fields.insert("architecture".to_string(), json!(config.architecture));
    fields.insert("os".to_string(), json!(config.os));
    let digests: Vec<Json> = config.rootfs.diff_ids.iter().map(|digest| json!(digest)).collect();
    fields.insert("rootfs".to_string(), json!({ "type": config.rootfs.kind, "diff_ids": digests }));
    go_json::to_bytes(&Json::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_fields_in_the_order_of_ollama() {
        let text = r#"{"parser":"qwen3","zebra":1,"model_format":"gguf","model_family":"qwen3","model_families":["qwen3"],
            "model_type":"8.2B","file_type":"Q4_K_M","rootfs":{"type":"layers","diff_ids":[]},"os":"linux",
            "architecture":"amd64","renderer":"<r>"}"#;
        let config = ImageConfig::parse(text.as_bytes()).expect("parses");
        let expected = concat!(
            r#"{"model_format":"gguf","model_family":"qwen3","model_families":["qwen3"],"model_type":"8.2B","#,
            r#""file_type":"Q4_K_M","renderer":"\u003cr\u003e","parser":"qwen3","zebra":1,"architecture":"amd64","#,
            r#""os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(to_bytes(&config)).expect("UTF-8"), expected);
    }
}
