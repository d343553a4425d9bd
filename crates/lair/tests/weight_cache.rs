//! `--weight-cache` as a user meets it: the same answers, from files that are kept, damaged, shared and cleared away.

#[path = "../../lair-convert/tests/support/mod.rs"]
mod support;

#[cfg(unix)]
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime};

use assert_cmd::Command;
use serde_json::Value;
use support::Checkpoint;

fn lair(home: &Path, arguments: &[&str]) -> Output {
    lair_with(home, &[], arguments)
}

fn lair_with(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
    for name in ["LAIR_MODELS", "OLLAMA_MODELS", "HF_HUB_CACHE", "XDG_CACHE_HOME", "LAIR_FOLDERS"] {
        command.env_remove(name);
    }
    command.env("HOME", home).env("LAIR_HOME", home.join("lair")).env("HF_HOME", home.join("hf"));
    command.env("LAIR_OFFLINE", "1").envs(variables.iter().copied()).current_dir(home).args(arguments);
    command.write_stdin("").output().expect("starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// Ids of the tokens that a model continues with.
fn tokens(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(answer["token_ids"].as_array().is_some_and(|ids| !ids.is_empty()), "{answer}");
    answer["token_ids"].clone()
}

const QUESTION: [&str; 8] =
    ["a model is data", "--raw", "--temperature", "0", "--max-tokens", "12", "--json", "--no-speculate"];

fn ask<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", model], &QUESTION[..], more].concat()
}

/// The packed weights in a folder.
fn kept(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut kept: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "weights")).collect();
    kept.sort();
    kept
}

/// Makes a file look as if nobody had used it for a day.
fn make_old(path: &Path) {
    let file = fs::OpenOptions::new().append(true).open(path).expect("opened");
    file.set_modified(SystemTime::now() - Duration::from_secs(86_400)).expect("set");
}

fn was_used(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).expect("a time");
    modified.elapsed().is_ok_and(|age| age < Duration::from_secs(3600))
}

#[test]
fn answers_from_kept_weights_are_those_of_the_model() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let cache = home.join("cache");
    let checkpoint = Checkpoint::make("qwen2");
    let model = text(checkpoint.path());
    for (count, quantize) in [None, Some("Q8_0"), Some("Q4_0")].into_iter().enumerate() {
        let quantize: Vec<&str> = quantize.map_or(Vec::new(), |name| vec!["--quantize", name]);
        let with_cache = [&quantize[..], &["--weight-cache", text(&cache)]].concat();
        let expected = tokens(&lair(home, &ask(model, &quantize)));
        let before = kept(&cache);
        assert_eq!(tokens(&lair(home, &ask(model, &with_cache))), expected, "{quantize:?}, packed");
        let mut new = kept(&cache);
        new.retain(|path| !before.contains(path));
        let [new] = &new[..] else { panic!("{quantize:?} has a file of its own: {new:?}") };
        assert_eq!(kept(&cache).len(), count + 1);
        make_old(new);
        assert_eq!(tokens(&lair(home, &ask(model, &with_cache))), expected, "{quantize:?}, kept");
        assert!(was_used(new), "{quantize:?}: the file was not used");
        assert_eq!(kept(&cache).len(), count + 1);
    }

    // Other weights of the same shapes and names are not taken for these.
    let before = kept(&cache).len();
    let other = home.join("other");
    fs::create_dir(&other).expect("made");
    for entry in fs::read_dir(checkpoint.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, other.join(path.file_name().expect("a name"))).expect("copied");
    }
    let mut weights = fs::read(other.join("model.safetensors")).expect("read");
    // Signs of the second half.
    let start = 8 + u64::from_le_bytes(weights[..8].try_into().expect("8 bytes")) as usize;
    let half = start + (weights.len() - start) / 8 * 4;
    weights[half..].iter_mut().skip(3).step_by(4).for_each(|byte| *byte ^= 0x80);
    fs::write(other.join("model.safetensors"), weights).expect("written");
    let expected = tokens(&lair(home, &ask(text(&other), &[])));
    assert_ne!(expected, tokens(&lair(home, &ask(model, &[]))), "the weights are others");
    assert_eq!(tokens(&lair(home, &ask(text(&other), &["--weight-cache", text(&cache)]))), expected);
    assert_eq!(kept(&cache).len(), before + 1);
    // Nor where only the settings beside them are others.
    let settings = other.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&settings).expect("read")).expect("JSON");
    config["rms_norm_eps"] = 0.25.into();
    fs::write(&settings, config.to_string()).expect("written");
    tokens(&lair(home, &ask(text(&other), &["--weight-cache", text(&cache)])));
    assert_eq!(kept(&cache).len(), before + 2);
}

