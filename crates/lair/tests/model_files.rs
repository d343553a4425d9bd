//! `lair quantize`, `lair gguf` and `lair create --quantize` as a user meets them.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use lair_gguf::{GgufFile, GgufWriter, Metadata, TensorInfo, TensorType};
use serde_json::Value as Json;

fn lair(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
    command.env("LAIR_HOME", folder.join("home")).env("LAIR_MODELS", folder.join("models")).env_remove("OLLAMA_MODELS");
    command.current_dir(folder).args(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The output of a command that succeeds.
fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = lair(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json(folder: &Path, arguments: &[&str]) -> Json {
    serde_json::from_str(&done(folder, arguments)).expect("--json prints JSON")
}

/// The message of a command that fails with this code.
fn refused(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = lair(folder, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

/// `tiny.gguf`: a layer and an embedding in F16, one matrix with rows of 96.
fn write_model(folder: &Path) {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "llama");
    metadata.set("general.name", "tiny");
    metadata.set("llama.block_count", 1_u32);
    metadata.set("llama.attention.head_count", 4_u32);
    metadata.set("llama.rope.freq_base", 10_000.0_f32);
    let mut writer = GgufWriter::new(metadata).expect("valid keys");
    writer.add_tensor("token_embd.weight", &[256, 32], TensorType::F16).expect("valid");
    writer.add_tensor("blk.0.attn_norm.weight", &[256], TensorType::F32).expect("valid");
    writer.add_tensor("blk.0.attn_q.weight", &[256, 256], TensorType::F16).expect("valid");
    writer.add_tensor("blk.0.attn_v.weight", &[96, 64], TensorType::F16).expect("valid");
    let bytes = |tensor: &TensorInfo| {
        let values: Vec<f32> =
            (0..tensor.element_count()).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 9000.0).collect();
        let mut bytes = vec![0; tensor.size_bytes as usize];
        lair_quant::quantize(tensor.tensor_type, &values, &mut bytes).expect("plain numbers");
        bytes
    };
    writer.write_file(folder.join("tiny.gguf"), |tensor, out| out.write_all(&bytes(tensor))).expect("written");
}

#[test]
fn a_model_is_quantized_as_the_dry_run_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write_model(folder);
    let plan = json(folder, &["quantize", "tiny.gguf", "q4_k_m", "--dry-run", "--json"]);
    assert!(!folder.join("tiny-Q4_K_M.gguf").exists(), "a dry run writes nothing");
    let out = done(folder, &["quantize", "tiny.gguf", "q4_k_m"]);
    assert!(out.trim().ends_with("tiny-Q4_K_M.gguf"), "{out}");
    let model = GgufFile::open(folder.join("tiny-Q4_K_M.gguf")).expect("valid");
    for (tensor, planned) in model.tensors().iter().zip(plan["tensors"].as_array().expect("tensors")) {
        assert_eq!(planned["name"], tensor.name);
        assert_eq!(planned["to"], tensor.tensor_type.name());
        assert_eq!(planned["size_bytes_after"], tensor.size_bytes);
    }
    let sum: u64 = model.tensors().iter().map(|tensor| tensor.size_bytes).sum();
    assert_eq!(plan["size_bytes_after"], sum);
    // Rows of 96 are no blocks of 256: said, not hidden.
    assert_eq!(plan["tensors"][3]["instead_of"], "Q6_K");
    assert_eq!(plan["tensors"][3]["to"], "Q8_0");
    let note = text(&lair(folder, &["quantize", "tiny.gguf", "q4_k_m", "--force"]).stderr);
    assert!(note.contains("`blk.0.attn_v.weight` is Q8_0 instead of Q6_K"), "{note}");
}

#[test]
fn options_of_llama_quantize_are_honoured() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write_model(folder);
    let arguments = [
        "quantize",
        "tiny.gguf",
        "out.gguf",
        "Q4_K_S",
        "--tensor-type",
        "attn_q=q8_0",
        "--token-embedding-type",
        "Q5_K",
        "--override-kv",
        "general.name=str:small",
        "--override-kv",
        "llama.block_count=int:1",
        "--threads",
        "2",
        "--quiet",
    ];
    done(folder, &arguments);
    let model = GgufFile::open(folder.join("out.gguf")).expect("valid");
    let of = |name: &str| model.required_tensor(name).expect("it is there").tensor_type;
    assert_eq!(of("blk.0.attn_q.weight"), TensorType::Q8_0);
    assert_eq!(of("token_embd.weight"), TensorType::Q5_K);
    assert_eq!(of("blk.0.attn_norm.weight"), TensorType::F32);
    assert_eq!(model.metadata().str("general.name").ok(), Some("small"));
    assert_eq!(model.metadata().u32("general.file_type").ok(), Some(14));

    for (arguments, code, words) in [
        (vec!["quantize", "tiny.gguf", "Q4_K_S", "out.gguf"], 2, "there already"),
        (vec!["quantize", "tiny.gguf", "COPY", "tiny.gguf", "--force"], 2, "the model itself"),
        (vec!["quantize", "tiny.gguf", "Q9"], 2, "no kind of file"),
        (vec!["quantize", "tiny.gguf", "IQ2_XS"], 2, "importance matrix"),
        (vec!["quantize", "out.gguf", "Q2_K"], 2, "loses more"),
        (vec!["quantize", "tiny.gguf", "Q8_0", "--tensor-type", "attn"], 2, "PATTERN=TYPE"),
        (vec!["quantize", "tiny.gguf", "Q8_0", "--include-weights", "attn"], 2, "--imatrix"),
        (vec!["quantize", "tiny.gguf", "Q8_0", "--imatrix", "tiny.gguf"], 4, "no importance matrix"),
    ] {
        let message = refused(folder, &arguments, code);
        assert!(message.contains(words), "{arguments:?}: {message}");
    }
}

#[test]
fn keys_are_changed_in_place_or_by_writing_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write_model(folder);
    let path = folder.join("tiny.gguf");
    let before = std::fs::read(&path).expect("written");
    let hash = done(folder, &["gguf", "hash", "tiny.gguf"]);
    done(folder, &["gguf", "set", "tiny.gguf", "general.name=ynit", "llama.rope.freq_base=20000"]);
    let after = std::fs::read(&path).expect("still there");
    assert_eq!(before.len(), after.len());
    let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert!(changed <= 8, "{changed} bytes: the four of each value at most");
    done(folder, &["gguf", "set", "tiny.gguf", "general.name=a longer one", "my.count=u64:7"]);
    let model = GgufFile::open(&path).expect("valid");
    assert_eq!(model.metadata().str("general.name").ok(), Some("a longer one"));
    assert_eq!(model.metadata().u64("my.count").ok(), Some(7));
    assert_eq!(model.metadata().get("llama.rope.freq_base").map(ToString::to_string).as_deref(), Some("20000"));
    drop(model);
    assert_eq!(done(folder, &["gguf", "hash", "tiny.gguf"]), hash, "weights do not change with the keys");
    done(folder, &["gguf", "new", "tiny.gguf", "new.gguf", "--remove", "my.count"]);
    let message = refused(folder, &["gguf", "diff", "tiny.gguf", "new.gguf"], 1);
    assert!(message.contains("differ in 1 place"), "{message}");
    refused(folder, &["gguf", "set", "tiny.gguf", "llama.block_count=many"], 2);
    refused(folder, &["gguf", "set", "tiny.gguf", "--remove", "no.such.key"], 2);
}

