//! Real models: the same request gives the same bits alone or among others, whole or in pieces, with or without the
//! prefix cache, and after its memory was taken away.

#![allow(clippy::unwrap_used)] // A test that meets an error has failed.

use std::{collections::HashMap, path::Path, sync::Arc};

use lair_compute::cpu::{ActivationType, ActivationTypes, Cpu, CpuOptions, IsaChoice};
use lair_compute::{Backend, KvElement, reference::Reference};
use lair_engine::{
    DraftOptions, Engine, EngineOptions, EngineStats, Event, FinishReason, MemoryOptions, ModelRunner, Request,
    RunnerError, Sampling, SequenceId, Speculation,
};
use lair_gguf::{GgufFile, GgufWriter, TensorType};
use lair_model::{LoadOptions, Model};
use lair_testkit::{shared_data, tiny_models::TinyModel};

/// What a request delivered, log-probabilities as bits.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    tokens: Vec<u32>,
    logprobs: Vec<u32>,
    prompt_logprobs: Vec<u32>,
    reason: Option<FinishReason>,
}

struct Subject<B: Backend> {
    model: Arc<Model<B>>,
    backend: fn() -> B,
    kv_element: KvElement,
}

impl<B: Backend> Subject<B> {
    fn load(path: &Path, backend: fn() -> B) -> Self {
        let file = GgufFile::open(path).unwrap();
        Self {
            model: Arc::new(Model::load(&file, &backend(), LoadOptions::default()).unwrap()),
            backend,
            kv_element: KvElement::F16,
        }
    }

    fn runner(&self, pages: usize, options: &EngineOptions) -> ModelRunner<B> {
        let memory = MemoryOptions {
            kv_element: self.kv_element,
            page_count: pages,
            state_slot_count: options.sequences_max + 4,
            rows_max: options.rows_max,
        };
        let context_length = self.model.context_length();
        ModelRunner::new(Arc::clone(&self.model), (self.backend)(), context_length, memory).unwrap()
    }

    fn engine(&self, pages: usize, options: &EngineOptions) -> Engine<ModelRunner<B>> {
        Engine::new(self.runner(pages, options), options.clone()).unwrap()
    }

    fn run(&self, requests: &[Request], pages: usize, options: &EngineOptions) -> (Vec<Outcome>, EngineStats) {
        Self::compute(self.engine(pages, options), requests)
    }

    /// Runs requests, a few of which arrive at each step.
    fn compute(mut engine: Engine<ModelRunner<B>>, requests: &[Request]) -> (Vec<Outcome>, EngineStats) {
        let mut outcomes: Vec<Outcome> = requests.iter().map(|_| Outcome::default()).collect();
        let mut places: HashMap<SequenceId, usize> = HashMap::new();
        let mut arriving = requests.iter().enumerate();
        let mut events = Vec::new();
        loop {
            for (place, request) in arriving.by_ref().take(3) {
                places.insert(engine.submit(request.clone()).unwrap(), place);
            }
            if engine.is_idle() {
                return (outcomes, engine.stats());
            }
            engine.step(&mut events);
            engine.check_integrity();
            for event in events.drain(..) {
                let outcome = &mut outcomes[places[&event.id()]];
                match event {
                    Event::Token { token, logprob, .. } => {
                        outcome.tokens.push(token);
                        outcome.logprobs.push(logprob.unwrap().to_bits());
                    }
                    Event::PromptLogprobs { logprobs, .. } => {
                        outcome.prompt_logprobs = logprobs.iter().map(|logprob| logprob.to_bits()).collect();
                    }
                    Event::Finished { reason, .. } => outcome.reason = Some(reason),
                    Event::Failed { error, .. } => panic!("{error}"),
                }
            }
        }
    }
}

