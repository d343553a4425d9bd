//! A real, trained model: its greedy tokens, to the last.

mod runner;

use lair_compute::reference::Reference;
use lair_gguf::GgufFile;
use lair_testkit::shared_data;
use runner::Runner;

#[test]
fn tells_the_golden_story_token_by_token() {
    let (Some(model), Some(golden)) =
        (shared_data("models/stories260K-f32.gguf"), shared_data("models/stories260K-greedy.json"))
    else {
        return;
    };
    let golden: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(golden).expect("readable")).expect("valid JSON");
    let ids: Vec<u32> = serde_json::from_value(golden["ids"].clone()).expect("a list of tokens");
    let prompt: Vec<u32> = serde_json::from_value(golden["prompt_ids"].clone()).expect("a list of tokens");
    let top: Vec<(usize, f32)> = serde_json::from_value(golden["first_step_top10_logits"].clone()).expect("pairs");

    let file = GgufFile::open(model).expect("a valid model");
    let mut runner = Runner::new(&file, Reference, ids.len(), prompt.len());
    let vocabulary_size = runner.model.vocabulary_size();
    let mut logits = runner.step(&prompt);
    logits.drain(..logits.len() - vocabulary_size);
    for (token, expected) in top {
        assert!((logits[token] - expected).abs() < 2e-3, "token {token}: {} instead of {expected}", logits[token]);
    }
    let mut story = prompt;
    while story.len() < ids.len() {
        let best = (0..vocabulary_size).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("a vocabulary");
        story.push(best as u32);
        logits = runner.step(&[best as u32]);
    }
    assert_eq!(story, ids);
}
