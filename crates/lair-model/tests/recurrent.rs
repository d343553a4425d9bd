//! Models with recurrent layers: their states can be kept and taken back, and they stand apart from other sequences.

mod runner;

use lair_compute::cpu::{Cpu, CpuOptions};
use lair_gguf::{GgufFile, Header};
use lair_model::{ModelCost, architectures};
use lair_testkit::tiny_models::TinyModel;
use lair_testkit::{normalised_mean_squared_error, shared_data};
use runner::Runner;

/// Every declared architecture with recurrent layers.
const RECURRENT: &[&str] = &[
    "arwkv7",
    "bailingmoe3",
    "deepseek4",
    "falcon-h1",
    "glm5-next",
    "granitehybrid",
    "jamba",
    "kimi-k3",
    "kimi-linear",
    "lfm2",
    "lfm2moe",
    "mamba",
    "mamba2",
    "minimax-01",
    "nemotron_h",
    "nemotron_h_moe",
    "plamo2",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "qwen4exp",
    "rwkv6",
    "rwkv7",
];

fn cpu(threads: usize) -> Cpu {
    Cpu::new(CpuOptions { threads: Some(threads), ..CpuOptions::default() }).expect("threads can be started")
}

#[test]
fn every_architecture_whose_models_have_a_state_is_listed() {
    let mut found = Vec::new();
    for architecture in architectures::ALL {
        let Some(path) = shared_data(&format!("archs/{}.meta.gguf", architecture.gguf_name)) else { continue };
        let header =
            Header::parse_without_data(&std::fs::read(path).expect("readable")).expect("golden headers are valid");
        let cost = ModelCost::of(&header.metadata, &header.tensors).expect("it can be counted");
        found.extend((cost.state_elements > 0).then_some(architecture.gguf_name));
    }
    found.sort_unstable();
    assert!(found.is_empty() || found == RECURRENT, "{found:?}");
}

#[test]
fn a_restored_checkpoint_gives_the_outputs_of_an_undisturbed_run() {
    let mut failures = Vec::new();
    for name in RECURRENT {
        let Some(tiny) = TinyModel::make(name) else { return };
        let file = GgufFile::open(tiny.path()).expect("tiny models are valid");
        let length = tiny.tokens.len();
        let whole = Runner::new(&file, cpu(1), length, length).step(&tiny.tokens);
        let error = normalised_mean_squared_error(&whole, &tiny.expected);
        eprintln!("{name}: {error:.2e}");
        if error.is_nan() || error > 1e-7 {
            failures.push((name, error));
        }

        let (first, second) = tiny.tokens.split_at(70);
        let mut runner = Runner::new(&file, cpu(2), length, length);
        let mut logits = runner.step(first);
        let checkpoint = runner.checkpoint();
        // Other tokens spoil the state.
        runner.step(&tiny.tokens[..20]);
        runner.step(&tiny.tokens[30..31]);
        runner.restore(&checkpoint);
        logits.extend(runner.step(&second[..1]));
        logits.extend(runner.step(&second[1..]));
        assert!(logits == whole, "{name}: the restored state gives other outputs");
    }
    assert!(failures.is_empty(), "too far from the reference: {failures:?}");
}