/// Sixteen requests that share prefixes of different lengths.
fn requests(vocabulary_size: usize) -> Vec<Request> {
    let token = |seed: usize, position: usize| ((seed * 7919 + position * 104_729) % vocabulary_size) as u32;
    (0..16)
        .map(|index| {
            let (shared, own) = ([0, 17, 32, 40][index % 4], 1 + index * 3);
            let tokens = (0..shared).map(|at| token(0, at)).chain((0..own).map(|at| token(index + 1, at))).collect();
            let sampling = match index % 3 {
                0 => Sampling::greedy(),
                1 => Sampling { seed: Some(index as u64), ..Sampling::default() },
                _ => Sampling {
                    seed: Some(index as u64),
                    temperature: 0.8,
                    top_k: 40,
                    top_p: 0.95,
                    repeat_penalty: 1.1,
                    ..Sampling::default()
                },
            };
            Request {
                tokens,
                max_tokens: Some(20),
                sampling,
                logprobs: Some(2),
                prompt_logprobs: index % 5 == 0,
                ..Request::default()
            }
        })
        .collect()
}

/// One request at a time, one token a step.
fn alone_options() -> EngineOptions {
    EngineOptions {
        context_length: 200,
        rows_max: 256,
        prefix_cache: false,
        speculation: Speculation::Off,
        ..EngineOptions::default()
    }
}

fn check<B: Backend>(path: &Path, name: &str, backends: &[fn() -> B]) {
    check_with(KvElement::F16, path, name, backends);
}

fn check_with<B: Backend>(kv_element: KvElement, path: &Path, name: &str, backends: &[fn() -> B]) {
    let alone_options = alone_options();
    let first = Subject { kv_element, ..Subject::load(path, backends[0]) };
    let requests = requests(first.model.vocabulary_size());
    let alone: Vec<Outcome> = requests
        .iter()
        .map(|request| first.run(std::slice::from_ref(request), 16, &alone_options).0.remove(0))
        .collect();
    assert!(alone.iter().any(|outcome| outcome.tokens.len() == 20));
    let (mut preemptions, mut reused_tokens) = (0, 0);
    for backend in backends {
        let subject = Subject { kv_element, ..Subject::load(path, *backend) };
        for (rows_max, sequences_max, pages, prefix_cache) in
            [(256, 16, 200, true), (23, 16, 200, false), (7, 5, 9, true), (16, 16, 14, true), (1, 1, 64, true)]
        {
            let options = EngineOptions {
                context_length: 200,
                rows_max,
                sequences_max,
                prefix_cache,
                ..EngineOptions::default()
            };
            let (outcomes, stats) = subject.run(&requests, pages, &options);
            for (index, (outcome, expected)) in outcomes.iter().zip(&alone).enumerate() {
                assert_eq!(outcome, expected, "{name}, request {index}, {rows_max} rows, {pages} pages");
            }
            preemptions += stats.preemptions;
            reused_tokens += stats.reused_tokens;
        }
    }
    assert!(preemptions > 0 && reused_tokens > 0, "{name}: {preemptions} preemptions, {reused_tokens} tokens reused");
}

fn reference() -> Reference {
    Reference
}

fn cpu(threads: usize, isa: IsaChoice) -> Cpu {
    Cpu::new(CpuOptions { threads: Some(threads), isa }).expect("threads start")
}

/// The CPU backend in the forms that must give the same bits.
const CPUS: [fn() -> Cpu; 4] =
    [|| cpu(1, IsaChoice::Auto), || cpu(2, IsaChoice::Auto), || cpu(3, IsaChoice::Avx2), || cpu(2, IsaChoice::Scalar)];

/// The same with words where errors cost most, as models of a middling width have it.
const MIXED_CPUS: [fn() -> Cpu; 3] =
    [|| mixed(cpu(1, IsaChoice::Auto)), || mixed(cpu(3, IsaChoice::Avx2)), || mixed(cpu(2, IsaChoice::Scalar))];

fn mixed(cpu: Cpu) -> Cpu {
    let types = ActivationTypes::for_hidden_size(1536);
    let [bytes, words] = [ActivationType::Bytes, ActivationType::Words];
    assert_eq!(types, ActivationTypes { head: words, attention_input: words, others: bytes });
    cpu.with_activations(types)
}

