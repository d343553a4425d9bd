//! The program as a user meets it: what it prints, what it refuses, how it exits.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use lair_gguf::{GgufFile, GgufWriter, StringArray};
use lair_testkit::{shared_data, skipped};
use serde_json::Value;

/// Runs the program with these arguments and this standard input.
fn lair_with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
    command.args(arguments).write_stdin(input).output().expect("the program starts")
}

fn lair(arguments: &[&str]) -> Output {
    lair_with_input(arguments, b"")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are UTF-8")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_str(&stdout(output)).expect("--json prints JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

fn stories() -> Option<PathBuf> {
    shared_data("models/stories260K-f32.gguf")
}

/// The default model, fetched if need be; `None`, with a loud line, where nothing can be fetched.
fn default_model_is_here() -> bool {
    let output = lair(&["show", "--json"]);
    if output.status.code() == Some(3) {
        skipped(&format!("the default model cannot be fetched here: {}", stderr(&output)));
        return false;
    }
    assert!(output.status.success(), "{}", stderr(&output));
    true
}

#[test]
fn refusals_name_the_cause_and_have_stable_exit_codes() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let wrong_magic = write("wrong.gguf", b"hello, this is not a model");
    let empty = write("empty.gguf", b"");
    let version = write("version.gguf", b"GGUF\x63\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let absent = folder.path().join("absent.gguf");
    for (arguments, code, words) in [
        (vec!["run", text(&absent), "hi"], 3, vec!["absent.gguf"]),
        (vec!["run", "no-such-model", "hi"], 3, vec!["no-such-model", "hint:"]),
        (vec!["run", text(&wrong_magic), "hi"], 4, vec!["not a GGUF file", "magic"]),
        (vec!["show", text(&empty)], 4, vec!["empty.gguf"]),
        (vec!["show", text(&version)], 4, vec!["version", "99"]),
        (vec!["run", "--frobnicate"], 2, vec!["--frobnicate"]),
        (vec!["run", "--top-k", "many", "hi there"], 2, vec!["many", "--top-k"]),
        (vec!["perplexity", text(&absent)], 2, vec!["absent.gguf"]),
        (vec!["perplexity", text(&absent), "--chunk-length", "1"], 2, vec!["chunk-length"]),
        (vec!["run", text(&absent), "--json"], 2, vec!["--json needs a prompt"]),
    ] {
        let output = lair(&arguments);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{arguments:?}: `{word}` is not in: {message}");
        }
        assert!(!message.contains("panicked"), "{arguments:?}: {message}");
    }
}

#[test]
fn refusals_can_be_json() {
    let output = lair(&["run", "no-such-model", "hi", "--json"]);
    let error: Value = serde_json::from_str(&stderr(&output)).expect("one JSON object");
    assert_eq!(error["error"]["exit_code"], 3);
    assert!(error["error"]["cause"].as_str().is_some_and(|cause| cause.contains("no-such-model")));
}

#[test]
fn shows_what_a_model_is() {
    let Some(model) = stories() else { return };
    let output = lair(&["show", text(&model), "--tensors", "--metadata"]);
    let shown = stdout(&output);
    for word in ["architecture", "llama", "parameters", "context length", "F32", "blk.0.attn_q.weight", "general.name"]
    {
        assert!(shown.contains(word), "`{word}` is not in: {shown}");
    }
    let value = json(&lair(&["show", text(&model), "--json", "--tensors"]));
    assert_eq!(value["architecture"], "llama");
    assert_eq!(value["vocabulary_size"], 512);
    assert!(value["tensors"].as_array().is_some_and(|tensors| tensors.len() > 10));
}

