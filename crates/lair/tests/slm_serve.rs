//! `lair slm serve`: SLM Packager's own API, as its clients use it.

mod server;

use std::path::Path;

use lair_testkit::shared_data;
use serde_json::{Value, json};
use server::{Server, events};

/// A project of the home's folder of projects, or beside it.
fn write_project(path: &Path, name: &str, params: &str) {
    let model = shared_data("models/stories260K-f32.gguf").expect("looked for before");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let text = format!(
        "model:\n  name: {name}\n  path: {}\n  format: gguf\nruntime:\n  type: llama_cpp\n  threads: 2\n  \
         context_size: 512\nparams: {params}\n",
        model.display()
    );
    std::fs::write(path, text).expect("written");
}

/// A server with two projects, `one` in `~/.slm/configs` and `two.yaml` in the folder it works in.
fn start(arguments: &[&str]) -> Option<Server> {
    shared_data("models/stories260K-f32.gguf")?;
    let home = tempfile::tempdir().expect("a folder");
    write_project(&home.path().join(".slm/configs/one.yaml"), "one", "{temperature: 0.0, max_tokens: 8}");
    write_project(&home.path().join("two.yaml"), "two", "{temperature: 0.0, max_tokens: 3, stream: true}");
    let folder = home.path().to_owned();
    Some(Server::spawn(home, &["slm", "serve"], arguments, |command| {
        command.current_dir(&folder).env("HOME", &folder);
    }))
}

