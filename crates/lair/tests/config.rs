//! Settings as users set them: flags, the environment, the file, and what the program says of them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn lair(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lair"));
    for (name, _) in std::env::vars_os() {
        let is_setting =
            |name: &str| ["LAIR_", "OLLAMA_", "LLAMA_", "HF_"].iter().any(|prefix| name.starts_with(prefix));
        if name.to_str().is_some_and(is_setting) {
            command.env_remove(&name);
        }
    }
    command.env("LAIR_HOME", home).envs(variables.iter().copied());
    command.args(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn setting(explained: &Value, command: &str, key: &str) -> Value {
    let settings = explained["settings"].as_array().expect("a list").iter();
    let found = settings.clone().find(|setting| setting["command"] == command && setting["key"] == key);
    found.unwrap_or_else(|| panic!("{command}.{key} is not there")).clone()
}

#[test]
fn each_value_says_where_it_comes_from_and_what_else_would_have_set_it() {
    let home = tempfile::tempdir().expect("a folder");
    let file = "threads = 2\n\n[serve]\nkeep_alive = \"1h\"\nparallel = 3\n";
    std::fs::write(home.path().join("config.toml"), file).expect("written");
    let variables = [
        ("OLLAMA_KEEP_ALIVE", "10m"),
        ("OLLAMA_FLASH_ATTENTION", "1"),
        ("LAIR_API_KEY", "plantedsecret"),
        ("HF_TOKEN", "plantedtoken"),
    ];
    let words = ["config", "explain", "--json", "serve", "--parallel", "4"];
    let text = stdout(&lair(home.path(), &variables, &words));
    let explained: Value = serde_json::from_str(&text).expect("JSON");
    let path = json!(home.path().join("config.toml"));
    let keep_alive = setting(&explained, "serve", "keep_alive");
    assert_eq!(keep_alive["value"], "10m");
    assert_eq!(keep_alive["source"], json!({ "kind": "environment", "name": "OLLAMA_KEEP_ALIVE" }));
    let of_file = json!({ "value": "1h", "source": { "kind": "file", "path": path, "line": 4 } });
    assert_eq!(keep_alive["overridden"], json!([of_file]));
    assert_eq!(keep_alive["environment"], json!(["LAIR_KEEP_ALIVE", "OLLAMA_KEEP_ALIVE"]));
    let parallel = setting(&explained, "serve", "parallel");
    assert_eq!(
        (&parallel["value"], &parallel["source"]),
        (&json!("4"), &json!({ "kind": "flag", "name": "--parallel" }))
    );
    assert_eq!(setting(&explained, "serve", "threads")["source"]["line"], 1);
    assert_eq!(setting(&explained, "serve", "max_queue")["source"], json!({ "kind": "default" }));
    assert_eq!(explained["unused"][0]["name"], "OLLAMA_FLASH_ATTENTION");
    assert!(!text.contains("plantedsecret") && !text.contains("plantedtoken"), "{text}");

    let text = stdout(&lair(home.path(), &variables, &["config", "explain"]));
    for words in [
        "10m                          OLLAMA_KEEP_ALIVE",
        "config.toml:4, which counts less",
        "OLLAMA_FLASH_ATTENTION       because attention",
        "lair run\n  threads",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    assert!(!text.contains("plantedsecret") && !text.contains("max_queue"), "{text}");
    assert!(stdout(&lair(home.path(), &[], &["config", "explain", "--all"])).contains("max_queue"));
}

#[test]
fn settings_are_written_read_and_taken_out() {
    let home = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| lair(home.path(), &[], arguments);
    let path = stdout(&run(&["config", "path"])).trim().to_owned();
    assert_eq!(Path::new(&path), home.path().join("config.toml"));
    stdout(&run(&["config", "set", "serve.port", "8080"]));
    stdout(&run(&["config", "set", "keep-alive", "1h"]));
    stdout(&run(&["config", "set", "threads", "3"]));
    stdout(&run(&["config", "set", "allowed_origin", "http://a", "http://b"]));
    stdout(&run(&["config", "set", "hidethinking", "true"]));
    let text = std::fs::read_to_string(&path).expect("text");
    for line in [
        "threads = 3\n",
        "port = 8080\n",
        "keep_alive = \"1h\"\n",
        "[\"http://a\", \"http://b\"]",
        "[run]\nhidethinking = true",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(stdout(&run(&["config", "get", "port"])), "8080\n");
    assert_eq!(stdout(&run(&["config", "get", "run.threads"])), "3\n");
    assert_eq!(stdout(&run(&["config", "get", "parallel"])), "16\n");
    stdout(&run(&["config", "unset", "serve.port"]));
    assert_eq!(stdout(&run(&["config", "get", "port"])), "11434\n");
    assert_eq!(run(&["config", "unset", "serve.port"]).status.code(), Some(3));
    for (arguments, words) in [
        (&["config", "set", "prot", "1"][..], "no setting `prot`"),
        (&["config", "set", "run.port", "1"], "no setting `run.port`"),
        (&["config", "set", "port", "many"], "`port` cannot be `many`"),
        (&["config", "set", "parallel", "0"], "`parallel` cannot be `0`"),
        (&["config", "set", "hidethinking", "perhaps"], "true or false"),
        (&["config", "set", "port", "1", "2"], "one value is expected"),
        (&["config", "set", "api_key", "x"], "is a secret"),
    ] {
        let output = run(arguments);
        assert!(
            output.status.code() == Some(2) && stderr(&output).contains(words),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let home = tempfile::tempdir().expect("a folder");
    let write = |text: &str| std::fs::write(home.path().join("config.toml"), text).expect("written");
    let refused = |variables: &[(&str, &str)], words: &str| {
        let output = lair(home.path(), variables, &["serve", "--port", "0"]);
        let said = stderr(&output);
        assert!(output.status.code() == Some(2) && said.contains(words), "{words} is not in {said}");
    };
    write("[serve]\nkeep_alvie = \"1h\"\n");
    refused(&[], "config.toml:2: there is no setting `keep_alvie`");
    refused(&[], "did you mean `keep_alive`?");
    write("[serve]\n# many\nparallel = 9999\n");
    refused(&[], "config.toml:3: `parallel` is `9999`");
    write("threads = [\n");
    refused(&[], "config.toml:");
    write("kv_type = \"f17\"\n");
    refused(&[], "`kv_type` is `f17`: one of f32, f16, q8_0, q4_0 is expected");
    write("");
    refused(&[("OLLAMA_NUM_PARALLEL", "lots")], "OLLAMA_NUM_PARALLEL is `lots`");
    refused(&[("LAIR_LOG_LEVEL", "loud")], "LAIR_LOG_LEVEL is `loud`");
    refused(&[("LAIR_CONFIG", "/no/such/file.toml")], "LAIR_CONFIG names /no/such/file.toml");
    // A file that is wrong keeps nobody from what does not need it.
    write("nonsense = 1\n");
    assert!(lair(home.path(), &[], &["list"]).status.success());
    assert_eq!(lair(home.path(), &[], &["config", "explain"]).status.code(), Some(2));
}

#[test]
fn a_command_does_what_the_file_says() {
    let home = tempfile::tempdir().expect("a folder");
    let Some(model) = lair_testkit::shared_data("models/stories260K-f32.gguf") else { return };
    let model = model.to_str().expect("text");
    std::fs::write(home.path().join("config.toml"), "[run]\nmax_tokens = 3\ntemperature = 0.0\n").expect("written");
    let run = |variables: &[(&str, &str)], more: &[&str]| {
        let arguments = [&["run", "--json"][..], more, &[model, "Once upon a time"]].concat();
        let answer: Value = serde_json::from_str(&stdout(&lair(home.path(), variables, &arguments))).expect("JSON");
        answer["usage"]["completion_tokens"].as_u64().expect("a count")
    };
    assert_eq!(run(&[], &[]), 3);
    assert_eq!(run(&[("LAIR_MAX_TOKENS", "4")], &[]), 4);
    assert_eq!(run(&[("LAIR_MAX_TOKENS", "4")], &["--max-tokens", "5"]), 5);
    assert_eq!(run(&[("LLAMA_ARG_N_PREDICT", "-1")], &[]), 3, "what leaves it to the program leaves it to the file");
}
