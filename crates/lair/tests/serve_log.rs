//! What a server writes down of requests, and what it does not. Needs the shared data; without it every test says that it is
//! skipped.

mod server;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use lair_testkit::word_encoders::{self, Ending};
use serde_json::{Value, json};

use server::{Answer, Server, until};

const STORY: &str = "Once upon a time";

fn completion(extra: &Value) -> Value {
    server::joined(&json!({ "model": "tiny", "prompt": STORY, "max_tokens": 12, "temperature": 0 }), extra)
}

fn id(answer: &Answer) -> String {
    let line = answer.head.lines().find_map(|line| line.strip_prefix("x-request-id: "));
    line.expect("every answer has an id").to_owned()
}

/// The record of this answer, when it is there.
fn record(server: &Server, answer: &Answer) -> Value {
    until(|| {
        let output = server.lair(&["log", &id(answer), "--json"]).output().expect("starts");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    })
}

/// All that is recorded, as it lies on the disk.
fn on_disk(server: &Server) -> String {
    let Ok(entries) = std::fs::read_dir(server.home().join("requests")) else { return String::new() };
    entries.map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("text")).collect()
}

#[test]
fn a_record_tells_what_the_model_was_given_and_what_it_took() {
    let Some(server) = Server::start(&["--log-requests", "--api-key", "sesame"]) else { return };
    let headers = [("Content-Type", "application/json"), ("X-Api-Key", "sesame")];
    let ask = |body: Value| server.ask("POST", "/v1/completions", &headers, body.to_string().as_bytes());
    let whole = ask(completion(&json!({ "top_k": 7, "seed": 3 })));
    let usage = whole.json()["usage"].clone();
    let found = record(&server, &whole);
    assert_eq!((&found["route"], &found["method"]), (&json!("/v1/completions"), &json!("POST")));
    assert_eq!(
        (&found["status"], &found["key"], &found["dialect"]),
        (&json!(200), &json!("api-key-1"), &json!("openai"))
    );
    assert_eq!(found["model"], "tiny:latest");
    assert_eq!(found["model_digest"].as_str().map(str::len), Some(64));
    assert!(found["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")));
    let answer = &found["answers"][0];
    assert_eq!(answer["prompt_tokens"], usage["prompt_tokens"]);
    assert_eq!((&answer["completion_tokens"], &answer["finish_reason"]), (&json!(12), &json!("length")));
    assert_eq!((&answer["prompt_cut_tokens"], &answer["max_tokens"]), (&json!(0), &json!(12)));
    assert_eq!((&answer["sampling"]["temperature"], &answer["sampling"]["top_k"]), (&json!(0.0), &json!(7)));
    assert_eq!(
        (&answer["sampling"]["seed"], &answer["sampling"]["min_p"]),
        (&json!(3), &json!(0.05)),
        "after the defaults"
    );
    assert!(answer["prompt"].as_str().is_some_and(|prompt| prompt.ends_with(STORY)), "{}", answer["prompt"]);
    assert_eq!(answer["text"], whole.json()["choices"][0]["text"]);
    assert!(answer["time_to_first_token_ms"].is_number() && answer["queue_ms"].is_number());
    let again = record(&server, &ask(completion(&json!({ "stream": true }))));
    assert_eq!(again["answers"][0]["text"], answer["text"]);
    let two = record(&server, &ask(completion(&json!({ "n": 2 }))));
    assert_eq!(two["answers"].as_array().map(Vec::len), Some(2));
    let refused = record(&server, &ask(completion(&json!({ "top_p": 2 }))));
    assert_eq!((&refused["status"], &refused["error"]["kind"]), (&json!(400), &json!("bad_request")));
    let stranger = server.post("/v1/completions", &completion(&json!({})));
    let after = record(&server, &ask(completion(&json!({}))));
    assert!(after["status"] == 200 && !on_disk(&server).contains(&id(&stranger)), "who has no key leaves no record");
    assert!(refused["error"]["message"].as_str().is_some_and(|message| message.contains("top_p")));
}

