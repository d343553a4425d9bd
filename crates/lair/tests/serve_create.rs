//! `/api/create` of what is more than files to store: checkpoints and quantized weights.

#[path = "../../lair-convert/tests/support/mod.rs"]
mod checkpoints;
mod server;

use checkpoints::Checkpoint;
use serde_json::{Map, Value, json};
use server::{Server, lines};
use sha2::{Digest, Sha256};

/// Sends the files of a folder as blobs; gives their digests by name.
fn send(server: &Server, folder: &std::path::Path) -> Map<String, Value> {
    let mut files = Map::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let bytes = std::fs::read(entry.path()).expect("read");
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = format!("sha256:{digest}");
        let sent = server.ask("POST", &format!("/api/blobs/{digest}"), &[], &bytes);
        assert!(sent.status == 201 || sent.status == 200, "{}", sent.body);
        files.insert(entry.file_name().into_string().expect("UTF-8"), json!(digest));
    }
    files
}

fn answer(server: &Server, model: &str) -> String {
    let ask = json!({ "model": model, "prompt": "a model is data", "raw": true, "stream": false,
        "options": { "temperature": 0, "num_predict": 8 } });
    let answer = server.post("/api/generate", &ask);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["response"].as_str().expect("a text").to_owned()
}

#[test]
fn a_checkpoint_sent_in_blobs_becomes_a_model() {
    let Some(server) = Server::start(&[]) else { return };
    let checkpoint = Checkpoint::make("llama");
    let files = send(&server, checkpoint.path());
    let created = server.post("/api/create", &json!({ "model": "made", "files": files }));
    assert_eq!(created.status, 200, "{}", created.body);
    let said: Vec<String> =
        lines(&created.body).iter().filter_map(|line| line["status"].as_str().map(str::to_owned)).collect();
    assert!(said.iter().any(|status| status == "converting model"), "{said:?}");
    assert_eq!(said.last().map(String::as_str), Some("success"), "{said:?}");
    // The same as when the program reads the folder itself.
    let home = server.home().join("converted.gguf");
    let converted = server.lair(&["convert", checkpoint.path().to_str().expect("UTF-8")]).arg(&home).output();
    assert!(converted.expect("it starts").status.success());
    assert!(server.lair(&["import"]).arg(&home).arg("same").status().expect("it starts").success());
    assert_eq!(answer(&server, "made"), answer(&server, "same"));
}

#[test]
fn weights_are_quantized_while_a_model_is_made() {
    let Some(server) = Server::start(&[]) else { return };
    let wishes = json!({ "model": "small", "from": "tiny", "quantize": "q8_0", "system": "Tell.", "stream": false });
    let created = server.post("/api/create", &wishes);
    assert_eq!(created.status, 200, "{}", created.body);
    let shown = server.post("/api/show", &json!({ "model": "small" })).json();
    assert_eq!((&shown["details"]["quantization_level"], &shown["system"]), (&json!("Q8_0"), &json!("Tell.")));
    let tags = server.get("/api/tags").json();
    let names: Vec<&str> =
        tags["models"].as_array().expect("a list").iter().filter_map(|model| model["name"].as_str()).collect();
    assert!(!names.iter().any(|name| name.contains("unquantized")), "{names:?}");
    assert!(!answer(&server, "small").is_empty());
}

#[test]
fn what_is_no_checkpoint_is_refused_by_name() {
    let Some(server) = Server::start(&[]) else { return };
    let checkpoint = Checkpoint::make("llama");
    let files = send(&server, checkpoint.path());
    let renamed = |from: &str, to: &str| {
        let mut files = files.clone();
        let digest = files.remove(from).expect("there");
        files.insert(to.to_owned(), digest);
        files
    };
    let mut without = files.clone();
    without.remove("config.json");
    for (files, word) in [
        (renamed("config.json", "../config.json"), "../config.json"),
        (renamed("config.json", ".hidden"), ".hidden"),
        (without, "checkpoint"),
    ] {
        let refused = server.post("/api/create", &json!({ "model": "bad", "files": files, "stream": false }));
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert!(refused.body.contains(word), "{}", refused.body);
    }
    let mut absent = files.clone();
    absent.insert("extra.safetensors".to_owned(), json!(format!("sha256:{}", "0".repeat(64))));
    let refused = server.post("/api/create", &json!({ "model": "bad", "files": absent, "stream": false }));
    assert!(refused.status == 400 && refused.body.contains("extra.safetensors"), "{}", refused.body);
    let wishes = json!({ "model": "bad", "from": "tiny", "quantize": "q9", "stream": false });
    let refused = server.post("/api/create", &wishes);
    assert!(refused.status == 400 && refused.body.contains("q4_K_M"), "{}", refused.body);
    assert!(!server.get("/api/tags").body.contains("bad"));
    let left = std::fs::read_dir(server.home().join("models")).expect("the store");
    assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with(".tmp")), "files are left");
}
