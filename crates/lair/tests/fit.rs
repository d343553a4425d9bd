//! `lair fit`, `recommend`, `doctor` and `why-slow` as users call them. What needs the shared data says so when it is skipped.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lair_testkit::shared_data;
use serde_json::{Value, json};

/// The program with stores of its own below `home`.
fn lair(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lair"));
    command.env("LAIR_HOME", home).env("HOME", home).env("NO_PROXY", "127.0.0.1");
    for name in
        ["OLLAMA_MODELS", "OLLAMA_HOST", "LAIR_HOST", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "LAIR_OFFLINE"]
    {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    lair(home, arguments).output().expect("the program starts")
}

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)))
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn a_model_is_described_by_its_numbers() {
    let home = home();
    let arguments = [
        "fit",
        "--parameters",
        "175B",
        "--layers",
        "96",
        "--hidden",
        "12288",
        "--type",
        "F32",
        "--context",
        "2048",
        "--kv-type",
        "f16",
        "--cpu",
        "EPYC 9654",
        "--ram",
        "768GB",
        "--json",
    ];
    let answer = json_of(&run(home.path(), &arguments));
    assert_eq!(answer["memory"]["weights_bytes"], 700_000_000_000u64);
    assert_eq!(answer["memory"]["kv_bytes"], 9_663_676_416u64);
    assert_eq!((&answer["fits"], &answer["basis"]), (&json!(true), &json!("architecture numbers")));
    for (arguments, word) in [
        (vec!["fit", "--layers", "2", "--hidden", "0"], "hidden"),
        (vec!["fit", "--parameters", "many", "--layers", "2", "--hidden", "64"], "many"),
        (vec!["fit", "--layers", "2", "--hidden", "64", "--gpu", "RTX 4091"], "RTX 4091"),
        (vec!["fit", "--layers", "2", "--hidden", "64", "--users", "0"], "--users"),
        (vec!["fit", "--layers", "2", "--hidden", "64", "--cpu", "Z80"], "Z80"),
    ] {
        let refused = run(home.path(), &arguments);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && said.contains(word), "{arguments:?}: {said}");
    }
}

#[test]
fn a_described_machine_splits_what_its_gpu_cannot_hold() {
    let home = home();
    let model =
        ["fit", "--parameters", "70B", "--layers", "80", "--hidden", "8192", "--heads", "64", "--kv-heads", "8"];
    let machine = ["--cpu", "Ryzen 9 7950X", "--ram", "64GB@80GB/s", "--gpu", "RTX 4090", "--json"];
    let answer = json_of(&run(home.path(), &[&model[..], &machine].concat()));
    assert_eq!(answer["verdict"], "fits, but slow", "{answer}");
    let placement = &answer["placement"];
    assert!(placement["gpu_layers"].as_u64().is_some_and(|layers| (30..60).contains(&layers)), "{placement}");
    assert_eq!(answer["machine"]["read_bytes_per_second"], 80e9);
    let two = ["--cpu", "Ryzen 9 7950X", "--ram", "64GB", "--gpu", "2x RTX 4090", "--split", "tensor", "--json"];
    let answer = json_of(&run(home.path(), &[&model[..], &two].concat()));
    assert_eq!(
        (&answer["placement"]["sharing"], &answer["placement"]["offload_share"]),
        (&json!("tensor"), &json!(0.0))
    );
    assert!(answer["speed"]["gpu_efficiency"].as_f64().is_some_and(|part| (0.3..1.0).contains(&part)), "{answer}");
}

