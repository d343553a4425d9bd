//! Models of a store run with what they bring: system message, template, parameters, messages.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use lair_store::Digest;
use lair_testkit::shared_data;
use serde_json::{Value, json};

/// A store in Ollama's layout, written as Ollama would.
struct Fixture {
    home: tempfile::TempDir,
    model: PathBuf,
}

impl Fixture {
    fn new() -> Option<Fixture> {
        let model = shared_data("models/stories260K-f32.gguf")?;
        Some(Fixture { home: tempfile::tempdir().expect("a folder"), model })
    }

    fn models(&self) -> PathBuf {
        self.home.path().join("models")
    }

    fn put(&self, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        let folder = self.models().join("blobs");
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join(digest.file_name()), bytes).expect("written");
        json!({ "digest": digest.to_string(), "size": bytes.len() })
    }

    /// A model with these layers beside its weights, each a kind and its bytes.
    fn model(&self, name: &str, config: Value, layers: &[(&str, &[u8])]) {
        let with_type = |mut layer: Value, media_type: String| {
            layer["mediaType"] = media_type.into();
            layer
        };
        let kind = |kind: &str| format!("application/vnd.ollama.image.{kind}");
        let weights = std::fs::read(&self.model).expect("readable");
        let mut all = vec![with_type(self.put(&weights), kind("model"))];
        all.extend(layers.iter().map(|(name, bytes)| with_type(self.put(bytes), kind(name))));
        let config = self.put(config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": with_type(config, "application/vnd.docker.container.image.v1+json".to_owned()),
            "layers": all,
        });
        let folder = self.models().join("manifests/registry.ollama.ai/library").join(name);
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("latest"), manifest.to_string()).expect("written");
    }

    fn lair(&self, arguments: &[&str]) -> Output {
        let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
        command.env("OLLAMA_MODELS", self.models()).env("LAIR_HOME", self.home.path().join("lair"));
        command.args(arguments).write_stdin("").output().expect("the program starts")
    }

    /// The answer of `run` as JSON.
    fn run(&self, arguments: &[&str]) -> Value {
        let output = self.lair(&[&["run"], arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

const CONFIG: &str = r#"{"model_format":"gguf","model_family":"llama","rootfs":{"type":"layers","diff_ids":[]}}"#;

fn config() -> Value {
    serde_json::from_str(CONFIG).expect("JSON")
}

#[test]
fn template_system_and_messages_become_the_prompt() {
    let Some(fixture) = Fixture::new() else { return };
    let messages = json!([{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Lily."}]).to_string();
    let template = "{{ range .Messages }}[{{ .Role }}] {{ .Content }}\n{{ end }}";
    fixture.model(
        "told",
        config(),
        &[
            ("system", b"Tell a story."),
            ("template", template.as_bytes()),
            ("messages", messages.as_bytes()),
            ("params", br#"{"temperature": 0, "num_predict": 4}"#),
        ],
    );
    let told = fixture.run(&["told", "And", "then?"]);
    let by_hand = |system: &str| {
        let prompt = format!("[system] {system}\n[user] Who?\n[assistant] Lily.\n[user] And then?\n");
        fixture.run(&[text(&fixture.model), &prompt, "--raw", "--temperature", "0", "--max-tokens", "4"])
    };
    assert_eq!(told["prompt_token_ids"], by_hand("Tell a story.")["prompt_token_ids"]);
    assert_eq!(told["token_ids"], by_hand("Tell a story.")["token_ids"], "greedy, as the parameters say");
    assert_eq!(told["usage"]["completion_tokens"], 4);
    let own = fixture.run(&["told", "And then?", "--system", "Be brief.", "--max-tokens", "2"]);
    assert_eq!(own["prompt_token_ids"], by_hand("Be brief.")["prompt_token_ids"], "the command line wins");
    assert_eq!(own["usage"]["completion_tokens"], 2);
}

#[test]
fn parameters_count_and_the_command_line_goes_over_them() {
    let Some(fixture) = Fixture::new() else { return };
    let raw = |model: &str, more: &[&str]| fixture.run(&[&[model, "Once upon a time", "--raw"], more].concat());
    let whole = raw(text(&fixture.model), &["--temperature", "0", "--max-tokens", "30"]);
    let said = whole["text"].as_str().expect("a text");
    let word = said.split_whitespace().nth(4).expect("a fifth word");
    let params = json!({ "temperature": 0.0, "num_predict": 30, "stop": [word], "num_ctx": 128, "num_keep": 24 });
    fixture.model("set", config(), &[("params", params.to_string().as_bytes())]);
    let set = raw("set", &[]);
    assert_eq!(set["text"], said[..said.find(word).expect("it is there")]);
    assert_eq!(set["context_length"], 128);
    assert_eq!(raw("set", &["--stop", "no such text"])["text"], said);
    assert_eq!(raw("set", &["--context-length", "64"])["context_length"], 64);
    let seeds = ["1", "2"].map(|seed| {
        raw("set", &["--temperature", "1.5", "--stop", "no such text", "--seed", seed])["token_ids"].clone()
    });
    assert_ne!(seeds[0], seeds[1], "the command line's temperature counts");
}

#[test]
fn what_cannot_be_honoured_is_refused_or_named() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.model("adapted", config(), &[("adapter", b"not looked at")]);
    fixture.model("odd", config(), &[("params", br#"{"tfs_z": 2, "colour": "red"}"#)]);
    fixture.model("wrong", config(), &[("params", br#"{"temperature": "warm"}"#)]);
    fixture.model("range", config(), &[("params", br#"{"top_p": 7}"#)]);
    fixture.model("broken", config(), &[("template", b"{{ if }}")]);
    let mut rendered = config();
    rendered["renderer"] = "no-such-renderer".into();
    fixture.model("rendered", rendered, &[]);
    for (name, code, words) in [
        ("adapted", 4, &["the adapter", "cannot be used"][..]),
        ("odd", 0, &["tfs_z 2", "colour", "has no effect"]),
        ("wrong", 4, &["temperature", "warm"]),
        ("range", 2, &["top_p", "from 0 to 1"]),
        ("broken", 4, &["TEMPLATE cannot be used", "--raw"]),
        ("rendered", 4, &["RENDERER", "no-such-renderer"]),
    ] {
        let output = fixture.lair(&["run", name, "Once", "--max-tokens", "2"]);
        assert_eq!(output.status.code(), Some(code), "{name}: {}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "{name}: `{word}` is not in: {}", stderr(&output));
        }
    }
}