/// A copy of a model with its matrices in this type.
fn quantised(path: &Path, tensor_type: TensorType, folder: &Path) -> std::path::PathBuf {
    let model = GgufFile::open(path).expect("a model");
    let mut writer = GgufWriter::new(model.metadata().clone()).expect("its keys");
    let is_quantised = |shape: &[u64]| shape.len() == 2 && shape[0].is_multiple_of(tensor_type.block_length() as u64);
    for tensor in model.tensors() {
        let tensor_type = if is_quantised(&tensor.shape) { tensor_type } else { tensor.tensor_type };
        writer.add_tensor(&tensor.name, &tensor.shape, tensor_type).expect("its tensors");
    }
    let out = folder.join(format!("{tensor_type}.gguf"));
    writer
        .write_file(&out, |tensor, out| {
            let bytes = model.tensor_data(model.tensor(&tensor.name).expect("a tensor of the model"));
            if tensor.tensor_type != tensor_type {
                return out.write_all(&bytes);
            }
            let values: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let mut blocks = vec![0; tensor.size_bytes as usize];
            lair_quant::quantize(tensor_type, &values, &mut blocks).expect("whole blocks");
            out.write_all(&blocks)
        })
        .expect("written");
    out
}

#[test]
fn a_trained_model_gives_the_same_bits_in_any_company() {
    let Some(path) = shared_data("models/stories260K-f32.gguf") else { return };
    check(&path, "stories260K", &[reference]);
    check(&path, "stories260K", &CPUS);
}

#[test]
fn a_hybrid_model_gives_the_same_bits_in_any_company() {
    let Some(model) = TinyModel::make("qwen35") else { return };
    check(&model.path(), "qwen35", &[reference]);
    check(&model.path(), "qwen35", &CPUS);
}

#[test]
fn a_mixture_of_experts_gives_the_same_bits_in_any_company() {
    let Some(model) = TinyModel::make("qwen3moe") else { return };
    check(&model.path(), "qwen3moe", &[reference]);
    check(&model.path(), "qwen3moe", &CPUS);
}

#[test]
fn a_quantised_model_gives_the_same_bits_in_any_company() {
    let Some(path) = shared_data("models/stories260K-f32.gguf") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    for tensor_type in [TensorType::Q8_0, TensorType::Q4_1] {
        let path = quantised(&path, tensor_type, folder.path());
        check(&path, tensor_type.name(), &CPUS);
        check(&path, &format!("{tensor_type}, words where errors cost most"), &MIXED_CPUS);
    }
}

#[test]
fn what_a_matrix_is_for_decides_what_it_is_multiplied_with() {
    let Some(path) = shared_data("models/stories260K-f32.gguf") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let [bytes, words] = [ActivationType::Bytes, ActivationType::Words];
    let all = ActivationTypes::all(bytes);
    let choices = [
        all,
        ActivationTypes { head: words, ..all },
        ActivationTypes { attention_input: words, ..all },
        ActivationTypes { others: words, ..all },
        ActivationTypes::all(words),
    ];
    let logprobs = |path: &Path, types: ActivationTypes| {
        let file = GgufFile::open(path).unwrap();
        let backend = || cpu(2, IsaChoice::Auto).with_activations(types);
        let model = Arc::new(Model::load(&file, &backend(), LoadOptions::default()).unwrap());
        let memory = MemoryOptions { kv_element: KvElement::F16, page_count: 16, state_slot_count: 8, rows_max: 256 };
        let context_length = model.context_length();
        let request = requests(model.vocabulary_size()).swap_remove(15);
        let runner = ModelRunner::new(model, backend(), context_length, memory).unwrap();
        let engine = Engine::new(runner, alone_options()).unwrap();
        let (mut outcomes, _) = Subject::compute(engine, &[request]);
        outcomes.remove(0).prompt_logprobs
    };
    let coded = quantised(&path, TensorType::Q8_0, folder.path());
    let found = choices.map(|types| logprobs(&coded, types));
    for (index, one) in found.iter().enumerate() {
        assert!(!one.is_empty());
        for (other, two) in found.iter().enumerate().skip(index + 1) {
            assert_ne!(one, two, "{:?} and {:?}", choices[index], choices[other]);
        }
    }
    // Weights in F32 take activations as they are, whatever they are for.
    let plain = choices.map(|types| logprobs(&path, types));
    assert!(plain.iter().all(|one| *one == plain[0]));
}

