//! Low-rank adapters: a model with one gives what a model with the products added up gives, and rows that use none are, to
//! the bit, what they are without.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use lair_compute::cpu::{Cpu, CpuOptions, IsaChoice};
use lair_compute::{Backend, Batch, KvElement, PageId, SequenceRows, StateSlot, reference::Reference};
use lair_gguf::{GgufFile, GgufWriter, Metadata, TensorInfo, TensorType};
use lair_model::{LoadOptions, Memory, Model, ModelError};
use lair_testkit::normalised_mean_squared_error;
use lair_testkit::tiny_models::TinyModel;

const RANK: usize = 3;
const ALPHA: f32 = 4.5;
/// What the test changes, where a model has it.
const STEMS: [&str; 11] = [
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_qkv",
    "attn_output",
    "attn_gate",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
    "ssm_alpha",
    "ssm_out",
];
/// Projections of their own and fused, gate and up in one tensor, layers in parallel, norms of outputs, delta nets with
/// gates beside queries, networks without gates.
const ARCHITECTURES: [&str; 8] = ["llama", "qwen2", "phi3", "phi2", "gemma2", "olmo2", "qwen35", "starcoder2"];

/// Shape (fastest first) and values of each tensor, by name.
type Tensors = BTreeMap<String, (Vec<u64>, Vec<f32>)>;

/// Values in -0.1 to 0.1 that depend on the name.
fn values(name: &str, count: usize) -> Vec<f32> {
    let seed = name.bytes().fold(11u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let value = |index: usize| {
        let bits = (seed ^ index as u32).wrapping_mul(2_654_435_761).rotate_left(15).wrapping_mul(2_246_822_519);
        ((bits >> 8) as f32 / (1 << 24) as f32 - 0.5) / 5.0
    };
    (0..count).map(value).collect()
}

fn changes(tensor: &TensorInfo) -> bool {
    let stem = tensor.name.strip_suffix(".weight").and_then(|name| name.rsplit('.').next());
    tensor.shape.len() == 2 && stem.is_some_and(|stem| STEMS.contains(&stem))
}

/// Writes tensors of F32.
fn write(path: &Path, metadata: Metadata, tensors: &Tensors) -> GgufFile {
    let mut writer = GgufWriter::new(metadata).expect("valid keys");
    for (name, (shape, _)) in tensors {
        writer.add_tensor(name, shape, TensorType::F32).expect("a valid shape");
    }
    let source = |tensor: &TensorInfo, out: &mut dyn Write| {
        tensors[&tensor.name].1.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
    };
    writer.write_file(path, source).expect("the file can be written");
    GgufFile::open(path).expect("a valid file")
}

fn adapter_metadata(architecture: &str) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", architecture);
    metadata.set("general.type", "adapter");
    metadata.set("general.name", "a test");
    metadata.set("adapter.type", "lora");
    metadata.set("adapter.lora.alpha", ALPHA);
    metadata
}

/// The adapter of a model, and the model with `factor` times the adapter added to its weights.
fn adapter_and_sum(directory: &Path, base: &GgufFile, factor: f32) -> (GgufFile, GgufFile) {
    let (mut adapter, mut sum) = (BTreeMap::new(), BTreeMap::new());
    for tensor in base.tensors() {
        assert_eq!(tensor.tensor_type, TensorType::F32, "tiny models are of F32");
        let data = base.tensor_data(tensor);
        let mut weights: Vec<f32> =
            data.as_ref().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4 bytes"))).collect();
        if changes(tensor) {
            let (columns, rows) = (tensor.shape[0] as usize, tensor.shape[1] as usize);
            let names = [".lora_a", ".lora_b"].map(|end| format!("{}{end}", tensor.name));
            let down = values(&names[0], columns * RANK);
            let up = values(&names[1], RANK * rows);
            for row in 0..rows {
                for column in 0..columns {
                    let product: f64 = (0..RANK)
                        .map(|rank| f64::from(up[row * RANK + rank]) * f64::from(down[rank * columns + column]))
                        .sum();
                    weights[row * columns + column] += (f64::from(factor * ALPHA / RANK as f32) * product) as f32;
                }
            }
            adapter.insert(names[0].clone(), (vec![columns as u64, RANK as u64], down));
            adapter.insert(names[1].clone(), (vec![RANK as u64, rows as u64], up));
        }
        sum.insert(tensor.name.clone(), (tensor.shape.clone(), weights));
    }
    let metadata = adapter_metadata(base.architecture().expect("an architecture"));
    let adapter = write(&directory.join("adapter.gguf"), metadata, &adapter);
    (adapter, write(&directory.join("sum.gguf"), base.metadata().clone(), &sum))
}

