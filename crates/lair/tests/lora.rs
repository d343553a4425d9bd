//! Low-rank adapters from end to end: on the command line, in a Modelfile, on the server. Needs the shared data; without it
//! every test says that it is skipped.

mod server;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use lair_gguf::{GgufFile, GgufWriter, Metadata, TensorInfo, TensorType};
use lair_testkit::shared_data;
use serde_json::{Value, json};

use server::Server;

const STORY: &str = "Once upon a time";
const RANK: u64 = 4;

/// A folder with an adapter for the tiny model that changes every layer's queries, values and narrowing products.
struct Fixture {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Fixture {
    fn new() -> Option<Fixture> {
        let model = shared_data("models/stories260K-f32.gguf")?;
        let fixture = Fixture { folder: tempfile::tempdir().expect("a folder"), model };
        let base = GgufFile::open(&fixture.model).expect("a model");
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", base.architecture().expect("an architecture"));
        metadata.set("general.type", "adapter");
        metadata.set("adapter.type", "lora");
        metadata.set("adapter.lora.alpha", 16.0f32);
        let mut writer = GgufWriter::new(metadata).expect("valid keys");
        let changed = ["attn_q.weight", "attn_v.weight", "ffn_down.weight"];
        for tensor in base.tensors().iter().filter(|tensor| changed.iter().any(|end| tensor.name.ends_with(end))) {
            let parts = [("a", [tensor.shape[0], RANK]), ("b", [RANK, tensor.shape[1]])];
            for (part, shape) in parts {
                writer.add_tensor(&format!("{}.lora_{part}", tensor.name), &shape, TensorType::F32).expect("a shape");
            }
        }
        let source = |tensor: &TensorInfo, out: &mut dyn std::io::Write| {
            let seed = tensor.name.bytes().fold(3u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)));
            (0..tensor.element_count() as u32).try_for_each(|index| {
                let bits = (seed ^ index).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
                let value = ((bits >> 8) as f32 / (1 << 24) as f32 - 0.5) / 4.6;
                out.write_all(&value.to_le_bytes())
            })
        };
        writer.write_file(fixture.adapter(), source).expect("written");
        Some(fixture)
    }

    fn adapter(&self) -> PathBuf {
        self.folder.path().join("style.gguf")
    }

    /// What `lair` prints as JSON.
    fn lair(&self, arguments: &[&str]) -> Value {
        let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
        command.env("LAIR_HOME", self.folder.path().join("home")).env("LAIR_MODELS", self.folder.path().join("models"));
        let output = command.args(arguments).write_stdin("").output().expect("the program starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn story(&self, model: &str, more: &[&str]) -> Value {
        let own = ["run", model, STORY, "--raw", "--temperature", "0", "--max-tokens", "48", "--json"];
        self.lair(&[&own[..], more].concat())["token_ids"].clone()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn the_command_line_and_a_modelfile_apply_an_adapter() {
    let Some(fixture) = Fixture::new() else { return };
    let (model, adapter) = (text(&fixture.model).to_owned(), fixture.adapter());
    let adapter = text(&adapter);
    let plain = fixture.story(&model, &[]);
    let adapted = fixture.story(&model, &["--lora", adapter]);
    assert_ne!(plain, adapted, "the adapter changes the story");
    assert_eq!(fixture.story(&model, &["--lora-scaled", &format!("{adapter}:0")]), plain);
    assert_eq!(fixture.story(&model, &["--lora-scaled", &format!("{adapter}:1")]), adapted);
    let opposed = ["--lora", adapter, "--lora-scaled", &format!("{adapter}:-1")];
    assert_eq!(fixture.story(&model, &opposed), plain, "an adapter and its opposite add up to nothing");
    assert_eq!(fixture.story(&model, &["--lora", adapter, "--threads", "1"]), adapted);

    let modelfile = fixture.folder.path().join("Modelfile");
    std::fs::write(&modelfile, format!("FROM {model}\nADAPTER {adapter}\n")).expect("written");
    fixture.lair(&["create", "styled", "-f", text(&modelfile)]);
    assert_eq!(fixture.story("styled", &[]), adapted);
}

/// llama.cpp's tokens with the same adapter; `goldens/lora.py` made them.
#[test]
fn tokens_are_those_of_an_independent_engine() {
    let Some(fixture) = Fixture::new() else { return };
    let golden: Value = serde_json::from_str(include_str!("goldens/lora.json")).expect("JSON");
    let adapter = fixture.adapter();
    for (scale, expected) in golden.as_object().expect("an object") {
        let choice = format!("{}:{scale}", text(&adapter));
        let own = ["run", text(&fixture.model), STORY, "--raw", "--temperature", "0", "--max-tokens", "48", "--json"];
        let exact = ["--kv-type", "f32", "--no-speculate", "--lora-scaled", &choice];
        assert_eq!(fixture.lair(&[&own[..], &exact].concat())["token_ids"], *expected, "factor {scale}");
    }
}

#[test]
fn a_server_applies_what_each_request_asks_for() {
    let Some(fixture) = Fixture::new() else { return };
    let Some(server) = Server::start(&[]) else { return };
    let bytes = std::fs::read(fixture.adapter()).expect("written above");
    let digest = lair_store::Digest::of(&bytes).to_string();
    let sent = server.ask("POST", &format!("/api/blobs/{digest}"), &[], &bytes);
    assert_eq!(sent.status, 201, "{}", sent.body);
    let create = json!({ "model": "styled", "from": "tiny", "adapters": { "style.gguf": digest }, "stream": false });
    let created = server.post("/api/create", &create);
    assert_eq!(created.status, 200, "{}", created.body);

    let told = |model: &str, more: Value| {
        let ask = json!({ "model": model, "prompt": STORY, "n_predict": 48, "temperature": 0 });
        let answer = server.post("/completion", &server::joined(&ask, &more));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["content"].clone()
    };
    let (plain, adapted) = (told("tiny", json!({})), told("styled", json!({})));
    assert_ne!(plain, adapted);
    // Cached keys and values of one factor are not used for another.
    assert_eq!(told("styled", json!({ "lora": [] })), plain);
    assert_eq!(told("styled", json!({ "lora": [{ "id": 0, "scale": 1.0 }] })), adapted);
    assert_eq!(told("styled", json!({ "lora": [{ "id": 0, "scale": 0.0 }] })), plain);
    let unknown =
        server.post("/completion", &json!({ "model": "styled", "prompt": "x", "lora": [{ "id": 1, "scale": 1 }] }));
    assert_eq!(unknown.status, 400, "{}", unknown.body);

    let path = "/lora-adapters?model=styled";
    assert_eq!(server.get(path).json()[0]["scale"], 1.0);
    assert_eq!(server.post(path, &json!([])).json()[0]["scale"], 0.0, "who is not named is not used");
    assert_eq!(told("styled", json!({})), plain);
    assert_eq!(server.post(path, &json!([{ "id": 0, "scale": 1 }])).json()[0]["scale"], 1.0);
    assert_eq!(told("styled", json!({})), adapted);
    assert_eq!(server.post(path, &json!([{ "id": 3, "scale": 1 }])).status, 400);
}
