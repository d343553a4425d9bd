//! The commands that keep models, as a user meets them.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use lair_testkit::shared_data;
use serde_json::Value;

/// The program with a home of its own and nothing else on the machine.
fn lair(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
    for name in ["LAIR_MODELS", "OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "LAIR_FOLDERS"] {
        command.env_remove(name);
    }
    let (name, at) = (if cfg!(windows) { "USERPROFILE" } else { "HOME" }, |inner: &str| home.join(inner));
    command.env(name, home).env("LAIR_HOME", at("lair")).env("LAIR_FOLDERS", at("folder"));
    command.args(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are UTF-8")
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).expect("--json prints JSON")
}

/// A home with the tiny model in a folder of the user's.
fn home() -> Option<(tempfile::TempDir, PathBuf)> {
    let source = shared_data("models/stories260K-f32.gguf")?;
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("folder/Stories-260K.F32.gguf");
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    std::fs::copy(source, &file).expect("copied");
    Some((home, file))
}

fn names(home: &Path) -> Vec<String> {
    let listed = json(&lair(home, &["list", "--json", "--owner", "lair"]));
    let models = listed["models"].as_array().expect("a list").iter();
    models.map(|model| model["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_model_is_imported_listed_copied_run_and_removed() {
    let Some((home, file)) = home() else { return };
    let home = home.path();
    let path = file.to_str().expect("plain");
    let imported = stdout(&lair(home, &["import", path]));
    assert!(imported.starts_with("imported 'stories-260k:f32' ("), "{imported}");
    stdout(&lair(home, &["cp", "stories-260k:f32", "tales"]));
    let table = stdout(&lair(home, &["ls"]));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["NAME", "ID", "SIZE", "MODIFIED", "OWNER"]);
    // The same bytes three times, two of them under names of the store.
    assert!(lines.iter().any(|line| line.starts_with("tales:latest ") && line.ends_with("lair")), "{table}");
    assert!(lines.iter().any(|line| line.contains("Stories-260K.F32.gguf") && line.ends_with("folder")), "{table}");
    let total = lines.last().expect("a total");
    assert!(total.starts_with("3 models, 1.1 MB on disk") || total.starts_with("3 models, "), "{total}");
    assert!(total.contains("shared between them"), "{total}");

    let listed = json(&lair(home, &["list", "--json", "tales"]));
    let id = listed["models"][0]["id"].as_str().expect("an ID").to_owned();
    for reference in ["tales", "TALES:latest", "stories-260k:f32", &id] {
        let arguments = ["run", reference, "--raw", "--json", "--temperature", "0", "--max-tokens", "4", "Once upon"];
        let output = lair(home, &arguments);
        assert!(output.status.success(), "{reference}: {}", stderr(&output));
    }
    let shown = stdout(&lair(home, &["show", "tales"]));
    assert!(shown.contains("Provenance") && shown.contains("tales:latest"), "{shown}");
    let shown = json(&lair(home, &["show", "stories-260k:f32", "--json"]));
    assert!(shown["provenance"]["source"].as_str().expect("a source").contains("Stories-260K.F32.gguf"), "{shown}");

    let removed = stdout(&lair(home, &["rm", "stories-260k:f32"]));
    assert!(removed.contains("2 blobs are still needed"), "{removed}");
    let refused = lair(home, &["rm", "nothing", "tales", path]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(names(home).is_empty(), "what could be removed is");
    assert!(file.exists(), "files of the user stay");
}

#[test]
fn damage_is_found_and_told_by_the_exit_code() {
    let Some((home, file)) = home() else { return };
    let home = home.path();
    stdout(&lair(home, &["import", "--how", "copy", file.to_str().expect("plain"), "tales"]));
    let sound = stdout(&lair(home, &["verify", "tales"]));
    assert_eq!(sound.lines().filter(|line| line.starts_with("ok ")).count(), 2, "{sound}");
    let listed = json(&lair(home, &["list", "--json", "tales"]));
    let files = listed["models"][0]["files"].as_array().expect("files");
    let weights =
        files.iter().find(|file| file["role"] == "weights").expect("weights")["path"].as_str().expect("a path");
    let mut bytes = std::fs::read(weights).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(weights, bytes).expect("damaged");
    let damaged = lair(home, &["verify", "--json"]);
    assert_eq!(damaged.status.code(), Some(4), "{}", stderr(&damaged));
    let table = stdout(&lair(home, &["list"]));
    assert!(table.contains("lair (damaged)"), "{table}");
    let run = lair(home, &["run", "tales", "--raw", "Once"]);
    assert_eq!(run.status.code(), Some(4), "{}", stderr(&run));
    assert!(stderr(&run).contains("is damaged"), "{}", stderr(&run));
    // Nobody knows where it came from but its file, which can be imported again.
    let unrepaired = lair(home, &["verify", "--repair", "tales"]);
    assert!(stderr(&unrepaired).contains("nothing says where"), "{}", stderr(&unrepaired));
    stdout(&lair(home, &["import", file.to_str().expect("plain"), "tales"]));
    stdout(&lair(home, &["verify", "tales"]));
}

#[test]
fn clearing_says_what_it_would_do_and_spares_what_is_pinned() {
    let Some((home, file)) = home() else { return };
    let home = home.path();
    let path = file.to_str().expect("plain");
    stdout(&lair(home, &["import", path, "kept"]));
    stdout(&lair(home, &["cp", "kept", "gone"]));
    stdout(&lair(home, &["pin", "kept"]));
    let told = json(&lair(home, &["gc", "--dry-run", "--quota", "1KB", "--json"]));
    assert_eq!(told["models"], serde_json::json!(["gone:latest"]));
    assert_eq!(names(home).len(), 2);
    stdout(&lair(home, &["gc", "--quota", "1KB"]));
    assert_eq!(names(home), ["kept:latest"]);
    stdout(&lair(home, &["unpin", "kept"]));
    stdout(&lair(home, &["gc", "--quota", "0"]));
    assert!(names(home).is_empty());
    for (arguments, code) in [
        (&["gc", "--quota", "much"][..], 2),
        (&["pin", "nothing"], 3),
        (&["cp", "nothing", "other"], 3),
        (&["cp", "../x", "other"], 2),
        (&["rm", path], 2),
        (&["verify", "nothing"], 3),
        (&["import", "/no/such.gguf"], 3),
    ] {
        let output = lair(home, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    }
}