/// Logits of the last row of each sequence, all in one batch; each has its tokens and its factors.
fn step<B: Backend>(model: &Model<B>, backend: &mut B, sequences: &[(&[u32], &[f32])]) -> Vec<Vec<f32>> {
    let pages_each = 4;
    let kv = backend.kv(&model.kv_layout(KvElement::F32, pages_each * sequences.len())).expect("room");
    let states = model.state_layout(sequences.len()).map(|layout| backend.states(&layout).expect("room"));
    let mut memory = Memory { kv, states };
    let tables: Vec<Vec<PageId>> = (0..sequences.len())
        .map(|index| (0..pages_each).map(|page| PageId((index * pages_each + page) as u32)).collect())
        .collect();
    let (mut tokens, mut rows, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (own, adapter_scales)) in sequences.iter().enumerate() {
        rows.push(SequenceRows {
            first_row: tokens.len(),
            row_count: own.len(),
            first_position: 0,
            page_table: &tables[index],
            state_slot: memory.states.as_ref().map(|_| StateSlot(index as u32)),
            adapter_scales,
        });
        tokens.extend_from_slice(own);
        wanted.push(tokens.len() - 1);
    }
    let mut activations = model.activations(backend, tokens.len()).expect("room");
    let width = model.vocabulary_size();
    let mut logits = vec![f32::NAN; wanted.len() * width];
    let batch = Batch { tokens: &tokens, sequences: &rows };
    model.forward(backend, &mut activations, &mut memory, &batch, &wanted, &mut logits);
    logits.chunks(width).map(<[f32]>::to_vec).collect()
}

