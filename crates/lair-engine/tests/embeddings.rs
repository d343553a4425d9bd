//! Real encoders and decoders: the vector of a text has the same bits alone or among others, on one thread or two, in one
//! step or several, and is what the reference's hidden states pool to.

#![allow(clippy::unwrap_used)] // A test that meets an error has failed.

use std::sync::Arc;

use lair_compute::cpu::{Cpu, CpuOptions};
use lair_compute::{Backend, KvElement, reference::Reference};
use lair_engine::{EmbedRequest, Engine, EngineOptions, MemoryOptions, ModelRunner, Pooling};
use lair_gguf::GgufFile;
use lair_model::{LoadOptions, Model};
use lair_testkit::normalised_mean_squared_error;
use lair_testkit::tiny_models::TinyModel;

fn cpu(threads: usize) -> Cpu {
    Cpu::new(CpuOptions { threads: Some(threads), ..CpuOptions::default() }).unwrap()
}

fn engine<B: Backend>(model: &TinyModel, backend: B, rows_max: usize) -> Engine<ModelRunner<B>> {
    let file = GgufFile::open(model.path()).unwrap();
    let loaded = Arc::new(Model::load(&file, &backend, LoadOptions::default()).unwrap());
    let memory = MemoryOptions { kv_element: KvElement::F32, page_count: 64, state_slot_count: 4, rows_max };
    let context_length = loaded.context_length();
    let runner = ModelRunner::new(loaded, backend, context_length, memory).unwrap();
    let options = EngineOptions { rows_max, sequences_max: 2, ..EngineOptions::default() };
    Engine::new(runner, options).unwrap()
}

fn embed<B: Backend>(engine: &mut Engine<ModelRunner<B>>, inputs: &[&[u32]], pooling: Pooling) -> Vec<Vec<f32>> {
    let inputs = inputs.iter().map(|tokens| tokens.to_vec()).collect();
    engine.submit_embedding(EmbedRequest { inputs, pooling, adapter_scales: Vec::new() }).unwrap();
    while !engine.is_idle() {
        engine.step(&mut Vec::new());
        engine.check_integrity();
    }
    engine.take_embedded().pop().expect("it ended").1.unwrap().vectors
}

/// Encoders with every kind of mask, with experts, and a decoder of each kind of memory.
const MODELS: [&str; 7] =
    ["bert", "nomic-bert-moe", "jina-bert-v2", "modern-bert", "gemma-embedding", "llama", "qwen35"];

#[test]
fn vectors_do_not_depend_on_company_threads_or_steps() {
    for name in MODELS {
        let Some(model) = TinyModel::make(name) else { return };
        let tokens = model.tokens.as_slice();
        let texts: Vec<&[u32]> =
            [144, 1, 2, 15, 16, 17, 33, 100, 64, 3].iter().map(|length| &tokens[..*length]).collect();
        for pooling in [Pooling::Mean, Pooling::First, Pooling::Last, Pooling::None] {
            let together = embed(&mut engine(&model, cpu(2), 256), &texts, pooling);
            let mut one_thread = engine(&model, cpu(1), 144);
            for (text, vector) in texts.iter().zip(&together) {
                let alone = embed(&mut one_thread, &[text], pooling);
                assert!(alone[0] == *vector, "{name}, {pooling:?}: {} tokens", text.len());
            }
        }
        // Tokens of a decoder see nothing behind them, so its texts may come in pieces.
        if engine(&model, cpu(1), 144).limits().embedding.is_some_and(|shape| !shape.needs_whole_sequences) {
            let whole = embed(&mut engine(&model, cpu(2), 256), &texts, Pooling::Mean);
            assert!(embed(&mut engine(&model, cpu(2), 20), &texts, Pooling::Mean) == whole, "{name} in pieces");
        }
    }
}

#[test]
fn vectors_are_pooled_from_the_hidden_states_of_the_reference() {
    for name in ["bert", "modern-bert", "gemma-embedding", "eurobert"] {
        let Some(model) = TinyModel::make(name) else { return };
        let rows: Vec<&[f32]> = model.expected.chunks_exact(model.width).collect();
        let mean: Vec<f32> = (0..model.width)
            .map(|column| rows.iter().map(|row| row[column]).sum::<f32>() / rows.len() as f32)
            .collect();
        for (pooling, expected) in [
            (Pooling::Mean, mean.as_slice()),
            (Pooling::First, rows[0]),
            (Pooling::Last, rows[rows.len() - 1]),
            (Pooling::None, &model.expected),
        ] {
            let of_reference = embed(&mut engine(&model, Reference, 144), &[&model.tokens], pooling);
            let error = normalised_mean_squared_error(&of_reference[0], expected);
            assert!(error < 1e-5, "{name}, {pooling:?}: {error:e}");
        }
    }
}

/// A classifier is the head's products over the hidden state of the first token, or the mean.
#[test]
fn classifiers_read_what_their_declaration_says() {
    for (name, pooling) in [("bert", Pooling::First), ("modern-bert", Pooling::Mean)] {
        let Some(model) = TinyModel::make(name) else { return };
        let mut engine = engine(&model, cpu(1), 144);
        let shape = engine.limits().embedding.unwrap();
        assert_eq!((shape.class_count, shape.classifier_pooling), (1, pooling));
        let state = embed(&mut engine, &[&model.tokens], pooling).remove(0);
        let score = embed(&mut engine, &[&model.tokens], Pooling::Rank).remove(0);
        let file = GgufFile::open(model.path()).unwrap();
        let loaded = Model::load(&file, &cpu(1), LoadOptions::default()).unwrap();
        assert_eq!(score, loaded.pooled_head().scores(&state));
        assert!(score[0].is_finite() && score[0] != 0.0);
    }
}
