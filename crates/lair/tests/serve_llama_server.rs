//! llama-server's own API as its clients see it. Needs the shared data; without it every test says that it is skipped.

mod server;

use serde_json::{Value, json};

use server::{Server, joined};

const STORY: &str = "Once upon a time";

/// The events of a stream that has no `[DONE]`.
fn events(body: &str) -> Vec<Value> {
    let events = body.split("\n\n").filter(|event| !event.is_empty());
    events.map(|event| serde_json::from_str(event.strip_prefix("data: ").expect("an event")).expect("JSON")).collect()
}

fn ask(extra: &Value) -> Value {
    joined(&json!({ "prompt": STORY, "n_predict": 24, "temperature": 0 }), extra)
}

#[test]
fn a_completion_is_the_same_whole_streamed_and_in_openai_s_words() {
    let Some(server) = Server::start(&[]) else { return };
    let whole = server.post("/completion", &ask(&json!({ "return_tokens": true, "n_probs": 3 }))).json();
    let of_openai = json!({ "model": "tiny", "prompt": STORY, "max_tokens": 24, "temperature": 0 });
    let of_openai = server.post("/v1/completions", &of_openai).json();
    assert_eq!(whole["content"], of_openai["choices"][0]["text"]);
    assert_eq!((&whole["stop_type"], &whole["tokens_predicted"]), (&json!("limit"), &json!(24)));
    assert_eq!(whole["tokens"].as_array().map(Vec::len), Some(24));
    let steps = whole["completion_probabilities"].as_array().expect("a list");
    assert_eq!(steps.len(), 24);
    for step in steps {
        let top = step["top_logprobs"].as_array().expect("a list");
        assert_eq!((top.len(), &top[0]["id"]), (3, &step["id"]), "greedy takes the likeliest: {step}");
    }

    let streamed = events(&server.post("/completion", &ask(&json!({ "stream": true, "n_probs": 3 }))).body);
    let (last, parts) = streamed.split_last().expect("events");
    let text: String = parts.iter().filter_map(|part| part["content"].as_str()).collect();
    assert_eq!(text, whole["content"].as_str().expect("a text"));
    let tokens: Vec<&Value> = parts.iter().flat_map(|part| part["tokens"].as_array().expect("a list")).collect();
    assert_eq!(tokens, whole["tokens"].as_array().expect("a list").iter().collect::<Vec<_>>());
    let probabilities = parts.iter().flat_map(|part| part["completion_probabilities"].as_array().expect("a list"));
    assert_eq!(probabilities.count(), 24);
    assert_eq!(
        (&last["stop"], &last["content"], &last["timings"]["predicted_n"]),
        (&json!(true), &json!(""), &json!(24))
    );
}

#[test]
fn samplers_that_the_engine_has_are_honoured() {
    let Some(server) = Server::start(&[]) else { return };
    let text = |extra: Value| {
        let answer = server.post("/completion", &ask(&extra));
        assert_eq!(answer.status, 200, "{extra}: {}", answer.body);
        answer.json()["content"].as_str().expect("a text").to_owned()
    };
    let greedy = text(json!({}));
    // At a great temperature only the filters keep to the greedy path.
    let wild = |extra: &Value| {
        text(joined(&json!({ "temperature": 50, "seed": 3, "top_k": 0, "top_p": 1, "min_p": 0 }), extra))
    };
    assert_ne!(wild(&json!({})), greedy);
    assert_eq!(wild(&json!({ "top_k": 1 })), greedy);
    assert_eq!(wild(&json!({ "top_n_sigma": 1e-6 })), greedy);
    assert_eq!(wild(&json!({ "min_p": 1, "samplers": ["min_p", "temperature"] })), greedy);
    assert_ne!(wild(&json!({ "min_p": 1, "samplers": ["temperature"] })), greedy, "a filter not named is off");
    let long = |extra: Value| text(joined(&json!({ "n_predict": 120 }), &extra));
    assert_ne!(long(json!({ "dry_multiplier": 1000, "dry_allowed_length": 1 })), long(json!({})));
    let first = server.post("/completion", &ask(&json!({ "n_predict": 1, "return_tokens": true }))).json();
    let banned = json!({ "n_predict": 1, "logit_bias": [[first["tokens"][0], false]] });
    assert_ne!(text(banned), first["content"].as_str().expect("a text"));
}

#[test]
fn an_answer_follows_its_schema() {
    let Some(server) = Server::start(&[]) else { return };
    let schema = json!({ "type": "object", "properties": { "age": { "type": "integer", "minimum": 0, "maximum": 99 } },
        "required": ["age"], "additionalProperties": false });
    let wish = json!({ "json_schema": schema, "n_predict": 100, "temperature": 1, "seed": 3 });
    let answer = server.post("/completion", &ask(&wish)).json();
    let value: Value = serde_json::from_str(answer["content"].as_str().expect("a text")).expect("JSON");
    assert!(value["age"].as_u64().is_some_and(|age| age <= 99), "{value}");
    let impossible = server.post("/completion", &ask(&json!({ "json_schema": { "type": "hiccup" } })));
    assert_eq!(impossible.status, 400, "{}", impossible.body);
    let held = server.post("/completion", &ask(&json!({ "grammar": "root ::= \"a\"" }))).json();
    assert_eq!(held["content"], "a");
}

