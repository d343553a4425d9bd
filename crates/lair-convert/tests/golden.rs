//! Checkpoints of every converted architecture against the outputs of `transformers`, computed by
//! `tests/checkpoints/make.py`.

#[path = "../../lair-model/tests/runner/mod.rs"]
mod runner;
mod support;

use std::path::{Path, PathBuf};

use lair_compute::reference::Reference;
use lair_convert::{Conversion, OutputType, hf};
use lair_gguf::{Array, GgufFile, Value};
use lair_model::architectures;
use lair_testkit::npy;
use lair_text::tokenizer::{AddSpecial, Special, Tokenizer};
use runner::Runner;
use support::{Checkpoint, checkpoints, names, names_with};

/// The largest difference of a logit. Logits are about 0.6 wide.
const DIFFERENCE_MAX: f32 = 1e-3;

fn largest_difference(file: &GgufFile, folder: &Path) -> f32 {
    let (expected, shape) = npy::read_f32(&folder.join("logits.npy"));
    let tokens: Vec<u32> =
        serde_json::from_slice(&std::fs::read(folder.join("tokens.json")).expect("tokens")).expect("numbers");
    let rows: Vec<usize> = (tokens.len() - shape[0]..tokens.len()).collect();
    let logits = Runner::new(file, Reference, tokens.len(), tokens.len()).step_wanting(&tokens, &rows);
    // Of an encoder there are hidden states, of all tokens.
    let logits = &logits[logits.len().saturating_sub(expected.len())..];
    assert_eq!(logits.len(), expected.len(), "{}", folder.display());
    logits.iter().zip(&expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max)
}

fn check(what: &str, model: &Path, folder: &Path) -> Option<String> {
    let file = match hf::open(model) {
        Ok(file) => file,
        Err(error) => return Some(format!("{what}: {error}")),
    };
    let difference = largest_difference(&file, folder);
    eprintln!("{what}: {difference:.1e}");
    (difference.is_nan() || difference > DIFFERENCE_MAX).then(|| format!("{what}: {difference:e}"))
}

