//! The two ways in which files keep the widening products of latent attention.

mod runner;
mod small_llama;

use lair_compute::Backend;
use lair_compute::cpu::{Cpu, CpuOptions};
use lair_compute::reference::Reference;
use lair_model::{Model, ModelError};
use runner::Runner;
use small_llama::{HIDDEN_SIZE, SmallLlama};

const HEADS: usize = 2;
const NOPE: usize = 8;
const ROPE: usize = 4;
const VALUE: usize = 16;
const RANK: usize = 12;

/// A dense model of two layers whose widening products lie apart, as files have them now.
fn apart() -> SmallLlama {
    let mut model = SmallLlama::new();
    let keys: Vec<(String, lair_gguf::Value)> =
        model.metadata.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    for (key, value) in keys {
        model.metadata.set(&key.replace("llama.", "deepseek2."), value);
    }
    model.metadata.set("general.architecture", "deepseek2");
    for (key, value) in [
        ("attention.kv_lora_rank", RANK),
        ("attention.key_length", RANK + ROPE),
        ("attention.value_length", RANK),
        ("attention.key_length_mla", NOPE + ROPE),
        ("attention.value_length_mla", VALUE),
        ("rope.dimension_count", ROPE),
    ] {
        model.metadata.set(&format!("deepseek2.{key}"), value as u32);
    }
    for layer_index in 0..2 {
        for stem in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            model.remove(&format!("blk.{layer_index}.{stem}.weight"));
        }
        let mut add = |stem: &str, shape: &[usize]| {
            let shape: Vec<u64> = shape.iter().map(|length| *length as u64).collect();
            model.add(&format!("blk.{layer_index}.{stem}.weight"), &shape);
        };
        add("attn_q", &[HIDDEN_SIZE as usize, HEADS * (NOPE + ROPE)]);
        add("attn_kv_a_mqa", &[HIDDEN_SIZE as usize, RANK + ROPE]);
        add("attn_kv_a_norm", &[RANK]);
        add("attn_k_b", &[NOPE, RANK, HEADS]);
        add("attn_v_b", &[RANK, VALUE, HEADS]);
        add("attn_output", &[HEADS * VALUE, HIDDEN_SIZE as usize]);
    }
    model
}

/// The same with both in one tensor, as older files and checkpoints have them.
fn in_one() -> SmallLlama {
    let mut model = apart();
    for layer_index in 0..2 {
        let keys = model.remove(&format!("blk.{layer_index}.attn_k_b.weight"));
        let values = model.remove(&format!("blk.{layer_index}.attn_v_b.weight"));
        let mut both = Vec::new();
        for head in 0..HEADS {
            for row in 0..NOPE {
                both.extend((0..RANK).map(|element| keys[(head * RANK + element) * NOPE + row]));
            }
            both.extend(&values[head * VALUE * RANK..(head + 1) * VALUE * RANK]);
        }
        let name = format!("blk.{layer_index}.attn_kv_b.weight");
        model.add(&name, &[RANK as u64, (HEADS * (NOPE + VALUE)) as u64]);
        *model.values_mut(&name) = both;
    }
    model
}

fn logits<B: Backend>(model: &SmallLlama, backend: B) -> Vec<f32> {
    let tokens: Vec<u32> = (0..20).map(|index| index * 5 % 24).collect();
    Runner::new(&model.open(), backend, tokens.len(), tokens.len()).step(&tokens)
}

#[test]
fn both_ways_give_the_same_bits() {
    assert_eq!(logits(&apart(), Reference), logits(&in_one(), Reference));
    let cpu = || Cpu::new(CpuOptions { threads: Some(2), ..CpuOptions::default() }).expect("threads can be started");
    assert_eq!(logits(&apart(), cpu()), logits(&in_one(), cpu()));
}

#[test]
fn widths_that_cannot_be_are_refused() {
    let load = |key: &str, value: u32| {
        let mut model = apart();
        model.metadata.set(&format!("deepseek2.{key}"), value);
        Model::load(&model.open(), &Reference, Default::default()).map(|_| ())
    };
    assert!(load("attention.kv_lora_rank", RANK as u32).is_ok());
    assert!(matches!(load("attention.kv_lora_rank", 0), Err(ModelError::MissingKey { .. })));
    assert!(matches!(load("attention.head_count", 0), Err(ModelError::Parameter { .. })));
    assert!(matches!(load("attention.value_length_mla", 24), Err(ModelError::TensorShape { .. })));
    let mut neither = apart();
    neither.remove("blk.1.attn_k_b.weight");
    assert!(matches!(
        Model::load(&neither.open(), &Reference, Default::default()).map(|_| ()),
        Err(ModelError::MissingTensor { .. })
    ));
}
