//! `lair gguf dump`, `hash` and `check` of files on a server, of which no more is fetched than is needed.

mod registry;

use std::path::Path;
use std::process::Output;

use lair_gguf::{GgufFile, GgufWriter, Metadata, TensorType};
use registry::{Http, Reply, Request, file};
use serde_json::Value as Json;

/// A model of 8 MiB of weights with a vocabulary.
fn model(folder: &Path) -> Vec<u8> {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "llama");
    let words: Vec<String> = (0..5000).map(|index| format!("piece {index}")).collect();
    metadata.set("tokenizer.ggml.tokens", words.iter().map(String::as_str).collect::<Vec<_>>());
    metadata.set("tokenizer.ggml.model", "gpt2");
    let mut writer = GgufWriter::new(metadata).expect("valid keys");
    for name in ["token_embd.weight", "blk.0.attn_q.weight"] {
        writer.add_tensor(name, &[1024, 1024], TensorType::F32).expect("a shape");
    }
    let path = folder.join("model.gguf");
    let values: Vec<u8> = (0..1u32 << 20).flat_map(|index| (index as f32).to_le_bytes()).collect();
    writer.write_file(&path, |_, out| out.write_all(&values)).expect("written");
    std::fs::read(path).expect("read")
}

fn serve(files: Vec<(&'static str, Vec<u8>)>) -> Http {
    Http::start(move |request: &Request| {
        let found = files.iter().find(|(path, _)| *path == request.path);
        found.map_or_else(|| Reply::new(404, ""), |(_, bytes)| file(request, bytes))
    })
}

fn lair(home: &Path, arguments: &[&str]) -> Output {
    registry::lair(home).current_dir(home).env("TMPDIR", home).args(arguments).output().expect("the program starts")
}

fn done(home: &Path, arguments: &[&str]) -> String {
    let output = lair(home, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(home: &Path, arguments: &[&str]) -> Json {
    serde_json::from_str(&done(home, arguments)).expect("JSON")
}

/// Bytes that were sent.
fn sent(http: &Http, length: usize) -> usize {
    let of = |request: &Request| request.range().map_or(length, |(first, end)| end.min(length) - first);
    http.requests().iter().map(of).sum()
}

#[test]
fn a_model_on_a_server_is_shown_checked_and_hashed_as_if_it_were_here() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let bytes = model(home);
    let http = serve(vec![("/a/model.gguf", bytes.clone())]);
    let url = format!("http://{}/a/model.gguf", http.address);
    let comparable = |mut dump: Json| {
        dump["filename"] = Json::Null;
        dump
    };
    let there = json(home, &["gguf", "dump", &url, "--json", "--json-array"]);
    assert!(sent(&http, bytes.len()) < 1 << 20, "{} bytes for a header", sent(&http, bytes.len()));
    assert_eq!(comparable(there), comparable(json(home, &["gguf", "dump", "model.gguf", "--json", "--json-array"])));
    http.forget();
    assert!(done(home, &["gguf", "check", &url]).contains("fine"));
    assert!(sent(&http, bytes.len()) < 1 << 20);

    // Weights are read where they are asked about, and are those of the file: not the zeros that stand for them.
    let (there, here) =
        (json(home, &["gguf", "hash", &url, "--json"]), json(home, &["gguf", "hash", "model.gguf", "--json"]));
    assert_eq!((&there["hash"], &there["tensors"]), (&here["hash"], &here["tensors"]));
    assert!(done(home, &["gguf", "check", &url, "--values"]).contains("fine"));
    let left: Vec<_> = std::fs::read_dir(home)
        .expect("listed")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("lair-headers"))
        .collect();
    assert!(left.is_empty(), "{left:?} are left");
}

#[test]
fn a_weight_that_is_no_number_is_found_on_a_server_as_well() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let mut bytes = model(home);
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let http = serve(vec![("/model.gguf", bytes)]);
    let output = lair(home, &["gguf", "check", &format!("http://{}/model.gguf", http.address), "--values"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stdout).contains("blk.0.attn_q.weight"), "{output:?}");
}

#[test]
fn safetensors_are_shown_here_and_there() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let header = br#"{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"BF16","shape":[500,1000],"data_offsets":[0,1000000]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.resize(bytes.len() + 1_000_000, 0);
    std::fs::write(home.join("x.safetensors"), &bytes).expect("written");
    let length = bytes.len();
    let http = serve(vec![("/x.safetensors", bytes)]);
    let url = format!("http://{}/x.safetensors", http.address);
    let (there, here) =
        (json(home, &["gguf", "dump", &url, "--json"]), json(home, &["gguf", "dump", "x.safetensors", "--json"]));
    assert_eq!(there["files"], here["files"]);
    assert_eq!(there["files"][0]["tensors"]["a.weight"]["shape"], serde_json::json!([500, 1000]));
    assert!(sent(&http, length) <= 2 * 128 * 1024, "{} bytes", sent(&http, length));
    let output = lair(home, &["gguf", "hash", &url]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_cannot_be_looked_at_is_refused_with_a_reason() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let bytes = model(home);
    let whole = bytes.clone();
    let without_ranges = Http::start(move |_| Reply::new(200, whole.clone()));
    let http = serve(vec![("/text.gguf", vec![b'x'; 300_000]), ("/cut.gguf", bytes[..20_000].to_vec())]);
    let case = |url: String, code: i32, words: &str| {
        let output = lair(home, &["gguf", "dump", &url]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{url}: {said}");
        assert!(said.contains(words), "{url}: {said:?} does not say {words:?}");
    };
    case(format!("http://{}/model.gguf", without_ranges.address), 3, "no parts of files");
    case(format!("http://{}/absent.gguf", http.address), 3, "404");
    case(format!("http://{}/text.gguf", http.address), 4, "not a GGUF file");
    case(format!("http://{}/cut.gguf", http.address), 4, "ends too early");
    case("ftp://somewhere/x.gguf".to_owned(), 2, "scheme");
    let output = registry::lair(home)
        .current_dir(home)
        .env("LAIR_OFFLINE", "1")
        .args(["gguf", "dump", "hf.co/user/repo"])
        .output()
        .expect("starts");
    assert!(String::from_utf8_lossy(&output.stderr).contains("LAIR_OFFLINE"), "{output:?}");
    assert!(GgufFile::open(home.join("model.gguf")).is_ok());
}
