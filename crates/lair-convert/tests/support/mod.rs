//! Tiny checkpoints: configurations and names of tensors are kept beside the golden outputs, weights follow a rule.
#![allow(dead_code)] // Not every test uses all of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lair_testkit::tiny_models::value;
use serde_json::{Value as Json, json};

/// How names of a tokenizer's files begin.
const TOKENIZERS: [&str; 3] = ["tokenizer", "rwkv_vocab", "qwen.tiktoken"];

/// Where the golden files lie.
pub fn checkpoints() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lair-convert/tests/checkpoints")
}

/// The names of all tiny checkpoints whose outputs `transformers` has computed.
pub fn names() -> Vec<String> {
    let names = names_with("logits.npy");
    assert!(names.len() > 30, "the golden files are there");
    names
}

/// The names of the tiny checkpoints that have this file.
pub fn names_with(file: &str) -> Vec<String> {
    let entries = std::fs::read_dir(checkpoints()).expect("the folder of golden files");
    let has_both = |folder: PathBuf| folder.join("config.json").is_file() && folder.join(file).is_file();
    let folders = entries.filter_map(Result::ok).filter(|entry| has_both(entry.path()));
    let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The class that a checkpoint's configuration names.
pub fn class_of(name: &str) -> String {
    json_of(&checkpoints().join(name).join("config.json"))["architectures"][0].as_str().expect("a class").to_owned()
}

/// A checkpoint in a temporary folder that lives as long as this value.
pub struct Checkpoint {
    folder: tempfile::TempDir,
}

impl Checkpoint {
    /// The tiny checkpoint called `name`, in safetensors.
    pub fn make(name: &str) -> Checkpoint {
        let checkpoint = Checkpoint::without_weights(name);
        let whole = checkpoints().join(name).join("whole.json");
        let whole = if whole.is_file() { json_of(&whole) } else { Json::Null };
        let bytes = safetensors_with(&tensors_of(name), &whole);
        std::fs::write(checkpoint.path().join("model.safetensors"), bytes).expect("written");
        checkpoint
    }

    /// The same with the weights in a file of PyTorch's.
    pub fn with_weights(name: &str, weights: &Path) -> Checkpoint {
        let checkpoint = Checkpoint::without_weights(name);
        std::fs::copy(weights, checkpoint.path().join("pytorch_model.bin")).expect("copied");
        checkpoint
    }

    /// The same without weights.
    pub fn without_weights(name: &str) -> Checkpoint {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::copy(checkpoints().join(name).join("config.json"), folder.path().join("config.json")).expect("copied");
        // Some have a tokenizer of their own.
        let own = checkpoints().join(name);
        let is_tokenizer = |name: &str| TOKENIZERS.iter().any(|start| name.starts_with(start));
        let has_own = ["tokenizer.json", "tokenizer.jsonl", "rwkv_vocab_v20230424.txt", "qwen.tiktoken"]
            .iter()
            .any(|name| own.join(name).is_file());
        let tokenizer = if has_own { own } else { checkpoints().join("tokenizer") };
        for entry in std::fs::read_dir(tokenizer).expect("a tokenizer") {
            let path = entry.expect("readable").path();
            let is_part = path.file_name().is_some_and(|name| is_tokenizer(&name.to_string_lossy()));
            if has_own && !is_part {
                continue;
            }
            std::fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
        }
        Checkpoint { folder }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Names, shapes and values of a tiny checkpoint's tensors.
pub fn tensors_of(name: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    tensors_in(&checkpoints().join(name))
}

/// The same for the names and shapes in a folder.
pub fn tensors_in(folder: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let shapes: BTreeMap<String, Vec<usize>> =
        serde_json::from_value(json_of(&folder.join("tensors.json"))).expect("shapes");
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let count: usize = shape.iter().product();
        let values = (0..count as u64).map(|index| value(&name, index)).collect();
        (name, (shape, values))
    };
    shapes.into_iter().map(tensor).collect()
}

/// A file of safetensors with these tensors in F32.
pub fn safetensors(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    safetensors_with(tensors, &Json::Null)
}

/// The same with vectors and matrices of whole numbers besides, by their names.
fn safetensors_with(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>, whole: &Json) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    for (name, numbers) in whole.as_object().into_iter().flatten() {
        let rows = numbers.as_array().expect("a list");
        let columns = rows.first().and_then(Json::as_array).map(Vec::len);
        let shape: Vec<usize> = std::iter::once(rows.len()).chain(columns).collect();
        let flat = |row: &Json| row.as_array().cloned().unwrap_or_else(|| vec![row.clone()]);
        let numbers: Vec<i64> =
            rows.iter().flat_map(flat).map(|number| number.as_i64().expect("a whole number")).collect();
        let start = data.len();
        data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        header.insert(name.clone(), json!({"dtype": "I64", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Json::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// The JSON of a file.
pub fn json_of(path: &Path) -> Json {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}