fn generate(server: &Server, body: &Value) -> Value {
    let answer = server.post("/generate", body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// The text of a stream, which must have come in more than one piece.
fn streamed(body: &str) -> String {
    let events = events(body);
    assert!(events.len() > 1, "{body}");
    events.iter().map(|event| event["text"].as_str().expect("a text")).collect()
}

const STORY: &str = "Once upon a time";

#[test]
fn projects_are_loaded_and_answered_with_as_in_that_tool() {
    let Some(server) = start(&[]) else { return };
    assert_eq!(server.get("/health").json()["status"], "ok");
    assert_eq!(server.get("/info").json(), json!({ "status": "no model loaded" }));
    let early = server.post("/generate", &json!({ "prompt": STORY }));
    assert_eq!(early.status, 400, "{}", early.body);
    assert!(early.json()["detail"].as_str().expect("a text").starts_with("Model not loaded. Call /load first."));

    let loaded = server.post("/load", &json!({ "config_path": "one" }));
    assert_eq!(loaded.json(), json!({ "status": "success", "message": "Loaded model one" }));
    let info = server.get("/info").json();
    assert_eq!((&info["model"]["name"], &info["params"]["max_tokens"]), (&json!("one"), &json!(8)));
    assert_eq!(info["runtime"]["context_size"], 512);
    let whole = generate(&server, &json!({ "prompt": STORY }))["text"].as_str().expect("a text").to_owned();
    assert!(whole.len() > 8, "{whole}");
    // The same pieces by the parameters of the request; those that are not given are the project's.
    let pieces = server.post("/generate", &json!({ "prompt": STORY, "params": { "stream": true } }));
    assert!(pieces.head.to_lowercase().contains("text/event-stream"), "{}", pieces.head);
    assert_eq!(streamed(&pieces.body), whole);
    let short = generate(&server, &json!({ "prompt": STORY, "params": { "max_tokens": 2 } }));
    let short = short["text"].as_str().expect("a text");
    assert!(short.len() < whole.len() && whole.starts_with(short), "`{short}` of `{whole}`");
    let stop: String = whole.trim_start().chars().take(3).collect();
    let stopped = generate(&server, &json!({ "prompt": STORY, "params": { "stop": [stop] } }));
    assert!(stopped["text"].as_str().expect("a text").trim().is_empty(), "{stopped}");

    // Another takes its place, by its path; the first is given up.
    assert_eq!(server.post("/load", &json!({ "config_path": "two.yaml" })).status, 200);
    assert_eq!(server.get("/info").json()["model"]["name"], "two");
    let two = server.post("/generate", &json!({ "prompt": STORY }));
    assert!(whole.starts_with(&streamed(&two.body)), "{}", two.body);
    let running = server.get("/api/ps").json();
    let names: Vec<&Value> = running["models"].as_array().expect("a list").iter().map(|model| &model["name"]).collect();
    assert_eq!(names, ["two"]);
    // Clients of other servers reach it by its name.
    let chat = json!({ "model": "two", "prompt": STORY, "max_tokens": 3, "temperature": 0 });
    assert_eq!(server.post("/v1/completions", &chat).status, 200);
}

#[test]
fn a_project_that_changed_is_read_again() {
    let Some(server) = start(&["two.yaml"]) else { return };
    assert_eq!(server.get("/info").json()["params"]["max_tokens"], 3);
    assert_eq!(streamed(&server.post("/generate", &json!({ "prompt": STORY })).body).split(' ').count(), 3);
    write_project(&server.home().join("two.yaml"), "two", "{temperature: 0.0, max_tokens: 1}");
    assert_eq!(server.post("/load", &json!({ "config_path": "two.yaml" })).status, 200);
    assert_eq!(server.get("/info").json()["params"]["max_tokens"], 1);
    generate(&server, &json!({ "prompt": STORY }));
}

#[test]
fn what_is_wrong_is_refused_and_leaves_the_project() {
    let Some(server) = start(&["one"]) else { return };
    let text = |name: &str, text: &str| std::fs::write(server.home().join(name), text).expect("written");
    text("wrong.yaml", "model: {name: x, format: ggml}\nruntime: {type: llama_cpp}\n");
    text("absent.yaml", "model: {name: x, path: no.gguf, format: gguf}\nruntime: {type: llama_cpp}\n");
    text("broken.yaml", "model: {name: x, path: wrong.yaml, format: gguf}\nruntime: {type: llama_cpp}\n");
    for (body, status, word) in [
        (json!({ "config_path": "no.yaml" }), 404, "Config file not found: no.yaml"),
        (json!({ "config_path": "wrong.yaml" }), 400, "Invalid configuration"),
        (json!({ "config_path": "absent.yaml" }), 404, "no.gguf"),
        (json!({ "config_path": "broken.yaml" }), 400, "wrong.yaml"),
        (json!({ "config_path": 1 }), 422, "config_path"),
        (json!({}), 422, "config_path"),
        (json!({ "config_path": "tinyllama" }), 404, "tinyllama"),
    ] {
        let answer = server.post("/load", &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.json()["detail"].to_string().contains(word), "{body}: {}", answer.body);
    }
    for (params, word) in [
        (json!({ "temperature": 2.5 }), "0 to 2"),
        (json!({ "top_p": -0.1 }), "0 to 1"),
        (json!({ "top_k": -1 }), "top_k"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "repetition_penalty": 0.5 }), "1 or more"),
        (json!({ "stop": "text" }), "list of strings"),
        (json!([]), "params"),
    ] {
        let answer = server.post("/generate", &json!({ "prompt": STORY, "params": params }));
        assert_eq!(answer.status, 422, "{params}: {}", answer.body);
        assert!(answer.json()["detail"][0]["msg"].as_str().expect("a text").contains(word), "{}", answer.body);
    }
    let unknown = server.post("/generate", &json!({ "prompt": STORY, "params": { "min_p": 0.1 } }));
    assert!(unknown.head.contains("x-lair-ignored-fields: params_min_p"), "{}", unknown.head);
    assert_eq!(server.get("/info").json()["model"]["name"], "one");
}

#[test]
fn other_servers_do_not_have_these_paths() {
    let Some(server) = Server::start(&[]) else { return };
    for answer in [
        server.post("/load", &json!({ "config_path": "one.yaml" })),
        server.post("/generate", &json!({ "prompt": STORY })),
        server.get("/info"),
    ] {
        assert_eq!(answer.status, 404);
        assert!(answer.json()["detail"].as_str().expect("a text").contains("lair slm serve"), "{}", answer.body);
    }
}
