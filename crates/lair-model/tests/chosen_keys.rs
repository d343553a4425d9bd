//! Indexers that choose few of the keys, against the outputs of an outside reference
//! (`goldens/chosen_keys.py`), and to the bit over chunks, threads and a restored state.

mod runner;

use std::path::PathBuf;

use lair_compute::cpu::{Cpu, CpuOptions};
use lair_gguf::GgufFile;
use lair_testkit::normalised_mean_squared_error;
use lair_testkit::npy::read_f32;
use lair_testkit::tiny_models::TinyModel;
use runner::Runner;

/// Each model, how many units its indexers choose, and how far it may be from the reference.
const MODELS: [(&str, u32, f64); 8] = [
    ("deepseek32", 24, 1e-7),
    ("deepseek4", 5, 1e-7),
    ("dots3note", 24, 1e-7),
    ("glm-dsa", 24, 1e-7),
    ("glm5-next", 24, 1e-7),
    ("hy_v4", 24, 1e-7),
    // The reference keeps what it masks in F16 here.
    ("minimax-m3", 6, 1e-6),
    ("qwen4exp", 24, 1e-7),
];
/// Of the golden logits there are those of every so-many-th token, this one the first.
const STEP: usize = 8;

/// The first token whose golden logits there are; the script tells why.
fn first_row(name: &str) -> usize {
    if name == "qwen4exp" { STEP - 2 } else { STEP - 1 }
}

/// A tiny model whose indexers choose so many units.
struct FewChosen {
    tiny: TinyModel,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

fn few_chosen(name: &str, count: u32) -> Option<FewChosen> {
    let tiny = TinyModel::make(name)?;
    let mut bytes = std::fs::read(tiny.path()).expect("the tiny model can be read");
    // A key is its text, the type of its value, its value.
    let key = b"attention.indexer.top_k";
    let place = bytes.windows(key.len()).position(|window| window == key).expect("it has an indexer") + key.len() + 4;
    bytes[place..place + 4].copy_from_slice(&count.to_le_bytes());
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let path = directory.path().join(format!("{name}.gguf"));
    std::fs::write(&path, bytes).expect("the model can be written");
    Some(FewChosen { tiny, path, _directory: directory })
}

fn cpu(threads: usize) -> Cpu {
    Cpu::new(CpuOptions { threads: Some(threads), ..CpuOptions::default() }).expect("threads can be started")
}

/// The logits of all tokens, fed in chunks of these lengths.
fn run(model: &FewChosen, backend: Cpu, chunks: &[usize]) -> Vec<f32> {
    let file = GgufFile::open(&model.path).expect("the model is valid");
    let mut runner = Runner::new(&file, backend, model.tiny.tokens.len(), model.tiny.tokens.len());
    let (mut rest, mut logits) = (model.tiny.tokens.as_slice(), Vec::new());
    for length in chunks {
        let (chunk, behind) = rest.split_at((*length).min(rest.len()));
        if !chunk.is_empty() {
            logits.extend(runner.step(chunk));
        }
        rest = behind;
    }
    assert!(rest.is_empty(), "chunks cover all tokens");
    logits
}

#[test]
fn few_chosen_keys_give_the_outputs_of_the_reference() {
    let mut failures = Vec::new();
    for (name, count, limit) in MODELS {
        let Some(model) = few_chosen(name, count) else { return };
        let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/goldens/chosen_keys/{name}.npy"));
        let (expected, _) = read_f32(&golden);
        let length = model.tiny.tokens.len();
        let logits = run(&model, cpu(2), &[length]);
        let rows = logits.chunks_exact(model.tiny.width).skip(first_row(name)).step_by(STEP);
        let error = normalised_mean_squared_error(&rows.flatten().copied().collect::<Vec<_>>(), &expected);
        eprintln!("{name}: {error:.2e}");
        if error.is_nan() || error > limit {
            failures.push((name, error));
        }
        let apart = normalised_mean_squared_error(&logits, &model.tiny.expected);
        assert!(apart > 1e-5, "{name}: {apart:e} from the model that reads all keys");
    }
    assert!(failures.is_empty(), "too far from the reference: {failures:?}");
}

#[test]
fn neither_chunks_nor_threads_nor_a_restored_state_change_what_is_chosen() {
    for (name, count, _) in MODELS {
        let Some(model) = few_chosen(name, count) else { return };
        let tokens = &model.tiny.tokens;
        let whole = run(&model, cpu(1), &[tokens.len()]);
        let chunks = [vec![16, 61, 7], vec![1; 20], vec![tokens.len()]].concat();
        assert!(whole == run(&model, cpu(2), &chunks), "{name}: two threads or chunks change the outputs");
        let file = GgufFile::open(&model.path).expect("the model is valid");
        let mut runner = Runner::new(&file, cpu(2), tokens.len(), tokens.len());
        if runner.model.state_layout(1).is_none() {
            continue;
        }
        let (before, after) = tokens.split_at(75);
        runner.step(before);
        let checkpoint = runner.checkpoint();
        let first = runner.step(after);
        runner.restore(&checkpoint);
        assert!(first == runner.step(after), "{name}: a restored state changes the outputs");
    }
}
