//! Low-rank adapters of PEFT's: as adapters of a running model, added to its weights, and written back; against the
//! outputs of PEFT, computed by `tests/adapters/make.py`.

#[path = "../../lair-model/tests/runner/mod.rs"]
mod runner;
mod support;

use std::path::{Path, PathBuf};

use lair_compute::reference::Reference;
use lair_convert::lora::{Base, LoraMerge, MergedType, is_peft, open_peft, write_peft};
use lair_convert::{Conversion, OutputType, hf};
use lair_gguf::{GgufFile, GgufWriter, TensorType};
use lair_model::{LoadOptions, Model};
use lair_testkit::npy;
use runner::Runner;
use serde_json::{Value as Json, json};
use support::{Checkpoint, checkpoints, json_of, safetensors, tensors_in};

const ADAPTERS: [&str; 5] = ["llama", "llama+patterns", "qwen2", "gpt2", "gptneox"];
/// GPT-NeoX's GELU is not that of transformers; the others agree to some millionths.
const DIFFERENCE_MAX: f32 = 3e-4;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/adapters").join(name)
}

/// The checkpoint that an adapter is for, and the adapter's folder.
struct Fixture {
    base: Checkpoint,
    adapter: tempfile::TempDir,
    tokens: Vec<u32>,
    expected: Vec<f32>,
}

impl Fixture {
    fn new(name: &str) -> Fixture {
        let base_name = name.split('+').next().expect("a name");
        let adapter = tempfile::tempdir().expect("a folder");
        let bytes = safetensors(&tensors_in(&golden(name)));
        std::fs::write(adapter.path().join("adapter_model.safetensors"), bytes).expect("written");
        let config = golden(name).join("adapter_config.json");
        std::fs::copy(config, adapter.path().join("adapter_config.json")).expect("copied");
        let tokens = json_of(&checkpoints().join(base_name).join("tokens.json"));
        Fixture {
            base: Checkpoint::make(base_name),
            adapter,
            tokens: serde_json::from_value(tokens).expect("numbers"),
            expected: npy::read_f32(&golden(name).join("logits.npy")).0,
        }
    }

    fn base(&self) -> Base {
        Base::open(self.base.path()).expect("a base")
    }

    fn adapter(&self) -> GgufFile {
        open_peft(self.adapter.path(), &self.base(), None).expect("an adapter")
    }

    /// The base in a file, whose weights are as the checkpoint has them.
    fn base_file(&self) -> GgufFile {
        let path = self.base.path().join("base.gguf");
        let conversion = Conversion::plan(self.base.path(), OutputType::F32).expect("converts");
        conversion.write(&path, |_| {}).expect("written");
        GgufFile::open(path).expect("a model")
    }

    fn change(&self, change: impl FnOnce(&mut Json)) {
        let path = self.adapter.path().join("adapter_config.json");
        let mut config = json_of(&path);
        change(&mut config);
        std::fs::write(path, config.to_string()).expect("written");
    }
}

/// Logits of the last two tokens, with an adapter by some factor.
fn logits(file: &GgufFile, adapter: Option<(&GgufFile, f32)>, tokens: &[u32]) -> Vec<f32> {
    let adapters: Vec<GgufFile> = adapter.iter().map(|(adapter, _)| (*adapter).clone()).collect();
    let model = Model::load_with_adapters(file, &adapters, &Reference, LoadOptions::default()).expect("loads");
    let mut runner = Runner::of(model, Reference, tokens.len(), tokens.len());
    runner.adapter_scales = adapter.iter().map(|(_, scale)| *scale).collect();
    runner.step_wanting(tokens, &[tokens.len() - 2, tokens.len() - 1])
}

fn difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