#[test]
fn stories260k_gives_its_golden_tokens() {
    let (Some(model), Some(golden)) = (stories(), shared_data("models/stories260K-greedy.json")) else { return };
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(golden).expect("readable")).expect("JSON");
    for threads in ["1", "2"] {
        let arguments = [
            "run",
            text(&model),
            "",
            "--raw",
            "--json",
            "--temperature",
            "0",
            "--max-tokens",
            "200",
            "--threads",
            threads,
            // The golden tokens are of F32 throughout: an 8-bit cache chooses differently where two are nearly as likely.
            "--kv-type",
            "f16",
        ];
        let answer = json(&lair(&arguments));
        let ids = golden["ids"].as_array().expect("a list");
        // The first id is the begin token, which the program puts in front by itself.
        assert_eq!(answer["prompt_token_ids"].as_array().map(Vec::as_slice), Some(&ids[..1]));
        assert_eq!(answer["token_ids"].as_array().map(Vec::as_slice), Some(&ids[1..]), "{threads} threads");
    }
}

#[test]
fn answers_come_streamed_from_arguments_and_standard_input() {
    let Some(model) = stories() else { return };
    let fixed = ["--raw", "--seed", "7", "--max-tokens", "20"];
    let argument = lair(&[&["run", text(&model), "Once upon a time"][..], &fixed].concat());
    let piped = lair_with_input(&[&["run", text(&model)][..], &fixed].concat(), b"Once upon a time\n");
    assert!(argument.status.success(), "{}", stderr(&argument));
    assert!(stdout(&argument).len() > 20);
    assert_eq!(stdout(&argument), stdout(&piped), "the same prompt and seed give the same answer");
    let figures = lair(&[&["run", text(&model), "Once", "--verbose"][..], &fixed].concat());
    for word in ["prompt eval count:", "load duration:", "eval rate:", "peak memory:", "context"] {
        assert!(stderr(&figures).contains(word), "`{word}` is not in: {}", stderr(&figures));
    }
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_with_both_numbers() {
    let Some(model) = stories() else { return };
    let prompt = "many words ".repeat(300);
    let output = lair(&["run", text(&model), &prompt, "--raw", "--context-length", "64"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("64"), "{}", stderr(&output));
    let not_text = lair_with_input(&["run", text(&model)], b"abc\xff");
    assert_eq!(not_text.status.code(), Some(2));
    assert!(stderr(&not_text).contains("offset 3"), "{}", stderr(&not_text));
}

#[test]
fn logprobs_are_those_of_the_chosen_tokens() {
    let Some(model) = stories() else { return };
    let arguments = [
        "run",
        text(&model),
        "One day",
        "--raw",
        "--json",
        "--logprobs",
        "3",
        "--temperature",
        "0",
        "--max-tokens",
        "5",
    ];
    let answer = json(&lair(&arguments));
    let steps = answer["logprobs"].as_array().expect("a list");
    assert_eq!(steps.len(), 5);
    for (step, token) in steps.iter().zip(answer["token_ids"].as_array().expect("a list")) {
        assert_eq!(&step["token_id"], token);
        assert_eq!(step["top"][0]["token_id"], *token, "greedy takes the most likely");
        assert_eq!(step["top"].as_array().map(Vec::len), Some(3));
        assert!(step["logprob"].as_f64().is_some_and(|logprob| logprob <= 0.0));
    }
}

#[test]
fn an_unsupported_architecture_is_refused_by_name() {
    let Some(header) = shared_data("archs/wavtokenizer-dec.meta.gguf") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    let mut bytes = std::fs::read(header).expect("readable");
    // The header promises weights: any will do, for nothing is read of a model that cannot run.
    bytes.resize(bytes.len() + (8 << 20), 0);
    std::fs::write(&path, bytes).expect("written");
    let output = lair(&["run", text(&path), "hi"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("wavtokenizer-dec"), "{}", stderr(&output));
}

#[test]
fn a_broken_chat_template_is_a_warning_and_raw_prompts_still_work() {
    let Some(path) = stories() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("model.gguf");
    let model = GgufFile::open(&path).expect("a model");
    let mut metadata = model.metadata().clone();
    metadata.set("tokenizer.chat_template", "{% for message in messages %}{{ message.content }");
    let mut writer = GgufWriter::new(metadata).expect("its keys");
    for tensor in model.tensors() {
        writer.add_tensor(&tensor.name, &tensor.shape, tensor.tensor_type).expect("its tensors");
    }
    let bytes = |name: &str| model.tensor_data(model.tensor(name).expect("a tensor of the model"));
    writer.write_file(&copy, |tensor, out| out.write_all(&bytes(&tensor.name))).expect("written");
    let raw = lair(&["run", text(&copy), "Once", "--raw", "--max-tokens", "5"]);
    assert!(raw.status.success() && stderr(&raw).contains("warning"), "{}", stderr(&raw));
    let chat = lair(&["run", text(&copy), "Once", "--max-tokens", "5"]);
    assert_eq!(chat.status.code(), Some(4), "{}", stderr(&chat));
    assert!(stderr(&chat).contains("template") && stderr(&chat).contains("--raw"), "{}", stderr(&chat));
}

#[test]
#[cfg(target_os = "linux")] // Where free memory is known, and files can have holes.
fn a_model_larger_than_memory_is_refused_with_both_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large.gguf");
    // One tensor of 4 TB in a file that is all hole behind its header.
    let length: u64 = 1 << 40;
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend([1u64, 1].map(u64::to_le_bytes).concat());
    let string = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    bytes.extend([string("general.architecture"), 8u32.to_le_bytes().to_vec(), string("llama")].concat());
    bytes.extend([string("token_embd.weight"), 1u32.to_le_bytes().to_vec(), length.to_le_bytes().to_vec()].concat());
    bytes.extend([0u32.to_le_bytes().to_vec(), 0u64.to_le_bytes().to_vec()].concat());
    std::fs::write(&path, &bytes).expect("written");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("open");
    if file.set_len(4 * length + bytes.len().next_multiple_of(32) as u64).is_err() {
        skipped(&format!("the file system of {} has no files with holes this large", folder.path().display()));
        return;
    }
    let output = lair(&["run", text(&path), "hi"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    for word in ["4398", "available", "hint:"] {
        assert!(stderr(&output).contains(word), "`{word}` is not in: {}", stderr(&output));
    }
}

#[test]
fn the_default_model_answers() {
    if !default_model_is_here() {
        return;
    }
    // The same 32 greedy tokens as llama.cpp gives (`bench/peers/compare_greedy.py`).
    let arguments = ["run", "Count from 1 to 20.", "--json", "--temperature", "0", "--max-tokens", "24"];
    let answer = json(&lair(&arguments));
    assert!(answer["text"].as_str().is_some_and(|text| text.contains("1. 1\n2. 2\n3. 3\n4. 4")), "{answer}");
}

#[test]
fn the_default_model_s_perplexity_is_the_reference_engine_s() {
    /// llama.cpp (llama-cpp-python 0.3.36, CPU) on the same model and bytes:
    /// `bench/peers/llama_cpp_reference.py perplexity MODEL wikitext-2-raw.test.txt 65536`.
    const REFERENCE: f64 = 22.6515;
    let Some(file) = shared_data("text/wikitext-2-raw.test.txt") else { return };
    if !default_model_is_here() {
        return;
    }
    let result = json(&lair(&["perplexity", text(&file), "--bytes", "65536", "--json"]));
    assert_eq!(result["tokens"], 16642, "the text is tokenized as the reference engine does");
    let perplexity = result["perplexity"].as_f64().expect("a number");
    assert!((perplexity / REFERENCE - 1.0).abs() < 0.005, "{perplexity}, the reference engine says {REFERENCE}");
}

#[test]
fn the_default_model_stays_near_itself_with_f32_activations() {
    let Some(file) = shared_data("text/wikitext-2-raw.test.txt") else { return };
    if !default_model_is_here() {
        return;
    }
    // Half of 512 tokens count; a divergence of 0.0005 nats is 0.05 % of perplexity where the model is right about itself.
    let compare = |more: &[&str]| {
        let fixed = ["perplexity", text(&file), "--bytes", "4096", "--compare", "--json"];
        let result = json(&lair(&[&fixed[..], more].concat()));
        ["excess", "excess_standard_error", "divergence"].map(|key| result[key].as_f64().expect("a number"))
    };
    let [excess, error, divergence] = compare(&[]);
    assert!(divergence < 5e-4, "{divergence} nats a token");
    assert!(excess.abs() < 1e-3 + 3.0 * error, "{excess} with an error of {error}");
    let [_, _, of_bytes] = compare(&["--activations", "bytes"]);
    assert!(of_bytes > 3.0 * divergence, "bytes diverge by {of_bytes}, the default by {divergence}");
    let [excess, error, divergence] = compare(&["--activations", "f32", "--kv-type", "f16"]);
    assert!([excess, error, divergence].iter().all(|x| x.abs() < 1e-9), "the reference differs from itself");
}

#[test]
fn guessing_ahead_changes_nothing_but_the_time() {
    let Some(model) = stories() else { return };
    let prompt = "Tom had a red ball. He liked the red ball. Tom had a red ball. He liked";
    for sampling in [["--temperature", "0"], ["--seed", "3"]] {
        let answer = |more: &[&str]| {
            let fixed =
                ["run", text(&model), prompt, "--raw", "--json", "--max-tokens", "150", "--context-length", "512"];
            json(&lair(&[&fixed[..], &sampling, more].concat()))
        };
        let plain = answer(&["--no-speculate"]);
        assert_eq!(plain["usage"]["guessed_tokens"], 0);
        assert_eq!(plain["usage"]["acceptance_rate"], Value::Null);
        for more in
            [&[][..], &["--speculate", "off"], &["--draft", text(&model), "--draft-max", "4", "--draft-p-min", "0"]]
        {
            let found = answer(more);
            assert_eq!(found["token_ids"], plain["token_ids"], "{more:?}");
            assert_eq!(found["usage"]["completion_tokens"], plain["usage"]["completion_tokens"]);
            let [guessed, accepted] = ["guessed_tokens", "accepted_tokens"].map(|name| found["usage"][name].as_u64());
            assert!(accepted <= guessed);
        }
    }
    for (arguments, words) in [
        (vec!["--speculate", "draft"], vec!["--draft MODEL"]),
        (vec!["--speculate", "off", "--draft", text(&model)], vec!["--draft is of no use"]),
        (vec!["--draft", text(&model), "--draft-max", "0"], vec!["--draft-max is 0", "1 to 15"]),
        (vec!["--draft", text(&model), "--draft-p-min", "2"], vec!["--draft-p-min is 2"]),
        (vec!["--draft-max", "4"], vec!["--draft <MODEL>"]),
        (vec!["--no-speculate", "--draft", text(&model)], vec!["--no-speculate"]),
    ] {
        let output = lair(&[&["run", text(&model), "Once"][..], &arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "{arguments:?}: {}", stderr(&output));
        }
    }
}

#[test]
fn a_draft_model_of_another_vocabulary_is_refused() {
    let Some(path) = stories() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("other.gguf");
    let model = GgufFile::open(&path).expect("a model");
    let mut metadata = model.metadata().clone();
    let mut tokens: Vec<String> = metadata
        .required::<&StringArray>("tokenizer.ggml.tokens")
        .expect("a vocabulary")
        .iter()
        .map(str::to_owned)
        .collect();
    tokens[300] = "altogether-another".to_owned();
    metadata.set("tokenizer.ggml.tokens", tokens);
    let mut writer = GgufWriter::new(metadata).expect("its keys");
    for tensor in model.tensors() {
        writer.add_tensor(&tensor.name, &tensor.shape, tensor.tensor_type).expect("its tensors");
    }
    let bytes = |name: &str| model.tensor_data(model.tensor(name).expect("a tensor of the model"));
    writer.write_file(&copy, |tensor, out| out.write_all(&bytes(&tensor.name))).expect("written");
    let output = lair(&["run", text(&path), "Once", "--raw", "--max-tokens", "3", "--draft", text(&copy)]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    for word in ["another vocabulary", "token 300", "altogether-another", "same family"] {
        assert!(stderr(&output).contains(word), "`{word}` is not in: {}", stderr(&output));
    }
}

#[test]
fn the_program_says_what_it_is_and_what_to_type_next() {
    let welcome = lair(&[]);
    assert!(welcome.status.success());
    for word in ["lair run", "lair show", "lair --help"] {
        assert!(stdout(&welcome).contains(word), "{}", stdout(&welcome));
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(stdout(&lair(&["--version"])), format!("lair {version}\n"));
    assert_eq!(stdout(&lair(&["-V"])), format!("lair {version}\n"));
    let value = json(&lair(&["--version", "--json"]));
    assert_eq!((&value["name"], &value["version"]), (&"lair".into(), &version.into()));
    assert_eq!(lair(&["--json"]).status.code(), Some(2), "--json alone describes nothing");
    assert_eq!(lair(&["--version", "run"]).status.code(), Some(2));
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = lair(&["completions", shell]);
        assert!(script.status.success() && stdout(&script).contains("hidethinking"), "{shell}");
    }
}

#[test]
fn several_words_are_a_prompt_and_stop_texts_end_the_answer() {
    let Some(model) = stories() else { return };
    let fixed = ["--raw", "--temperature", "0", "--max-tokens", "30"];
    let answer = |words: &[&str], more: &[&str]| {
        let output = lair(&[&["run", text(&model)][..], words, &fixed, more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let whole = answer(&["Once upon a time"], &[]);
    assert_eq!(answer(&["Once", "upon", "a", "time"], &[]), whole);
    let word = whole.split_whitespace().nth(4).expect("a fifth word");
    let cut = answer(&["Once upon a time"], &["--stop", "no such text", "--stop", word]);
    assert_eq!(cut.trim_end_matches('\n'), &whole[..whole.find(word).expect("it is there")]);
}

#[test]
fn an_answer_has_the_form_it_is_asked_for() {
    let Some(model) = stories() else { return };
    let schema = r#"{"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["n"]}"#;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("schema.json");
    std::fs::write(&file, schema).expect("written");
    for format in [schema, text(&file)] {
        let output = lair(&["run", text(&model), "Once", "--format", format, "--max-tokens", "60"]);
        let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        assert!(answer["n"].as_u64().is_some_and(|n| n < 10), "{answer}");
    }
    let any = stdout(&lair(&["run", text(&model), "Once", "--format", "json", "--max-tokens", "8"]));
    assert!(any.starts_with('{'), "{any}");
}

#[test]
fn what_run_cannot_do_is_refused_by_name() {
    let Some(model) = stories() else { return };
    for (arguments, words) in [
        (vec!["--format", "{\"not\": {}}"], vec!["nothing fulfils the schema"]),
        (vec!["--format", "{\"items\": {\"type\": \"string\"}, \"uniqueItems\": true}"], vec!["`uniqueItems`"]),
        (vec!["--format", "{\"type\": "], vec!["not a JSON schema"]),
        (vec!["--format", "xml"], vec!["`xml`"]),
        (vec!["--keepalive", "5m"], vec!["--keepalive 5m"]),
        (vec!["--think"], vec!["does not support thinking"]),
        (vec!["--think=hard"], vec!["`hard`", "medium"]),
    ] {
        let output = lair(&[&["run", text(&model), "Once"][..], &arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "{arguments:?}: {}", stderr(&output));
        }
    }
    let accepted = lair(&["run", text(&model), "Once", "--max-tokens", "2", "--keepalive", "0", "--hidethinking"]);
    assert!(accepted.status.success(), "{}", stderr(&accepted));
}
