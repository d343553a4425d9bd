//! The estimator over HTTP, as the page asks it. Needs the shared data; without it the tests say that they are skipped.

mod server;

use serde_json::{Value, json};

use server::Server;

/// The figures that do not change from one call to the next.
fn steady(mut answer: Value) -> Value {
    answer.as_object_mut().expect("an object").remove("available_bytes");
    answer["machine"].as_object_mut().expect("an object").remove("available_bytes");
    answer["reasons"] = Value::Null;
    answer
}

#[test]
fn the_server_says_what_the_command_says() {
    let Some(server) = Server::start(&[]) else { return };
    let by_get = server.get("/lair/v1/fit?model=tiny&context=256&kv_type=f16").json();
    let body = json!({ "model": "tiny", "context": 256, "kv_type": "f16" });
    let by_post = server.post("/lair/v1/fit", &body).json();
    let printed =
        server.lair(&["fit", "tiny", "--context", "256", "--kv-type", "f16", "--json"]).output().expect("runs");
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let printed: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(steady(by_get.clone()), steady(by_post));
    assert_eq!(steady(by_get.clone()), steady(printed));
    // 5 layers, 4 heads of keys and values of 8 elements, 2 bytes each; 256 positions.
    assert_eq!(by_get["memory"]["kv_bytes"], 256 * 5 * 2 * 4 * 8 * 2);
    assert_eq!((&by_get["verdict"], &by_get["fits"]), (&json!("works well"), &json!(true)));
    assert!(by_get["speed"]["decode_tokens_per_second"].as_f64() > Some(1.0), "{by_get}");
}

#[test]
fn another_machine_can_be_asked_about() {
    let Some(server) = Server::start(&[]) else { return };
    let body = json!({ "model": "tiny", "gpu": ["2x RTX 3090"], "for": "code", "users": 2, "flavour": 1 });
    let answer = server.post("/lair/v1/fit", &body);
    assert!(answer.head.to_lowercase().contains("x-lair-ignored-fields: flavour"), "{}", answer.head);
    let answer = answer.json();
    assert_eq!((&answer["for"], &answer["users"]), (&json!("code"), &json!(2)));
    assert_eq!(answer["placement"]["offload_share"], 0.0);
    let small = json!({ "model": "tiny", "ram": "1MB" });
    assert_eq!(server.post("/lair/v1/fit", &small).json()["verdict"], "does not fit");
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    let Some(server) = Server::start(&[]) else { return };
    for (body, word) in [
        (json!({ "model": "tiny", "context": 0 }), "context"),
        (json!({ "model": "tiny", "users": "many" }), "users"),
        (json!({ "model": "tiny", "kv_type": "q9" }), "kv_type"),
        (json!({ "model": "tiny", "for": "fun" }), "for"),
        (json!({ "model": "tiny", "gpu": "RTX 1" }), "RTX 1"),
        (json!({ "model": "tiny", "ram": "much" }), "much"),
    ] {
        let answer = server.post("/lair/v1/fit", &body);
        assert!(answer.status == 400 && answer.body.contains(word), "{body}: {} {}", answer.status, answer.body);
    }
    for model in ["nobody", "./tiny.gguf", "/etc/passwd", "https://127.0.0.1:1/model.gguf"] {
        let answer = server.post("/lair/v1/fit", &json!({ "model": model }));
        assert_eq!(answer.status, 404, "{model}: {}", answer.body);
    }
    assert_eq!(server.get("/lair/v1/fit?model=tiny&context=x").status, 400);
}