#[test]
fn adapters_give_the_logits_of_peft_when_run_and_when_merged() {
    for name in ADAPTERS {
        let fixture = Fixture::new(name);
        let (base, adapter) = (fixture.base_file(), fixture.adapter());
        let plain = logits(&base, None, &fixture.tokens);
        assert!(difference(&plain, &fixture.expected) > 10.0 * DIFFERENCE_MAX, "{name}: the adapter changes something");
        let run = logits(&base, Some((&adapter, 1.0)), &fixture.tokens);
        let of_run = difference(&run, &fixture.expected);
        let adapters = [(adapter, 1.0)];
        let path = fixture.base.path().join("merged.gguf");
        let merge = LoraMerge::plan(&base, &adapters, MergedType::Auto).expect("fits");
        merge.write(&path, |_| {}).expect("written");
        let merged = logits(&GgufFile::open(&path).expect("a model"), None, &fixture.tokens);
        let (of_merged, between) = (difference(&merged, &fixture.expected), difference(&merged, &run));
        eprintln!("{name}: run {of_run:.1e}, merged {of_merged:.1e}, between them {between:.1e}");
        assert!(of_run < DIFFERENCE_MAX && of_merged < DIFFERENCE_MAX && between < 1e-5, "{name}");
    }
}

#[test]
fn a_factor_of_a_merge_is_that_of_a_run_and_several_adapters_add_up() {
    let fixture = Fixture::new("llama");
    let base = fixture.base_file();
    let run = logits(&base, Some((&fixture.adapter(), 0.75)), &fixture.tokens);
    // 0.5 and 0.25 of it.
    let adapters = [(fixture.adapter(), 0.5), (fixture.adapter(), 0.25)];
    let path = fixture.base.path().join("merged.gguf");
    LoraMerge::plan(&base, &adapters, MergedType::Auto).expect("fits").write(&path, |_| {}).expect("written");
    assert!(difference(&logits(&GgufFile::open(path).expect("a model"), None, &fixture.tokens), &run) < 1e-5);
}

#[test]
fn merged_weights_are_stored_as_asked_and_others_stay_as_they_are() {
    let fixture = Fixture::new("qwen2");
    // The checkpoint itself is a base as well.
    let base = hf::open(fixture.base.path()).expect("a checkpoint");
    let adapters = [(fixture.adapter(), 1.0)];
    for (merged, query, file_type) in [
        (MergedType::Auto, "F32", 0),
        (MergedType::Of(TensorType::BF16), "BF16", 0),
        (MergedType::Of(TensorType::Q8_0), "Q8_0", 0),
    ] {
        let merge = LoraMerge::plan(&base, &adapters, merged).expect("fits");
        let path = fixture.base.path().join("merged.gguf");
        merge.write(&path, |_| {}).expect("written");
        assert_eq!(merge.changed_count(), 4);
        let file = GgufFile::open(&path).expect("a model");
        let of = |name: &str| file.required_tensor(name).expect("there").tensor_type.name();
        assert_eq!((of("blk.0.attn_q.weight"), of("blk.0.attn_k.weight")), (query, "F32"));
        assert_eq!(file.metadata().u32("general.file_type").expect("set"), file_type);
        let key = base.required_tensor("blk.1.ffn_up.weight").expect("there");
        let same = file.required_tensor(&key.name).expect("there");
        assert!(*base.tensor_data(key) == *file.tensor_data(same));
    }
}