#[test]
fn recommendations_name_models_that_fit_with_reasons() {
    let home = home();
    let machine = ["--cpu", "Ryzen 7 5800X", "--ram", "16GB", "--json"];
    let answer = json_of(&run(home.path(), &[&["recommend", "--for", "code"][..], &machine].concat()));
    let models = answer["models"].as_array().expect("a list");
    assert!(!models.is_empty());
    for model in models {
        assert!(model["needs_bytes"].as_u64().is_some_and(|bytes| bytes < 16 << 30), "{model}");
        assert!(model["reason"].as_str().is_some_and(|reason| reason.contains("tokens a second")), "{model}");
        assert!(model["reference"].as_str().is_some_and(|name| name.starts_with("hf.co/")), "{model}");
    }
    let nothing = run(home.path(), &["recommend", "--cpu", "Ryzen 7 5800X", "--ram", "256MB"]);
    assert_eq!(nothing.status.code(), Some(5));
}

/// A hub with one repository in three quantizations, all of them this file followed by a hole; counts the bytes it sends.
fn hub(model: PathBuf, sizes: [u64; 3]) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let bytes = fs::read(model).expect("the model");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
            let first = lines.next().expect("a request").expect("text");
            let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let path = first.split(' ').nth(1).expect("a path").to_owned();
            let range = head.iter().find_map(|line| {
                let line = line.to_ascii_lowercase();
                let (from, to) = line.strip_prefix("range: bytes=")?.split_once('-')?;
                Some((from.parse::<u64>().ok()?, to.parse::<u64>().ok()))
            });
            let answer = answer(&path, range, &bytes, sizes);
            count.fetch_add(answer.len() as u64, Ordering::Relaxed);
            let _ = if first.starts_with("HEAD") {
                let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
                stream.write_all(&answer[..end])
            } else {
                stream.write_all(&answer)
            };
        }
    });
    (endpoint, sent)
}

const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn answer(path: &str, range: Option<(u64, Option<u64>)>, bytes: &[u8], sizes: [u64; 3]) -> Vec<u8> {
    let names = ["tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf", "tiny-F16.gguf"];
    let plain = |body: Value| {
        let body = body.to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
    };
    if path.starts_with("/api/models/acme/tiny/revision/") {
        return plain(json!({ "sha": COMMIT, "cardData": { "license": "mit" } }));
    }
    if path.starts_with("/api/models/acme/tiny/tree/") {
        let file = |(name, size): (&str, u64)| {
            let lfs = json!({ "oid": "b".repeat(64), "size": size, "pointerSize": 134 });
            json!({ "type": "file", "path": name, "size": size, "oid": "c".repeat(40), "lfs": lfs })
        };
        return plain(names.into_iter().zip(sizes).map(file).collect());
    }
    let Some(index) = names.iter().position(|name| path.ends_with(name)) else {
        return b"HTTP/1.1 404 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    };
    let size = sizes[index];
    let (from, to) = range.map_or((0, size - 1), |(from, to)| (from, to.unwrap_or(size - 1).min(size - 1)));
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{to}/{size}\r\nAccept-Ranges: bytes\r\nETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n",
        to + 1 - from,
        "b".repeat(64)
    )
    .into_bytes();
    answer.extend((from..=to).map(|at| bytes.get(at as usize).copied().unwrap_or(0)));
    answer
}

#[test]
fn of_a_repository_one_header_is_read_and_all_quantizations_are_told() {
    let Some(model) = shared_data("models/stories260K-f32.gguf") else { return };
    let size = fs::metadata(&model).expect("it is there").len();
    let sizes = [size, 2 * size, 4 * size];
    let (endpoint, sent) = hub(model, sizes);
    let home = home();
    let machine = ["--cpu", "Ryzen 7 5800X", "--ram", "16GB", "--json"];
    let output = lair(home.path(), &[&["fit", "hf.co/acme/tiny"][..], &machine].concat())
        .env("HF_ENDPOINT", &endpoint)
        .output()
        .expect("the program starts");
    let answer = json_of(&output);
    let quants = answer["quants"].as_array().expect("a list");
    let names: Vec<&str> = quants.iter().filter_map(|quant| quant["model"].as_str()).collect();
    assert_eq!(names, ["hf.co/acme/tiny:Q4_K_M", "hf.co/acme/tiny:Q8_0", "hf.co/acme/tiny:F16"]);
    assert_eq!(
        quants.iter().map(|quant| quant["basis"].as_str()).collect::<Vec<_>>(),
        [Some("header"), Some("length of the file"), Some("length of the file")]
    );
    let weights = |index: usize| quants[index]["memory"]["weights_bytes"].as_u64().expect("a number");
    assert_eq!(weights(1) - weights(0), size);
    assert_eq!(answer["best"], "hf.co/acme/tiny:F16");
    // What the program says it fetched is what the server sent, without the heads of its answers.
    let fetched = answer["fetched_bytes"].as_u64().expect("a number");
    let sent = sent.load(Ordering::Relaxed);
    assert!(fetched > 0 && fetched <= sent && sent < 10_000_000, "{fetched} of {sent}");
    // With --offline nothing is asked.
    let refused = lair(home.path(), &["--offline", "fit", "hf.co/acme/tiny"]).env("HF_ENDPOINT", &endpoint).output();
    assert!(!refused.expect("the program starts").status.success());
}

