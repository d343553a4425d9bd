//! Every declared architecture against the outputs of an outside reference, on tiny models.

mod runner;

use lair_compute::Backend;
use lair_compute::reference::Reference;
use lair_gguf::GgufFile;
use lair_model::architectures;
use lair_testkit::normalised_mean_squared_error;
use lair_testkit::tiny_models::TinyModel;
use runner::Runner;

/// Apart from the reference by no more than another order of sums explains.
const ERROR_MAX: f64 = 1e-7;

/// Models where the reference itself is coarser. It looks GELU up in a table of F16, by an F16 argument; with GELU rounded
/// in the same way the error of `gpt2` is 2e-9. Of `qwen2vl` it does not read the norms' epsilon and adds 0.
const COARSE: [(&str, f64); 6] =
    [("gemma", 3e-7), ("gpt2", 3e-7), ("gptneox", 3e-7), ("phi2", 3e-7), ("starcoder2", 3e-7), ("qwen2vl", 1e-5)];

/// Architectures whose tiny models come in more than one form.
const VARIANTS: [(&str, &[&str]); 5] = [
    ("llama-embed", &["llama-embed", "llama-embed-moe"]),
    ("mistral3", &["mistral3", "mistral3-moe"]),
    ("llama", &["llama", "llama-moe"]),
    ("granite", &["granite", "granite-moe"]),
    ("granitemoe", &["granitemoe", "granitemoe-moe"]),
];

/// The tiny models of an architecture.
fn models_of(gguf_name: &'static str) -> Vec<&'static str> {
    let variants = VARIANTS.iter().find(|(name, _)| *name == gguf_name);
    variants.map_or_else(|| vec![gguf_name], |(_, names)| names.to_vec())
}

fn all_models() -> impl Iterator<Item = &'static str> {
    architectures::ALL.iter().flat_map(|architecture| models_of(architecture.gguf_name))
}

/// The logits of all tokens, fed in chunks of these lengths.
fn run<B: Backend>(model: &TinyModel, backend: B, chunks: impl IntoIterator<Item = usize>) -> Vec<f32> {
    let file = GgufFile::open(model.path()).expect("tiny models are valid");
    let mut runner = Runner::new(&file, backend, model.tokens.len(), model.tokens.len());
    let mut rest = model.tokens.as_slice();
    let mut logits = Vec::new();
    for length in chunks {
        let (chunk, behind) = rest.split_at(length.min(rest.len()));
        if chunk.is_empty() {
            break;
        }
        logits.extend(runner.step(chunk));
        rest = behind;
    }
    logits
}

fn check_parity<B: Backend>(backend: impl Fn() -> B) {
    let mut failures = Vec::new();
    for name in all_models() {
        let Some(model) = TinyModel::make(name) else { return };
        let logits = run(&model, backend(), [model.tokens.len()]);
        let error = normalised_mean_squared_error(&logits, &model.expected);
        eprintln!("{name}: {error:.2e}");
        let error_max =
            COARSE.iter().find(|(coarse, _)| *coarse == name).map_or(ERROR_MAX, |(_, error_max)| *error_max);
        if error.is_nan() || error > error_max {
            failures.push((name, error));
        }
    }
    assert!(failures.is_empty(), "too far from the reference: {failures:?}");
}

#[test]
fn every_architecture_gives_the_logits_of_the_reference() {
    check_parity(|| Reference);
}

#[test]
fn every_architecture_gives_the_same_logits_in_chunks() {
    for name in all_models() {
        let Some(model) = TinyModel::make(name) else { return };
        let file = GgufFile::open(model.path()).expect("tiny models are valid");
        if Runner::new(&file, Reference, 1, 1).model.needs_whole_sequences() {
            continue;
        }
        let whole = run(&model, Reference, [model.tokens.len()]);
        let chunked = run(&model, Reference, [1, 1, 1, 16, 7, 64, 54]);
        assert!(whole == chunked, "{name}: chunks change the logits");
    }
}
