//! `lair bench` as a user meets it. Nothing here depends on how fast the machine is.

use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

/// Short runs on a model of two small layers.
const TINY: [&str; 9] = ["bench", "--synthetic", "tiny", "--prefill", "20", "--decode", "6", "--repeats", "2"];

fn lair(arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
    command.args(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are UTF-8")
}

fn json(arguments: &[&str]) -> Value {
    let output = lair(&[arguments, &["--json"]].concat());
    let value = serde_json::from_str(&stdout(&output)).expect("--json prints JSON");
    assert_eq!(stderr(&output), "", "with --json nothing but failures stands on standard error");
    value
}

fn names(report: &Value) -> Vec<&str> {
    let results = report["results"].as_array().expect("a list");
    results.iter().map(|result| result["test"].as_str().expect("a name")).collect()
}

#[test]
fn json_says_machine_model_and_each_result_with_its_limit() {
    let report =
        json(&[&TINY[..], &["--type", "Q4_K_M", "--depth", "0,40", "--streams", "1,3", "--no-start"]].concat());
    assert_eq!(names(&report), ["pp20", "tg6", "tg6 @ d40", "1 stream 125+64", "3 streams 125+64"]);
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert!(report["commit"].is_string() || report["commit"].is_null());
    let peaks = &report["machine"]["peaks"][0];
    for key in ["read_bytes_per_second", "f32_macs_per_second", "i16_macs_per_second", "i8_macs_per_second"] {
        assert!(peaks[key].as_f64().is_some_and(|rate| rate > 1e6), "{key}: {peaks}");
    }
    let model = &report["model"];
    assert_eq!((&model["architecture"], &model["file_type"]), (&Value::from("llama"), &Value::from("Q4_K_M")));
    // Two tables of 1024 x 256, two layers, five norms.
    let layer = 256 * (256 + 128 + 128 + 256 + 3 * 512);
    assert_eq!(model["parameters"], 2 * 1024 * 256 + 2 * layer + 5 * 256);
    assert_eq!(model["layer_macs_a_token"].as_f64(), Some(f64::from(2 * layer)));
    // Two layers of keys and values of 128 elements, a byte each and two more for the scale of 32.
    assert_eq!(model["kv_token_bytes"].as_f64(), Some(2.0 * 256.0 * 34.0 / 32.0));
    assert!(model["type_bytes"]["Q6_K"].as_u64() > Some(0));
    for result in report["results"].as_array().expect("a list") {
        assert_eq!(result["samples"].as_array().map(Vec::len), Some(2));
        assert_eq!(result["unit"], "tokens/s");
        let number = |key: &str| result[key].as_f64().unwrap_or_else(|| panic!("{key} of {result}"));
        assert!(0.0 < number("min") && number("min") <= number("median") && number("median") <= number("max"));
        // A model that fits into a cache may decode faster than from memory; no product is faster than the peak.
        let percent = number("percent_of_limit");
        assert!(percent > 0.0 && (percent < 200.0 || result["bound"] == "memory"), "{result}");
        assert!((percent - 100.0 * number("median") / number("limit")).abs() < 1e-6);
        assert!(["memory", "compute"].contains(&result["bound"].as_str().expect("a word")), "{result}");
    }
    let deep = &report["results"][2];
    assert_eq!((&deep["depth"], &deep["generated_tokens"]), (&Value::from(40), &Value::from(6)));
    assert!(deep["limit"].as_f64() < report["results"][1]["limit"].as_f64(), "keys and values are read too");
}

#[test]
fn starts_and_memory_are_measured_in_processes_of_their_own() {
    let report = json(&TINY);
    let results = report["results"].as_array().expect("a list");
    let of = |name: &str| results.iter().find(|result| result["test"] == name);
    let warm = of("start, warm").expect("every system starts processes");
    assert_eq!((&warm["unit"], &warm["kind"]), (&Value::from("ms"), &Value::from("start")));
    assert_eq!((&warm["prompt_tokens"], &warm["generated_tokens"]), (&Value::from(16), &Value::from(1)));
    assert!(warm["details"]["load_ms"].as_f64() <= warm["max"].as_f64());
    // Where the page cache cannot be emptied this is said.
    let warned = report["warnings"].as_array().expect("a list").iter().any(|w| w.to_string().contains("page cache"));
    assert!(of("start, cold").is_some() || warned, "{report}");
    if cfg!(target_os = "linux") {
        let memory = of("peak memory").expect("Linux tells");
        let parts = &memory["details"];
        let sum = parts["anonymous_bytes"].as_f64().zip(parts["file_bytes"].as_f64()).map(|(own, file)| own + file);
        assert!(sum > Some(1e6), "{memory}");
        assert!(memory["limit"].as_f64() < memory["median"].as_f64(), "a process is more than its weights: {memory}");
    }
}

#[test]
fn every_format_has_every_test() {
    let fixed = [&TINY[..], &["--no-start", "--threads", "1,2", "--type", "q8_0"]].concat();
    let text = |format: &str| stdout(&lair(&[&fixed[..], &["--format", format]].concat()));
    let table = text("table");
    for word in ["pp20", "tg6", "median", "of limit", "tok/s", "GB/s", "Q8_0", "1 thread:", "2 threads:", "memory"] {
        assert!(table.contains(word), "`{word}` is not in: {table}");
    }
    let markdown = text("md");
    let rows: Vec<&str> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 2 + 4, "{markdown}");
    assert!(rows.iter().all(|row| row.matches('|').count() == rows[0].matches('|').count()), "{markdown}");
    let csv = text("csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 1 + 4, "{csv}");
    let columns: Vec<&str> = lines[0].split(',').collect();
    for column in ["test", "threads", "isa", "median", "limit", "percent_of_limit", "commit", "others_percent"] {
        assert!(columns.contains(&column), "`{column}` is not in: {}", lines[0]);
    }
    assert!(lines[1..].iter().all(|line| line.split(',').count() == columns.len()), "{csv}");
}

#[test]
fn a_kept_model_is_an_ordinary_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tiny.gguf");
    let path = path.to_str().expect("test paths are UTF-8");
    let none = ["--prefill", "0", "--decode", "0", "--no-start"];
    let made = lair(
        &[&["bench", "--synthetic", "tiny", "--type", "Q5_K_M", "--layers", "3", "--keep", path][..], &none].concat(),
    );
    assert!(stdout(&made).contains("Q5_K_M"));
    let shown = stdout(&lair(&["show", path, "--tensors"]));
    assert!(shown.contains("blk.2.ffn_down.weight") && shown.contains("tiny shape, random weights"), "{shown}");
    let report =
        json(&["bench", path, "--prefill", "12", "--decode", "3", "--repeats", "1", "--no-start", "--isa", "scalar"]);
    assert_eq!((names(&report), &report["results"][0]["isa"]), (vec!["pp12", "tg3"], &Value::from("scalar")));
    // Its vocabulary takes text and gives text.
    let answer = lair(&["run", path, "Hello there", "--raw", "--max-tokens", "4", "--temperature", "0"]);
    assert!(answer.status.success(), "{}", stderr(&answer));
}