#[test]
fn answers_are_the_same_with_guesses() {
    let Some(path) = shared_data("models/stories260K-f32.gguf") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let subject = Subject::load(&path, CPUS[1]);
    let draft = Subject::load(&quantised(&path, TensorType::Q4_1, folder.path()), CPUS[0]);
    // What is repeated is there already: the prompt says it twice.
    let requests: Vec<Request> = requests(subject.model.vocabulary_size())
        .into_iter()
        .map(|request| Request { tokens: request.tokens.repeat(2), max_tokens: Some(80), ..request })
        .collect();
    let options = |speculation| EngineOptions { context_length: 400, speculation, ..alone_options() };
    let alone: Vec<Outcome> = requests
        .iter()
        .map(|request| subject.run(std::slice::from_ref(request), 32, &options(Speculation::Off)).0.remove(0))
        .collect();
    for (speculation, pages, prefix_cache) in [
        (Speculation::Lookup, 512, false),
        (Speculation::Lookup, 30, true),
        (Speculation::Draft, 512, true),
        (Speculation::Draft, 30, false),
    ] {
        let options = EngineOptions { prefix_cache, ..options(speculation) };
        let mut engine = subject.engine(pages, &options);
        if speculation == Speculation::Draft {
            engine = engine.with_draft(Box::new(draft.runner(pages, &options)), DraftOptions::default()).unwrap();
        }
        let (outcomes, stats) = Subject::<Cpu>::compute(engine, &requests);
        assert_eq!(outcomes, alone, "{speculation:?}, {pages} pages");
        assert!(stats.accepted_tokens > 20, "{speculation:?}, {pages} pages: {stats:?}");
        assert_eq!(stats.preemptions > 0, pages == 30);
    }
}

#[test]
fn quantised_keys_and_values_give_the_same_bits_in_any_company() {
    let Some(path) = shared_data("models/stories260K-f32.gguf") else { return };
    for kv_element in [KvElement::Q8_0, KvElement::Q4_0] {
        check_with(kv_element, &path, &format!("{kv_element:?}"), &CPUS);
    }
}

#[test]
fn the_golden_story_is_told() {
    let (Some(path), Some(golden)) =
        (shared_data("models/stories260K-f32.gguf"), shared_data("models/stories260K-greedy.json"))
    else {
        return;
    };
    let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    let ids: Vec<u32> = serde_json::from_value(golden["ids"].clone()).unwrap();
    let prompt: Vec<u32> = serde_json::from_value(golden["prompt_ids"].clone()).unwrap();
    let expected = ids[prompt.len()..].to_vec();
    let request = Request {
        max_tokens: Some(expected.len()),
        tokens: prompt,
        sampling: Sampling::greedy(),
        logprobs: Some(0),
        ..Request::default()
    };
    let subject = Subject::load(&path, reference);
    let (outcomes, _) = subject.run(&[request], 16, &EngineOptions::default());
    assert_eq!(outcomes[0].tokens, expected);
}

#[test]
fn a_hybrid_model_without_state_slots_is_refused() {
    let Some(model) = TinyModel::make("qwen35") else { return };
    let subject = Subject::load(&model.path(), reference);
    let memory = MemoryOptions { kv_element: KvElement::F16, page_count: 4, state_slot_count: 0, rows_max: 16 };
    let refused = ModelRunner::new(subject.model, reference(), 64, memory);
    assert!(matches!(refused, Err(RunnerError::NoStateSlots)));
}
