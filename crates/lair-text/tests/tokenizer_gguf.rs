//! GGUF vocabularies against the ids and texts that llama.cpp recorded for them.

use lair_gguf::GgufFile;
use lair_testkit::shared_data;
use lair_text::tokenizer::{AddSpecial, ShowSpecial, Special, Tokenizer};

const NAMES: [&str; 7] = ["bert-bge", "falcon", "gpt-2", "mpt", "phi-3", "qwen2", "qwen35"];

fn load(path: &std::path::Path) -> Tokenizer {
    let file = GgufFile::open(path).expect("a readable vocabulary");
    Tokenizer::from_gguf(file.metadata()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares a vocabulary with the `.inp` and `.out` beside it; returns how many texts agree and what disagrees.
fn check(path: &std::path::Path) -> (usize, Vec<String>) {
    let tokenizer = load(path);
    let beside = |extension: &str| {
        std::fs::read_to_string(format!("{}.{extension}", path.display())).expect("a recording beside the vocabulary")
    };
    let (texts, expected) = (beside("inp"), beside("out"));
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let expected: Vec<&str> = expected.lines().collect();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (text, line) in texts.iter().zip(&expected) {
        let ids: Vec<u32> = line.split_whitespace().map(|id| id.parse().expect("an id")).collect();
        let found = tokenizer.encode(text, Special::AsText, AddSpecial::No);
        if found != ids {
            wrong.push(format!("{text:?}\n  expected {ids:?}\n  found    {found:?}"));
        }
        count += 1;
    }
    assert!(count >= 40, "only {count} texts");
    (count, wrong)
}

#[test]
fn ids_are_those_of_llama_cpp() {
    for name in NAMES {
        let Some(path) = shared_data(&format!("tokenizers/ggml-vocab-{name}.gguf")) else { return };
        let (count, wrong) = check(&path);
        assert!(wrong.is_empty(), "{name}: {} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// Any folder of vocabularies with recordings: `LAIR_VOCABULARIES=FOLDER cargo test -p lair-text -- --nocapture`.
#[test]
fn other_vocabularies_agree_too() {
    let Some(folder) = std::env::var_os("LAIR_VOCABULARIES") else { return };
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "gguf")) {
        load(path);
        if !std::path::Path::new(&format!("{}.inp", path.display())).exists() {
            continue;
        }
        let (count, wrong) = check(path);
        println!("{}: {} of {count} agree", path.display(), count - wrong.len());
        assert!(wrong.is_empty(), "{}:\n{}", path.display(), wrong.join("\n"));
    }
}

#[test]
fn decoding_gives_the_text_back() {
    for name in NAMES.into_iter().filter(|&name| name != "bert-bge") {
        let Some(path) = shared_data(&format!("tokenizers/ggml-vocab-{name}.gguf")) else { return };
        let tokenizer = load(&path);
        let texts = std::fs::read_to_string(format!("{}.inp", path.display())).expect("texts");
        for text in texts.split("\n__ggml_vocab_test__\n") {
            let ids = tokenizer.encode(text, Special::AsText, AddSpecial::No);
            assert_eq!(tokenizer.decode(&ids, ShowSpecial::Show).expect("known ids"), text, "{name}");
        }
    }
}
