//! Checkpoints as a user meets them: run as they are, shown, converted, made into stored models.

#[path = "../../lair-convert/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use lair_gguf::GgufFile;
use serde_json::Value;
use support::Checkpoint;

/// Runs the program with a home of its own.
fn lair(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
    for name in ["LAIR_MODELS", "OLLAMA_MODELS", "HF_HUB_CACHE", "XDG_CACHE_HOME", "LAIR_FOLDERS"] {
        command.env_remove(name);
    }
    command.env("HOME", home).env("LAIR_HOME", home.join("lair")).env("HF_HOME", home.join("hf"));
    command.env("LAIR_OFFLINE", "1").current_dir(home).args(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).expect("--json prints JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// What the model says first, without chance.
fn answer(home: &Path, model: &str) -> String {
    stdout(&lair(home, &["run", model, "a model is data", "--temperature", "0", "--max-tokens", "12"]))
}

#[test]
fn a_checkpoint_is_run_as_it_is_and_says_the_same_when_converted() {
    let home = tempfile::tempdir().expect("a folder");
    let checkpoint = Checkpoint::make("qwen3");
    let folder = text(checkpoint.path());
    let as_it_is = answer(home.path(), folder);

    let planned = json(&lair(home.path(), &["convert", folder, "out.gguf", "--dry-run", "--json"]));
    assert_eq!((planned["written"].as_bool(), planned["architecture"].as_str()), (Some(false), Some("qwen3")));
    assert!(!home.path().join("out.gguf").exists(), "a dry run writes nothing");

    let written = json(&lair(home.path(), &["convert", folder, "out.gguf", "--json"]));
    let path = home.path().join("out.gguf");
    let length = std::fs::metadata(&path).expect("the file is there").len();
    assert_eq!(written["size_bytes"], length);
    assert_eq!(planned["size_bytes"], length, "a dry run says how large the file will be");
    assert_eq!(answer(home.path(), text(&path)), as_it_is);

    let shown = stdout(&lair(home.path(), &["show", folder]));
    assert!(shown.contains("qwen3"), "{shown}");
}

#[test]
fn every_type_of_the_command_line_is_written() {
    let home = tempfile::tempdir().expect("a folder");
    let checkpoint = Checkpoint::make("llama");
    for (name, expected) in [("f32", "F32"), ("f16", "F16"), ("bf16", "BF16"), ("q8_0", "Q8_0"), ("auto", "F32")] {
        stdout(&lair(home.path(), &["convert", text(checkpoint.path()), "out.gguf", "--type", name]));
        let file = GgufFile::open(home.path().join("out.gguf")).expect("a model");
        assert_eq!(file.required_tensor("blk.0.ffn_up.weight").expect("there").tensor_type.name(), expected, "{name}");
    }
    let refused = lair(home.path(), &["convert", text(checkpoint.path()), "--type", "q3"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_snapshot_in_the_cache_of_the_hub_is_run_by_its_name() {
    let home = tempfile::tempdir().expect("a folder");
    let checkpoint = Checkpoint::make("llama");
    let repository = home.path().join("hf/hub/models--some--tiny-llama");
    let snapshot = repository.join("snapshots/0123456789012345678901234567890123456789");
    std::fs::create_dir_all(&snapshot).expect("made");
    std::fs::create_dir_all(repository.join("refs")).expect("made");
    std::fs::write(repository.join("refs/main"), "0123456789012345678901234567890123456789").expect("written");
    for entry in std::fs::read_dir(checkpoint.path()).expect("a folder") {
        let path = entry.expect("readable").path();
        std::fs::copy(&path, snapshot.join(path.file_name().expect("a name"))).expect("copied");
    }
    assert_eq!(answer(home.path(), "some/tiny-llama"), answer(home.path(), text(checkpoint.path())));
}

#[test]
fn a_modelfile_may_name_a_checkpoint() {
    let home = tempfile::tempdir().expect("a folder");
    let checkpoint = Checkpoint::make("gemma");
    let modelfile = home.path().join("Modelfile");
    std::fs::write(&modelfile, format!("FROM {}\nSYSTEM Be short.\n", text(checkpoint.path()))).expect("written");
    stdout(&lair(home.path(), &["create", "mine", "-f", text(&modelfile)]));
    let shown = json(&lair(home.path(), &["show", "mine", "--json"]));
    assert_eq!(shown["architecture"], "gemma", "{shown}");
}

#[test]
fn what_is_no_checkpoint_is_refused_with_a_reason() {
    let home = tempfile::tempdir().expect("a folder");
    let check = |arguments: &[&str], code: i32, said: &str| {
        let output = lair(home.path(), arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains(said), "{message:?} does not say {said:?}");
    };
    check(&["convert", "."], 3, "no checkpoint");
    let malicious = home.path().join("model.pt");
    std::fs::write(&malicious, b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.").expect("written");
    check(&["convert", text(&malicious)], 4, "`posix.system`");
    check(&["run", text(&malicious), "hi"], 4, "`posix.system`");
}