#[test]
fn a_prompt_comes_back_from_its_tokens() {
    let Some(server) = Server::start(&[]) else { return };
    let text = "What is the capital of France ? \u{1F917}";
    let tokens = server.post("/tokenize", &json!({ "content": text })).json();
    let back = server.post("/detokenize", &json!({ "tokens": tokens["tokens"] })).json();
    assert_eq!(back["content"].as_str().map(str::trim), Some(text));
    let pieces = server.post("/tokenize", &json!({ "content": text, "with_pieces": true })).json();
    let bytes: Vec<u8> = pieces["tokens"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|token| match &token["piece"] {
            Value::String(text) => text.clone().into_bytes(),
            bytes => serde_json::from_value(bytes.clone()).expect("bytes"),
        })
        .collect();
    assert_eq!(String::from_utf8(bytes).expect("text").trim(), text);
    let of_vllm = json!({ "model": "tiny", "prompt": text, "return_token_strs": true });
    let of_vllm = server.post("/tokenize", &of_vllm).json();
    assert_eq!(of_vllm["count"].as_u64(), tokens["tokens"].as_array().map(|tokens| tokens.len() as u64 + 1));
    assert_eq!(of_vllm["token_strs"].as_array().map(Vec::len), of_vllm["tokens"].as_array().map(Vec::len));
    assert_eq!(server.post("/detokenize", &json!({ "tokens": [999_999] })).status, 400);
}

#[test]
fn what_runs_can_be_watched() {
    let Some(server) = Server::start(&["--parallel", "2"]) else { return };
    let props = server.get("/props").json();
    assert_eq!(props["total_slots"], 2);
    assert!(props["default_generation_settings"]["n_ctx"].as_u64().is_some_and(|length| length > 0));
    let done = server.post("/completion", &ask(&json!({}))).json();
    let slots = server.get("/slots").json();
    assert_eq!(slots.as_array().map(Vec::len), Some(2));
    assert!(slots.as_array().expect("a list").iter().all(|slot| slot["is_processing"] == false));

    let text = server.get("/metrics").body;
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().expect("a value").parse().expect("a number")
    };
    assert_eq!(value("llamacpp:tokens_predicted_total"), 24.0);
    assert_eq!(Some(value("llamacpp:prompt_tokens_total")), done["timings"]["prompt_n"].as_f64());
    assert_eq!(value("vllm:generation_tokens_total"), 24.0);
    assert_eq!(value("vllm:time_to_first_token_seconds_count"), 1.0);
    assert_eq!(value("lair_generated_tokens_total"), 24.0);
    assert_eq!(value("llamacpp:requests_processing"), 0.0);

    // A second time the prompt is found in the cache.
    let again = server.post("/completion", &ask(&json!({}))).json();
    assert_eq!(again["content"], done["content"]);
    let apart = server.post("/completion", &ask(&json!({ "cache_prompt": false }))).json();
    assert_eq!((&apart["content"], &apart["timings"]["cache_n"]), (&done["content"], &json!(0)));
}

/// Throws values of wrong types at every field of every route that the server describes.
#[test]
fn a_wrong_type_is_refused_by_every_route() {
    let slots = tempfile::tempdir().expect("a folder");
    let Some(server) = Server::start(&["--slot-save-path", slots.path().to_str().expect("UTF-8")]) else { return };
    let document = server.get("/openapi.json").json();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().expect("an object") {
        let path = &path.replace("/slots/{id}", "/slots/0?action=save");
        // SLM Packager's are there under `lair slm serve` only: `slm_serve` has them.
        if ["/load", "/generate"].contains(&path.as_str()) {
            continue;
        }
        for (method, operation) in operations.as_object().expect("an object") {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(properties) = schema["properties"].as_object() else { continue };
            for (name, field) in properties {
                let Some(kinds) = field.get("type") else { continue };
                let allows =
                    |kind: &str| kinds == kind || kinds.as_array().is_some_and(|kinds| kinds.contains(&json!(kind)));
                let wrong = [
                    (json!("x"), "string"),
                    (json!(true), "boolean"),
                    (json!(0.5), "number"),
                    (json!([[{}]]), "array"),
                    (json!({ "a": {} }), "object"),
                ];
                for (value, kind) in wrong.iter().filter(|(_, kind)| !allows(kind)) {
                    let mut body = well_formed(properties, schema);
                    body[name] = value.clone();
                    let bytes = body.to_string();
                    let json = [("Content-Type", "application/json")];
                    let answer = server.ask(&method.to_uppercase(), path, &json, bytes.as_bytes());
                    assert_eq!(answer.status, 400, "{method} {path} takes {name} of type {kind}: {}", answer.body);
                    assert!(answer.body.contains(name.as_str()), "{path} does not name {name}: {}", answer.body);
                    asked += 1;
                }
            }
            for bytes in [&b"{"[..], b"[]", b"null", b"\xff", b"{\"a\":1}x", &[b'['; 5000]] {
                let answer = server.ask(&method.to_uppercase(), path, &[("Content-Type", "application/json")], bytes);
                assert!((400..500).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
            }
        }
    }
    assert!(asked > 500, "only {asked} requests");
    assert_eq!(server.get("/health").json()["status"], "ok");
}

/// A body whose required fields are there, of the right types.
fn well_formed(properties: &serde_json::Map<String, Value>, schema: &Value) -> Value {
    let mut body = json!({});
    for name in schema["required"].as_array().expect("a list").iter().filter_map(Value::as_str) {
        body[name] = match properties[name]["type"].as_str() {
            Some("array") => json!([{ "role": "user", "content": "x" }]),
            Some("integer") => json!(1),
            _ if name == "model" => json!("tiny"),
            _ => json!("x"),
        };
    }
    body
}