#[test]
fn every_type_can_be_measured() {
    for mix in [
        "F32", "F16", "BF16", "Q4_0", "Q5_1", "Q2_K", "Q3_K_M", "IQ1_M", "IQ2_XS", "IQ3_S", "IQ4_XS", "TQ2_0", "MXFP4",
        "NVFP4",
    ] {
        let short = [
            "bench",
            "--synthetic",
            "tiny",
            "--type",
            mix,
            "--prefill",
            "9",
            "--decode",
            "2",
            "--repeats",
            "1",
            "--no-start",
        ];
        assert_eq!(names(&json(&short)), ["pp9", "tg2"], "{mix}");
    }
}

#[test]
fn refusals_name_the_cause() {
    for (arguments, code, words) in [
        (vec!["bench", "--synthetic", "gigantic"], 2, vec!["gigantic", "tinyllama-1.1b"]),
        (vec!["bench", "--synthetic", "tiny", "--type", "Q9_Z"], 2, vec!["Q9_Z", "Q4_K_M"]),
        (vec!["bench", "--synthetic", "tiny", "--repeats", "0"], 2, vec!["--repeats"]),
        (vec!["bench", "--synthetic", "tiny", "--threads", "2,0"], 2, vec!["--threads"]),
        (vec!["bench", "--synthetic", "tiny", "--streams", "100000"], 2, vec!["--streams", "512"]),
        (vec!["bench", "model.gguf", "--synthetic", "tiny"], 2, vec!["--synthetic"]),
        (vec!["bench", "--type", "Q8_0"], 2, vec!["--synthetic"]),
        (vec!["bench", "no-such-model"], 3, vec!["no-such-model"]),
        (vec!["bench", "--synthetic", "tiny", "--keep", "/no/such/folder/model.gguf"], 1, vec!["/no/such/folder"]),
    ] {
        let output = lair(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "{arguments:?}: `{word}` is not in: {}", stderr(&output));
        }
    }
}
