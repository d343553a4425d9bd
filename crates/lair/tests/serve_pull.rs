//! Pulling and pushing through `lair serve`: the answers as they go over the wire, and the official Python client of
//! Ollama, unmodified, against a registry of this machine.

mod registry;
mod server;

use std::process::Command;

use serde_json::{Value, json};

use registry::{Http, in_memory, lair, succeed};
use server::{Server, lines};

/// A registry with the tiny model as `acme/tiny`, and its name there; nothing without the shared data.
fn served() -> Option<(Http, String)> {
    let model = lair_testkit::shared_data("models/stories260K-f32.gguf")?;
    let (_memory, answer) = in_memory();
    let server = Http::start(answer);
    let name = format!("{}/acme/tiny", server.address);
    let home = tempfile::tempdir().expect("a folder");
    succeed(lair(home.path()).arg("import").arg(model).arg(&name));
    succeed(lair(home.path()).args(["push", &name]));
    Some((server, name))
}

#[test]
fn a_pull_tells_its_steps_and_the_model_runs() {
    let Some((registry, name)) = served() else { return };
    let Some(server) = Server::start(&[]) else { return };
    let steps = lines(&server.post("/api/pull", &json!({ "model": name, "insecure": true })).body);
    let statuses: Vec<&str> = steps.iter().filter_map(|step| step["status"].as_str()).collect();
    assert_eq!((statuses.first(), statuses.last()), (Some(&"pulling manifest"), Some(&"success")), "{statuses:?}");
    for expected in ["verifying sha256 digest", "writing manifest"] {
        assert!(statuses.contains(&expected), "{statuses:?}");
    }
    // The last word about each blob is that all of it is here.
    let of_blobs = || steps.iter().filter(|step| step["digest"].is_string());
    assert!(of_blobs().count() > 0);
    for step in of_blobs() {
        let last = of_blobs().rfind(|other| other["digest"] == step["digest"]).expect("itself at least");
        assert!(last["total"].is_u64() && last["completed"] == last["total"], "{last}");
    }
    let whole = server.post("/api/pull", &json!({ "model": name, "insecure": true, "stream": false })).json();
    assert_eq!(whole, json!({ "status": "success" }));
    let told =
        json!({ "model": name, "prompt": "Once", "raw": true, "stream": false, "options": { "num_predict": 4 } });
    assert_eq!(server.post("/api/generate", &told).json()["eval_count"], 4);
    let pushed = server.post("/api/push", &json!({ "model": name, "insecure": true, "stream": false }));
    assert_eq!(pushed.json(), json!({ "status": "success" }), "{}", pushed.body);
    // A name that the registry lacks ends with the registry's answer.
    let missing = format!("{}/acme/nothing", registry.address);
    let failed = server.post("/api/pull", &json!({ "model": missing, "insecure": true }));
    let error: Value = lines(&failed.body).pop().expect("a line");
    assert!(error["error"].as_str().is_some_and(|error| error.contains("404")), "{}", failed.body);
}

#[test]
fn the_python_client_of_ollama_pulls_and_pushes() {
    let Some(python) = std::env::var_os("LAIR_TEST_PYTHON") else {
        lair_testkit::skipped("LAIR_TEST_PYTHON names no Python with the package `ollama`");
        return;
    };
    if !Command::new(&python).args(["-c", "import ollama"]).status().is_ok_and(|status| status.success()) {
        lair_testkit::skipped("the Python of LAIR_TEST_PYTHON has no package `ollama`");
        return;
    }
    let Some((_registry, name)) = served() else { return };
    let Some(server) = Server::start(&[]) else { return };
    let script = r#"
import sys, ollama
c, name = ollama.Client(host=sys.argv[1]), sys.argv[2]
steps = list(c.pull(name, insecure=True, stream=True))
assert steps[0].status == 'pulling manifest' and steps[-1].status == 'success', steps
sized = [s for s in steps if s.digest]
assert sized and sized[-1].completed == sized[-1].total > 0, sized
assert c.pull(name, insecure=True).status == 'success'
assert name + ':latest' in [m.model for m in c.list().models], c.list()
assert c.show(name).details.format == 'gguf'
answer = c.generate(name, 'Once', raw=True, options={'num_predict': 4, 'seed': 1})
assert answer.done and answer.eval_count == 4, answer
other = name.replace('tiny', 'other')
c.copy(name, other)
steps = [s.status for s in c.push(other, insecure=True, stream=True)]
assert steps[-1] == 'success', steps
c.delete(other)
assert c.pull(other, insecure=True).status == 'success'
"#;
    let mut command = Command::new(&python);
    let output = command.args(["-c", script, &format!("http://{}", server.address), &name]).output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