#[test]
fn an_adapter_goes_there_and_back() {
    for name in ADAPTERS {
        let fixture = Fixture::new(name);
        let adapter = fixture.adapter();
        let path = fixture.base.path().join("adapter.gguf");
        let writer = GgufWriter::like(&adapter).expect("a file");
        let mut tensors = adapter.tensors().iter();
        writer
            .write_file(&path, |_, out| out.write_all(&adapter.tensor_data(tensors.next().expect("as many"))))
            .expect("written");
        let file = GgufFile::open(&path).expect("an adapter");
        // What the way back needs stands in the file.
        let folder = fixture.base.path().join("back");
        write_peft(&file, &Base::of_model(&file).expect("known"), &folder).expect("written");
        assert!(is_peft(&folder));
        let again = open_peft(&folder, &fixture.base(), None).expect("an adapter");
        assert_eq!(adapter.tensors().len(), again.tensors().len(), "{name}");
        for tensor in adapter.tensors() {
            let other = again.required_tensor(&tensor.name).expect("the same tensors");
            assert!(*adapter.tensor_data(tensor) == *again.tensor_data(other), "{name}: `{}`", tensor.name);
        }
        let alpha = |file: &GgufFile| file.metadata().f32("adapter.lora.alpha").expect("set");
        assert_eq!(alpha(&adapter), alpha(&again), "{name}");
        if !name.contains('+') {
            let names = |folder: &Path| {
                let bytes = std::fs::read(folder.join("adapter_model.safetensors")).expect("read");
                let header = lair_convert::safetensors::Header::parse(&bytes).expect("safetensors");
                header.tensors.into_iter().map(|tensor| tensor.name).collect::<Vec<_>>()
            };
            assert_eq!(names(&folder), names(fixture.adapter.path()), "{name}");
        }
    }
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let cases: [(&str, Json, &str); 9] = [
        ("peft_type", json!("IA3"), "IA3"),
        ("use_dora", json!(true), "`use_dora`"),
        ("modules_to_save", json!(["lm_head"]), "lm_head"),
        ("bias", json!("lora_only"), "`bias`"),
        ("alora_invocation_tokens", json!([1, 2]), "`alora_invocation_tokens`"),
        ("init_lora_weights", json!("pissa"), "pissa"),
        ("lora_alpha", json!("much"), "`lora_alpha`"),
        ("alpha_pattern", json!({"(": 1}), "`alpha_pattern`"),
        ("target_parameters", json!(["mlp.experts.gate_up_proj"]), "`target_parameters`"),
    ];
    for (key, value, words) in cases {
        let fixture = Fixture::new("qwen2");
        fixture.change(|config| config[key] = value.clone());
        let error = open_peft(fixture.adapter.path(), &fixture.base(), None).expect_err(key).to_string();
        assert!(error.contains(words), "{key}: {error:?} does not say {words:?}");
    }
}

#[test]
fn tensors_that_are_no_adapter_of_the_model_are_refused_by_name() {
    let check = |rename: &dyn Fn(&str) -> String, words: &str| {
        let fixture = Fixture::new("qwen2");
        let tensors = tensors_in(&golden("qwen2")).into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect();
        std::fs::write(fixture.adapter.path().join("adapter_model.safetensors"), safetensors(&tensors))
            .expect("written");
        let error = open_peft(fixture.adapter.path(), &fixture.base(), None).expect_err(words).to_string();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    };
    check(&|name| name.replace("q_proj", "r_proj"), "r_proj");
    check(&|name| name.replace("q_proj.lora_A", "q_proj.lora_magnitude_vector"), "lora_magnitude_vector");
    check(&|name| name.replace("layers.1.self_attn.v_proj.lora_B", "layers.1.self_attn.w_proj.lora_B"), "alone");
    let fixture = Fixture::new("qwen2");
    let mut tensors = tensors_in(&golden("qwen2"));
    let up = tensors.values_mut().find(|(shape, _)| *shape == [32, 2]).expect("a matrix");
    up.0 = vec![64, 1];
    std::fs::write(fixture.adapter.path().join("adapter_model.safetensors"), safetensors(&tensors)).expect("written");
    let error = open_peft(fixture.adapter.path(), &fixture.base(), None).expect_err("another rank").to_string();
    assert!(error.contains("beside `lora_A` of [2, 32]"), "{error}");
    // An adapter for a wider model is found when both are there.
    let (fixture, other) = (Fixture::new("llama"), Fixture::new("qwen2"));
    let error =
        LoraMerge::plan(&fixture.base_file(), &[(other.adapter(), 1.0)], MergedType::Auto).err().expect("other");
    assert!(error.to_string().contains("`llama`"), "{error}");
}
