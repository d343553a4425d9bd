//! What llama-server's own tests hold about it, stated against Lair: one line for each behaviour, on the tiny model.
//!
//! The behaviours are facts of llama.cpp's `tools/server/tests/unit` (the file is the first word of each line); the
//! statements and the values are Lair's own. Needs the shared data; without it the test says that it is skipped.

mod server;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};

use server::{Answer, Server, events, joined, named_events};

/// File, behaviour, check. A check fails by a panic.
type Behaviour = (&'static str, &'static str, fn(&Server));

const LIFE: &str = "I believe the meaning of life is";

fn ok(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// A completion of eight greedy tokens, with these fields over it.
fn ask(extra: Value) -> Value {
    joined(&json!({ "model": "tiny", "prompt": LIFE, "n_predict": 8, "temperature": 0 }), &extra)
}

fn complete(server: &Server, extra: Value) -> Value {
    ok(&server.post("/completion", &ask(extra)))
}

fn content(server: &Server, extra: Value) -> String {
    complete(server, extra)["content"].as_str().expect("a text").to_owned()
}

/// The events of a streamed completion.
fn stream(server: &Server, extra: Value) -> Vec<Value> {
    let answer = server.post("/completion", &joined(&ask(extra), &json!({ "stream": true })));
    let events = answer.body.split("\n\n").filter(|event| !event.is_empty());
    events.map(|event| serde_json::from_str(event.strip_prefix("data: ").expect("an event")).expect("JSON")).collect()
}

fn last(events: Vec<Value>) -> Value {
    events.into_iter().next_back().expect("an end")
}

/// That this completion is refused with 400.
fn refused(server: &Server, extra: Value) -> Value {
    let answer = server.post("/completion", &ask(extra));
    assert_eq!(answer.status, 400, "{}", answer.body);
    answer.json()["error"].clone()
}

fn tokens(server: &Server, body: Value) -> Value {
    ok(&server.post("/tokenize", &joined(&json!({ "model": "tiny" }), &body)))["tokens"].clone()
}

fn count(value: &Value) -> usize {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).len()
}

/// A chat of eight greedy tokens.
fn chat_ask(extra: Value) -> Value {
    let messages =
        json!([{ "role": "system", "content": "Book" }, { "role": "user", "content": "What is the best book" }]);
    joined(&json!({ "model": "told", "max_tokens": 8, "temperature": 0, "messages": messages }), &extra)
}

fn chat(server: &Server, extra: Value) -> Value {
    ok(&server.post("/v1/chat/completions", &chat_ask(extra)))
}

fn chat_status(server: &Server, extra: Value) -> u16 {
    let answer = server.post("/v1/chat/completions", &chat_ask(extra));
    assert!(answer.status == 200 || answer.json().get("error").is_some(), "{}", answer.body);
    answer.status
}

fn chat_events(server: &Server, extra: Value) -> Vec<Value> {
    events(&server.post("/v1/chat/completions", &joined(&chat_ask(extra), &json!({ "stream": true }))).body)
}

/// A message in Anthropic's words.
fn message_ask(extra: Value) -> Value {
    joined(
        &json!({ "model": "told", "max_tokens": 8, "temperature": 0, "messages": [{ "role": "user", "content": "Say hello" }] }),
        &extra,
    )
}

fn message(server: &Server, extra: Value) -> Value {
    ok(&server.post("/v1/messages", &message_ask(extra)))
}

/// Tokens of a message's prompt, those in the cache too.
fn input_count(server: &Server, extra: Value) -> u64 {
    let usage = &message(server, extra)["usage"];
    ["input_tokens", "cache_read_input_tokens"].iter().map(|name| usage[*name].as_u64().expect("a count")).sum()
}

fn message_refused(server: &Server, extra: Value) {
    let answer = server.post("/v1/messages", &message_ask(extra));
    assert_eq!((answer.status, &answer.json()["type"]), (400, &json!("error")), "{}", answer.body);
}

fn message_events(server: &Server) -> Vec<Value> {
    named_events(&server.post("/v1/messages", &message_ask(json!({ "stream": true }))).body)
}

fn response_ask(extra: Value) -> Value {
    joined(
        &json!({ "model": "told", "input": "What is the best book", "max_output_tokens": 8, "temperature": 0 }),
        &extra,
    )
}

fn response_events(server: &Server) -> Vec<Value> {
    named_events(&server.post("/v1/responses", &response_ask(json!({ "stream": true }))).body)
}

/// The value of a line of `/metrics` without labels.
fn metric(server: &Server, name: &str) -> f64 {
    let text = server.get("/metrics").body;
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().expect("a value").parse().expect("a number")
}

fn metric_type(server: &Server, name: &str, kind: &str) {
    let text = server.get("/metrics").body;
    assert!(text.contains(&format!("# TYPE llamacpp:{name} {kind}\n")), "{name} is no {kind}");
    assert!(text.contains(&format!("# HELP llamacpp:{name} ")), "{name} has no help");
}

fn infill(server: &Server, extra: Value) -> Answer {
    server.post("/infill", &joined(&json!({ "model": "tiny", "input_prefix": "a", "input_suffix": "b" }), &extra))
}

fn get(server: &Server, path: &str) -> Value {
    ok(&server.get(path))
}

fn tool() -> Value {
    json!({ "name": "get_weather", "description": "The weather", "input_schema": { "type": "object", "properties": {} } })
}