#[test]
fn folders_and_stores_are_told_as_tables() {
    let Some(model) = shared_data("models/stories260K-f32.gguf") else { return };
    let (home, folder) = (home(), home());
    for name in ["tiny-F32.gguf", "tiny-Q8_0.gguf"] {
        fs::copy(&model, folder.path().join(name)).expect("copied");
    }
    let text = folder.path().display().to_string();
    let machine = ["--cpu", "Ryzen 7 5800X", "--ram", "16GB"];
    let table = run(home.path(), &[&["fit", &text][..], &machine].concat());
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        table.contains("tiny-F32.gguf") && table.contains("works well") && table.contains("best for chat"),
        "{table}"
    );
    assert!(run(home.path(), &["import", &model.display().to_string(), "tiny"]).status.success());
    let all = json_of(&run(home.path(), &[&["fit", "--all", "--json"][..], &machine].concat()));
    assert_eq!(all["model"], "tiny:latest", "{all}");
}

#[test]
fn what_does_not_fit_is_refused_with_its_table() {
    let Some(model) = shared_data("models/stories260K-f32.gguf") else { return };
    let home = home();
    let path = model.display().to_string();
    // Two billion positions are more than any machine of today has memory for.
    let refused = run(home.path(), &["run", &path, "hello", "--context-length", "1000000000"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    for word in ["weights:", "keys and values of", "in all:", "longest context that fits"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

/// A machine of these files below a folder.
fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = home();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    folder
}

const CPUINFO: (&str, &str) = ("proc/cpuinfo", "processor : 0\nmodel name : A chip\nflags : avx2\n\nprocessor : 1\n");
const MEMINFO: (&str, &str) =
    ("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n");

/// What `lair doctor` finds on such a machine: the ids by severity above `ok`, and whether it fails.
fn found(home: &Path, files: &[(&str, &str)], host: &str) -> (Vec<String>, bool) {
    let root = system(files);
    let text = root.path().display().to_string();
    let mut command = lair(home, &["doctor", "--json", "--system-root", &text]);
    let output = command.env("LAIR_HOST", host).output().expect("the program starts");
    let answer = json_of(&output);
    let findings = answer["findings"].as_array().expect("a list").iter();
    let bad = findings.filter(|finding| matches!(finding["severity"].as_str(), Some("warning" | "problem")));
    let ids = bad.map(|finding| {
        assert!(finding["fix"].is_string(), "{finding}");
        finding["id"].as_str().expect("an id").to_owned()
    });
    (ids.collect(), !output.status.success())
}

/// A port that nobody listens at.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").to_string()
}

#[test]
fn the_doctor_names_a_quota_swap_and_a_busy_port() {
    let home = home();
    let host = free_port();
    let quiet = [CPUINFO, MEMINFO];
    let (ids, failed) = found(home.path(), &quiet, &host);
    assert!(!failed && !ids.iter().any(|id| ["cpu-quota", "swap", "busy-port"].contains(&id.as_str())), "{ids:?}");
    let quota = ("sys/fs/cgroup/cpu.max", "50000 100000\n");
    let stat = ("sys/fs/cgroup/cpu.stat", "nr_throttled 40\nthrottled_usec 9000000\n");
    let (ids, failed) = found(home.path(), &[CPUINFO, MEMINFO, quota, stat], &host);
    assert!(ids.contains(&"cpu-quota".to_owned()) && !failed, "{ids:?}");
    let swapped =
        ("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 900000 kB\nSwapTotal: 8000000 kB\nSwapFree: 1000 kB\n");
    let (ids, _) = found(home.path(), &[CPUINFO, swapped], &host);
    assert!(ids.contains(&"swap".to_owned()) && ids.contains(&"memory".to_owned()), "{ids:?}");
    // Somebody listens there who is no server of Ollama's kind.
    let busy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = busy.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in busy.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"220 mail ready\r\n");
        }
    });
    let (ids, failed) = found(home.path(), &quiet, &address);
    assert!(ids.contains(&"busy-port".to_owned()) && failed, "{ids:?}");
}

