//! SLM Packager's command lines, as its README has them, with `lair` in front.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use lair_testkit::shared_data;

fn slm(home: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::cargo_bin("lair").expect("the program is built with its tests");
    command.current_dir(home).env("HOME", home).env("LAIR_HOME", home.join("lair"));
    command.env("OLLAMA_MODELS", home.join("ollama")).env("HF_HOME", home.join("hf")).env_remove("HF_HUB_CACHE");
    command.arg("slm").args(arguments).write_stdin(input).output().expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn check(output: &Output, code: i32, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

fn stories() -> Option<PathBuf> {
    shared_data("models/stories260K-f32.gguf")
}

/// A project in the home's folder of projects, as that tool's `pull` leaves it.
fn install(home: &Path, name: &str, model: &Path) {
    let folder = home.join(".slm/configs");
    std::fs::create_dir_all(&folder).expect("made");
    let text = format!(
        "model:\n  name: {name}\n  path: {}\n  description: Stories (f32)\n  format: gguf\nruntime:\n  type: llama_cpp\n  \
         device: cpu\n  threads: 2\n  gpu_layers: 0\n  context_size: 512\n  trust_remote_code: false\nparams:\n  \
         temperature: 0.7\n  top_p: 0.9\n  top_k: 40\n  max_tokens: 12\n  stop: []\n  stream: false\n  \
         repetition_penalty: 1.1\nquantization: null\n",
        model.display()
    );
    std::fs::write(folder.join(format!("{name}.yaml")), text).expect("written");
}

#[test]
fn a_model_runs_by_its_name_and_by_its_file() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    install(home.path(), "tinyllama", &model);
    let config = ".slm/configs/tinyllama.yaml";
    for arguments in [
        vec!["run", "tinyllama", "--prompt", "Once upon a time"],
        vec!["run", config, "-p", "Once upon a time", "--stream"],
        vec!["run", config, "-p", "Once upon a time", "--no-stream", "--raw"],
        vec!["run", model.to_str().expect("UTF-8"), "--prompt", "Once upon a time"],
    ] {
        let output = slm(home.path(), &arguments, "");
        check(&output, 0, &["Loading model", "llama_cpp"]);
        assert!(output.stdout.len() > 10, "{arguments:?}: {}", said(&output));
    }
    let asked = slm(home.path(), &["run", "tinyllama"], "Once upon a time\n");
    check(&asked, 0, &["Enter prompt:"]);
    check(&slm(home.path(), &["list", "--installed"], ""), 0, &["tinyllama", "Format: gguf", "stories260K"]);
    let benchmark = slm(home.path(), &["benchmark", "tinyllama"], "");
    check(
        &benchmark,
        0,
        &["Benchmark Results:", "Load Time:", "Generation Time:", "Memory Usage:", "Latency:", "TPS:"],
    );
    check(&slm(home.path(), &["rm", "tinyllama"], "n\n"), 0, &["Cancelled."]);
    check(&slm(home.path(), &["rm", "tinyllama", "--yes"], ""), 0, &["removed", "stays there"]);
    assert!(model.exists(), "a model of another store is nobody else's to remove");
    check(&slm(home.path(), &["rm", "tinyllama", "-y"], ""), 3, &["not installed"]);
    check(&slm(home.path(), &["list", "--installed"], ""), 0, &["No models installed yet"]);
}

#[test]
fn the_parameters_of_a_project_are_honoured() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let run = |params: &str| {
        let text = format!(
            "model: {{name: s, path: \"{}\", format: gguf}}\nruntime: {{type: llama_cpp, threads: 1}}\nparams: {params}\n",
            model.display()
        );
        std::fs::write(home.path().join("slm.yaml"), text).expect("written");
        let output = slm(home.path(), &["run", "slm.yaml", "--raw", "-p", "Once upon a time"], "");
        check(&output, 0, &[]);
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let greedy = run("{temperature: 0, max_tokens: 30}");
    assert_eq!(greedy, run("{temperature: 0, max_tokens: 30, stream: true}"), "greedy answers are the same");
    assert!(run("{temperature: 0, max_tokens: 5}").len() < greedy.len());
    let word = greedy.split_whitespace().nth(3).expect("a fourth word");
    let stopped = run(&format!("{{temperature: 0, max_tokens: 30, stop: [\"{word}\"]}}"));
    assert!(greedy.starts_with(stopped.trim_end_matches('\n')) && !stopped.contains(word), "{stopped}");
}

#[test]
fn init_writes_what_run_takes() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let path = model.to_str().expect("UTF-8");
    let given = ["init", "--name", "s", "--path", path, "--format", "gguf", "--runtime", "llama_cpp", "-o", "s.yaml"];
    check(&slm(home.path(), &given, ""), 0, &["Config saved to s.yaml"]);
    let asked = slm(home.path(), &["init"], &format!("s\n{path}\nggml\ngguf\nllama_cpp\n"));
    check(&asked, 0, &["Model Name:", "`ggml` is none of", "Config saved to slm.yaml"]);
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).expect("written");
    assert_eq!(read("s.yaml"), read("slm.yaml"));
    check(&slm(home.path(), &["init"], "only a name\n"), 2, &["standard input ended", "Model Path"]);
    // The README's example for another runtime and device: it is written, and refused where it would have to run.
    let readme =
        ["--name", "gpt2", "--path", "gpt2", "--format", "pytorch", "--runtime", "transformers", "--device", "mps"];
    check(&slm(home.path(), &[&["init"][..], &readme, &["-o", "gpt2-mps.yaml"]].concat(), ""), 0, &["gpt2-mps.yaml"]);
    check(&slm(home.path(), &["run", "gpt2-mps.yaml", "--prompt", "Hello!"], ""), 4, &["pytorch", "GGUF"]);
}