#[rustfmt::skip]
const BEHAVIOURS: &[Behaviour] = &[
    ("basic", "health is 200", |s| drop(get(s, "/health"))),
    ("basic", "health says ok", |s| assert_eq!(get(s, "/health")["status"], "ok")),
    ("basic", "v1 health is 200", |s| drop(get(s, "/v1/health"))),
    ("basic", "props tell the number of slots", |s| assert_eq!(get(s, "/props?model=tiny")["total_slots"], 2)),
    ("basic", "props tell the context", |s| assert!(get(s, "/props?model=tiny")["default_generation_settings"]["n_ctx"].as_u64() > Some(64))),
    ("basic", "props tell the default seed", |s| assert!(get(s, "/props?model=tiny")["default_generation_settings"]["params"]["seed"].is_u64())),
    ("basic", "props tell the template", |s| assert!(get(s, "/props?model=told")["chat_template"].as_str().is_some_and(|text| text.contains(".Messages")))),
    ("basic", "props tell what goes in besides text", |s| assert_eq!(get(s, "/props?model=tiny")["modalities"], json!({ "vision": false, "audio": false }))),
    ("basic", "props tell the build", |s| assert!(get(s, "/props?model=tiny")["build_info"].is_string())),
    ("basic", "props cannot be set", |s| assert_eq!(s.post("/props", &json!({})).status, 400)),
    ("basic", "models are listed", |s| assert_eq!(count(&get(s, "/models")["data"]), 2)),
    ("basic", "models are listed under v1", |s| assert_eq!(get(s, "/models"), get(s, "/v1/models"))),
    ("basic", "slots are as many as asked for", |s| assert_eq!(count(&get(s, "/slots?model=tiny")), 2)),
    ("basic", "slots tell their context", |s| assert!(get(s, "/slots?model=tiny")[0]["n_ctx"].as_u64() > Some(64))),
    ("basic", "slots tell no parameters of others", |s| assert!(get(s, "/slots?model=tiny")[0].get("params").is_none())),
    ("basic", "slots tell no prompts of others", |s| assert!(get(s, "/slots?model=tiny")[0].get("prompt").is_none())),
    ("basic", "what is not there is 404", |s| assert_eq!(s.get("/nothing").status, 404)),
    ("basic", "another method is 405", |s| assert_eq!(s.get("/completion").status, 405)),
    ("completion", "a grammar of llama.cpp's holds the answer", |s| assert!(["yes", "no"].contains(&content(s, json!({ "grammar": "root ::= \"yes\" | \"no\"" })).as_str()))),
    ("completion", "an empty grammar is none", |s| assert_eq!(content(s, json!({ "grammar": "" })), content(s, json!({})))),
    ("completion", "a grammar that cannot be read is refused", |s| assert!(refused(s, json!({ "grammar": "root ::= missing" })).to_string().contains("missing"))),
    ("completion", "the prompt's tokens are counted", |s| { let c = complete(s, json!({})); assert_eq!(c["timings"]["prompt_n"].as_u64().zip(c["timings"]["cache_n"].as_u64()).map(|(a, b)| a + b), c["tokens_evaluated"].as_u64()) }),
    ("completion", "the answer's tokens are counted", |s| assert_eq!(complete(s, json!({}))["timings"]["predicted_n"], 8)),
    ("completion", "tokens_predicted is the same count", |s| assert_eq!(complete(s, json!({}))["tokens_predicted"], 8)),
    ("completion", "a prompt that fits is not truncated", |s| assert_eq!(complete(s, json!({}))["truncated"], false)),
    ("completion", "has_new_line is a truth", |s| assert!(complete(s, json!({}))["has_new_line"].is_boolean())),
    ("completion", "has_new_line follows the text", |s| { let c = complete(s, json!({ "n_predict": 200 })); assert_eq!(c["has_new_line"], c["content"].as_str().expect("text").contains('\n')) }),
    ("completion", "no tokens without return_tokens", |s| assert_eq!(complete(s, json!({}))["tokens"], json!([]))),
    ("completion", "tokens with return_tokens", |s| assert_eq!(count(&complete(s, json!({ "return_tokens": true }))["tokens"]), 8)),
    ("completion", "tokens are numbers", |s| assert!(complete(s, json!({ "return_tokens": true }))["tokens"].as_array().expect("a list").iter().all(Value::is_u64))),
    ("completion", "sixty-four tokens where asked for", |s| assert_eq!(complete(s, json!({ "n_predict": 64, "ignore_eos": true }))["tokens_predicted"], 64)),
    ("completion", "max_tokens is n_predict", |s| assert_eq!(complete(s, json!({ "n_predict": null, "max_tokens": 5 }))["tokens_predicted"], 5)),
    ("completion", "no tokens where none are asked for", |s| assert_eq!(complete(s, json!({ "n_predict": 0 }))["content"], "")),
    ("completion", "completions is the same path", |s| assert_eq!(ok(&s.post("/completions", &ask(json!({}))))["content"], complete(s, json!({}))["content"])),
    ("completion", "the prompt comes back", |s| assert!(complete(s, json!({}))["prompt"].as_str().is_some_and(|text| text.contains(LIFE)))),
    ("completion", "the model is named", |s| assert_eq!(complete(s, json!({}))["model"], "tiny:latest")),
    ("completion", "the slot is numbered", |s| assert!(complete(s, json!({}))["id_slot"].is_u64())),
    ("completion", "index is 0 of one", |s| assert_eq!(complete(s, json!({}))["index"], 0)),
    ("completion", "stop is true at the end", |s| assert_eq!(complete(s, json!({}))["stop"], true)),
    ("completion", "the limit is the reason", |s| assert_eq!(complete(s, json!({}))["stop_type"], "limit")),
    ("completion", "no word stopped it", |s| assert_eq!(complete(s, json!({}))["stopping_word"], "")),
    ("completion", "a word is the reason", |s| assert_eq!(complete(s, json!({ "n_predict": 200, "stop": ["."] }))["stop_type"], "word")),
    ("completion", "the word is told", |s| assert_eq!(complete(s, json!({ "n_predict": 200, "stop": ["."] }))["stopping_word"], ".")),
    ("completion", "the word is not in the text", |s| assert!(!content(s, json!({ "n_predict": 200, "stop": ["."] })).contains('.'))),
    ("completion", "stop may be one string", |s| assert_eq!(content(s, json!({ "n_predict": 200, "stop": "." })), content(s, json!({ "n_predict": 200, "stop": ["."] })))),
    ("completion", "the model's end is the reason", |s| assert_eq!(complete(s, json!({ "n_predict": -1, "logit_bias": [[2, 100]] }))["stop_type"], "eos")),
    ("completion", "a stream's events have stop", |s| assert!(stream(s, json!({})).iter().all(|event| event["stop"].is_boolean()))),
    ("completion", "only the last event stops", |s| assert_eq!(stream(s, json!({})).iter().filter(|event| event["stop"] == true).count(), 1)),
    ("completion", "every part of a stream has tokens", |s| assert!(stream(s, json!({})).iter().filter(|event| event["stop"] == false).all(|event| count(&event["tokens"]) > 0))),
    ("completion", "a stream's end has timings", |s| assert_eq!(last(stream(s, json!({})))["timings"]["predicted_n"], 8)),
    ("completion", "a stream's end has the reason", |s| assert_eq!(last(stream(s, json!({})))["stop_type"], "limit")),
    ("completion", "a stream's end has the settings", |s| assert_eq!(last(stream(s, json!({})))["generation_settings"]["n_predict"], 8)),
    ("completion", "the settings have the seed", |s| assert_eq!(last(stream(s, json!({ "seed": 42 })))["generation_settings"]["seed"], 42)),
    ("completion", "the settings have the adaptive sampler's names", |s| assert!(last(stream(s, json!({})))["generation_settings"].get("adaptive_target").is_some())),
    ("completion", "the settings name the samplers in order", |s| assert_eq!(complete(s, json!({ "samplers": ["top_k", "temperature"] }))["generation_settings"]["samplers"], json!(["penalties", "dry", "top_k", "temperature"]))),
    ("completion", "a stream says what is said whole", |s| assert_eq!(stream(s, json!({})).iter().filter_map(|event| event["content"].as_str()).collect::<String>(), content(s, json!({})))),
    ("completion", "one seed is one answer", |s| assert_eq!(content(s, json!({ "seed": 42, "temperature": 1 })), content(s, json!({ "seed": 42, "temperature": 1 })))),
    ("completion", "temperature 0 is one answer", |s| assert_eq!(content(s, json!({ "seed": 1 })), content(s, json!({ "seed": 2 })))),
    ("completion", "another seed is another answer", |s| assert_ne!(content(s, json!({ "seed": 1, "temperature": 1, "n_predict": 32 })), content(s, json!({ "seed": 2, "temperature": 1, "n_predict": 32 })))),
    ("completion", "no seed is another answer each time", |s| assert_ne!(content(s, json!({ "temperature": 1.5, "n_predict": 48 })), content(s, json!({ "temperature": 1.5, "n_predict": 48 })))),
    ("completion", "an answer is the same with and without the cache", |s| assert_eq!(content(s, json!({ "cache_prompt": true })), content(s, json!({ "cache_prompt": false })))),
    ("completion", "an answer is the same beside others", |s| { let alone = content(s, json!({})); std::thread::scope(|t| (0..6).map(|_| t.spawn(|| content(s, json!({})))).collect::<Vec<_>>().into_iter().for_each(|thread| assert_eq!(thread.join().expect("answered"), alone))) }),
    ("completion", "a prompt that does not fit is refused", |s| drop(refused(s, json!({ "prompt": LIFE.repeat(500) })))),
    ("completion", "a prompt as an object", |s| assert_eq!(content(s, json!({ "prompt": { "prompt_string": LIFE } })), content(s, json!({})))),
    ("completion", "pictures are refused", |s| drop(refused(s, json!({ "prompt": { "prompt_string": "<__media__>", "multimodal_data": ["eA=="] } })))),
    ("completion", "a prompt of tokens", |s| assert_eq!(content(s, json!({ "prompt": tokens(s, json!({ "content": LIFE, "add_special": true })) })), content(s, json!({})))),
    ("completion", "two prompts give two answers", |s| assert_eq!(count(&complete(s, json!({ "prompt": [LIFE, LIFE] }))), 2)),
    ("completion", "equal prompts give equal answers", |s| { let two = complete(s, json!({ "prompt": [LIFE, LIFE] })); assert_eq!(two[0]["content"], two[1]["content"]) }),
    ("completion", "tokens and text in one list", |s| { let ids = tokens(s, json!({ "content": LIFE, "add_special": true })); let two = complete(s, json!({ "prompt": [ids, LIFE] })); assert_eq!(two[0]["content"], two[1]["content"]) }),
    ("completion", "tokens and an object in one list", |s| assert_eq!(count(&complete(s, json!({ "prompt": [[1, 2, 3], { "prompt_string": LIFE }] }))), 2)),
    ("completion", "tokens and text in one prompt", |s| assert!(complete(s, json!({ "prompt": [1, 2, 3, 4, 5, 6, LIFE, 7, 8, 9, 10, LIFE] }))["content"].is_string())),
    ("completion", "answers are numbered", |s| assert_eq!(complete(s, json!({ "prompt": [LIFE, LIFE] }))[1]["index"], 1)),
    ("completion", "n_cmpl answers to one prompt", |s| assert_eq!(count(&complete(s, json!({ "n_cmpl": 3 }))), 3)),
    ("completion", "n is the same", |s| assert_eq!(count(&complete(s, json!({ "n": 2 }))), 2)),
    ("completion", "more requests than slots are all answered", |s| std::thread::scope(|t| (0..6).map(|_| t.spawn(|| complete(s, json!({ "n_predict": 32 })))).collect::<Vec<_>>().into_iter().for_each(|thread| assert!(thread.join().is_ok())))),
    ("completion", "no field is chosen: all are there", |s| assert!(complete(s, json!({ "response_fields": [] }))["timings"].is_object())),
    ("completion", "only chosen fields are there", |s| assert_eq!(complete(s, json!({ "response_fields": ["content", "stop"] })).as_object().map(serde_json::Map::len), Some(2))),
    ("completion", "a chosen field deep inside is lifted", |s| assert_eq!(complete(s, json!({ "response_fields": ["generation_settings/n_predict"] })), json!({ "n_predict": 8 }))),
    ("completion", "a chosen field that is not there is left out", |s| assert_eq!(complete(s, json!({ "response_fields": ["nothing"] })), json!({}))),
    ("completion", "probabilities for each token", |s| assert_eq!(count(&complete(s, json!({ "n_probs": 10 }))["completion_probabilities"]), 8)),
    ("completion", "as many likely tokens as asked for", |s| assert!(complete(s, json!({ "n_probs": 10 }))["completion_probabilities"].as_array().expect("a list").iter().all(|step| count(&step["top_logprobs"]) == 10))),
    ("completion", "log-probabilities are at most 0", |s| assert!(complete(s, json!({ "n_probs": 10 }))["completion_probabilities"].as_array().expect("a list").iter().all(|step| step["logprob"].as_f64() <= Some(0.0)))),
    ("completion", "a likely token has its bytes", |s| assert!(complete(s, json!({ "n_probs": 1 }))["completion_probabilities"][0]["top_logprobs"][0]["bytes"].is_array())),
    ("completion", "a likely token has its text", |s| assert!(complete(s, json!({ "n_probs": 1 }))["completion_probabilities"][0]["top_logprobs"][0]["token"].is_string())),
    ("completion", "the likeliest comes first", |s| { let c = complete(s, json!({ "n_probs": 5 })); let top = &c["completion_probabilities"][0]["top_logprobs"]; assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64()) }),
    ("completion", "probabilities in a stream", |s| assert!(stream(s, json!({ "n_probs": 2 })).iter().filter(|event| event["stop"] == false).all(|event| count(&event["completion_probabilities"]) == count(&event["tokens"])))),
    ("completion", "no probabilities unasked", |s| assert!(complete(s, json!({})).get("completion_probabilities").is_none())),
    ("completion", "probabilities after sampling are refused by name", |s| assert!(refused(s, json!({ "n_probs": 3, "post_sampling_probs": true }))["message"].as_str().is_some_and(|text| text.contains("post_sampling_probs")))),
    ("completion", "a token is banned by its id", |s| { let id = complete(s, json!({ "return_tokens": true }))["tokens"][0].clone(); assert_ne!(complete(s, json!({ "return_tokens": true, "logit_bias": [[id, -100]] }))["tokens"][0], id) }),
    ("completion", "a token is banned by an object", |s| { let id = complete(s, json!({ "return_tokens": true }))["tokens"][0].clone(); let mut bias = json!({}); bias[id.to_string()] = json!(-100); assert_ne!(complete(s, json!({ "return_tokens": true, "logit_bias": bias }))["tokens"][0], id) }),
    ("completion", "a token is banned by false", |s| { let id = complete(s, json!({ "return_tokens": true }))["tokens"][0].clone(); assert_ne!(complete(s, json!({ "return_tokens": true, "logit_bias": [[id, false]] }))["tokens"][0], id) }),
    ("completion", "tokens are banned by their text", |s| assert_eq!(complete(s, json!({ "logit_bias": [["the", -5.0]] }))["generation_settings"]["logit_bias"][0]["bias"], -5.0)),
    ("completion", "a client that goes away frees its slot", |s| { let endless = ask(json!({ "n_predict": -1, "ignore_eos": true, "stream": true })).to_string(); for _ in 0..4 { drop(s.send(&s.request("POST", "/completion", &[("Content-Type", "application/json")], endless.as_bytes()))); } assert_eq!(complete(s, json!({}))["tokens_predicted"], 8) }),
    ("completion", "a prompt again is found in the cache", |s| { let long = json!({ "prompt": format!("Of the cache. {}", LIFE.repeat(8)), "n_predict": 1 }); complete(s, long.clone()); assert!(complete(s, long)["timings"]["cache_n"].as_u64() > Some(0)) }),
    ("completion", "cached and computed tokens are the prompt", |s| { let c = complete(s, json!({ "prompt": LIFE.repeat(8) })); assert_eq!(c["timings"]["cache_n"].as_u64().expect("a count") + c["timings"]["prompt_n"].as_u64().expect("a count"), c["tokens_evaluated"].as_u64().expect("a count")) }),
    ("completion", "a time limit ends an answer after a line", |s| { let c = complete(s, json!({ "n_predict": -1, "ignore_eos": true, "t_max_predict_ms": 1, "logit_bias": [["\n", 5.0]] })); assert!(c["has_new_line"] == true && c["stop_type"] == "limit" && c["truncated"] == false, "{c}") }),
    ("completion", "timings for each token where asked for", |s| assert!(stream(s, json!({ "timings_per_token": true })).iter().all(|event| event["timings"].is_object()))),
    ("completion", "no timings for each token unasked", |s| assert!(stream(s, json!({})).iter().filter(|event| event["stop"] == false).all(|event| event.get("timings").is_none()))),
    ("completion", "OpenAI's path and words", |s| assert_eq!(ok(&s.post("/v1/completions", &json!({ "model": "tiny", "prompt": LIFE, "max_tokens": 8, "temperature": 0 })))["choices"][0]["text"], complete(s, json!({}))["content"])),
    ("completion", "OpenAI's end of a stream", |s| drop(events(&s.post("/v1/completions", &json!({ "model": "tiny", "prompt": LIFE, "max_tokens": 8, "stream": true })).body))),
    ("completion", "OpenAI's answer has timings", |s| assert_eq!(ok(&s.post("/v1/completions", &json!({ "model": "tiny", "prompt": LIFE, "max_tokens": 8 })))["timings"]["predicted_n"], 8)),
    ("ctx_shift", "an answer with a limit that fits is whole", |s| { let c = complete(s, json!({ "prompt": "Hi how are you", "n_predict": 64 })); assert!(c["truncated"] == false && c["timings"]["predicted_n"] == 64) }),
    ("ctx_shift", "an endless answer ends with the context", |s| { let c = complete(s, json!({ "n_predict": -1, "ignore_eos": true })); assert!(c["truncated"] == true && c["stop_type"] == "limit", "{}", c["stop_type"]) }),
    ("ctx_shift", "a full context has prompt and answer", |s| { let c = complete(s, json!({ "n_predict": -1, "ignore_eos": true })); assert_eq!(c["tokens_cached"], get(s, "/props?model=tiny")["default_generation_settings"]["n_ctx"]) }),
    ("ctx_shift", "a long prompt's refusal has its own type", |s| assert_eq!(refused(s, json!({ "prompt": LIFE.repeat(500) }))["type"], "exceed_context_size_error")),
    ("ctx_shift", "a long prompt's refusal has both numbers", |s| { let e = refused(s, json!({ "prompt": LIFE.repeat(500) })); assert!(e["n_prompt_tokens"].as_u64() > e["n_ctx"].as_u64()) }),
    ("ctx_shift", "a long prompt's refusal in OpenAI's words", |s| assert_eq!(s.post("/v1/completions", &json!({ "model": "tiny", "prompt": LIFE.repeat(500) })).json()["error"]["code"], "context_length_exceeded")),
    ("ctx_shift", "a long prompt is refused before a stream begins", |s| assert_eq!(s.post("/completion", &ask(json!({ "prompt": LIFE.repeat(500), "stream": true }))).status, 400)),
    ("ignore_eos", "the ends of the model are banned", |s| assert!(count(&complete(s, json!({ "ignore_eos": true }))["generation_settings"]["logit_bias"]) > 0)),
    ("ignore_eos", "a ban is told as null", |s| assert!(complete(s, json!({ "ignore_eos": true }))["generation_settings"]["logit_bias"][0]["bias"].is_null())),
    ("ignore_eos", "unasked nothing is banned", |s| assert_eq!(complete(s, json!({}))["generation_settings"]["logit_bias"], json!([]))),
    ("infill", "a model without the tokens is refused", |s| assert_eq!(infill(s, json!({})).status, 400)),
    ("infill", "the refusal names the tokens", |s| assert!(infill(s, json!({})).body.contains("prefix, suffix, middle"))),
    ("infill", "the prefix must be there", |s| assert!(infill(s, json!({ "input_prefix": null })).body.contains("`input_prefix` is missing"))),
    ("infill", "the suffix must be there", |s| assert!(infill(s, json!({ "input_suffix": null })).body.contains("`input_suffix` is missing"))),
    ("infill", "the prompt is a string", |s| assert!(infill(s, json!({ "prompt": [1] })).body.contains("`prompt` is a list"))),
    ("infill", "a file is an object with a text", |s| assert!(infill(s, json!({ "input_extra": [{}] })).body.contains("`text` is missing"))),
    ("infill", "a file with a name alone is refused", |s| assert!(infill(s, json!({ "input_extra": [{ "filename": "ok" }] })).body.contains("`text`"))),
    ("infill", "a file's name is a string", |s| assert!(infill(s, json!({ "input_extra": [{ "filename": 123, "text": "abc" }] })).body.contains("`filename` is 123"))),
    ("infill", "a file's text is a string", |s| assert!(infill(s, json!({ "input_extra": [{ "filename": "a", "text": 456 }] })).body.contains("`text` is 456"))),
    ("infill", "files are a list", |s| assert!(infill(s, json!({ "input_extra": {} })).body.contains("`input_extra`"))),
    ("tokenize", "a text has tokens", |s| assert!(count(&tokens(s, json!({ "content": "What is the capital of France ?" }))) > 5)),
    ("tokenize", "tokens are numbers", |s| assert!(tokens(s, json!({ "content": "hello" }))[0].is_u64())),
    ("tokenize", "the text comes back", |s| { let ids = tokens(s, json!({ "content": "What is it ?" })); assert_eq!(ok(&s.post("/detokenize", &json!({ "model": "tiny", "tokens": ids })))["content"].as_str().map(str::trim), Some("What is it ?")) }),
    ("tokenize", "the first token begins a text where asked for", |s| assert_eq!(tokens(s, json!({ "content": "What", "add_special": true }))[0], 1)),
    ("tokenize", "unasked it does not", |s| assert_ne!(tokens(s, json!({ "content": "What" }))[0], 1)),
    ("tokenize", "pieces have ids and texts", |s| assert!(tokens(s, json!({ "content": "a b", "with_pieces": true })).as_array().expect("a list").iter().all(|token| token["id"].is_u64() && !token["piece"].is_null()))),
    ("tokenize", "a piece that is no character is bytes", |s| assert!(tokens(s, json!({ "content": "\u{5abd}", "with_pieces": true })).as_array().expect("a list").iter().any(|token| token["piece"].is_array()))),
    ("tokenize", "control tokens are read", |s| assert_eq!(tokens(s, json!({ "content": "<s>" })), json!([1]))),
    ("tokenize", "control tokens are text where asked for", |s| assert!(count(&tokens(s, json!({ "content": "<s>", "parse_special": false }))) > 1)),
    ("tokenize", "texts and tokens may be mixed", |s| assert!(tokens(s, json!({ "content": [5, "a", 6] })).as_array().is_some_and(|ids| ids.first() == Some(&json!(5)) && ids.last() == Some(&json!(6))))),
    ("tokenize", "nothing has no tokens", |s| assert_eq!(tokens(s, json!({})), json!([]))),
    ("tokenize", "no tokens have no text", |s| assert_eq!(ok(&s.post("/detokenize", &json!({ "model": "tiny", "tokens": [] })))["content"], "")),
    ("tokenize", "a token that is not there is refused", |s| assert_eq!(s.post("/detokenize", &json!({ "model": "tiny", "tokens": [100_000] })).status, 400)),
    ("metrics", "answers in the text format", |s| assert!(s.get("/metrics").head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"))),
    ("metrics", "the start of the process is in the head", |s| assert!(s.get("/metrics").head.to_ascii_lowercase().contains("process-start-time-unix: "))),
    ("metrics", "prompt_tokens_total is a counter", |s| metric_type(s, "prompt_tokens_total", "counter")),
    ("metrics", "prompt_tokens_cached_total is a counter", |s| metric_type(s, "prompt_tokens_cached_total", "counter")),
    ("metrics", "prompt_seconds_total is a counter", |s| metric_type(s, "prompt_seconds_total", "counter")),
    ("metrics", "tokens_predicted_total is a counter", |s| metric_type(s, "tokens_predicted_total", "counter")),
    ("metrics", "tokens_predicted_seconds_total is a counter", |s| metric_type(s, "tokens_predicted_seconds_total", "counter")),
    ("metrics", "n_decode_total is a counter", |s| metric_type(s, "n_decode_total", "counter")),
    ("metrics", "n_tokens_max is a counter", |s| metric_type(s, "n_tokens_max", "counter")),
    ("metrics", "draft tokens are a counter", |s| metric_type(s, "spec_decode_num_draft_tokens_total", "counter")),
    ("metrics", "prompt_tokens_seconds is a gauge", |s| metric_type(s, "prompt_tokens_seconds", "gauge")),
    ("metrics", "predicted_tokens_seconds is a gauge", |s| metric_type(s, "predicted_tokens_seconds", "gauge")),
    ("metrics", "requests_processing is a gauge", |s| metric_type(s, "requests_processing", "gauge")),
    ("metrics", "requests_deferred is a gauge", |s| metric_type(s, "requests_deferred", "gauge")),
    ("metrics", "n_busy_slots_per_decode is a gauge", |s| metric_type(s, "n_busy_slots_per_decode", "gauge")),
    ("metrics", "steps are counted", |s| { complete(s, json!({})); assert!(metric(s, "llamacpp:n_decode_total") > 0.0) }),
    ("metrics", "generated tokens are counted", |s| { let before = metric(s, "llamacpp:tokens_predicted_total"); for n in [1, 4, 16] { complete(s, json!({ "n_predict": n, "ignore_eos": true })); } assert_eq!(metric(s, "llamacpp:tokens_predicted_total") - before, 21.0) }),
    ("metrics", "computed and cached tokens of prompts are counted apart", |s| { let (a, b) = (metric(s, "llamacpp:prompt_tokens_total"), metric(s, "llamacpp:prompt_tokens_cached_total")); let t = complete(s, json!({}))["timings"].clone(); assert_eq!(Some(metric(s, "llamacpp:prompt_tokens_total") - a), t["prompt_n"].as_f64()); assert_eq!(Some(metric(s, "llamacpp:prompt_tokens_cached_total") - b), t["cache_n"].as_f64()) }),
    ("metrics", "one token has no rate", |s| assert_eq!(complete(s, json!({ "n_predict": 1 }))["timings"]["predicted_per_second"], 0.0)),
    ("metrics", "the rate leaves out the first token", |s| { let t = complete(s, json!({ "n_predict": 16, "ignore_eos": true }))["timings"].clone(); let rate = 15e3 / t["predicted_ms"].as_f64().expect("a time"); assert!((t["predicted_per_second"].as_f64().expect("a rate") - rate).abs() < 1e-6 * rate) }),
    ("metrics", "timings are finite", |s| assert!(complete(s, json!({}))["timings"].as_object().expect("an object").values().all(|value| value.as_f64().is_some_and(|value| value >= 0.0)))),
    ("metrics", "slots are idle after an answer", |s| { complete(s, json!({})); assert!(get(s, "/slots?model=tiny").as_array().expect("a list").iter().all(|slot| slot["is_processing"] == false && slot["next_token"][0]["n_decoded"] == 0 && slot["next_token"][0]["n_remain"] == -1)) }),
    ("slot_save", "without a folder nothing is saved", |s| assert!(s.post("/slots/0?action=save", &json!({ "filename": "a" })).body.contains("--slot-save-path"))),
    ("slot_save", "without a folder nothing is restored", |s| assert_eq!(s.post("/slots/0?action=restore", &json!({ "filename": "a" })).status, 400)),
    ("slot_save", "a slot is erased", |s| { complete(s, json!({ "id_slot": 1 })); assert!(ok(&s.post("/slots/1?action=erase", &json!({ "model": "tiny" })))["n_erased"].as_u64() > Some(8)) }),
    ("slot_save", "a slot is a number", |s| assert!(s.post("/slots/x?action=save", &json!({})).body.contains("not the number of a slot"))),
    ("slot_save", "another action is refused", |s| assert!(s.post("/slots/0?action=dance", &json!({})).body.contains("`dance`"))),
    ("lora", "there are no adapters", |s| assert_eq!(get(s, "/lora-adapters?model=tiny"), json!([]))),
    ("lora", "none can be set to nothing", |s| assert_eq!(s.post("/lora-adapters?model=tiny", &json!([])).status, 200)),
    ("lora", "what is not there cannot be set", |s| assert_eq!(s.post("/lora-adapters?model=tiny", &json!([{ "id": 0, "scale": 1.0 }])).status, 400)),
    ("lora", "adapters of a request are refused", |s| drop(refused(s, json!({ "lora": [{ "id": 0, "scale": 1.0 }] })))),
    ("lora", "adapters at scale 0 change nothing", |s| assert_eq!(content(s, json!({ "lora": [{ "id": 0, "scale": 0.0 }] })), content(s, json!({})))),
    ("chat", "an answer is the assistant's", |s| assert_eq!(chat(s, json!({}))["choices"][0]["message"]["role"], "assistant")),
    ("chat", "an answer's id says what it is", |s| assert!(chat(s, json!({}))["id"].as_str().is_some_and(|id| id.contains("cmpl")))),
    ("chat", "an answer names the build", |s| assert!(chat(s, json!({}))["system_fingerprint"].is_string())),
    ("chat", "the answer's tokens are counted", |s| assert_eq!(chat(s, json!({}))["usage"]["completion_tokens"], 8)),
    ("chat", "a cut answer says so", |s| assert_eq!(chat(s, json!({}))["choices"][0]["finish_reason"], "length")),
    ("chat", "parts of text are one text", |s| assert_eq!(chat(s, json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "What is " }, { "type": "text", "text": "it" }] }] }))["usage"]["prompt_tokens"], chat(s, json!({ "messages": [{ "role": "user", "content": "What is it" }] }))["usage"]["prompt_tokens"])),
    ("chat", "the path without a version", |s| assert_eq!(ok(&s.post("/chat/completions", &chat_ask(json!({}))))["choices"][0]["message"], chat(s, json!({}))["choices"][0]["message"])),
    ("chat", "a stream begins with the role", |s| assert_eq!(chat_events(s, json!({}))[0]["choices"][0]["delta"]["role"], "assistant")),
    ("chat", "the role comes once", |s| assert!(chat_events(s, json!({}))[1..].iter().all(|event| event["choices"][0]["delta"].get("role").is_none()))),
    ("chat", "all parts of a stream have one id", |s| { let events = chat_events(s, json!({})); assert!(events.iter().all(|event| event["id"] == events[0]["id"])) }),
    ("chat", "the end of a stream has no text", |s| assert!(last(chat_events(s, json!({})))["choices"][0]["delta"].get("content").is_none())),
    ("chat", "the end of a stream has the reason", |s| assert_eq!(last(chat_events(s, json!({})))["choices"][0]["finish_reason"], "length")),
    ("chat", "a stream says what is said whole", |s| assert_eq!(chat_events(s, json!({})).iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect::<String>(), chat(s, json!({}))["choices"][0]["message"]["content"].as_str().expect("a text"))),
    ("chat", "usage at the end of a stream where asked for", |s| assert_eq!(last(chat_events(s, json!({ "stream_options": { "include_usage": true } })))["usage"]["completion_tokens"], 8)),
    ("chat", "that part of a stream has no choices", |s| assert_eq!(last(chat_events(s, json!({ "stream_options": { "include_usage": true } })))["choices"], json!([]))),
    ("chat", "no usage in a stream unasked", |s| assert!(chat_events(s, json!({})).iter().all(|event| event.get("usage").is_none()))),
    ("chat", "the end of a stream has timings", |s| assert!(chat_events(s, json!({})).iter().any(|event| event["timings"]["predicted_n"] == 8))),
    ("chat", "the beginning of a stream has none", |s| assert!(chat_events(s, json!({}))[0].get("timings").is_none())),
    ("chat", "messages must be there", |s| assert_eq!(chat_status(s, json!({ "messages": null })), 400)),
    ("chat", "messages are a list", |s| assert_eq!(chat_status(s, json!({ "messages": "string" })), 400)),
    ("chat", "a message is an object", |s| assert_eq!(chat_status(s, json!({ "messages": [123] })), 400)),
    ("chat", "a message has a role", |s| assert_eq!(chat_status(s, json!({ "messages": [{}] })), 400)),
    ("chat", "a role is a string", |s| assert_eq!(chat_status(s, json!({ "messages": [{ "role": 123 }] })), 400)),
    ("chat", "a content is a text", |s| assert_eq!(chat_status(s, json!({ "messages": [{ "role": "system", "content": 123 }] })), 400)),
    ("chat", "every message is looked at", |s| assert_eq!(chat_status(s, json!({ "messages": [{ "role": "system", "content": "test" }, {}] })), 400)),
    ("chat", "an unknown format is refused", |s| assert_eq!(chat_status(s, json!({ "response_format": { "type": "sound" } })), 400)),
    ("chat", "log-probabilities for each token", |s| assert_eq!(count(&chat(s, json!({ "logprobs": true, "top_logprobs": 3 }))["choices"][0]["logprobs"]["content"]), 8)),
    ("chat", "as many likely tokens as asked for", |s| assert_eq!(count(&chat(s, json!({ "logprobs": true, "top_logprobs": 3 }))["choices"][0]["logprobs"]["content"][0]["top_logprobs"]), 3)),
    ("chat", "likely tokens need log-probabilities", |s| assert_eq!(chat_status(s, json!({ "top_logprobs": 3 })), 400)),
    ("chat", "log-probabilities in a stream", |s| assert_eq!(chat_events(s, json!({ "logprobs": true })).iter().filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array()).map(Vec::len).sum::<usize>(), 8)),
    ("chat", "logit_bias is honoured", |s| assert_eq!(chat_status(s, json!({ "logit_bias": { "5": -100 } })), 200)),
    ("chat", "a prompt is made without an answer", |s| assert_eq!(ok(&s.post("/apply-template", &json!({ "model": "told", "messages": [{ "role": "user", "content": "Hi there" }] })))["prompt"].as_str().map(str::trim), Some("user: Hi there\nassistant:"))),
    ("chat", "a template must be there", |s| assert_eq!(s.post("/apply-template", &json!({ "model": "tiny", "messages": [{ "role": "user", "content": "Hi" }] })).status, 400)),
    ("anthropic", "a message is of type message", |s| assert_eq!(message(s, json!({}))["type"], "message")),
    ("anthropic", "its role is the assistant's", |s| assert_eq!(message(s, json!({}))["role"], "assistant")),
    ("anthropic", "its content is blocks", |s| assert_eq!(message(s, json!({}))["content"][0]["type"], "text")),
    ("anthropic", "its id says what it is", |s| assert!(message(s, json!({}))["id"].as_str().is_some_and(|id| id.starts_with("msg_")))),
    ("anthropic", "its end has a reason", |s| assert_eq!(message(s, json!({}))["stop_reason"], "max_tokens")),
    ("anthropic", "tokens are counted", |s| assert!(message(s, json!({}))["usage"]["output_tokens"] == 8)),
    ("anthropic", "a system prompt is read", |s| assert!(input_count(s, json!({ "system": "Be." })) > input_count(s, json!({})))),
    ("anthropic", "a system prompt in blocks", |s| drop(message(s, json!({ "system": [{ "type": "text", "text": "Be." }] })))),
    ("anthropic", "several blocks of text", |s| drop(message(s, json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "What" }, { "type": "text", "text": "is" }] }] })))),
    ("anthropic", "a conversation of several turns", |s| drop(message(s, json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "content": "b" }, { "role": "user", "content": "c" }] })))),
    ("anthropic", "a stream begins with message_start", |s| assert_eq!(message_events(s)[0]["type"], "message_start")),
    ("anthropic", "the start has an empty message", |s| assert_eq!(message_events(s)[0]["message"]["content"], json!([]))),
    ("anthropic", "a block is started", |s| assert!(message_events(s).iter().any(|event| event["type"] == "content_block_start"))),
    ("anthropic", "a block is gone on with", |s| assert!(message_events(s).iter().any(|event| event["delta"]["type"] == "text_delta"))),
    ("anthropic", "a block is stopped", |s| assert!(message_events(s).iter().any(|event| event["type"] == "content_block_stop"))),
    ("anthropic", "a stream tells the reason", |s| assert!(message_events(s).iter().any(|event| event["delta"]["stop_reason"] == "max_tokens"))),
    ("anthropic", "a stream tells the usage", |s| assert!(message_events(s).iter().any(|event| event["type"] == "message_delta" && event["usage"]["output_tokens"] == 8))),
    ("anthropic", "a stream ends with message_stop", |s| assert_eq!(last(message_events(s))["type"], "message_stop")),
    ("anthropic", "tokens are counted without an answer", |s| assert!(ok(&s.post("/v1/messages/count_tokens", &message_ask(json!({ "max_tokens": null }))))["input_tokens"].as_u64() > Some(0))),
    ("anthropic", "a system prompt is counted", |s| { let n = |extra| ok(&s.post("/v1/messages/count_tokens", &message_ask(extra)))["input_tokens"].as_u64(); assert!(n(json!({ "system": "Be." })) > n(json!({}))) }),
    ("anthropic", "results of tools are read", |s| drop(message(s, json!({ "messages": [{ "role": "user", "content": "w" }, { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "get_weather", "input": {} }] }, { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "sunny" }] }] })))),
    ("anthropic", "a result beside text is read", |s| drop(message(s, json!({ "messages": [{ "role": "user", "content": "w" }, { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "get_weather", "input": {} }] }, { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "sunny" }, { "type": "text", "text": "and?" }] }] })))),
    ("anthropic", "a failed result is read", |s| drop(message(s, json!({ "messages": [{ "role": "user", "content": "w" }, { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "get_weather", "input": {} }] }, { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "is_error": true, "content": "no" }] }] })))),
    ("anthropic", "a picture in a result is refused", |s| message_refused(s, json!({ "messages": [{ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": [{ "type": "image" }] }] }] }))),
    ("anthropic", "a picture is refused", |s| message_refused(s, json!({ "messages": [{ "role": "user", "content": [{ "type": "image", "source": {} }] }] }))),
    ("anthropic", "a tool has a schema", |s| message_refused(s, json!({ "tools": [{ "name": "x" }] }))),
    ("anthropic", "a tool has a name", |s| { let mut nameless = tool(); nameless["name"] = Value::Null; message_refused(s, json!({ "tools": [nameless] })) }),
    ("anthropic", "stop_sequences are honoured", |s| assert!(message(s, json!({ "max_tokens": 100, "temperature": 0, "stop_sequences": ["."] }))["content"][0]["text"].as_str().is_some_and(|text| !text.contains('.')))),
    ("anthropic", "temperature is honoured", |s| assert_eq!(message(s, json!({ "temperature": 0 }))["content"], message(s, json!({ "temperature": 0 }))["content"])),
    ("anthropic", "top_p is honoured", |s| assert_eq!(message(s, json!({ "temperature": 5, "top_p": 0.000_001 }))["content"], message(s, json!({ "temperature": 0 }))["content"])),
    ("anthropic", "top_k is honoured", |s| assert_eq!(message(s, json!({ "temperature": 5, "top_k": 1 }))["content"], message(s, json!({ "temperature": 0 }))["content"])),
    ("anthropic", "messages must be there", |s| message_refused(s, json!({ "messages": null }))),
    ("anthropic", "messages must not be empty", |s| message_refused(s, json!({ "messages": [] }))),
    ("anthropic", "the length must be there", |s| message_refused(s, json!({ "max_tokens": null }))),
    ("anthropic", "thinking needs a budget", |s| message_refused(s, json!({ "thinking": { "type": "enabled" } }))),
    ("anthropic", "the budget is below the length", |s| message_refused(s, json!({ "thinking": { "type": "enabled", "budget_tokens": 2000 } }))),
    ("responses", "a response's id says what it is", |s| assert!(ok(&s.post("/v1/responses", &response_ask(json!({}))))["id"].as_str().is_some_and(|id| id.starts_with("resp_")))),
    ("responses", "a message's id says what it is", |s| assert!(ok(&s.post("/v1/responses", &response_ask(json!({}))))["output"][0]["id"].as_str().is_some_and(|id| id.starts_with("msg_")))),
    ("responses", "messages of several roles", |s| drop(ok(&s.post("/v1/responses", &response_ask(json!({ "input": [{ "role": "system", "content": "Book" }, { "role": "user", "content": "What" }] })))))),
    ("responses", "a stream has one response", |s| { let events = response_events(s); assert_eq!(events[0]["response"]["id"], events[1]["response"]["id"]) }),
    ("responses", "a stream's parts name their item", |s| { let events = response_events(s); let id = &events[2]["item"]["id"]; assert!(events.iter().filter(|event| event.get("item_id").is_some()).all(|event| event["item_id"] == *id)) }),
    ("responses", "a stream's text is the response's", |s| { let events = response_events(s); let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect(); assert_eq!(events.last().expect("an end")["response"]["output"][0]["content"][0]["text"], text) }),
    ("responses", "the end of a stream has the usage", |s| assert_eq!(last(response_events(s))["response"]["usage"]["output_tokens"], 8)),
];

#[rustfmt::skip]
const WITH_A_KEY: &[Behaviour] = &[
    ("security", "health needs no key", |s| assert_eq!(s.get("/health").status, 200)),
    ("security", "no key is 401", |s| assert_eq!(s.post("/completions", &ask(json!({}))).status, 401)),
    ("security", "a wrong key is 401", |s| assert_eq!(keyed(s, "Authorization", "Bearer wrong").status, 401)),
    ("security", "the refusal has its type", |s| assert_eq!(s.post("/completions", &ask(json!({}))).json()["error"]["type"], "authentication_error")),
    ("security", "the right key is taken", |s| assert_eq!(keyed(s, "Authorization", "Bearer sesame").status, 200)),
    ("security", "the right key in Anthropic's header is taken", |s| assert_eq!(keyed(s, "X-Api-Key", "sesame").status, 200)),
    ("security", "an answer with a key has a content", |s| assert!(keyed(s, "X-Api-Key", "sesame").json()["content"].is_string())),
    ("security", "every other path needs the key", |s| for path in ["/props", "/slots", "/metrics", "/models", "/v1/models", "/api/tags", "/openapi.json", "/version", "/load", "/lora-adapters"] { assert_eq!(s.get(path).status, 401, "{path}") }),
    ("security", "a page of another site is kept out", |s| assert_eq!(s.ask("GET", "/props", &[("X-Api-Key", "sesame"), ("Origin", "http://evil.example")], b"").status, 403)),
    ("security", "no page is invited unasked", |s| assert!(!s.ask("GET", "/health", &[("Origin", "http://evil.example")], b"").head.to_ascii_lowercase().contains("access-control-allow-origin"))),
];

fn keyed(server: &Server, name: &str, value: &str) -> Answer {
    let body = ask(json!({})).to_string();
    server.ask("POST", "/completions", &[("Content-Type", "application/json"), (name, value)], body.as_bytes())
}

/// Runs all of them, and says which fail.
fn check(server: &Server, behaviours: &[Behaviour]) {
    let failed: Vec<String> = behaviours
        .iter()
        .filter(|(_, _, check)| catch_unwind(AssertUnwindSafe(|| check(server))).is_err())
        .map(|(file, name, _)| format!("{file}: {name}"))
        .collect();
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), behaviours.len(), failed.join("\n"));
}

#[test]
fn llama_server_s_behaviours_hold() {
    assert!(BEHAVIOURS.len() + WITH_A_KEY.len() >= 150);
    let Some(server) = Server::start_with_chat(&["--parallel", "2"]) else { return };
    check(&server, BEHAVIOURS);
    let Some(server) = Server::start(&["--api-key", "sesame"]) else { return };
    check(&server, WITH_A_KEY);
}