#[test]
fn damaged_weights_are_told_and_packed_again() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let cache = home.join("cache");
    let checkpoint = Checkpoint::make("qwen2");
    let arguments = ask(text(checkpoint.path()), &["--weight-cache", text(&cache)]);
    let expected = tokens(&lair(home, &arguments));
    let [path] = &kept(&cache)[..] else { panic!("one file") };
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, &bytes).expect("written");
    let output = lair(home, &arguments);
    assert!(said(&output).contains("checksums"), "{}", said(&output));
    assert_eq!(tokens(&output), expected);
    bytes[middle] ^= 1;
    assert!(fs::read(path).expect("it is there again") == bytes, "packing gives the same file");
    let output = lair(home, &arguments);
    assert!(said(&output).is_empty(), "{}", said(&output));
    assert_eq!(tokens(&output), expected);
}

#[test]
fn the_cache_is_a_setting_and_goes_with_its_models() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let usual = home.join("lair").join("weight-cache");
    let checkpoint = Checkpoint::make("qwen2");
    let arguments = ask(text(checkpoint.path()), &[]);
    let expected = tokens(&lair(home, &arguments));
    assert!(!usual.exists(), "nothing is kept unless it is asked for");
    let on = [("LAIR_WEIGHT_CACHE", "on")];
    assert_eq!(tokens(&lair_with(home, &on, &arguments)), expected);
    assert_eq!(kept(&usual).len(), 1);
    // A quota that is too small is told, and the answer is given.
    fs::remove_file(&kept(&usual)[0]).expect("removed");
    let output = lair_with(home, &[on[0], ("LAIR_WEIGHT_CACHE_BYTES", "1KB")], &arguments);
    assert!(said(&output).contains("--weight-cache-bytes"), "{}", said(&output));
    assert_eq!(tokens(&output), expected);
    assert!(kept(&usual).is_empty());
    // A folder that is none.
    let file = home.join("a file");
    fs::write(&file, "").expect("written");
    let output = lair(home, &ask(text(checkpoint.path()), &["--weight-cache", text(&file)]));
    assert!(!output.status.success() && said(&output).contains("--weight-cache"), "{}", said(&output));

    tokens(&lair_with(home, &on, &arguments));
    let cleared = |more: &[&str]| -> Value {
        let output = lair(home, &[&["gc", "--json"], more].concat());
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    assert_eq!(cleared(&[])["freed_bytes"], 0);
    drop(checkpoint);
    let dry = cleared(&["--dry-run"]);
    assert!(dry["freed_bytes"].as_u64() > Some(1000), "{dry}");
    assert_eq!(kept(&usual).len(), 1);
    assert_eq!(cleared(&[])["freed_bytes"], dry["freed_bytes"]);
    assert!(kept(&usual).is_empty());
}

#[cfg(target_os = "linux")] // Elsewhere a file that shrinks ends the process.
#[test]
fn a_server_that_loses_its_weights_says_so_and_gives_no_wrong_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["--weight-cache", text(folder.path())];
    let Some(server) = server::Server::start(&arguments) else { return };
    let question = serde_json::json!({
        "model": "tiny", "prompt": "once upon a time", "max_tokens": 8, "temperature": 0, "ignore_eos": true,
    });
    let right = server.post("/v1/completions", &question).json();
    let server = server.killed_and_started(&arguments);
    // The first server may have been killed before all was written: then this one writes it, and the next one maps it.
    server::until(|| {
        server.post("/v1/completions", &question);
        kept(folder.path()).pop()
    });
    let server = server.killed_and_started(&arguments);
    assert_eq!(server.post("/v1/completions", &question).json()["choices"], right["choices"]);
    let [path] = &kept(folder.path())[..] else { panic!("one file") };
    fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(4096)).expect("cut");
    let lost = server.post("/v1/completions", &question);
    assert!(lost.status >= 500 && lost.body.contains("weights were lost"), "{} {}", lost.status, lost.body);
}
