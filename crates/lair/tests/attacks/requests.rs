//! Bodies and parameters: lines 1 to 30.

use serde_json::{Value, json};

use crate::world::{World, ask, chat};
use crate::{Case, Try};

/// Routes that take JSON, of every dialect, each with a request that is answered.
fn answered() -> Vec<(&'static str, Value)> {
    let user = json!([{ "role": "user", "content": "hi" }]);
    let few = json!({ "num_predict": 2 });
    vec![
        ("/v1/completions", json!({ "model": "tiny", "prompt": "Once", "max_tokens": 2 })),
        ("/v1/chat/completions", json!({ "model": "told", "messages": user, "max_tokens": 2 })),
        ("/v1/responses", json!({ "model": "told", "input": "hi", "max_output_tokens": 16 })),
        ("/v1/messages", json!({ "model": "told", "messages": user, "max_tokens": 2 })),
        ("/v1/messages/count_tokens", json!({ "model": "told", "messages": user })),
        ("/completion", json!({ "model": "tiny", "prompt": "Once", "n_predict": 2 })),
        ("/tokenize", json!({ "model": "tiny", "content": "Once" })),
        ("/detokenize", json!({ "model": "tiny", "tokens": [5] })),
        ("/apply-template", json!({ "model": "told", "messages": user })),
        ("/api/generate", json!({ "model": "tiny", "prompt": "Once", "raw": true, "stream": false, "options": few })),
        ("/api/chat", json!({ "model": "told", "messages": user, "stream": false, "options": few })),
        ("/api/show", json!({ "model": "tiny" })),
        ("/api/v0/chat/completions", json!({ "model": "told", "messages": user, "max_tokens": 2 })),
        ("/api/v0/completions", json!({ "model": "tiny", "prompt": "Once", "max_tokens": 2 })),
    ]
}

fn on_every_route(check: impl Fn(&str)) {
    answered().iter().for_each(|(path, _)| check(path));
}

/// What no field expects, or only one field does.
fn odd_values() -> Vec<Value> {
    let all = json!([
        true, -1, 0, 1.5, 1e308, -1e308, i64::MIN, u64::MAX, "", "NaN", "\u{0}", [], {}, [[]], [-1], [{}], { "a": [1] }
    ]);
    all.as_array().expect("a list").clone()
}

/// Sends every odd value in every field that a route says it has. Nothing may be the server's fault.
fn wrong_types(world: &World) {
    let document = world.open.get("/openapi.json").json();
    let mut sent = 0;
    for (path, body) in answered() {
        let schema = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let names = schema["properties"].as_object().unwrap_or_else(|| panic!("{path} has no fields")).keys();
        for name in names {
            for value in odd_values() {
                let mut body = body.clone();
                body[name] = value;
                let answer = world.open.post(path, &body);
                assert!((200..500).contains(&answer.status), "{path} {body}: {} {}", answer.status, answer.body);
                sent += 1;
            }
        }
    }
    assert!(sent > 2000, "{sent}");
}

fn wrong_options(world: &World) {
    let names = [
        "num_ctx",
        "num_predict",
        "num_keep",
        "seed",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "temperature",
        "stop",
        "repeat_last_n",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
        "mirostat",
        "mirostat_tau",
        "mirostat_eta",
        "num_batch",
        "num_gpu",
        "num_thread",
        "use_mmap",
        "logprobs",
    ];
    for name in names {
        for value in odd_values() {
            let options = json!({ "num_predict": 2, name: value });
            let body = json!({ "model": "tiny", "prompt": "x", "raw": true, "stream": false, "options": options });
            let answer = world.open.post("/api/generate", &body);
            assert!((200..500).contains(&answer.status), "{body}: {} {}", answer.status, answer.body);
        }
    }
}

fn context_length(world: &World) -> usize {
    let props = world.open.get("/props?model=tiny").json();
    props["default_generation_settings"]["n_ctx"].as_u64().expect("a number") as usize
}

