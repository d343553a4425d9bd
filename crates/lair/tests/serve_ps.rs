//! `lair ps` and `lair stop` as clients of a running server. Needs the shared data; without it every test says that it is
//! skipped.

#[allow(dead_code, reason = "each test of a server uses another part of the harness")]
mod server;

use std::process::{Command, Output};

use serde_json::{Value, json};

use server::Server;

fn lair(address: &str, key: Option<&str>, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lair"));
    command.env("LAIR_HOME", home.path()).env("LAIR_HOST", address).env_remove("LAIR_API_KEY");
    // A proxy that swallows everything: a server on this machine is asked without it.
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("ALL_PROXY", "http://127.0.0.1:9").env_remove("NO_PROXY");
    if let Some(key) = key {
        command.env("LAIR_API_KEY", key);
    }
    command.args(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).expect("JSON")
}

#[test]
fn what_is_in_memory_is_listed_and_given_up() {
    let Some(server) = Server::start(&["--keep-alive", "-1"]) else { return };
    let ask = |arguments: &[&str]| lair(&server.address, None, arguments);
    let header = ["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"];
    assert_eq!(stdout(&ask(&["ps"])).split_whitespace().collect::<Vec<_>>(), header);
    assert_eq!(stdout(&ask(&["stop", "tiny"])), "'tiny' was not loaded\n");

    assert_eq!(server.post("/api/generate", &json!({ "model": "tiny" })).status, 200);
    let table = stdout(&ask(&["ps"]));
    let row = table.lines().nth(1).unwrap_or_else(|| panic!("no model in {table}"));
    assert!(row.starts_with("tiny:latest ") && row.contains("100% CPU") && row.ends_with("Forever"), "{row}");
    assert_eq!(stdout(&ask(&["ps", "other"])).lines().count(), 1);
    let listed = json_of(&ask(&["ps", "--json", "TI"]));
    assert_eq!(listed["server"], format!("http://{}", server.address));
    assert_eq!(listed["models"][0]["name"], "tiny:latest");
    assert!(listed["models"][0]["size_bytes"].as_u64() > Some(0) && listed["models"][0]["context_length"] == 512);
    assert_eq!(listed["models"][0]["digest"].as_str().map(str::len), Some(64));

    assert_eq!(server.post("/api/generate", &json!({ "model": "tiny", "keep_alive": "50m" })).status, 200);
    let timed = stdout(&ask(&["ps"]));
    assert!(timed.contains("49 minutes from now") || timed.contains("50 minutes from now"), "{timed}");

    let stopped = ask(&["stop", "nobody", "tiny"]);
    assert_eq!(stopped.status.code(), Some(3), "{}", stderr(&stopped));
    assert!(stderr(&stopped).contains("couldn't find model \"nobody\" to stop"), "{}", stderr(&stopped));
    assert_eq!(String::from_utf8_lossy(&stopped.stdout), "stopped 'tiny'\n");
    assert_eq!(json_of(&ask(&["ps", "--json"]))["models"], json!([]));
    assert_eq!(json_of(&ask(&["stop", "tiny", "--json"]))["models"][0]["was_loaded"], false);
}

#[test]
fn a_server_that_asks_for_a_key_gets_it() {
    let Some(server) = Server::start(&["--api-key", "sesame"]) else { return };
    let refused = lair(&server.address, None, &["ps"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("--api-key"), "{}", stderr(&refused));
    stdout(&lair(&server.address, Some("sesame"), &["ps"]));
    stdout(&lair("127.0.0.1:1", None, &["ps", "--host", &server.address, "--api-key", "sesame", "--offline"]));
}

#[test]
fn no_server_is_said_plainly() {
    // A port that nobody listens on: one that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    for arguments in [&["ps"][..], &["stop", "tiny"]] {
        let output = lair(&address, None, arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", stderr(&output));
        for word in [&format!("no server runs at http://{address}"), "lair serve"] {
            assert!(stderr(&output).contains(word), "{arguments:?}: `{word}` is not in: {}", stderr(&output));
        }
    }
    let output = lair(&address, None, &["ps", "--json"]);
    let told: Value = serde_json::from_str(&stderr(&output)).expect("JSON");
    assert_eq!(told["error"]["exit_code"], 3);
    for (arguments, code) in
        [(&["stop"][..], 2), (&["ps", "--host", "ftp://x"], 2), (&["--offline", "ps", "--host", "models.example:1"], 2)]
    {
        assert_eq!(lair(&address, None, arguments).status.code(), Some(code), "{arguments:?}");
    }
}
