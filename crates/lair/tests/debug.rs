//! `lair debug diff` names the first place where two sides differ. Needs the shared data; without it every test says that it
//! is skipped.

use std::path::Path;

use assert_cmd::Command;
use lair_testkit::tiny_models::TinyModel;
use serde_json::Value;

fn lair(arguments: &[&str]) -> std::process::Output {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
    command.env("LAIR_HOME", home.path().join("home")).env("LAIR_MODELS", home.path().join("models"));
    command.args(arguments).output().expect("the program starts")
}

/// What `lair debug diff` says of two sides.
fn diff(arguments: &[&str]) -> Value {
    let tokens = ["--tokens", "3,1,4,1,5,9,2,6,5,3,5,8,9,7,9,3,2,3,8,4", "--json"];
    let output = lair(&[&["debug", "diff"], arguments, &tokens].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A copy of a tiny model with one key set to another number.
fn changed(model: &TinyModel, folder: &Path, key: &str, number: &str) -> std::path::PathBuf {
    let path = folder.join("changed.gguf");
    std::fs::copy(model.path(), &path).expect("copied");
    let output = lair(&["gguf", "set", text(&path), &format!("{key}=f32:{number}")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

#[test]
fn a_wrong_base_of_the_angles_is_found_in_the_layer_that_has_it() {
    // Of Gemma 3 the first layer has a window and a base of its own: the base of the others is wrong.
    let Some(model) = TinyModel::make("gemma3") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = changed(&model, folder.path(), "gemma3.rope.freq_base", "500");
    let found = diff(&[text(&model.path()), text(&wrong)]);
    assert_eq!(found["first"], "layer.1.mixer", "{found}");
    let places: Vec<&str> =
        found["places"].as_array().expect("places").iter().filter_map(|p| p["place"].as_str()).collect();
    assert_eq!(places, ["embedding", "layer.0.mixer", "layer.0", "layer.1.mixer", "layer.1", "head"]);
    assert_eq!(found["places"][2]["error"], 0.0, "{found}");
}

#[test]
fn backends_threads_and_stored_activations_agree() {
    let Some(model) = TinyModel::make("qwen3moe") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (path, stored) = (model.path(), folder.path().join("dump.safetensors"));
    assert_eq!(diff(&[text(&path)])["first"], Value::Null, "the fast backend and the naive one");
    let threads = diff(&[text(&path), "--threads", "1", "--other-threads", "2", "--tolerance", "0"]);
    assert_eq!(threads["first"], Value::Null, "not one bit: {threads}");
    diff(&[text(&path), "--write", text(&stored)]);
    assert_eq!(diff(&[text(&path), text(&stored), "--tolerance", "0"])["first"], Value::Null);
    let other = diff(&[text(&path), text(&stored), "--backend", "naive", "--tolerance", "0"]);
    assert_ne!(other["first"], Value::Null, "backends add up in another order");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let Some(model) = TinyModel::make("qwen3") else { return };
    let path = model.path();
    let output = lair(&["debug", "diff", text(&path), "--tokens", "7000"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("token 7000 is not in the vocabulary"));
}