fn prompts_about_the_context(world: &World) {
    let length = context_length(world);
    for (count, is_fitting) in [(length - 1, true), (length, false), (length + 1, false)] {
        for is_stream in [false, true] {
            let body = json!({ "model": "tiny", "prompt": vec![5; count], "n_predict": 4, "stream": is_stream });
            let answer = world.open.post("/completion", &body);
            if is_fitting {
                assert_eq!(answer.status, 200, "{count}: {}", answer.body);
                continue;
            }
            assert_eq!(answer.status, 400, "{count}: {}", answer.body);
            let error = &answer.json()["error"];
            assert_eq!(error["type"], "exceed_context_size_error");
            assert_eq!((&error["n_prompt_tokens"], &error["n_ctx"]), (&json!(count), &json!(length)));
        }
    }
}

/// The ids of this model's two control tokens, in a conversation whose user says this.
fn control_tokens(world: &World, said: &str) -> usize {
    let messages = json!([{ "role": "user", "content": said }]);
    let answer = world.open.post("/tokenize", &json!({ "model": "told", "messages": messages }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let tokens = answer.json()["tokens"].as_array().expect("a list").clone();
    tokens.iter().filter(|&token| *token == 1 || *token == 2).count()
}

fn spelled_control_tokens(world: &World) {
    let plain = control_tokens(world, "hi");
    for said in ["</s><s>", "<|im_start|>system", "<s>[INST]</s>", "<|eot_id|><|endoftext|>", "<unk></s></s></s>"] {
        assert_eq!(control_tokens(world, said), plain, "{said}");
    }
}

/// Routes of llama-server, whose clients do not name the model.
const OF_ONE_MODEL: [&str; 4] = ["/completion", "/tokenize", "/detokenize", "/apply-template"];

fn names_of_models(world: &World) {
    let long = "a".repeat(10_000);
    let names = [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/x",
        "/etc/passwd",
        "./tiny",
        "tiny\u{0}",
        "",
        " ",
        "\u{202e}tiny",
        "模型",
        "CON",
        "a:b:c",
        "@sha256:",
        "http://127.0.0.1/x",
        "file:///etc/passwd",
        &long,
        "tiny/../tiny",
        "-rf",
        "$(id)",
    ];
    for name in names {
        for (path, mut body) in answered() {
            body["model"] = json!(name);
            let answer = world.open.post(path, &body);
            // Without a name these routes take the only model that is loaded, and whether another one still is depends on what
            // ran before.
            let may_answer = name.trim().is_empty() && OF_ONE_MODEL.contains(&path);
            let is_answered = may_answer && answer.status == 200;
            assert!(
                is_answered || matches!(answer.status, 400 | 404),
                "{path} {name}: {} {}",
                answer.status,
                answer.body
            );
            assert!(!answer.body.contains("root:"), "{}", answer.body);
        }
    }
    for name in ["..%2f..%2fetc%2fpasswd", "%00", "%ff", "..;/x"] {
        let answer = world.open.get(&format!("/v1/models/{name}"));
        assert!(matches!(answer.status, 400 | 404), "{name}: {}", answer.body);
    }
}

fn tool(name: &str, parameters: Value) -> Value {
    json!([{ "type": "function", "function": { "name": name, "parameters": parameters } }])
}

fn chat_ends(world: &World, extra: Value) {
    let answer = world.open.post("/v1/chat/completions", &chat(extra));
    assert!(matches!(answer.status, 200 | 400), "{}", answer.body);
}

fn long_texts(world: &World) {
    for piece in ["a", "\n", "\u{200d}", "\u{1F468}\u{200d}", "é", "漢", " "] {
        let prompt = piece.repeat((1 << 20) / piece.len());
        let answer = world.refused(400, "/completion", &json!({ "model": "tiny", "prompt": prompt }));
        assert_eq!(answer.json()["error"]["type"], "exceed_context_size_error", "{piece:?}");
    }
}

fn template_in_a_body(world: &World) {
    for (name, value) in [("chat_template", json!("{{ 1 }}")), ("chat_template", json!("{% for x in range(10**9) %}"))]
    {
        let mut body = chat(json!({}));
        body[name] = value;
        world.refused(400, "/v1/chat/completions", &body);
    }
    let generate = json!({ "model": "tiny", "prompt": "x", "template": "{{ range .X }}", "stream": false });
    world.refused(400, "/api/generate", &generate);
}

fn template_variables(world: &World) {
    let text = |extra: Value| {
        let answer = world.open.post("/v1/chat/completions", &chat(extra));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["choices"][0]["message"]["content"].clone()
    };
    let plain = text(json!({}));
    for odd in [json!({ "tokenize": true }), json!({ "__class__": "x", "return_tensors": "pt" })] {
        assert_eq!(text(json!({ "chat_template_kwargs": odd })), plain);
    }
    let own = chat(json!({ "chat_template_kwargs": { "messages": [] } }));
    let answer = world.open.post("/v1/chat/completions", &own);
    assert!(matches!(answer.status, 200 | 400), "{}", answer.body);
}

fn keep_alive(world: &World) {
    let body = |value: Value| json!({ "model": "tiny", "prompt": "x", "raw": true, "stream": false, "keep_alive": value, "options": { "num_predict": 1 } });
    for odd in [json!("x"), json!("1e400h"), json!([1]), json!("5 parsecs")] {
        world.refused(400, "/api/generate", &body(odd));
    }
    for odd in [json!("-1h"), json!(1_000_000_000_000_000_000_u64), json!("999999999999h"), json!(-1), json!(1e300)] {
        let answer = world.open.post("/api/generate", &body(odd.clone()));
        assert!(matches!(answer.status, 200 | 400), "{odd}: {}", answer.body);
    }
    assert_eq!(world.open.post("/api/generate", &body(json!("5m"))).status, 200);
}

#[rustfmt::skip]
pub const ATTACKS: &[Case] = &[
    (1, "an empty body", Try::On(|w| on_every_route(|path| w.refused_bytes(400, path, b"")))),
    (1, "a body of null", Try::On(|w| on_every_route(|path| w.refused_bytes(400, path, b"null")))),
    (1, "a body of a list", Try::On(|w| on_every_route(|path| w.refused_bytes(400, path, b"[]")))),
    (1, "a body of a string", Try::On(|w| on_every_route(|path| w.refused_bytes(400, path, b"\"x\"")))),
    (1, "two megabytes of brackets", Try::On(|w| on_every_route(|path| w.refused_bytes(400, path, &vec![b'['; 2 << 20])))),
    (1, "bytes that are no text", Try::On(|w| on_every_route(|path| w.refused_bytes(400, path, b"{\"prompt\": \"\xff\xfe\"}")))),
    (2, "lists 100,000 deep in a field", Try::On(|w| w.refused_bytes(400, "/v1/completions", format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)).as_bytes()))),
    (2, "objects 100,000 deep in a field", Try::On(|w| w.refused_bytes(400, "/v1/chat/completions", format!("{{\"x\":{}1{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000)).as_bytes()))),
    (3, "a key twice: the last one counts", Try::On(|w| { let answer = w.open.ask("POST", "/v1/completions", &[("Content-Type", "application/json")], br#"{"model":"tiny","prompt":"Once","max_tokens":1,"max_tokens":3,"ignore_eos":true,"temperature":0}"#); assert_eq!(answer.json()["usage"]["completion_tokens"], 3, "{}", answer.body) })),
    (4, "half a surrogate pair", Try::On(|w| w.refused_bytes(400, "/v1/completions", br#"{"model":"tiny","prompt":"\ud800"}"#))),
    (5, "a zero byte in a prompt", Try::On(|w| w.completion_ends(json!({ "prompt": "a\u{0}b" })))),
    (5, "a zero byte in a stop string", Try::On(|w| w.completion_ends(json!({ "stop": "\u{0}" })))),
    (5, "a zero byte in the name of a field", Try::On(|w| w.completion_ends(json!({ "a\u{0}b": 1 })))),
    (6, "the number 1e999", Try::On(|w| w.refused_bytes(400, "/v1/completions", br#"{"model":"tiny","prompt":"x","temperature":1e999}"#))),
    (6, "minus nought", Try::On(|w| { let answer = w.open.ask("POST", "/v1/completions", &[("Content-Type", "application/json")], br#"{"model":"tiny","prompt":"x","temperature":-0,"max_tokens":1}"#); assert_eq!(answer.status, 200, "{}", answer.body) })),
    (6, "2^64 tokens", Try::On(|w| w.refused_bytes(400, "/v1/completions", br#"{"model":"tiny","prompt":"x","max_tokens":18446744073709551616}"#))),
    (6, "a number of 10,000 digits", Try::On(|w| w.refused_bytes(400, "/v1/completions", format!(r#"{{"model":"tiny","prompt":"x","max_tokens":{}}}"#, "9".repeat(10_000)).as_bytes()))),
    (7, "every odd value in every field of every dialect", Try::On(wrong_types)),
    (7, "every odd value in every option", Try::On(wrong_options)),
    (8, "no messages", Try::On(|w| drop(w.refused(400, "/v1/chat/completions", &json!({ "model": "told" }))))),
    (8, "an empty list of messages", Try::On(|w| drop(w.refused(400, "/v1/chat/completions", &chat(json!({ "messages": [] })))))),
    (8, "messages of Anthropic's dialect missing", Try::On(|w| drop(w.refused(400, "/v1/messages", &json!({ "model": "told", "max_tokens": 2 }))))),
    (9, "a role that is a number", Try::On(|w| drop(w.refused(400, "/v1/chat/completions", &chat(json!({ "messages": [{ "role": 5, "content": "x" }] })))))),
    (9, "an unknown role", Try::On(|w| drop(w.refused(400, "/v1/chat/completions", &chat(json!({ "messages": [{ "role": "king", "content": "x" }] })))))),
    (10, "4,097 messages", Try::On(|w| drop(w.refused(400, "/v1/chat/completions", &chat(json!({ "messages": vec![json!({ "role": "user", "content": "x" }); 4097] })))))),
    (10, "4,097 messages in Ollama's dialect", Try::On(|w| drop(w.refused(400, "/api/chat", &json!({ "model": "told", "messages": vec![json!({ "role": "user", "content": "x" }); 4097] }))))),
    (10, "4,097 messages in Anthropic's dialect", Try::On(|w| drop(w.refused(400, "/v1/messages", &json!({ "model": "told", "max_tokens": 2, "messages": vec![json!({ "role": "user", "content": "x" }); 4097] }))))),
    (11, "a part of an unknown type", Try::On(|w| drop(w.refused(400, "/v1/chat/completions", &chat(json!({ "messages": [{ "role": "user", "content": [{ "type": "hologram", "hologram": {} }] }] })))))),
    (12, "10^9 answers", Try::On(|w| w.completion_refused(json!({ "n": 1_000_000_000 })))),
    (12, "10^9 answers of llama-server", Try::On(|w| drop(w.refused(400, "/completion", &json!({ "model": "tiny", "prompt": "x", "n_cmpl": 1_000_000_000 }))))),
    (13, "the best of 10^9", Try::On(|w| w.completion_refused(json!({ "best_of": 1_000_000_000 })))),
    (14, "-2 tokens", Try::On(|w| w.completion_refused(json!({ "max_tokens": -2 })))),
    (14, "2^63 tokens", Try::On(|w| w.completion_refused(json!({ "max_tokens": 1_u64 << 63 })))),
    (14, "2^62 tokens end with the context", Try::On(|w| { w.completes(json!({ "max_tokens": 1_u64 << 52, "stop": "a" })); })),
    (15, "log-probabilities of -1", Try::On(|w| w.completion_refused(json!({ "logprobs": -1 })))),
    (15, "log-probabilities of a million", Try::On(|w| w.completion_refused(json!({ "logprobs": 1_000_000 })))),
    (15, "a million probabilities of llama-server", Try::On(|w| drop(w.refused(400, "/completion", &json!({ "model": "tiny", "prompt": "x", "n_probs": 1_000_000 }))))),
    (16, "a bias on token -1", Try::On(|w| w.completion_refused(json!({ "logit_bias": { "-1": 1 } })))),
    (16, "a bias beyond the vocabulary", Try::On(|w| w.completion_refused(json!({ "logit_bias": { "512": 1 } })))),
    (16, "a bias on token 10^12", Try::On(|w| w.completion_refused(json!({ "logit_bias": { "1000000000000": 1 } })))),
    (16, "a bias of 1e308", Try::On(|w| w.completion_refused(json!({ "logit_bias": { "5": 1e308 } })))),
    (17, "10,000 stop strings", Try::On(|w| w.completion_refused(json!({ "stop": vec!["x"; 10_000] })))),
    (17, "a stop string of a megabyte", Try::On(|w| w.completion_refused(json!({ "stop": "x".repeat(1 << 20) })))),
    (17, "an empty stop string is none", Try::On(|w| { w.completes(json!({ "stop": "" })); })),
    (18, "a temperature of 1e308", Try::On(|w| w.completion_refused(json!({ "temperature": 1e308 })))),
    (18, "a temperature of -1", Try::On(|w| w.completion_refused(json!({ "temperature": -1 })))),
    (18, "a temperature that is no number", Try::On(|w| w.completion_refused(json!({ "temperature": "NaN" })))),
    (18, "a top-p of -1", Try::On(|w| w.completion_refused(json!({ "top_p": -1 })))),
    (18, "a repeat penalty of 0", Try::On(|w| w.completion_refused(json!({ "repeat_penalty": 0 })))),
    (19, "a seed of -1", Try::On(|w| w.completion_ends(json!({ "seed": -1 })))),
    (19, "a seed of 2^64", Try::On(|w| w.refused_bytes(400, "/v1/completions", br#"{"model":"tiny","prompt":"x","seed":18446744073709551616}"#))),
    (20, "tokens to drop below nought", Try::On(|w| drop(w.refused(400, "/completion", &json!({ "model": "tiny", "prompt": "x", "n_discard": -1 }))))),
    (20, "tokens to keep below -1", Try::On(|w| drop(w.refused(400, "/completion", &json!({ "model": "tiny", "prompt": "x", "n_keep": -5 }))))),
    (21, "token -1 in a prompt", Try::On(|w| w.completion_refused(json!({ "prompt": [-1] })))),
    (21, "a token beyond the vocabulary", Try::On(|w| w.completion_refused(json!({ "prompt": [512] })))),
    (21, "a token beyond the vocabulary to be shown", Try::On(|w| drop(w.refused(400, "/detokenize", &json!({ "model": "tiny", "tokens": [512] }))))),
    (21, "a million tokens", Try::On(|w| w.completion_refused(json!({ "prompt": vec![5; 1_000_000] })))),
    (21, "a million tokens and texts", Try::On(|w| drop(w.refused(400, "/completion", &json!({ "model": "tiny", "prompt": (0..1_000_000).map(|i| if i % 2 == 0 { json!(5) } else { json!("a") }).collect::<Vec<_>>() }))))),
    (22, "a prompt of the context less one, of all of it, and one more", Try::On(prompts_about_the_context)),
    (23, "a megabyte of one character", Try::On(long_texts)),
    (24, "the spelling of control tokens in what a user says", Try::On(spelled_control_tokens)),
    (25, "names of models that are paths", Try::On(names_of_models)),
    (26, "unknown fields are named in a header", Try::On(|w| { let answer = w.open.post("/v1/completions", &ask(json!({ "odd_one": 1, "odd_two": {} }))); assert!(answer.status == 200 && answer.head.contains("odd_one") && answer.head.contains("odd_two"), "{}", answer.head) })),
    (26, "an unknown field cannot split the header", Try::On(|w| { let answer = w.open.post("/v1/completions", &ask(json!({ "x\r\nSet-Cookie: a": 1 }))); assert!(answer.status == 200 && !answer.head.contains("Set-Cookie"), "{}", answer.head) })),
    (27, "options of a stream that is none", Try::On(|w| w.completion_ends(json!({ "stream_options": { "include_usage": true } })))),
    (28, "100,000 tools", Try::On(|w| drop(w.refused(400, "/v1/chat/completions", &chat(json!({ "tools": vec![tool("x", json!({}))[0].clone(); 100_000] })))))),
    (28, "a tool named __proto__", Try::On(|w| chat_ends(w, json!({ "tools": tool("__proto__", json!({ "type": "object" })) })))),
    (28, "a tool whose schema refers to itself", Try::On(|w| chat_ends(w, json!({ "tools": tool("x", json!({ "$ref": "#" })), "tool_choice": "required" })))),
    (29, "a template in the body", Try::On(template_in_a_body)),
    (29, "variables of a template that look like options", Try::On(template_variables)),
    (30, "times to stay in memory that are none", Try::On(keep_alive)),
];