#[test]
fn the_doctor_names_a_broken_blob_and_a_duplicate() {
    let Some(model) = shared_data("models/stories260K-f32.gguf") else { return };
    let home = home();
    let host = free_port();
    let path = model.display().to_string();
    assert!(run(home.path(), &["import", &path, "tiny", "--how", "copy"]).status.success());
    let (ids, failed) = found(home.path(), &[CPUINFO, MEMINFO], &host);
    assert!(!failed, "{ids:?}");
    // The same file in LM Studio's folder.
    let twin = home.path().join(".lmstudio/models/acme/tiny-GGUF");
    fs::create_dir_all(&twin).expect("made");
    fs::copy(&model, twin.join("tiny-F32.gguf")).expect("copied");
    let (ids, _) = found(home.path(), &[CPUINFO, MEMINFO], &host);
    assert!(ids.contains(&"duplicate-file".to_owned()), "{ids:?}");
    // One bit of the blob, the same length.
    let blobs = walk(home.path())
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sha256-")));
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |facts| facts.len());
    let blob = blobs.max_by_key(size).expect("the imported model is a blob");
    let mut bytes = fs::read(&blob).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::remove_file(&blob).expect("removed");
    fs::write(&blob, bytes).expect("written");
    let (ids, failed) = found(home.path(), &[CPUINFO, MEMINFO], &host);
    assert!(ids.contains(&"broken-blob".to_owned()) && failed, "{ids:?}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn why_slow_names_a_quota_and_swap() {
    let Some(model) = shared_data("models/stories260K-f32.gguf") else { return };
    let home = home();
    let path = model.display().to_string();
    let bottleneck = |before: &[(&str, &str)], after: &[(&str, &str)]| {
        let (before, after) = (system(before), system(after));
        let (before, after) = (before.path().display().to_string(), after.path().display().to_string());
        let arguments = ["why-slow", &path, "--tokens", "8", "--json", "--system-roots", &before, &after];
        let answer = json_of(&run(home.path(), &arguments));
        assert!(answer["decode_tokens_per_second"].as_f64() > Some(0.0), "{answer}");
        assert!(answer["causes"][0]["fix"].is_string(), "{answer}");
        answer["bottleneck"].as_str().expect("a word").to_owned()
    };
    let max = ("sys/fs/cgroup/cpu.max", "50000 100000\n");
    let stat = |micros: &'static str| ("sys/fs/cgroup/cpu.stat", micros);
    assert_eq!(
        bottleneck(
            &[CPUINFO, max, stat("nr_throttled 1\nthrottled_usec 0\n")],
            &[CPUINFO, max, stat("nr_throttled 9\nthrottled_usec 900000000\n")]
        ),
        "cpu-quota"
    );
    assert_eq!(
        bottleneck(&[CPUINFO, ("proc/vmstat", "pswpin 0\n")], &[CPUINFO, ("proc/vmstat", "pswpin 9000000\n")]),
        "swap"
    );
}
