//! SentencePiece models and `tokenizer.json` files against the ids and texts that their own libraries gave.

use std::path::Path;

use lair_testkit::shared_data;
use lair_text::tokenizer::{AddSpecial, ShowSpecial, Special, Tokenizer};
use serde_json::Value;

fn goldens() -> Option<Value> {
    let bytes = std::fs::read(shared_data("tokenizers/goldens.json")?).expect("a readable file");
    Some(serde_json::from_slice(&bytes).expect("goldens are JSON"))
}

fn check(goldens: &Value, name: &str, tokenizer: &Tokenizer, add: AddSpecial) {
    let model = &goldens["models"][name];
    let texts = goldens["texts"].as_array().expect("texts");
    let mut wrong = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let text = text.as_str().expect("a text");
        let ids: Vec<u32> = serde_json::from_value(model["ids"][index].clone()).expect("ids");
        let found = tokenizer.encode(text, Special::AsText, add);
        if found != ids {
            wrong.push(format!("{text:?}\n  expected {ids:?}\n  found    {found:?}"));
        }
        let decoded = tokenizer.decode(&ids, ShowSpecial::Hide).expect("known ids");
        if decoded != model["decoded"][index].as_str().expect("a text") {
            wrong.push(format!("{ids:?}\n  expected {}\n  decoded  {decoded:?}", model["decoded"][index]));
        }
    }
    assert!(texts.len() >= 50);
    assert_eq!(tokenizer.vocabulary_size() as u64, model["vocab_size"].as_u64().expect("a count"), "{name}");
    assert!(wrong.is_empty(), "{name}: {} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn sentence_piece_models_are_exact() {
    let Some(goldens) = goldens() else { return };
    for name in ["mistral-tokenizer.model.v1", "mistral-tokenizer.model.v3", "test_model.model", "test_ja_model.model"]
    {
        let name = format!("sentencepiece/{name}");
        let Some(path) = shared_data(&format!("tokenizers/{name}")) else { return };
        let bytes = std::fs::read(path).expect("a readable model");
        let tokenizer = Tokenizer::from_sentence_piece(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(tokenizer.bos().map(u64::from), goldens["models"][&name]["bos"].as_u64());
        assert_eq!(tokenizer.eos().map(u64::from), goldens["models"][&name]["eos"].as_u64());
        check(&goldens, &name, &tokenizer, AddSpecial::No);
    }
}

#[test]
fn tokenizer_json_files_are_exact() {
    let Some(goldens) = goldens() else { return };
    let files =
        ["wordpiece/all-MiniLM-L6-v2.tokenizer.json", "../models/onnx-genai/tiny-random-gpt2-fp32/tokenizer.json"];
    for name in files {
        let Some(path) = shared_data(&format!("tokenizers/{name}")) else { return };
        let bytes = std::fs::read(Path::new(&path)).expect("a readable file");
        let tokenizer = Tokenizer::from_tokenizer_json(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&goldens, name, &tokenizer, AddSpecial::Yes);
    }
}
