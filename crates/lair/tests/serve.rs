//! `lair serve` as its clients see it. Needs the shared data; without it every test says that it is skipped.

mod server;

use std::io::Read;
use std::process::Command;

use serde_json::{Value, json};

use server::{Server, events, lines};

/// The first greedy tokens of the tiny model, as `lair run` gives them.
const STORY: &str = "Once upon a time";

fn completion(extra: Value) -> Value {
    let mut body = json!({ "model": "tiny", "prompt": STORY, "max_tokens": 24, "temperature": 0 });
    body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
    body
}

fn text(answer: &Value) -> String {
    answer["choices"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn completions_are_the_same_whole_streamed_alone_and_together() {
    let Some(server) = Server::start(&[]) else { return };
    let whole = server.post("/v1/completions", &completion(json!({ "logprobs": 2 }))).json();
    let expected = text(&whole);
    assert_eq!(whole["usage"]["completion_tokens"], 24);
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["choices"][0]["logprobs"]["tokens"].as_array().map(Vec::len), Some(24));

    let streamed = server.post("/v1/completions", &completion(json!({ "stream": true })));
    let pieces: String = events(&streamed.body).iter().map(text).collect();
    assert_eq!(pieces, expected);

    let together: Vec<String> = std::thread::scope(|scope| {
        let ask = || text(&server.post("/v1/completions", &completion(json!({}))).json());
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().expect("answered")).collect()
    });
    assert!(together.iter().all(|text| *text == expected), "{together:?}");

    let stop: String = expected.chars().skip(10).take(4).collect();
    let stopped = server.post("/v1/completions", &completion(json!({ "stop": stop }))).json();
    assert_eq!(text(&stopped), expected[..expected.find(&stop).expect("it is there")]);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");

    let two = server.post("/v1/completions", &completion(json!({ "n": 2, "temperature": 1, "seed": 5 }))).json();
    assert_ne!(two["choices"][0]["text"], two["choices"][1]["text"]);

    let echoed = completion(json!({ "echo": true, "logprobs": 1, "max_tokens": 0 }));
    let echoed = server.post("/v1/completions", &echoed).json();
    assert_eq!(text(&echoed).trim(), STORY);
    let logprobs = echoed["choices"][0]["logprobs"]["token_logprobs"].as_array().expect("a list").clone();
    assert!(
        logprobs[0].is_null() && logprobs[1..].iter().all(|value| value.as_f64().is_some_and(|value| value <= 0.0))
    );
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let Some(server) = Server::start(&[]) else { return };
    let chat = |extra: Value| {
        let mut body = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "hi" }] });
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        body
    };
    for (path, body, status, words) in [
        ("/v1/completions", completion(json!({ "model": "nobody" })), 404, "nobody"),
        ("/v1/completions", completion(json!({ "temperature": "hot" })), 400, "`temperature` is a string"),
        ("/v1/completions", completion(json!({ "n": 17 })), 400, "`n` is 17, 1 to 16 expected"),
        ("/v1/completions", completion(json!({ "top_p": 1.5 })), 400, "top_p"),
        ("/v1/completions", completion(json!({ "suffix": "x" })), 400, "no token for the prefix"),
        ("/v1/completions", completion(json!({ "prompt": [1_000_000] })), 400, "1000000"),
        ("/v1/completions", completion(json!({ "prompt": "once ".repeat(5000) })), 400, "fit in the context"),
        ("/v1/chat/completions", chat(json!({ "tools": [{}] })), 400, "`tools[0]`"),
        ("/v1/chat/completions", chat(json!({})), 400, "no chat template"),
        ("/v1/chat/completions", chat(json!({ "messages": [] })), 400, "`messages` is empty"),
        ("/v1/chat/completions", chat(json!({ "messages": [{ "role": "king" }] })), 400, "`king`"),
        ("/api/generate", json!({ "prompt": "x" }), 400, "`model` is missing"),
        ("/api/show", json!({ "model": "nobody" }), 404, "nobody"),
        ("/api/show", json!({ "model": "/etc/passwd" }), 404, "passwd"),
        ("/api/nothing", json!({}), 404, "/api/nothing"),
        ("/api/tags", json!({}), 405, "method"),
    ] {
        let answer = server.post(path, &body);
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.body);
        let error = answer.json()["error"].clone();
        let message = error.as_str().or(error["message"].as_str()).expect("a message").to_owned();
        assert!(message.contains(words), "{message} should mention {words}");
    }
    let long = server.post("/v1/completions", &completion(json!({ "prompt": "once ".repeat(5000) }))).json();
    assert_eq!(long["error"]["code"], "context_length_exceeded");
    assert!(long["error"]["n_prompt_tokens"].as_u64() > long["error"]["n_ctx"].as_u64());
    let ignored = server.post("/v1/completions", &completion(json!({ "odd_field": 1, "user": "me" })));
    assert!(ignored.head.contains("x-lair-ignored-fields: odd_field\r"), "{}", ignored.head);
    for body in [&b"{"[..], b"[]", b"", b"\xff\xff", "[".repeat(100_000).as_bytes()] {
        assert_eq!(server.ask("POST", "/v1/completions", &[("Content-Type", "application/json")], body).status, 400);
    }
    assert_eq!(server.get("/health").json()["status"], "ok");
}