#[test]
fn a_model_is_split_and_joined_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write_model(folder);
    let shards = done(folder, &["gguf", "split", "tiny.gguf", "--max-tensors", "3"]);
    assert_eq!(shards.lines().count(), 2, "{shards}");
    done(folder, &["gguf", "merge", "tiny-00002-of-00002.gguf", "joined.gguf"]);
    assert_eq!(std::fs::read(folder.join("joined.gguf")).ok(), std::fs::read(folder.join("tiny.gguf")).ok());
    let message = refused(folder, &["gguf", "merge", "tiny-00002-of-00002.gguf", "joined.gguf"], 2);
    assert!(message.contains("there already"), "{message}");
}

#[test]
fn a_dump_has_the_fields_of_the_python_package() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write_model(folder);
    let dump = json(folder, &["gguf", "dump", "tiny.gguf", "--json"]);
    let key = &dump["metadata"]["general.name"];
    assert_eq!(key["type"], "STRING");
    assert_eq!(key["value"], "tiny");
    assert_eq!(key["index"], 5);
    // Where the package says a key is: its name stands there.
    let bytes = std::fs::read(folder.join("tiny.gguf")).expect("written");
    let offset = key["offset"].as_u64().expect("an offset") as usize;
    assert_eq!(&bytes[offset + 8..offset + 20], b"general.name");
    let tensor = &dump["tensors"]["blk.0.attn_v.weight"];
    assert_eq!(tensor["type"], "F16");
    assert_eq!(tensor["shape"], serde_json::json!([96, 64]));
    let offset = tensor["offset"].as_u64().expect("an offset") as usize;
    assert_eq!(&bytes[offset + 8..offset + 27], b"blk.0.attn_v.weight");
    let check = json(folder, &["gguf", "check", "tiny.gguf", "--values", "--json"]);
    assert_eq!(check["ok"], true);
    assert_eq!(check["tensors"], 4);
}

#[test]
fn a_stored_model_is_quantized_when_it_is_created() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write_model(folder);
    std::fs::write(folder.join("Modelfile"), "FROM ./tiny.gguf\nSYSTEM be brief\nPARAMETER temperature 0.5\n")
        .expect("written");
    done(folder, &["create", "small", "--quantize", "q8_0"]);
    let shown = done(folder, &["show", "small", "--modelfile"]);
    assert!(shown.contains("SYSTEM be brief") && shown.contains("temperature 0.5"), "{shown}");
    let from = shown.lines().find_map(|line| line.strip_prefix("FROM ")).expect("a FROM line");
    let model = GgufFile::open(from).expect("the weights are there");
    assert_eq!(model.metadata().u32("general.file_type").ok(), Some(7));
    let listed = done(folder, &["list"]);
    assert!(!listed.contains("unquantized"), "{listed}");
    let message = refused(folder, &["create", "again", "--quantize", "q4_K_M", "-f", "Again"], 3);
    assert!(message.contains("Again"), "{message}");
}
