//! Folders with safetensors: what they hold, so that it can be said why they are not made into a model.

use std::path::Path;

use serde_json::Value as Json;

use super::create_error::CreateError;
use crate::file_system::FileSystem;
use crate::store::Store;

/// No honest `config.json` or index is longer.
const CONFIG_BYTES_MAX: u64 = 16 << 20;
/// What says how text becomes tokens: one of these is enough.
const TOKENIZERS: [&str; 5] = ["tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt"];

/// Why the safetensors in `folder` do not become a model: they would have to be converted, and perhaps something that a
/// conversion needs is missing.
pub(super) fn unconverted(store: &Store, folder: &Path) -> CreateError {
    let file_system = store.settings().file_system.as_ref();
    let mut missing = Vec::new();
    if file_system.exists(&folder.join("adapter_config.json")) {
        let architecture = Some("a LoRA adapter".to_string());
        return CreateError::NeedsConversion { path: folder.to_path_buf(), architecture, missing };
    }
    let config = read_json(file_system, &folder.join("config.json"));
    let architecture = config.as_ref().and_then(|config| config.pointer("/architectures/0")?.as_str());
    match (&config, architecture) {
        (None, _) => missing.push("a readable `config.json`".to_string()),
        (Some(_), None) => missing.push("`architectures` in `config.json`".to_string()),
        (Some(_), Some(_)) => {}
    }
    missing.extend(missing_shards(file_system, folder));
    if !TOKENIZERS.iter().any(|name| file_system.exists(&folder.join(name))) {
        missing.push("a tokenizer".to_string());
    }
    CreateError::NeedsConversion { path: folder.to_path_buf(), architecture: architecture.map(printable), missing }
}

/// Files that the index names and that are not there.
fn missing_shards(file_system: &dyn FileSystem, folder: &Path) -> Vec<String> {
    let Some(index) = read_json(file_system, &folder.join("model.safetensors.index.json")) else { return Vec::new() };
    let files = index["weight_map"].as_object().into_iter().flatten().filter_map(|(_, file)| file.as_str());
    let files: std::collections::BTreeSet<&str> = files.collect();
    // A name from a file: one that leads out of the folder is not looked for.
    let is_plain = |file: &&&str| !file.contains(['/', '\\']) && **file != "..";
    let is_absent = |file: &&&str| !file_system.exists(&folder.join(**file));
    files.iter().filter(is_plain).filter(is_absent).map(|file| format!("`{}`", printable(file))).collect()
}

fn read_json(file_system: &dyn FileSystem, path: &Path) -> Option<Json> {
    serde_json::from_slice(&file_system.read(path, CONFIG_BYTES_MAX).ok()?).ok()
}

/// Foreign words for a message.
fn printable(text: &str) -> String {
    text.chars().filter(|symbol| !symbol.is_control()).take(80).collect()
}
