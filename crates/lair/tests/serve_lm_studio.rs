//! LM Studio's and vLLM's own paths as their clients see them. Needs the shared data; without it the tests say that they are
//! skipped.

mod server;

use serde_json::{Value, json};

use server::{Server, events};

fn state(server: &Server) -> Value {
    server.get("/api/v0/models/tiny").json()["state"].clone()
}

#[test]
fn models_are_listed_loaded_and_unloaded() {
    let Some(server) = Server::start(&[]) else { return };
    let listed = server.get("/api/v0/models").json()["data"][0].clone();
    assert_eq!(
        (&listed["id"], &listed["type"], &listed["state"]),
        (&json!("tiny:latest"), &json!("llm"), &json!("not-loaded"))
    );
    assert_eq!(listed["compatibility_type"], "gguf");
    let loaded = server.post("/api/v1/models/load", &json!({ "model": "tiny", "echo_load_config": true })).json();
    assert_eq!((&loaded["status"], &loaded["instance_id"]), (&json!("loaded"), &json!("tiny:latest")));
    assert_eq!(state(&server), "loaded");
    let instances = server.get("/api/v1/models").json()["models"][0]["loaded_instances"].clone();
    assert_eq!(instances[0]["config"]["context_length"], loaded["load_config"]["context_length"]);
    let unload = json!({ "instance_id": loaded["instance_id"] });
    assert_eq!(server.post("/api/v1/models/unload", &unload).status, 200);
    assert_eq!(state(&server), "not-loaded");
    assert_eq!(server.post("/api/v1/models/unload", &unload).status, 404);
    assert_eq!(server.get("/api/v0/models/nobody").status, 404);
    let too_long = json!({ "model": "tiny", "context_length": 1_000_000 });
    assert_eq!(server.post("/api/v1/models/load", &too_long).status, 400);
}

#[test]
fn answers_have_figures_whole_and_streamed() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    let text = json!({ "model": "tiny", "prompt": "Once", "max_tokens": 8, "temperature": 0, "ttl": 60 });
    let messages = json!([{ "role": "user", "content": "Once" }]);
    let chat = json!({ "model": "told", "messages": messages, "max_tokens": 8, "temperature": 0 });
    for (path, body) in [("/completions", text), ("/chat/completions", chat)] {
        let plain = server.post(&format!("/v1{path}"), &body).json();
        let figured = server.post(&format!("/api/v0{path}"), &body).json();
        assert_eq!(
            (&figured["choices"], &figured["usage"]["completion_tokens"]),
            (&plain["choices"], &json!(8)),
            "{path}"
        );
        assert_eq!(figured["stats"]["stop_reason"], "maxPredictedTokensReached");
        assert!(figured["stats"]["tokens_per_second"].as_f64() > Some(0.0), "{figured}");
        assert_eq!((&figured["model_info"]["arch"], &figured["runtime"]["name"]), (&json!("llama"), &json!("lair")));
        let mut streamed = body.clone();
        streamed["stream"] = json!(true);
        let streamed = events(&server.post(&format!("/api/v0{path}"), &streamed).body);
        assert_eq!(streamed.iter().filter(|event| event.get("stats").is_some()).count(), 1, "{path}");
    }
    let wrong = json!({ "model": "tiny", "prompt": "x", "ttl": "long" });
    assert_eq!(server.post("/api/v0/completions", &wrong).status, 400);
}

#[test]
fn vllm_s_own_paths_are_there() {
    let Some(server) = Server::start(&[]) else { return };
    assert!(server.get("/version").json()["version"].is_string());
    assert_eq!(server.get("/load").json()["server_load"], 0);
    assert_eq!(server.get("/ping").status, 200);
    let model = server.get("/v1/models").json()["data"][0].clone();
    assert_eq!((&model["root"], &model["parent"], &model["permission"]), (&model["id"], &Value::Null, &json!([])));
    let counted = json!({ "model": "tiny", "prompt": "Once upon", "add_special_tokens": false });
    let counted = server.post("/tokenize", &counted).json();
    assert_eq!(counted["count"].as_u64(), counted["tokens"].as_array().map(|tokens| tokens.len() as u64));
    assert!(counted["max_model_len"].as_u64() > Some(0));
    let back = server.post("/detokenize", &json!({ "model": "tiny", "tokens": counted["tokens"] })).json();
    assert_eq!(back["prompt"].as_str().map(str::trim), Some("Once upon"));
}
