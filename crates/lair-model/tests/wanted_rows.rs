//! Logits of some rows of a step are, to the bit, what they are where those of all rows are asked for.

mod runner;
#[allow(dead_code)] // What this test does not bend.
mod small_llama;

use lair_compute::cpu::{Cpu, CpuOptions, IsaChoice};
use lair_compute::{Backend, reference::Reference};
use lair_gguf::GgufFile;
use lair_testkit::tiny_models::TinyModel;
use runner::Runner;
use small_llama::SmallLlama;

fn check<B: Backend>(name: &str, file: &GgufFile, tokens: &[u32], backend: impl Fn() -> B) {
    let (first, second) = tokens.split_at(tokens.len() * 2 / 3);
    let new = || Runner::new(file, backend(), tokens.len(), tokens.len());
    let mut all = new();
    let (expected_first, expected_second) = (all.step(first), all.step(second));
    let width = all.model.vocabulary_size();
    let last = second.len() - 1;
    for wanted in [&[][..], &[0], &[last], &[0, 2, last], &[last, 1], &[1, 1]] {
        let mut some = new();
        // What was not computed for the first step must not be missing in the second.
        for (tokens, expected) in [(first, &expected_first), (second, &expected_second)] {
            let got = some.step_wanting(tokens, wanted);
            let rows = wanted.iter().flat_map(|&row| &expected[row * width..(row + 1) * width]);
            let is_equal = got.iter().map(|x| x.to_bits()).eq(rows.map(|x| x.to_bits()));
            assert!(is_equal, "{name}: rows {wanted:?} of {} differ", tokens.len());
        }
    }
}

#[test]
fn rows_that_are_not_wanted_change_nothing() {
    // Parallel layers with one norm and with two, norms of outputs and of the stream, windows, experts, delta nets.
    for name in [
        "llama",
        "phi2",
        "gptneox",
        "command-r",
        "gemma2",
        "gemma3",
        "olmo2",
        "exaone4",
        "qwen3moe",
        "gpt-oss",
        "qwen35",
        "falcon-h1",
        "jamba",
        "lfm2",
        "mamba2",
        "nemotron_h",
        "minimax-01",
        "rwkv6",
        "rwkv7",
    ] {
        let Some(tiny) = TinyModel::make(name) else { return };
        let file = GgufFile::open(tiny.path()).expect("tiny models are valid");
        check(name, &file, &tiny.tokens[..40], || Reference);
        let cpu = || Cpu::new(CpuOptions { threads: Some(2), isa: IsaChoice::Auto }).expect("threads start");
        check(name, &file, &tiny.tokens[..40], cpu);
    }
}

#[test]
fn a_plain_layer_is_five_parallel_regions_for_one_row() {
    let file = SmallLlama::new().open();
    let cpu = Cpu::new(CpuOptions { threads: Some(2), isa: IsaChoice::Auto }).expect("threads start");
    let mut runner = Runner::new(&file, cpu, 48, 32);
    let mut regions = |tokens: &[u32]| {
        let before = runner.backend().region_count();
        runner.step_wanting(tokens, &[tokens.len() - 1]);
        runner.backend().region_count() - before
    };
    // The model has two layers. Project, attention, project and add, the two halves of the network; and the head.
    assert_eq!(regions(&[1]), 2 * 5 + 1);
    assert_eq!(regions(&[2]), 2 * 5 + 1);
    // With many rows, preparing a product's input is dealt out too, and so are turning queries and keys and storing the
    // latter and values; but of the last layer only one row passes the network.
    let many = regions(&[3; 20]);
    assert!(many <= (5 + 7) + (5 + 4) + 1, "{many} regions");
}