#[test]
fn the_list_and_its_variants_are_shown_without_a_network() {
    let home = tempfile::tempdir().expect("a folder");
    check(&slm(home.path(), &["list"], ""), 0, &["tinyllama", "phi-2", "qwen-1.8b", "gpt2", "Recommended: q4_k_m"]);
    check(&slm(home.path(), &["pull", "phi-2", "--list-variants"], ""), 0, &["q4_k_m", "1.6GB", "q8_0"]);
    check(&slm(home.path(), &["pull", "no-such"], ""), 3, &["no-such", "tinyllama"]);
    check(&slm(home.path(), &["pull", "phi-2", "--quant", "q1"], ""), 3, &["q1", "q8_0"]);
    check(&slm(home.path(), &["pull", "owner/repository"], ""), 2, &["FILE.gguf"]);
    check(&slm(home.path(), &["pull", "tinyllama", "--name", "../../x"], ""), 2, &["../../x"]);
    let offline = slm(home.path(), &["run", "tinyllama", "-p", "Hi", "--offline"], "");
    check(&offline, 3, &["tinyllama", "--offline", "lair slm pull tinyllama"]);
    // As with that tool, a model for another runtime is a project at once.
    check(&slm(home.path(), &["pull", "gpt2"], ""), 0, &["gpt2.yaml"]);
    check(&slm(home.path(), &["run", "gpt2", "--prompt", "Hello!"], ""), 4, &["pytorch"]);
}

#[test]
fn what_cannot_be_quantized_is_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let model = home.path().join("input.gguf");
    std::fs::write(&model, b"x").expect("written");
    let input = model.to_str().expect("UTF-8");
    check(&slm(home.path(), &["quantize", input, "--type", "q4_k_m"], ""), 4, &["GGUF"]);
    check(&slm(home.path(), &["quantize", "absent.gguf"], ""), 3, &["absent.gguf"]);
}

#[test]
fn a_wrong_project_is_refused_with_all_that_is_wrong() {
    let home = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).expect("written");
    write("wrong.yaml", "model: {name: x, format: ggml}\nruntime: {type: llama_cpp, context_size: 1}\n");
    check(&slm(home.path(), &["run", "wrong.yaml", "-p", "x"], ""), 2, &["model.path", "ggml", "context_size"]);
    write("broken.yaml", "model: [\n");
    check(&slm(home.path(), &["run", "broken.yaml", "-p", "x"], ""), 2, &["broken.yaml", "YAML"]);
    write("text.txt", "model");
    check(&slm(home.path(), &["run", "text.txt", "-p", "x"], ""), 2, &["text.txt"]);
    write("absent.yaml", "model: {name: x, path: no.gguf, format: gguf}\nruntime: {type: onnx}\nextra: 1\n");
    check(&slm(home.path(), &["run", "absent.yaml", "-p", "x"], ""), 3, &["no.gguf", "`extra`"]);
}

#[test]
fn a_repository_s_file_in_the_hub_s_cache_is_pulled_and_run_without_a_network() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    // As the hub's own client leaves it: a branch that points to a commit, and the commit's files.
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repository = home.path().join("hf/hub/models--Qwen--Qwen3-4B-GGUF");
    let write = |path: &str, bytes: &[u8]| {
        let path = repository.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    };
    write("refs/main", commit.as_bytes());
    write(&format!("snapshots/{commit}/Qwen3-4B-Q4_K_M.gguf"), &std::fs::read(model).expect("readable"));
    let pull = ["pull", "Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf", "--name", "qwen3-4b", "--offline"];
    check(&slm(home.path(), &pull, ""), 0, &["qwen3-4b.yaml", "lair slm run qwen3-4b"]);
    let run = slm(home.path(), &["run", "qwen3-4b", "--prompt", "Hello!", "--offline"], "");
    check(&run, 0, &["Loading model qwen3-4b"]);
    check(&slm(home.path(), &["list", "--installed"], ""), 0, &["qwen3-4b (", "models--Qwen--Qwen3-4B-GGUF"]);
}
