//! `lair imatrix`, `lair kl`, `lair quality` and sizes that `lair quantize` is asked for, as a user meets them.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use lair_gguf::GgufFile;
use lair_testkit::shared_data;
use serde_json::Value as Json;

fn lair(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
    command.env("LAIR_HOME", folder.join("home")).env("LAIR_MODELS", folder.join("models")).env_remove("OLLAMA_MODELS");
    command.current_dir(folder).args(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(folder: &Path, arguments: &[&str]) -> Json {
    let output = lair(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_str(&text(&output.stdout)).expect("--json prints JSON")
}

/// The message of a command that fails with this code.
fn refused(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = lair(folder, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

/// A folder with the tiny real model as `stories.gguf`, and as `text.txt` a text such as it was made for: what it finds
/// hardly possible at all lies beyond what a base stores.
fn folder() -> Option<tempfile::TempDir> {
    let model = shared_data("models/stories260K-f32.gguf")?;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(model, folder.path().join("stories.gguf")).expect("a copy");
    let mut words = String::new();
    for name in ["Tom", "Lily", "Ben", "Sue", "Max", "Anna"] {
        for (thing, place) in [("ball", "park"), ("dog", "garden"), ("toy car", "room"), ("bird", "tree")] {
            words.push_str(&format!(
                "Once upon a time, there was a little child named {name}. {name} had a big red {thing}. One day, {name} went to \
                 the {place} to play with the {thing}. {name} was very happy.\n"
            ));
        }
    }
    std::fs::write(folder.path().join("text.txt"), words).expect("a text");
    Some(folder)
}

#[test]
fn an_importance_matrix_is_computed_added_up_shown_and_used() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let fixed = ["imatrix", "compute", "text.txt", "-m", "stories.gguf", "--chunk-length", "64", "--json"];
    let more = |more: &[&'static str]| json(folder, &[&fixed[..], more].concat());
    let first = more(&["--chunks", "4"]);
    assert_eq!((&first["chunks"], &first["path"]), (&4.into(), &"stories.imatrix.gguf".into()));
    let perplexity = json(
        folder,
        &[
            "perplexity",
            "text.txt",
            "-m",
            "stories.gguf",
            "--chunk-length",
            "64",
            "--chunks",
            "4",
            "--kv-type",
            "f16",
            "--json",
        ],
    );
    let [mine, its] = [&first, &perplexity].map(|result| result["perplexity"].as_f64().expect("a number"));
    assert!((mine / its - 1.0).abs() < 1e-4, "{mine}, `lair perplexity` says {its}");

    // Four chunks and four more are eight; so are both added up.
    more(&["--chunks", "4", "--from-chunk", "4", "--out", "second.gguf", "--no-perplexity"]);
    more(&["--chunks", "8", "--out", "eight.gguf"]);
    json(folder, &["imatrix", "merge", "stories.imatrix.gguf", "second.gguf", "--out", "sum.gguf", "--json"]);
    let show = |file: &str| json(folder, &["imatrix", "show", file, "--json"]);
    let (eight, sum) = (show("eight.gguf"), show("sum.gguf"));
    assert_eq!((&sum["chunks"], &sum["chunk_length"]), (&8.into(), &64.into()));
    let tensors = |shown: &Json| shown["tensors"].as_array().expect("tensors").clone();
    // Seven matrices in each of five layers.
    assert_eq!(tensors(&sum).len(), 35);
    for (a, b) in tensors(&eight).iter().zip(tensors(&sum)) {
        assert_eq!((&a["name"], &a["rows_most"]), (&b["name"], &512.0.into()));
        let [a, b] = [a, &b].map(|tensor| tensor["sum"].as_f64().expect("a number"));
        assert!((a / b - 1.0).abs() < 1e-5, "{a} and {b}");
    }

    // The older format has the same means.
    json(folder, &["imatrix", "merge", "eight.gguf", "--out", "old.dat", "--json"]);
    for (a, b) in tensors(&show("old.dat")).iter().zip(tensors(&eight)) {
        let [a, b] = [a, &b].map(|tensor| tensor["mean"].as_f64().expect("a number"));
        assert!((a / b - 1.0).abs() < 1e-5, "{a} and {b}");
    }
    json(folder, &["quantize", "stories.gguf", "Q4_0", "out.gguf", "--imatrix", "sum.gguf", "--json"]);
    let made = GgufFile::open(folder.join("out.gguf")).expect("a model");
    let said = made.metadata().optional_str("quantize.imatrix.dataset").expect("a text");
    assert_eq!(said, Some("text.txt"));
}

#[test]
fn what_makes_no_importance_matrix_is_refused() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let compute = |more: &[&'static str]| {
        let fixed = ["imatrix", "compute", "text.txt", "-m", "stories.gguf", "--chunk-length", "64"];
        [&fixed[..], more].concat()
    };
    assert!(refused(folder, &compute(&["--from-chunk", "1000"]), 2).contains("skipped"));
    assert!(refused(folder, &compute(&["--out", "stories.gguf"]), 2).contains("there already"));
    assert!(refused(folder, &compute(&["--in-file", "text.txt"]), 4).contains("no importance matrix"));
    assert!(refused(folder, &["imatrix", "show", "stories.gguf"], 4).contains("general.type"));
}

#[test]
fn a_model_does_not_diverge_from_its_own_base_and_a_smaller_one_does() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let written = json(
        folder,
        &["kl", "stories.gguf", "--text", "text.txt", "--write-base", "base", "--chunk-length", "64", "--json"],
    );
    let size = std::fs::metadata(folder.join("base")).expect("it is written").len();
    assert_eq!(written["size_bytes"], size);
    let of = |model: &str| json(folder, &["kl", model, "--base", "base", "--json"]);
    let number = |result: &Json, name: &str| result[name].as_f64().unwrap_or_else(|| panic!("{name} of {result}"));
    let same = of("stories.gguf");
    // Steps of the file are 16 nats in 65,535.
    assert!(number(&same, "divergence").abs() < 1e-5, "{same}");
    assert!((number(&same, "perplexity_ratio") - 1.0).abs() < 1e-4, "{same}");
    assert!(number(&same, "same_likeliest") > 0.995, "{same}");
    assert!((number(&same, "perplexity") / number(&written, "perplexity") - 1.0).abs() < 1e-9, "{same}");
    assert_eq!(number(&same, "counted_tokens") as u64, 31 * number(&written, "chunks") as u64);

    json(folder, &["quantize", "stories.gguf", "Q4_0", "small.gguf", "--json"]);
    let small = of("small.gguf");
    let percentiles = &small["divergence_percentiles"];
    assert!(number(&small, "divergence") > 100.0 * number(&same, "divergence").abs().max(1e-6), "{small}");
    assert!(number(percentiles, "median") < number(percentiles, "p99"), "{small}");
    assert!(number(&small, "rms_probability_difference") > number(&same, "rms_probability_difference"), "{small}");

    // Fewer chunks than the base has.
    let part = json(folder, &["kl", "small.gguf", "--base", "base", "--chunks", "2", "--json"]);
    assert_eq!(part["counted_tokens"], 62);

    let whole = std::fs::read(folder.join("base")).expect("it is written");
    std::fs::write(folder.join("cut"), &whole[..whole.len() - 3]).expect("written");
    assert!(refused(folder, &["kl", "small.gguf", "--base", "cut"], 2).contains("its beginning says"));
    assert!(refused(folder, &["kl", "small.gguf", "--base", "text.txt"], 2).contains("_logits_"));
    assert!(refused(folder, &["kl", "small.gguf"], 2).contains("--base"));
    let again = ["kl", "stories.gguf", "--text", "text.txt", "--write-base", "base"];
    assert!(refused(folder, &again, 2).contains("--force"));
}

#[test]
fn quantizations_stand_side_by_side() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    for kind in ["Q4_0", "Q8_0"] {
        json(folder, &["quantize", "stories.gguf", kind, &format!("{kind}.gguf"), "--json"]);
    }
    let fixed = ["quality", "Q8_0.gguf", "Q4_0.gguf", "--text", "text.txt", "--chunk-length", "64", "--repeats", "1"];
    let report = json(folder, &[&fixed[..], &["--reference", "stories.gguf", "--svg", "chart.svg", "--json"]].concat());
    let rows = report["models"].as_array().expect("a list");
    let number = |row: usize, name: &str| rows[row][name].as_f64().unwrap_or_else(|| panic!("{name} of {report}"));
    // The smaller one first, which loses more; neither beats the other.
    assert!(number(0, "size_bytes") < number(1, "size_bytes") && number(0, "divergence") > number(1, "divergence"));
    assert!(number(0, "bits_per_weight") < 8.0 && number(1, "bits_per_weight") > 8.0, "{report}");
    assert!(rows.iter().all(|row| row["is_best"] == true), "{report}");
    assert!(number(0, "prefill_tokens_per_second") > 0.0 && number(1, "decode_tokens_per_second") > 0.0);
    let chart = std::fs::read_to_string(folder.join("chart.svg")).expect("a chart");
    assert!(chart.contains(">Q4_0<") && chart.contains(">Q8_0<"), "{chart}");

    // Without a reference the perplexity counts.
    let table = lair(folder, &[&fixed[..], &["--no-speed", "--markdown"]].concat());
    let table = text(&table.stdout);
    assert!(table.starts_with("| model") && !table.contains("divergence") && table.contains("| Q4_0"), "{table}");
}

#[test]
fn a_file_of_a_wanted_size_is_made() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    json(folder, &["imatrix", "compute", "text.txt", "-m", "stories.gguf", "--chunk-length", "64", "--json"]);
    let fixed = ["quantize", "stories.gguf", "out.gguf", "--imatrix", "stories.imatrix.gguf", "--json", "--force"];
    let made = |more: &[&'static str]| {
        json(folder, &[&fixed[..], more].concat());
        std::fs::metadata(folder.join("out.gguf")).expect("it is written").len()
    };
    let size = made(&["--target-size", "300KB"]);
    assert!((270_000..=300_000).contains(&size), "{size}");
    let plan = json(folder, &["quantize", "stories.gguf", "--target-bpw", "9", "--dry-run", "--json"]);
    let bits = plan["bits_per_weight"].as_f64().expect("a number");
    assert!((8.0..=9.0).contains(&bits), "{plan}");
    assert!(refused(folder, &[&fixed[..], &["--target-size", "1KB"]].concat(), 2).contains("smallest types"));
    let aimless = ["quantize", "stories.gguf", "Q4_0", "--candidates", "Q4_0", "--force"];
    assert!(refused(folder, &aimless, 2).contains("no size is wanted"));
}
