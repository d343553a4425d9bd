//! `lair create` and `lair show --modelfile` as a user meets them.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use lair_gguf::{GgufWriter, Metadata};

/// Runs the program in `folder`, with a store of its own there.
fn lair(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
    command.env("LAIR_HOME", folder.join("home")).env("LAIR_MODELS", folder.join("models")).env_remove("OLLAMA_MODELS");
    command.current_dir(folder).args(arguments).write_stdin(input).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are UTF-8")
}

fn id(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    let value: serde_json::Value = serde_json::from_str(&stdout(output)).expect("--json prints JSON");
    value["id"].as_str().expect("an ID").to_string()
}

#[test]
fn create_show_create_gives_the_same_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", 1u32);
    GgufWriter::new(metadata).expect("its keys").write_file(folder.join("tiny.gguf"), |_, _| Ok(())).expect("written");
    std::fs::write(folder.join("Base"), "FROM ./tiny.gguf\nPARAMETER stop </s>\n").expect("written");
    let seed = "FROM mistral\nSYSTEM \"You are a concise assistant that explains things simply.\"\n\
        TEMPLATE \"{{ .Prompt }}\"\nPARAMETER temperature 0.3\n";
    std::fs::write(folder.join("Modelfile"), seed).expect("written");

    let base = lair(folder, &["create", "mistral", "-f", "Base"], "");
    assert!(base.status.success(), "{}", stderr(&base));
    assert!(stderr(&base).contains("success"), "{}", stderr(&base));
    let first = id(&lair(folder, &["create", "concise", "--json"], ""));
    let shown = lair(folder, &["show", "concise", "--modelfile"], "");
    assert!(shown.status.success(), "{}", stderr(&shown));
    let text = stdout(&shown);
    for line in [
        "# FROM concise",
        "TEMPLATE {{ .Prompt }}\n",
        "SYSTEM You are a concise assistant that explains things simply.\n",
        "PARAMETER stop </s>\nPARAMETER temperature 0.3\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(id(&lair(folder, &["create", "again", "--json", "-f", "-"], &text)), first);
    // A folder with a model and no Modelfile is a model too.
    std::fs::remove_file(folder.join("Modelfile")).expect("removed");
    let plain = lair(folder, &["create", "plain", "--json"], "");
    assert!(plain.status.success(), "{}", stderr(&plain));
}

#[test]
fn refusals_name_the_cause_and_have_stable_exit_codes() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::create_dir(folder.join("tensors")).expect("a folder");
    std::fs::write(folder.join("tensors/model.safetensors"), b"x").expect("written");
    for (arguments, input, code, words) in [
        (vec!["create", "x", "-f", "-"], "FROM x\nPARAMETR a 1", 2, "line 2: `PARAMETR` is not an instruction"),
        (vec!["create", "x", "-f", "-"], "SYSTEM x", 2, "no FROM line"),
        (vec!["create", "x", "-f", "-"], "FROM ./tensors", 2, "lair convert"),
        (vec!["create", "x", "-f", "-"], "FROM no-such-model", 3, "no-such-model"),
        (vec!["create", "x", "-f", "-"], "FROM x\nTEMPLATE {{ if }}", 2, "TEMPLATE: template line 1"),
        (vec!["create", "x", "-f", "-"], "FROM x\nTEMPLATE {% for m in messages %}{{ m['a'] }}", 2, "Jinja"),
        (vec!["create", "x", "-f", "absent"], "", 3, "absent"),
        (vec!["create", "x", "--quantize", "q9"], "", 2, "none of q4_K_M"),
        (vec!["create", "a b"], "", 2, "name"),
        (vec!["show", "no-such-model", "--modelfile"], "", 3, "no-such-model"),
    ] {
        let output = lair(folder, &arguments, input);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {input:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{arguments:?} {input:?}: {}", stderr(&output));
    }
}
