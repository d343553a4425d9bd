//! Without a network: what is here works and opens no socket, what is not is refused with the way to get it.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Output};

use lair_testkit::{shared_data, skipped};

const LAIR: &str = env!("CARGO_BIN_EXE_lair");

fn run(program: &str, arguments: &[&str], home: &Path) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(arguments).env("LAIR_HOME", home.join("lair")).env("OLLAMA_MODELS", home.join("ollama"));
    command.env("HF_HOME", home.join("hf")).env("HOME", home).env_remove("HF_HUB_OFFLINE").env_remove("LAIR_OFFLINE");
    command.output().ok()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Commands on a model that is here.
fn local_commands(model: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["run", model, "Once upon a time", "--max-tokens", "3"],
        vec!["show", model],
        vec!["show", model, "--json"],
        vec!["list"],
        vec!["list", "--json"],
        vec!["slm", "list"],
        vec!["--version"],
    ]
}

#[test]
fn what_is_here_opens_no_socket() {
    let Some(model) = shared_data("models/stories260K-f32.gguf") else { return };
    let model = model.to_str().expect("UTF-8");
    let home = tempfile::tempdir().expect("a folder");
    let trace = home.path().join("trace");
    let strace = ["-f", "-e", "trace=socket,connect", "-o", trace.to_str().expect("UTF-8")];
    // The program must be allowed to trace at all, which some containers forbid.
    match run("strace", &[&strace[..], &["true"]].concat(), home.path()) {
        Some(output) if output.status.success() => {}
        _ => return skipped("system calls cannot be watched: strace is missing or not permitted"),
    }
    // What is looked for is found where it is.
    let connect = ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9 || true"];
    run("strace", &[&strace[..], &connect].concat(), home.path()).expect("strace was there");
    let calls = std::fs::read_to_string(&trace).expect("the trace");
    assert!(calls.contains("AF_INET"), "a socket is seen: {calls}");
    for command in local_commands(model) {
        let output = run("strace", &[&strace[..], &[LAIR], &command].concat(), home.path()).expect("strace was there");
        assert!(output.status.success(), "{command:?}: {}", stderr(&output));
        let calls = std::fs::read_to_string(&trace).expect("the trace");
        assert!(calls.contains("exited with 0"), "{command:?} was watched: {calls}");
        assert!(!calls.contains("AF_INET"), "{command:?} opened a socket: {calls}");
    }
}

#[test]
fn without_a_network_everything_local_works() {
    let Some(model) = shared_data("models/stories260K-f32.gguf") else { return };
    let model = model.to_str().expect("UTF-8");
    let home = tempfile::tempdir().expect("a folder");
    // A network of its own with no interface that is up.
    let alone = ["--net", "--map-root-user"];
    match run("unshare", &[&alone[..], &["true"]].concat(), home.path()) {
        Some(output) if output.status.success() => {}
        _ => return skipped("a network without interfaces cannot be had: unshare is missing or not permitted"),
    }
    for command in local_commands(model) {
        let output = run("unshare", &[&alone[..], &[LAIR], &command].concat(), home.path()).expect("unshare was there");
        assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    }
}

#[test]
fn what_is_missing_is_refused_early_when_offline() {
    let home = tempfile::tempdir().expect("a folder");
    for arguments in [
        &["run", "smollm2", "Hi", "--offline"][..],
        &["--offline", "run", "smollm2", "Hi"],
        &["--offline", "show", "smollm2"],
        &["run", "--offline", "--draft", "smollm2", "smollm2", "Hi"],
        &["run", "--offline", "hf.co/user/smollm2:x.gguf", "Hi"],
        &["slm", "pull", "--offline", "user/smollm2", "x.gguf"],
    ] {
        let output = run(LAIR, arguments, home.path()).expect("the program starts");
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", stderr(&output));
        for word in ["smollm2", "not on this machine", "--offline forbids", "lair pull"] {
            assert!(stderr(&output).contains(word), "{arguments:?}: `{word}` is not in: {}", stderr(&output));
        }
    }
    for command in ["pull smollm2", "push smollm2", "search qwen", "outdated", "update"] {
        let arguments: Vec<&str> = ["--offline"].into_iter().chain(command.split(' ')).collect();
        let output = run(LAIR, &arguments, home.path()).expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{command}: {}", stderr(&output));
        assert!(stderr(&output).contains("--offline forbids"), "{command}: {}", stderr(&output));
    }
    for (name, value, is_offline) in [("HF_HUB_OFFLINE", "1", true), ("LAIR_OFFLINE", "yes", true)] {
        let mut command = Command::new(LAIR);
        command.args(["run", "smollm2", "Hi"]).env("LAIR_HOME", home.path()).env("OLLAMA_MODELS", home.path());
        let output = command.env("HOME", home.path()).env(name, value).output().expect("the program starts");
        assert_eq!(stderr(&output).contains(&format!("{name} forbids")), is_offline, "{name}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(3));
    }
}