#[test]
fn records_are_shown_by_id_model_and_count_and_followed() {
    let Some(server) = Server::start(&["--log-requests", "full"]) else { return };
    let answers: Vec<Answer> = (0..3).map(|_| server.post("/v1/completions", &completion(&json!({})))).collect();
    let last = record(&server, &answers[2]);
    let run = |arguments: &[&str]| {
        let output = server.lair(&["log"]).args(arguments).output().expect("starts");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let (_, listed) = run(&["--last", "2"]);
    assert_eq!(listed.lines().count(), 3, "a heading and two: {listed}");
    assert!(listed.contains(last["id"].as_str().expect("an id")) && listed.contains("length"), "{listed}");
    let (_, shown) = run(&[&id(&answers[0])]);
    assert!(shown.contains("--- prompt") && shown.contains(STORY), "{shown}");
    assert_eq!(run(&["--json", "--model", "tiny", "--since", "1h"]).1.lines().count(), 3);
    assert_eq!(run(&["--json", "--model", "other"]).1, "");
    assert_eq!(run(&["req_nothing"]).0, Some(3));
    assert_eq!(run(&["req_"]).0, Some(2), "several begin so");

    let mut following =
        server.lair(&["log", "--follow", "--json", "--last", "1"]).stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().expect("a line").expect("text")).expect("JSON");
    assert_eq!(next()["id"], last["id"]);
    let later = server.post("/v1/completions", &completion(&json!({})));
    assert_eq!(next()["id"], id(&later).as_str());
    following.kill().expect("it runs");
    following.wait().expect("it ends");
}

#[test]
fn nothing_is_recorded_unless_it_is_wished_for() {
    let Some(server) = Server::start(&[]) else { return };
    assert_eq!(server.post("/v1/completions", &completion(&json!({}))).status, 200);
    let home = server.home().join("requests");
    assert!(!home.exists());
    let output = server.lair(&["log"]).output().expect("starts");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--log-requests"));
}

