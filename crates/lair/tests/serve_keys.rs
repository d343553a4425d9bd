//! Keys of clients as clients see them: what each may do, how much, and that none is let in without. Needs the shared data;
//! without it every test says that it is skipped.

mod server;

use std::io::Read;
use std::process::Command;

use serde_json::{Value, json};

use server::{Answer, Server, events, lair, named_events, until};

/// Makes a key and gives its text.
fn key(server: &Server, name: &str, options: &[&str]) -> String {
    let output = server.lair(&["key", "create", name]).args(options).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn ask(server: &Server, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("Authorization", bearer(key)), ("Content-Type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    server.ask(method, path, &headers, body.as_bytes())
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

fn completion() -> Value {
    json!({ "model": "tiny", "prompt": "Once upon a time", "max_tokens": 4, "temperature": 0 })
}

#[test]
fn a_key_is_asked_for_from_the_moment_there_is_one_and_after_the_last_is_gone() {
    let Some(server) = Server::start(&[]) else { return };
    assert_eq!(server.get("/v1/models").status, 200);
    let ci = key(&server, "ci", &[]);
    assert_eq!(server.get("/v1/models").status, 401);
    assert_eq!(header(&server.get("/v1/models"), "www-authenticate"), Some("Bearer"));
    assert_eq!(ask(&server, &ci, "GET", "/v1/models", &Value::Null).status, 200);
    assert_eq!(server.ask("GET", "/v1/models", &[("X-Api-Key", &ci)], b"").status, 200);
    assert_eq!(ask(&server, &ci[..ci.len() - 1], "GET", "/v1/models", &Value::Null).status, 401);
    assert_eq!(ask(&server, &ci, "POST", "/v1/completions", &completion()).status, 200);

    let again = server.lair(&["key", "create", "ci"]).output().expect("starts");
    assert_eq!(again.status.code(), Some(2), "a name is taken once");
    let revoked = server.lair(&["key", "revoke", "ci"]).output().expect("starts");
    assert!(revoked.status.success());
    assert_eq!(ask(&server, &ci, "GET", "/v1/models", &Value::Null).status, 401);
    assert_eq!(server.get("/v1/models").status, 401, "no key is no invitation");
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.lair(&["key", "revoke", "ci"]).output().expect("starts").status.code(), Some(3));
}

#[test]
fn what_is_kept_of_a_key_does_not_give_it_away() {
    let Some(server) = Server::start(&[]) else { return };
    let text =
        key(&server, "ci", &["--scope", "chat,models:read", "--models", "qwen*", "--rate", "2/s", "--expires", "30d"]);
    let path = server.home().join("keys.json");
    let kept = std::fs::read_to_string(&path).expect("a file");
    // Behind the key's name; its own letters may be `_` too.
    let secret = text.splitn(3, '_').nth(2).expect("a part");
    assert!(secret.len() >= 20 && !kept.contains(secret), "{kept}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }
    let listed = server.lair(&["key", "list", "--json"]).output().expect("starts");
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let one = &listed["keys"][0];
    assert_eq!((&one["name"], &one["scopes"]), (&json!("ci"), &json!(["chat", "models:read"])));
    assert_eq!((&one["models"], &one["requests_per_minute"]), (&json!(["qwen*"]), &json!(120)));
    assert!(one["expires_at"].is_string() && one["has_expired"] == false);
    let text = String::from_utf8(server.lair(&["key", "list"]).output().expect("starts").stdout).expect("text");
    assert!(text.contains("ci") && text.contains("120 requests/min") && !text.contains(secret), "{text}");
    for wrong in [&["--scope", "root"][..], &["--rate", "0"], &["--expires", "soon"], &["--tokens", "5/week"]] {
        let output = server.lair(&["key", "create", "x"]).args(wrong).output().expect("starts");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn every_route_is_closed_to_who_has_no_key_and_names_the_scope_that_lacks() {
    let Some(server) = Server::start(&["--api-key", "sesame"]) else { return };
    let metrics_only = key(&server, "watch", &["--scope", "metrics"]);
    let document = ask(&server, "sesame", "GET", "/openapi.json", &Value::Null).json();
    let (mut routes, mut open, mut scopes) = (0, Vec::new(), std::collections::BTreeSet::new());
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path =
            path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/");
        for method in methods.as_object().expect("methods").keys() {
            routes += 1;
            let method = method.to_uppercase();
            let without = server.ask(&method, &path, &[("Content-Type", "application/json")], b"{}");
            // The page's files are for everyone; there is none of this name.
            if without.status == 200 || path == "/page/x" {
                open.push(path.clone());
                continue;
            }
            assert_eq!(without.status, 401, "{method} {path}");
            for wrong in [("Authorization", "Bearer open"), ("X-Api-Key", "open"), ("Authorization", "Basic c2VzYW1l")]
            {
                let headers = [wrong, ("Content-Type", "application/json")];
                assert_eq!(server.ask(&method, &path, &headers, b"{}").status, 401, "{method} {path} {wrong:?}");
            }
            let other = ask(&server, &metrics_only, &method, &path, &json!({}));
            if other.status == 403 && method != "HEAD" {
                let body = other.json();
                let error = &body["error"];
                let said = error.as_str().or(error["message"].as_str()).or(body["detail"].as_str());
                let message = said.unwrap_or_else(|| panic!("no message in {body}")).to_owned();
                let scope = message.split('`').nth(3).expect("a scope").to_owned();
                scopes.insert(scope);
            }
        }
    }
    open.sort();
    assert_eq!(open, ["/", "/health", "/healthz", "/page/x", "/ping", "/v1/health"]);
    assert!(routes > 60, "{routes}");
    let scopes: Vec<String> = scopes.into_iter().collect();
    assert_eq!(scopes, ["admin", "chat", "embeddings", "models:read", "models:write"]);
    for (method, path) in [("GET", "/nothing"), ("GET", "/v1/completions"), ("PUT", "/health"), ("GET", "//health")] {
        assert_eq!(server.ask(method, path, &[], b"").status, 401, "{method} {path}");
    }
    assert_eq!(ask(&server, &metrics_only, "GET", "/metrics", &Value::Null).status, 200);
}

#[test]
fn a_missing_scope_is_told_in_the_words_of_each_dialect() {
    let Some(server) = Server::start(&[]) else { return };
    let reader = key(&server, "reader", &["--scope", "models:read"]);
    for (path, place, kind) in [
        ("/v1/chat/completions", "/error/type", json!("permission_error")),
        ("/v1/messages", "/error/type", json!("permission_error")),
        ("/completion", "/error/type", json!("permission_error")),
        ("/api/v0/chat/completions", "/error/type", json!("permission_error")),
    ] {
        let answer = ask(&server, &reader, "POST", path, &json!({}));
        assert_eq!((answer.status, answer.json().pointer(place)), (403, Some(&kind)), "{path}: {}", answer.body);
        assert!(answer.body.contains("`chat`"), "{path}: {}", answer.body);
    }
    let answer = ask(&server, &reader, "DELETE", "/api/delete", &json!({ "model": "tiny" }));
    assert!(answer.status == 403 && answer.json()["error"].as_str().is_some_and(|text| text.contains("models:write")));
    assert_eq!(ask(&server, &reader, "GET", "/api/tags", &Value::Null).json()["models"][0]["name"], "tiny:latest");
}

#[test]
fn a_key_sees_only_the_models_it_may_use() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    let admin = key(&server, "admin", &["--scope", "admin"]);
    let limited = key(&server, "limited", &["--scope", "chat,models:read,models:write,embeddings", "--models", "ti*"]);
    let names = |key: &str| {
        let listed = ask(&server, key, "GET", "/v1/models", &Value::Null).json();
        let models = listed["data"].as_array().expect("models").clone();
        models.iter().map(|model| model["id"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((names(&admin).len(), names(&limited)), (2, vec!["tiny:latest".to_owned()]));
    assert_eq!(ask(&server, &limited, "POST", "/v1/completions", &completion()).status, 200);
    let told = json!({ "model": "told", "messages": [{ "role": "user", "content": "x" }], "max_tokens": 1,
        "stream": false, "options": { "num_predict": 1 } });
    for path in ["/v1/chat/completions", "/api/chat", "/v1/messages"] {
        let refused = ask(&server, &limited, "POST", path, &told);
        assert_eq!(refused.status, 403, "{path}: {}", refused.body);
        assert!(refused.body.contains("limited") && refused.body.contains("told"), "{}", refused.body);
        assert_eq!(ask(&server, &admin, "POST", path, &told).status, 200, "{path}");
    }
    for (method, path, body) in [
        ("POST", "/api/show", json!({ "model": "told" })),
        ("DELETE", "/api/delete", json!({ "model": "told" })),
        ("POST", "/api/copy", json!({ "source": "told", "destination": "tiny2" })),
        ("POST", "/api/copy", json!({ "source": "tiny", "destination": "other" })),
        ("POST", "/api/create", json!({ "model": "tiny3", "from": "told", "stream": false })),
        ("POST", "/api/pull", json!({ "model": "other", "stream": false })),
        ("GET", "/v1/models/told", Value::Null),
        ("POST", "/api/v1/models/unload", json!({ "instance_id": "told" })),
    ] {
        assert_eq!(ask(&server, &limited, method, path, &body).status, 403, "{method} {path} {body}");
    }
    let pulled = ask(&server, &limited, "POST", "/api/pull", &json!({ "model": "other" }));
    assert!(pulled.body.contains("may not use"), "a stream too: {}", pulled.body);
    let loaded =
        |key: &str| ask(&server, key, "GET", "/api/ps", &Value::Null).json()["models"].as_array().map(Vec::len);
    assert_eq!((loaded(&admin), loaded(&limited)), (Some(2), Some(1)));
    let copied = ask(&server, &limited, "POST", "/api/copy", &json!({ "source": "tiny", "destination": "tiny2" }));
    assert_eq!(copied.status, 200, "{}", copied.body);
}

#[test]
fn requests_and_tokens_are_limited_by_the_minute() {
    let Some(server) = Server::start(&[]) else { return };
    let slow = key(&server, "slow", &["--rate", "2/min"]);
    let free = key(&server, "free", &[]);
    let first = ask(&server, &slow, "POST", "/v1/completions", &completion());
    assert_eq!((first.status, header(&first, "x-ratelimit-limit-requests")), (200, Some("2")));
    assert_eq!(header(&first, "x-ratelimit-remaining-requests"), Some("1"));
    assert!(header(&first, "x-ratelimit-reset-requests").is_some());
    assert_eq!(ask(&server, &slow, "GET", "/v1/models", &Value::Null).status, 200);
    for (path, pointer, kind) in [
        ("/v1/completions", "/error/code", "rate_limit_exceeded"),
        ("/v1/messages", "/error/type", "rate_limit_error"),
        ("/completion", "/error/type", "rate_limit_error"),
    ] {
        let refused = ask(&server, &slow, "POST", path, &completion());
        assert_eq!((refused.status, refused.json().pointer(pointer)), (429, Some(&json!(kind))), "{}", refused.body);
        assert_eq!(header(&refused, "x-ratelimit-remaining-requests"), Some("0"));
        let wait: u64 = header(&refused, "retry-after").expect("a time").parse().expect("seconds");
        assert!((1..=30).contains(&wait), "{wait}");
    }
    let other = ask(&server, &free, "POST", "/v1/completions", &completion());
    assert_eq!((other.status, header(&other, "x-ratelimit-limit-requests")), (200, None), "others are not held up");

    let short = key(&server, "short", &["--tokens", "20/min"]);
    let long = json!({ "model": "tiny", "prompt": "Once upon a time", "max_tokens": 40, "temperature": 0 });
    let first = ask(&server, &short, "POST", "/v1/completions", &long);
    assert_eq!(first.json()["usage"]["completion_tokens"], 40, "an answer that has begun is not cut: {}", first.body);
    let refused = ask(&server, &short, "POST", "/v1/completions", &long);
    assert!(refused.status == 429 && refused.body.contains("20 tokens a minute"), "{}", refused.body);
}

#[test]
fn requests_at_a_time_are_limited_until_their_answers_have_ended() {
    let Some(server) = Server::start(&[]) else { return };
    let one = key(&server, "one", &["--concurrent", "1"]);
    // Its body never comes: it is let in, and waits.
    let authorization = bearer(&one);
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let head = String::from_utf8(server.request("POST", "/v1/completions", &headers, b"")).expect("text");
    let head = head.replace("Content-Length: 0", "Content-Length: 99");
    let (refused, waiting) = until(|| {
        // The other request may come first; then this one is refused, and sent again.
        let waiting = server.send(head.as_bytes());
        let answer = ask(&server, &one, "GET", "/v1/models", &Value::Null);
        (answer.status == 429).then_some((answer, waiting))
    });
    assert!(refused.body.contains("1 requests of this key are open"), "{}", refused.body);
    drop(waiting);
    until(|| (ask(&server, &one, "GET", "/v1/models", &Value::Null).status == 200).then_some(()));
    let streamed = json!({ "model": "tiny", "prompt": "Once", "max_tokens": 30, "temperature": 0, "stream": true });
    let answer = ask(&server, &one, "POST", "/v1/completions", &streamed);
    assert!(!events(&answer.body).is_empty());
    until(|| (ask(&server, &one, "GET", "/v1/models", &Value::Null).status == 200).then_some(()));
}

#[test]
fn kept_answers_belong_to_the_key_that_asked() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    let (mine, other) = (key(&server, "mine", &[]), key(&server, "other", &[]));
    let question = |extra: Value| {
        let body = json!({ "model": "told", "input": "Once upon a time", "max_output_tokens": 6, "temperature": 0 });
        server::joined(&body, &extra)
    };
    let whole = ask(&server, &mine, "POST", "/v1/responses", &question(json!({}))).json();
    let streamed = ask(&server, &mine, "POST", "/v1/responses", &question(json!({ "stream": true })));
    let streamed = named_events(&streamed.body).pop().expect("an end")["response"].clone();
    for response in [whole, streamed] {
        let id = response["id"].as_str().expect("an id");
        let path = format!("/v1/responses/{id}");
        assert_eq!(ask(&server, &mine, "GET", &path, &Value::Null).status, 200);
        assert_eq!(ask(&server, &other, "GET", &path, &Value::Null).status, 404);
        assert_eq!(ask(&server, &other, "GET", &format!("{path}/input_items"), &Value::Null).status, 404);
        assert_eq!(ask(&server, &other, "DELETE", &path, &Value::Null).status, 404);
        let goes_on = question(json!({ "previous_response_id": id }));
        assert_eq!(ask(&server, &other, "POST", "/v1/responses", &goes_on).status, 404);
        assert_eq!(ask(&server, &mine, "POST", "/v1/responses", &goes_on).status, 200);
        assert_eq!(ask(&server, &mine, "DELETE", &path, &Value::Null).status, 200);
    }
}

#[test]
fn other_machines_are_let_in_only_with_a_key() {
    let home = tempfile::tempdir().expect("a folder");
    let refused = lair(home.path()).args(["serve", "--host", "0.0.0.0", "--port", "0"]).output().expect("starts");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lair key create"));
    let Some(model) = lair_testkit::shared_data("models/stories260K-f32.gguf") else { return };
    let made = lair(home.path()).args(["key", "create", "only"]).output().expect("starts");
    let text = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    let server = Server::start_in(home, &model, &[], &["--host", "0.0.0.0"], |_| ()).expect("it starts");
    assert_eq!(server.get("/v1/models").status, 401);
    assert_eq!(ask(&server, &text, "GET", "/v1/models", &Value::Null).status, 200);
    std::fs::remove_file(server.home().join("keys.json")).expect("removed");
    assert_eq!(server.get("/v1/models").status, 401, "without keys it is closed, not open");
    assert_eq!(ask(&server, &text, "GET", "/v1/models", &Value::Null).status, 401);
}

#[test]
fn keys_are_taken_from_files_and_from_the_environment_of_llama_server() {
    let Some(model) = lair_testkit::shared_data("models/stories260K-f32.gguf") else { return };
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("lines.txt");
    std::fs::write(&file, "one\n\n two \n").expect("written");
    let arguments = ["--api-key", "three,four", "--api-key-file", file.to_str().expect("text")];
    let change = |command: &mut Command| {
        command.env("LLAMA_API_KEY", "five,six").env("LAIR_API_KEY", "seven");
    };
    let server = Server::start_in(home, &model, &[], &arguments, change).expect("it starts");
    for text in ["one", "two", "three", "four", "five", "six", "seven"] {
        assert_eq!(ask(&server, text, "GET", "/v1/models", &Value::Null).status, 200, "{text}");
    }
    for text in ["three,four", "eight", ""] {
        assert_eq!(ask(&server, text, "GET", "/v1/models", &Value::Null).status, 401, "{text}");
    }
    let damaged = server.home().join("keys.json");
    std::fs::write(&damaged, "{").expect("written");
    let mut refused = server.lair(&["serve", "--port", "0"]).spawn().expect("starts");
    assert_eq!(refused.wait().expect("ends").code(), Some(2), "a file that cannot be read is no empty one");
}

#[test]
fn a_browser_may_ask_what_it_may_send_before_it_has_a_key() {
    let Some(server) = Server::start(&["--api-key", "sesame", "--allowed-origin", "http://page.example"]) else {
        return;
    };
    let preflight = [("Origin", "http://page.example"), ("Access-Control-Request-Method", "POST")];
    let answer = server.ask("OPTIONS", "/v1/chat/completions", &preflight, b"");
    assert_eq!((answer.status, header(&answer, "access-control-allow-origin")), (204, Some("http://page.example")));
    let answer = server.ask("OPTIONS", "/v1/chat/completions", &[("Origin", "http://evil.example")], b"");
    assert_eq!(header(&answer, "access-control-allow-origin"), None);
}

#[test]
fn many_wrong_keys_are_answered_late_and_the_right_one_at_once() {
    let Some(server) = Server::start(&["--api-key", "sesame"]) else { return };
    let start = std::time::Instant::now();
    for index in 0..12 {
        assert_eq!(ask(&server, &format!("wrong{index}"), "GET", "/v1/models", &Value::Null).status, 401);
    }
    assert!(start.elapsed().as_millis() >= 1000, "guessing is slowed: {:?}", start.elapsed());
    let mut byte = [0];
    let mut waiting = server.send(&server.request("GET", "/v1/models", &[("X-Api-Key", "sesame")], b""));
    assert_eq!(waiting.read(&mut byte).expect("an answer"), 1);
}