#[test]
fn safetensors_give_the_logits_of_transformers() {
    let mut failures = Vec::new();
    for name in names() {
        let checkpoint = Checkpoint::make(&name);
        failures.extend(check(&name, checkpoint.path(), &checkpoints().join(&name)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn files_of_pytorch_give_the_logits_of_transformers() {
    let mut failures = Vec::new();
    for (name, weights) in [("gpt2", "gpt2"), ("gpt2", "gpt2-old"), ("llama", "llama"), ("phi2", "phi2")] {
        let weights = checkpoints().join(weights).join("pytorch_model.bin");
        let checkpoint = Checkpoint::with_weights(name, &weights);
        let what = format!("{name} of {}", weights.display());
        failures.extend(check(&what, checkpoint.path(), &checkpoints().join(name)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// FNV-1a, as `beside_llama_cpp.py` has it.
fn hash(bytes: &[u8]) -> String {
    let state = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    format!("{state:016x}")
}

/// The signs of numbers that are -1, 0 and 1 times almost `mean`, as such; what is not stays as it is.
fn signs_times(mean: f32, bytes: &[u8]) -> Vec<u8> {
    let sign = |bytes: &[u8; 4]| {
        let sign = f32::from_le_bytes(*bytes) / mean;
        if (sign - sign.round()).abs() < 1e-6 { sign.round() + 0.0 } else { sign }
    };
    bytes.as_chunks().0.iter().flat_map(|number| sign(number).to_le_bytes()).collect()
}

/// A value of a file, as JSON.
fn json_of_value(value: &Value) -> serde_json::Value {
    use serde_json::json;
    match value {
        Value::Array(Array::Bool(list)) => json!(list),
        Value::Array(Array::I32(list)) => json!(list),
        Value::Array(Array::F32(list)) => json!(list),
        Value::Array(Array::String(list)) => json!(list.iter().collect::<Vec<_>>()),
        Value::String(text) => json!(text),
        Value::F32(number) => json!(number),
        value => serde_json::from_str(&value.to_string()).unwrap_or(serde_json::Value::Null),
    }
}

/// Whether two values are the same, numbers but for their last bits.
fn is_same(found: &serde_json::Value, expected: &serde_json::Value) -> bool {
    if let (Some(found), Some(expected)) = (found.as_array(), expected.as_array()) {
        return found.len() == expected.len() && found.iter().zip(expected).all(|(found, one)| is_same(found, one));
    }
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-6 * expected.abs(),
        _ => found == expected,
    }
}

/// Models whose code is no part of `transformers`: the tensors are those that llama.cpp's converter makes, to the bit, and so
/// are the hyper-parameters, and vocabularies in files that only one family has. Gates that it leaves with what they
/// gate come apart here.
#[test]
fn other_classes_become_what_llama_cpp_makes_of_them() {
    let mut failures = Vec::new();
    for name in names_with("gguf.json") {
        let golden = support::json_of(&checkpoints().join(&name).join("gguf.json"));
        let checkpoint = Checkpoint::make(&name);
        let file = match hf::open(checkpoint.path()) {
            Ok(file) => file,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        assert_eq!(file.architecture().expect("set"), golden["architecture"], "{name}");
        let expected = golden["tensors"].as_object().expect("tensors");
        let is_gate_apart = |name: &str| name.contains("ffn_gate.") && !expected.contains_key(name);
        // CogVLM's experts for pictures, which llama.cpp asks for and its converter leaves out.
        let is_for_pictures = |name: &str| name.contains(".vis_");
        let is_own = |name: &str| !is_gate_apart(name) && !is_for_pictures(name);
        let own = file.tensors().iter().filter(|tensor| is_own(&tensor.name));
        assert_eq!(own.clone().count(), expected.len(), "{name}");
        for tensor in own {
            let (shape, bytes) = (&expected[&tensor.name][0], &expected[&tensor.name][1]);
            let gate = file.tensor(&tensor.name.replace("ffn_up", "ffn_gate"));
            let (found_shape, found) = match gate {
                // Both in one, the part that comes first in the checkpoint first.
                Some(gate) if tensor.name.contains("ffn_up.") && is_gate_apart(&gate.name) => {
                    let parts = if name.ends_with("code") { [tensor, gate] } else { [gate, tensor] };
                    (
                        vec![tensor.shape[0], 2 * tensor.shape[1]],
                        parts.map(|part| file.tensor_data(part).to_vec()).concat(),
                    )
                }
                _ => (tensor.shape.clone(), file.tensor_data(tensor).to_vec()),
            };
            // Lengths of 1 at the end count for nothing.
            let trimmed = |shape: Vec<u64>| {
                let length = shape.iter().rposition(|length| *length != 1).map_or(1, |last| last + 1);
                shape[..length].to_vec()
            };
            // Of numbers that are -1, 0 and 1 times a mean the signs are hashed, and the mean stands beside them.
            let found = match expected[&tensor.name][2].as_f64() {
                Some(mean) => signs_times(mean as f32, &found),
                None => found,
            };
            let expected_shape: Vec<u64> = serde_json::from_value(shape.clone()).expect("a shape");
            if trimmed(expected_shape) != trimmed(found_shape) || *bytes != hash(&found) {
                failures.push(format!("{name}: `{}` is {:?}, expected {shape}", tensor.name, tensor.shape));
            }
        }
        let keys = golden["keys"].as_object().expect("keys").iter();
        for (key, value) in keys.chain(golden["tokenizer"].as_object().into_iter().flatten()) {
            let found = file.metadata().get(key).map_or(serde_json::Value::Null, json_of_value);
            // Text that says nothing of the model; heads that are 0 in layers without attention, which llama.cpp itself
            // does not take; a stretch of positions by 1, or none; no layers that predict further tokens.
            let is_own = key.ends_with("tensor_data_layout")
                || key == "plamo2.attention.head_count"
                || key.starts_with("bitnet.rope.scaling.")
                || (key == "deepseek.rope.scaling.type" && value == "none" && found.is_null())
                || (key.ends_with(".nextn_predict_layers") && value == 0 && found.is_null());
            if !is_same(&found, value) && !is_own {
                failures.push(format!("{name}: {key} is `{found}`, expected {value}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn vocabularies_of_encoders_give_the_tokens_of_transformers() {
    let with_ids = names().into_iter().filter(|name| checkpoints().join(name).join("ids.json").is_file());
    let mut count = 0;
    for name in with_ids {
        let golden = support::json_of(&checkpoints().join(&name).join("ids.json"));
        let expected: Vec<u32> = serde_json::from_value(golden["ids"].clone()).expect("ids");
        let file = hf::open(Checkpoint::make(&name).path()).expect("a checkpoint");
        let tokenizer = Tokenizer::from_gguf(file.metadata()).expect("a tokenizer");
        let found = tokenizer.encode(golden["text"].as_str().expect("a text"), Special::Parse, AddSpecial::Yes);
        assert_eq!(found, expected, "{name}");
        count += 1;
    }
    assert!(count >= 2, "a vocabulary of each kind");
}

/// `LAIR_CHECKPOINT` names the folder of a real checkpoint with the files that `make.py --real` writes into it.
#[test]
fn a_real_checkpoint_gives_the_logits_of_transformers() {
    let Some(folder) = std::env::var_os("LAIR_CHECKPOINT").map(PathBuf::from) else {
        lair_testkit::skipped("this test needs LAIR_CHECKPOINT, a checkpoint with outputs of `make.py --real`");
        return;
    };
    let failure = check("the real checkpoint", &folder, &folder);
    assert!(failure.is_none(), "{failure:?}");
}

#[test]
fn every_architecture_that_says_how_it_is_stored_has_a_golden_checkpoint() {
    let all = names().into_iter().chain(names_with("gguf.json"));
    let classes: Vec<String> = all.map(|name| support::class_of(&name)).collect();
    for architecture in architectures::ALL.iter().filter(|architecture| architecture.source.is_some()) {
        // Of the class of the dense models, and held by `nemotron_h-moe`.
        if architecture.gguf_name == "nemotron_h_moe" {
            continue;
        }
        let of_class = |class: &String| architecture.hf_names.contains(&class.as_str());
        let has_one = classes.iter().any(of_class);
        assert!(has_one, "`{}` has no checkpoint in {}", architecture.gguf_name, checkpoints().display());
    }
}

#[test]
fn a_written_file_is_the_model_that_was_run_as_it_is() {
    let checkpoint = Checkpoint::make("qwen2moe");
    let path: PathBuf = checkpoint.path().join("out.gguf");
    let conversion = Conversion::plan(checkpoint.path(), OutputType::F32).expect("converts");
    let mut told = 0;
    conversion.write(&path, |_| told += 1).expect("writes");
    let written = GgufFile::open(&path).expect("a model");
    let assembled = hf::open(checkpoint.path()).expect("a checkpoint");
    assert_eq!(told, written.tensors().len());
    assert_eq!(written.size_bytes(), conversion.writer().size_bytes());
    for tensor in assembled.tensors() {
        let other = written.required_tensor(&tensor.name).expect("the same tensors");
        assert_eq!((&tensor.shape, tensor.tensor_type), (&other.shape, other.tensor_type), "{}", tensor.name);
        assert!(*assembled.tensor_data(tensor) == *written.tensor_data(other), "{}", tensor.name);
    }
    assert_eq!(assembled.metadata(), written.metadata());
}

#[test]
fn output_types_are_those_that_were_asked_for() {
    let checkpoint = Checkpoint::make("llama");
    let check = |output: OutputType, matrix: &str, file_type: u32| {
        let conversion = Conversion::plan(checkpoint.path(), output).expect("converts");
        let of = |name: &str| {
            let tensor = conversion.writer().tensors().iter().find(|tensor| tensor.name == name).expect("there");
            tensor.tensor_type.name()
        };
        assert_eq!((of("blk.0.attn_q.weight"), of("blk.0.attn_norm.weight")), (matrix, "F32"), "{}", output.name());
        let found = conversion.writer().metadata().u32("general.file_type").expect("set");
        assert_eq!(found, file_type, "{}", output.name());
    };
    check(OutputType::F32, "F32", 0);
    check(OutputType::F16, "F16", 1);
    check(OutputType::Bf16, "BF16", 32);
    check(OutputType::Q8_0, "Q8_0", 7);
    check(OutputType::Auto, "F32", 0);
}