#[test]
fn strangers_are_kept_out() {
    let Some(server) = Server::start(&["--api-key", "sesame"]) else { return };
    let ask = |headers: &[(&str, &str)]| server.ask("GET", "/v1/models", headers, b"").status;
    let key = ("Authorization", "Bearer sesame");
    assert_eq!(ask(&[]), 401);
    assert_eq!(ask(&[("Authorization", "Bearer open")]), 401);
    assert_eq!(ask(&[key]), 200);
    assert_eq!(ask(&[("X-Api-Key", "sesame")]), 200);
    assert_eq!(ask(&[key, ("Host", "rebound.example")]), 403);
    assert_eq!(ask(&[key, ("Origin", "http://evil.example")]), 403);
    assert_eq!(server.get("/health").status, 200);
    let form = [key, ("Content-Type", "text/plain")];
    assert_eq!(server.ask("POST", "/v1/completions", &form, b"{}").status, 415);
    let length = [key, ("Content-Type", "application/json")];
    let head = server.request("POST", "/v1/completions", &length, b"");
    let head = String::from_utf8(head).expect("text").replace("Content-Length: 0", "Content-Length: 99999999");
    let mut answer = [0; 12];
    server.send(head.as_bytes()).read_exact(&mut answer).expect("refused before the body is sent");
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn ollama_s_way_of_speaking() {
    let Some(server) = Server::start(&[]) else { return };
    let ask =
        json!({ "model": "tiny", "prompt": STORY, "raw": true, "options": { "temperature": 0, "num_predict": 12 } });
    let streamed = lines(&server.post("/api/generate", &ask).body);
    let last = streamed.last().expect("an end");
    let told: String = streamed.iter().filter_map(|line| line["response"].as_str()).collect();
    assert_eq!((last["done"].as_bool(), last["eval_count"].as_u64()), (Some(true), Some(12)));
    let mut whole = ask.clone();
    whole["stream"] = json!(false);
    assert_eq!(server.post("/api/generate", &whole).json()["response"], told);
    // An answer goes on where the last one ended.
    let mut more = whole.clone();
    more["context"] = last["context"].clone();
    assert_eq!(server.post("/api/generate", &more).status, 200);

    assert_eq!(server.get("/api/ps").json()["models"][0]["name"], "tiny:latest");
    let unload = server.post("/api/generate", &json!({ "model": "tiny", "keep_alive": 0 })).json();
    assert_eq!(unload["done_reason"], "unload");
    assert_eq!(server.get("/api/ps").json()["models"], json!([]));

    let create = json!({ "model": "told", "from": "tiny", "template": "{{ .Prompt }}", "parameters": { "stop": ["."], "num_predict": 8 }, "stream": false });
    assert_eq!(server.post("/api/create", &create).json()["status"], "success");
    let shown = server.post("/api/show", &json!({ "model": "told" })).json();
    assert_eq!(shown["template"], "{{ .Prompt }}");
    assert_eq!(shown["details"]["family"], "llama");
    let chat = json!({ "model": "told", "messages": [{ "role": "user", "content": STORY }], "stream": false });
    let answered = server.post("/api/chat", &chat).json();
    assert!(answered["message"]["content"].as_str().is_some_and(|text| !text.is_empty()), "{answered}");
    let of_openai = json!({ "model": "told", "messages": [{ "role": "user", "content": STORY }], "seed": 1 });
    assert_eq!(server.post("/v1/chat/completions", &of_openai).json()["choices"][0]["message"]["role"], "assistant");

    assert_eq!(server.post("/api/copy", &json!({ "source": "tiny", "destination": "other" })).status, 200);
    let names = |server: &Server| -> Vec<String> {
        let tags = server.get("/api/tags").json();
        tags["models"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|model| model["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    assert!(names(&server).contains(&"other:latest".to_owned()));
    let delete = json!({ "model": "other" }).to_string();
    let json_body = [("Content-Type", "application/json")];
    assert_eq!(server.ask("DELETE", "/api/delete", &json_body, delete.as_bytes()).status, 200);
    assert_eq!(server.ask("DELETE", "/api/delete", &json_body, delete.as_bytes()).status, 404);
    assert!(!names(&server).contains(&"other:latest".to_owned()));

    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let blob = format!("/api/blobs/{digest}");
    assert_eq!(server.ask("POST", &blob, &[], b"abd").status, 400);
    assert_eq!(server.ask("HEAD", &blob, &[], b"").status, 404);
    assert_eq!(server.ask("POST", &blob, &[], b"abc").status, 201);
    assert_eq!(server.ask("HEAD", &blob, &[], b"").status, 200);
    assert_eq!(server.ask("POST", "/api/blobs/sha256:../../x", &[], b"abc").status, 404);
}

#[test]
fn a_client_that_is_gone_frees_its_place() {
    let Some(server) = Server::start(&["--parallel", "1"]) else { return };
    let endless = completion(json!({ "max_tokens": 400, "ignore_eos": true, "stream": true })).to_string();
    let request =
        server.request("POST", "/v1/completions", &[("Content-Type", "application/json")], endless.as_bytes());
    for _ in 0..20 {
        let mut stream = server.send(&request);
        let mut first = [0; 64];
        stream.read_exact(&mut first).expect("it begins");
    }
    // With one place, an answer comes only when those before have given it back.
    assert_eq!(server.post("/v1/completions", &completion(json!({}))).status, 200);
}

/// The calls of the official client, unmodified: list, show, create, copy, pull, delete, generate, chat, ps.
#[test]
fn the_python_client_of_ollama_is_content() {
    let Some(python) = std::env::var_os("LAIR_TEST_PYTHON") else {
        lair_testkit::skipped("LAIR_TEST_PYTHON names no Python with the package `ollama`");
        return;
    };
    let Some(server) = Server::start(&[]) else { return };
    let has_client = Command::new(&python).args(["-c", "import ollama"]).status().is_ok_and(|status| status.success());
    if !has_client {
        lair_testkit::skipped("the Python of LAIR_TEST_PYTHON has no package `ollama`");
        return;
    }
    let script = r#"
import sys, ollama
c = ollama.Client(host=sys.argv[1])
names = lambda: sorted(m.model for m in c.list().models)
assert names() == ['tiny:latest'], names()
assert c.show('tiny').details.format == 'gguf'
assert c.create(model='told', from_='tiny', template='{{ .Prompt }}', system='Be brief.').status == 'success'
assert c.show('told').template == '{{ .Prompt }}' and 'Be brief.' in c.show('told').modelfile
steps = [s.status for s in c.create(model='again', from_='told', stream=True)]
assert steps[-1] == 'success' and 'writing manifest' in steps, steps
c.copy('told', 'copied')
assert names() == ['again:latest', 'copied:latest', 'tiny:latest', 'told:latest'], names()
c.delete('copied')
for call in (lambda: c.delete('copied'), lambda: c.show('copied')):
    try: call(); assert False
    except ollama.ResponseError as e: assert e.status_code == 404, e
try: c.pull('127.0.0.1:1/nobody/nothing', insecure=True); assert False
except ollama.ResponseError as e: assert '127.0.0.1:1' in e.error, e
assert c.chat('told', messages=[{'role': 'user', 'content': 'Once'}], options={'num_predict': 4}).done
parts = list(c.generate('told', 'Once', stream=True, options={'num_predict': 4, 'seed': 1}))
assert parts[-1].done and parts[-1].eval_count == 4, parts[-1]
assert c.ps().models[0].model == 'told:latest'
"#;
    let output = Command::new(&python).args(["-c", script, &format!("http://{}", server.address)]).output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