fn load<B: Backend>(file: &GgufFile, adapters: &[GgufFile], backend: &B) -> Model<B> {
    Model::load_with_adapters(file, adapters, backend, LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn check<B: Backend>(name: &str, tiny: &TinyModel, mut backend: B, error_max: f64) {
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let base = GgufFile::open(tiny.path()).expect("tiny models are valid");
    let factor = 0.75;
    let (adapter, sum) = adapter_and_sum(directory.path(), &base, factor);
    let plain = load(&base, &[], &backend);
    let summed = load(&sum, &[], &backend);
    let adapted = load(&base, &[adapter], &backend);
    assert_eq!(adapted.adapters().len(), 1);
    assert_eq!((adapted.adapters()[0].rank, adapted.adapters()[0].alpha), (RANK, ALPHA));

    let (long, short) = (&tiny.tokens[..24], &tiny.tokens[30..37]);
    let expected = step(&summed, &mut backend, &[(long, &[])]).remove(0);
    let got = step(&adapted, &mut backend, &[(long, &[factor])]).remove(0);
    let error = normalised_mean_squared_error(&got, &expected);
    assert!(error <= error_max, "{name}: error {error:e} beside the summed weights");
    let without = step(&plain, &mut backend, &[(long, &[])]).remove(0);
    let change = normalised_mean_squared_error(&without, &expected);
    assert!(change > 1e-4, "{name}: the adapter changes next to nothing ({change:e}), which tests nothing");

    // Who shares the batch changes nothing, nor does an adapter that a row does not use.
    let mixed = step(&adapted, &mut backend, &[(short, &[]), (long, &[factor]), (long, &[0.0]), (short, &[-1.5])]);
    assert!(mixed[1] == got, "{name}: an adapted sequence differs in a batch");
    assert!(mixed[2] == without, "{name}: a factor of 0 changes a sequence");
    assert!(mixed[0] == step(&plain, &mut backend, &[(short, &[])])[0], "{name}: a neighbour's adapter is felt");
    assert!(mixed[3] == step(&adapted, &mut backend, &[(short, &[-1.5])])[0], "{name}: a second factor is not its own");
}

#[test]
fn an_adapter_gives_what_summed_weights_give() {
    for name in ARCHITECTURES {
        let Some(tiny) = TinyModel::make(name) else { return };
        check(name, &tiny, Reference, 1e-10);
        for threads in [1, 3] {
            let cpu = Cpu::new(CpuOptions { threads: Some(threads), isa: IsaChoice::Auto }).expect("threads start");
            check(name, &tiny, cpu, 1e-9);
        }
    }
}

/// Loads a model with an adapter that is changed before, and gives the refusal.
fn refusal(change: impl FnOnce(&mut Metadata, &mut Tensors)) -> Option<String> {
    let tiny = TinyModel::make("llama")?;
    let base = GgufFile::open(tiny.path()).expect("tiny models are valid");
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let width = base.tensor("blk.0.attn_q.weight").expect("a llama has it").shape[0];
    let mut metadata = adapter_metadata("llama");
    let mut tensors = BTreeMap::new();
    tensors.insert("blk.0.attn_q.weight.lora_a".to_owned(), (vec![width, 2], values("a", 2 * width as usize)));
    tensors.insert("blk.0.attn_q.weight.lora_b".to_owned(), (vec![2, width], values("b", 2 * width as usize)));
    change(&mut metadata, &mut tensors);
    let path: PathBuf = directory.path().join("adapter.gguf");
    let adapter = write(&path, metadata, &tensors);
    match Model::load_with_adapters(&base, &[adapter], &Reference, LoadOptions::default()) {
        Err(error @ ModelError::Adapter { .. }) => Some(error.to_string()),
        Err(error) => panic!("{error}"),
        Ok(_) => Some(String::new()),
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let Some(nothing) = refusal(|_, _| {}) else { return };
    assert_eq!(nothing, "", "the unchanged adapter loads");
    let says = |change: fn(&mut Metadata, &mut Tensors), expected: &str| {
        let refusal = refusal(change).unwrap_or_default();
        assert!(refusal.contains(expected), "{refusal:?} does not say {expected:?}");
    };
    says(|metadata, _| metadata.set("general.type", "model"), "`general.type` holds `model`");
    says(|metadata, _| metadata.set("adapter.type", "ia3"), "`adapter.type` holds `ia3`");
    says(|metadata, _| metadata.set("general.architecture", "qwen2"), "made for `qwen2`");
    says(|metadata, _| metadata.set("adapter.lora.alpha", f32::NAN), "NaN");
    says(|metadata, _| metadata.set("adapter.alora.invocation_tokens", 1u32), "aLoRA");
    says(|_, tensors| drop(tensors.remove("blk.0.attn_q.weight.lora_b")), "only one of the two");
    says(
        |_, tensors| {
            let found = tensors.remove("blk.0.attn_q.weight.lora_a").expect("it is there");
            tensors.insert("blk.9.attn_q.weight.lora_a".into(), found);
        },
        "`blk.9.attn_q.weight`, which the model does not have",
    );
    says(
        |_, tensors| {
            let (shape, values) = tensors.get_mut("blk.0.attn_q.weight.lora_b").expect("it is there");
            shape[1] -= 1;
            values.truncate((shape[0] * shape[1]) as usize);
        },
        "expected [2,",
    );
    says(
        |_, tensors| {
            let (shape, values) = tensors["blk.0.attn_q.weight.lora_a"].clone();
            tensors.insert("blk.0.attn_q.bias".into(), (shape, values));
        },
        "no part of a low-rank adapter",
    );
    says(
        |_, tensors| {
            let (width, rank) = (tensors["blk.0.attn_q.weight.lora_a"].0[0], 2);
            tensors.insert("token_embd.weight.lora_a".into(), (vec![width, rank], vec![0.0; (width * rank) as usize]));
            tensors.insert("token_embd.weight.lora_b".into(), (vec![rank, 1], vec![0.0; rank as usize]));
        },
        "token_embd.weight",
    );
}