#[test]
fn a_record_of_counts_holds_no_text_and_no_log_holds_a_secret() {
    let Some(server) = Server::start(&["--log-requests", "meta", "--log-level", "debug"]) else { return };
    let made = server.lair(&["key", "create", "ci", "--scope", "admin"]).output().expect("starts");
    let secret = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    let headers = [("Content-Type", "application/json"), ("X-Api-Key", secret.as_str())];
    let marked = completion(&json!({ "prompt": "plantedtext here", "stop": ["plantedstop"], "user": "plantedtext" }));
    let answer = server.ask("POST", "/v1/completions", &headers, marked.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let wrong = json!({ "model": "plantedtext", "prompt": "plantedtext" });
    let refused = server.ask("POST", "/v1/completions", &headers, wrong.to_string().as_bytes());
    assert_eq!(refused.status, 404);
    // A key where it does not belong: the path, the query, a wrong header.
    for path in [format!("/{secret}"), format!("/v1/models?key={secret}"), format!("/v1/models/{secret}")] {
        server.ask("GET", &path, &headers, b"");
        server.ask("GET", &path, &[("Authorization", "Bearer plantedsecret")], b"");
    }
    let found = record(&server, &answer);
    assert_eq!((&found["key"], &found["answers"][0]["stop_strings"]), (&json!("ci"), &json!(1)));
    assert!(found["answers"][0].get("prompt").is_none());
    record(&server, &refused);
    let ids = [id(&answer), id(&refused)];
    let said = until(|| Some(server.said()).filter(|said| ids.iter().all(|id| said.contains(id))));
    for text in [on_disk(&server), said.clone()] {
        for planted in
            ["plantedtext", "plantedstop", "plantedsecret", &secret, secret.splitn(3, '_').nth(2).expect("a part")]
        {
            assert!(!text.contains(planted), "{planted} in {text}");
        }
    }
    assert!(
        said.contains("key=ci") && said.contains("route=/v1/models/{*id}") && said.contains("route=(none)"),
        "{said}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        let folder = server.home().join("requests");
        assert_eq!(mode(&folder), 0o700);
        for entry in std::fs::read_dir(&folder).expect("read") {
            assert_eq!(mode(&entry.expect("an entry").path()), 0o600);
        }
    }
}

#[test]
fn lines_of_the_log_are_objects_where_that_is_wished_for() {
    let Some(server) = Server::start(&["--log-format", "json"]) else { return };
    let answer = server.post("/v1/completions", &completion(&json!({})));
    let refused = server.post("/api/show", &json!({ "model": "nobody" }));
    let said = until(|| Some(server.said()).filter(|said| said.contains(&id(&refused)) && said.contains(&id(&answer))));
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(lines[0]["message"], "listening");
    let of = |answer: &Answer| lines.iter().find(|line| line["id"] == id(answer).as_str()).expect("a line").clone();
    let line = of(&answer);
    assert_eq!((&line["level"], &line["status"], &line["model"]), (&json!("info"), &json!(200), &json!("tiny:latest")));
    assert!(line["prompt_tokens"].as_u64() > Some(1) && line["completion_tokens"] == 12 && line["ms"].is_number());
    assert_eq!((&of(&refused)["error"], &of(&refused)["status"]), (&json!("not_found"), &json!(404)));
}

#[test]
fn a_quiet_server_tells_only_what_is_wrong() {
    let Some(server) = Server::start(&["--log-level", "warn", "--api-key", "sesame"]) else { return };
    assert_eq!(server.get("/health").status, 200);
    let refused = server.get("/v1/models");
    let said = until(|| Some(server.said()).filter(|said| said.contains(&id(&refused))));
    assert!(said.contains("warn") && said.contains("status=401") && !said.contains("route=/health"), "{said}");
}

#[test]
fn a_client_that_goes_away_is_recorded_as_gone() {
    let Some(server) = Server::start(&["--log-requests", "meta"]) else { return };
    let long = completion(&json!({ "stream": true, "max_tokens": 400, "n": 16, "temperature": 1 }));
    let head = [("Content-Type", "application/json")];
    let mut stream = server.send(&server.request("POST", "/v1/completions", &head, long.to_string().as_bytes()));
    let mut byte = [0];
    std::io::Read::read_exact(&mut stream, &mut byte).expect("it has begun");
    drop(stream);
    let found =
        until(|| on_disk(&server).lines().next().map(|line| serde_json::from_str::<Value>(line).expect("JSON")));
    let reasons: Vec<&Value> =
        found["answers"].as_array().expect("answers").iter().map(|answer| &answer["finish_reason"]).collect();
    assert!(reasons.iter().any(|reason| **reason == "cancelled"), "{found}");
}

#[test]
fn what_was_embedded_is_counted_and_what_was_cut_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("embedder.gguf");
    let Some(()) = word_encoders::write(&path, Ending::Mean) else { return };
    let Some(server) = Server::start_with(&[("embedder", path)], &["--log-requests", "meta"]) else { return };
    let long = "one two three ".repeat(2000);
    let answer = server.post("/api/embed", &json!({ "model": "embedder", "input": ["one two", long] }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let found = record(&server, &answer);
    let embedded = &found["embedded"];
    assert_eq!((&found["model"], &embedded["inputs"]), (&json!("embedder:latest"), &json!(2)));
    assert_eq!(embedded["tokens"], answer.json()["prompt_eval_count"]);
    let cut = &embedded["cuts"][0];
    assert!(cut["input"] == 1 && cut["tokens"].as_u64() > cut["kept_tokens"].as_u64(), "{embedded}");
    assert_eq!(embedded["cuts"].as_array().map(Vec::len), Some(1));
    let refused = json!({ "model": "embedder", "input": "one two three ".repeat(2000), "truncate": false });
    let refused = record(&server, &server.post("/api/embed", &refused));
    assert_eq!((&refused["status"], &refused["error"]["kind"]), (&json!(400), &json!("context_exceeded")));
}

#[test]
fn records_stay_within_their_quota() {
    let Some(server) = Server::start(&["--log-requests", "meta", "--log-quota", "8KB"]) else { return };
    let answers: Vec<Answer> =
        (0..60).map(|_| server.post("/v1/completions", &completion(&json!({ "max_tokens": 1 })))).collect();
    record(&server, &answers[59]);
    let length = on_disk(&server).len();
    assert!((1000..=8000).contains(&length), "{length}");
}

#[test]
#[cfg(unix)]
fn a_log_that_nobody_reads_holds_up_neither_requests_nor_the_end() {
    use std::io::Read;
    use std::process::Command;
    let home = tempfile::tempdir().expect("a folder");
    let mut process = server::lair(home.path())
        .args(["serve", "--port", "0", "--log-level", "debug"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stderr = process.stderr.take().expect("piped");
    // The first line alone is read: the pipe fills up after some thousand lines.
    let mut line = Vec::new();
    let mut byte = [0];
    while byte[0] != b'\n' {
        stderr.read_exact(&mut byte).expect("a line");
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).expect("text");
    let address = line.trim().strip_prefix("listening on http://").expect("an address");
    for _ in 0..50 {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        let one = format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n");
        std::io::Write::write_all(&mut stream, one.repeat(100).as_bytes()).expect("sent");
        let (mut answers, mut piece) = (Vec::new(), [0; 65536]);
        while String::from_utf8_lossy(&answers).matches("HTTP/1.1 200").count() < 100 {
            let length = stream.read(&mut piece).expect("answers");
            assert!(length > 0, "the connection stays");
            answers.extend_from_slice(&piece[..length]);
        }
    }
    assert!(Command::new("kill").arg(process.id().to_string()).status().is_ok_and(|status| status.success()));
    assert!(process.wait().expect("it ends").success());
}
