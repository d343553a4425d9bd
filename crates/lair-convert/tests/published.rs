//! Models whose code is published with their weights: what of them is refused.

mod support;

use lair_convert::hf;
use support::{Checkpoint, safetensors, tensors_of};

fn error_of(checkpoint: &Checkpoint) -> String {
    hf::open(checkpoint.path()).expect_err("refused").to_string()
}

#[test]
fn a_head_that_is_an_embedding_with_a_factor_is_refused() {
    let checkpoint = Checkpoint::without_weights("jais");
    let mut tensors = tensors_of("jais");
    tensors.remove("lm_head.weight").expect("there");
    std::fs::write(checkpoint.path().join("model.safetensors"), safetensors(&tensors)).expect("written");
    let error = error_of(&checkpoint);
    assert!(error.contains("`lm_head.weight`"), "{error}");
}

#[test]
fn vocabularies_that_are_not_what_they_say_are_refused() {
    let check = |name: &str, file: &str, change: &dyn Fn(String) -> String, said: &str| {
        let checkpoint = Checkpoint::make(name);
        let path = checkpoint.path().join(file);
        let text = std::fs::read_to_string(&path).expect("read");
        std::fs::write(&path, change(text)).expect("written");
        let error = error_of(&checkpoint);
        assert!(error.contains(said) && error.contains(file), "{name}: {error:?} does not say {said:?}");
    };
    let rwkv = "rwkv_vocab_v20230424.txt";
    check("rwkv6", rwkv, &|text| text.replace("98 'a' 1", "98 'a' 2"), "in bytes");
    check("rwkv6", rwkv, &|text| text.replace("98 'a' 1", "99 'a' 1"), "ids in order");
    check("rwkv6", rwkv, &|text| text.replace("98 'a' 1", "98 a 1"), "literal");
    check("plamo2", "tokenizer.jsonl", &|text| text.replace(r#"["a", "#, r#"[7, "#), "a list of a piece");
    check("qwen", "qwen.tiktoken", &|text| text.replacen(" 7\n", " 8\n", 1), "in order");
    // A token that no two others make.
    check("qwen", "qwen.tiktoken", &|text| text + "enp6eno= 290\n", "two parts");
}
