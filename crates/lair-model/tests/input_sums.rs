//! What matrices are multiplied with, added up, against what llama.cpp multiplies them with (`goldens/input_sums.py`).

mod runner;

use std::collections::BTreeMap;
use std::path::PathBuf;

use lair_compute::cpu::{Cpu, CpuOptions, InputSums, InputTaps};
use lair_gguf::GgufFile;
use lair_testkit::tiny_models::TinyModel;
use runner::Runner;

/// Of one matrix, or a stack of them: rows of each expert; of each expert's sums the total, the first, the third and the last.
type Golden = (Vec<u64>, Vec<[f64; 4]>);

/// By model and tensor.
type Goldens = BTreeMap<String, BTreeMap<String, Golden>>;

/// Activations differ by the order of additions; squares twice as much.
const ERROR_MAX: f64 = 2e-4;

fn goldens() -> Goldens {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/input_sums.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the goldens are here")).expect("they are JSON")
}

/// As the goldens' script does: tokens take one expert of two.
fn with_one_expert(model: &TinyModel) -> GgufFile {
    let mut bytes = std::fs::read(model.path()).expect("it was just written");
    let key = b"expert_used_count";
    if let Some(place) = bytes.windows(key.len()).position(|window| window == key) {
        bytes[place + key.len() + 4..][..4].copy_from_slice(&1_u32.to_le_bytes());
        std::fs::write(model.path(), bytes).expect("it can be written again");
    }
    GgufFile::open(model.path()).expect("tiny models are valid")
}

/// The sums of the layers' matrices, after all tokens in chunks of so many.
fn observed(model: &TinyModel, chunk: usize, threads: usize) -> BTreeMap<String, InputSums> {
    let taps = InputTaps::default();
    let options = CpuOptions { threads: Some(threads), ..CpuOptions::default() };
    let backend = Cpu::new(options).expect("a CPU backend").with_input_taps(&taps);
    let mut runner = Runner::new(&with_one_expert(model), backend, model.tokens.len(), model.tokens.len());
    model.tokens.chunks(chunk).for_each(|tokens| {
        runner.step(tokens);
    });
    let sums = taps.sums().into_iter().filter(|sums| sums.name.starts_with("blk."));
    sums.map(|sums| (sums.name.clone(), sums)).collect()
}

#[test]
fn inputs_are_added_up_as_llama_cpp_does() {
    for (name, expected) in goldens() {
        let Some(model) = TinyModel::make(&name) else { return };
        let found = observed(&model, model.tokens.len(), 2);
        for (tensor, (counts, probes)) in &expected {
            let sums = found.get(tensor).unwrap_or_else(|| panic!("{name}: nothing of `{tensor}`"));
            assert_eq!(&sums.counts, counts, "{name}: rows of `{tensor}`");
            for (expert, probes) in probes.iter().enumerate() {
                let row = &sums.sums[expert * sums.columns..][..sums.columns];
                let found = [row.iter().sum(), row[0], row[2], row[sums.columns - 1]];
                for (found, expected) in found.into_iter().zip(probes) {
                    let error = (found - expected).abs() / expected.abs().max(1e-9);
                    assert!(error < ERROR_MAX, "{name}: `{tensor}` of expert {expert}: {found}, expected {expected}");
                }
            }
        }
        let more: Vec<&String> = found.keys().filter(|tensor| !expected.contains_key(*tensor)).collect();
        assert!(more.is_empty(), "{name}: llama.cpp has nothing of {more:?}");
    }
}

#[test]
fn sums_do_not_depend_on_steps_and_threads() {
    let Some(model) = TinyModel::make("llama-moe") else { return };
    let (whole, pieces) = (observed(&model, model.tokens.len(), 3), observed(&model, 7, 1));
    for (tensor, sums) in &whole {
        assert_eq!(sums.counts, pieces[tensor].counts, "{tensor}");
        let differ = |(a, b): (&f64, &f64)| (a - b).abs() > 1e-9 * a.abs();
        assert!(!sums.sums.iter().zip(&pieces[tensor].sums).any(differ), "{tensor}: more than rounding");
    }
}

#[test]
fn nothing_is_added_up_without_taps_and_what_was_never_multiplied_is_left_out() {
    let taps = InputTaps::default();
    assert!(taps.sums().is_empty());
    let Some(model) = TinyModel::make("phi3") else { return };
    let backend = Cpu::new(CpuOptions::default()).expect("a CPU backend").with_input_taps(&taps);
    Runner::new(&with_one_expert(&model), backend, 16, 16);
    assert!(taps.sums().is_empty(), "matrices that were loaded but not used");
}
