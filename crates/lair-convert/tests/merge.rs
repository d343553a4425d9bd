//! Merges of tiny models against mergekit's, computed by `tests/merges/make.py`, and what follows from the formulas.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lair_convert::merge::{Merge, MergeConfig, MergeError, MergeOptions};
use lair_convert::{Conversion, OutputType, hf, safetensors::Header};
use lair_gguf::{GgufFile, TensorType};
use lair_testkit::tiny_models::value;
use serde_json::json;
use support::{Checkpoint, json_of, safetensors, tensors_of};

/// mergekit computes in single precision as well, in another order.
const DIFFERENCE_MAX: f64 = 2e-6;

fn merges() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/merges")
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The tensors of the model `name`: a, b or c.
fn tensors(name: &str) -> Tensors {
    let of = |(tensor, (shape, values)): (String, (Vec<usize>, Vec<f32>))| {
        let values = (0..values.len() as u64).map(|index| value(&format!("{name}:{tensor}"), index)).collect();
        (tensor, (shape, values))
    };
    tensors_of("llama").into_iter().map(of).collect()
}

/// Three checkpoints in folders of their names.
struct Models {
    folder: tempfile::TempDir,
    checkpoints: BTreeMap<String, Checkpoint>,
}

impl Models {
    fn new() -> Models {
        let make = |name: &str| {
            let checkpoint = Checkpoint::without_weights("llama");
            std::fs::write(checkpoint.path().join("model.safetensors"), safetensors(&tensors(name))).expect("written");
            (name.to_owned(), checkpoint)
        };
        let checkpoints = ["a", "b", "c"].into_iter().map(make).collect();
        Models { folder: tempfile::tempdir().expect("a folder"), checkpoints }
    }

    fn merged(&self, yaml: &str, out: &str, seed: u64) -> Result<PathBuf, MergeError> {
        let config = MergeConfig::parse(yaml)?;
        let out = self.folder.path().join(out);
        let options = MergeOptions { seed, ..MergeOptions::default() };
        let place = |name: &str| -> Result<PathBuf, MergeError> {
            let own = self.checkpoints.get(name).map(|checkpoint| checkpoint.path().to_owned());
            Ok(own.unwrap_or_else(|| self.folder.path().join(name)))
        };
        let mut told = 0;
        let merge = Merge::plan(&config, &out, options, place)?;
        merge.write(&out, |_| told += 1)?;
        assert_eq!(told, merge.tensor_count());
        Ok(out)
    }

    /// What a merge wrote into a checkpoint.
    fn tensors(&self, yaml: &str, seed: u64) -> Tensors {
        read(&self.merged(yaml, "out", seed).expect("merges").join("model.safetensors"))
    }
}

/// The tensors of a file of safetensors in F32.
fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("read");
    let header = Header::parse(&bytes).expect("a sound file");
    let of = |tensor: lair_convert::StoredTensor| {
        let start = tensor.start as usize;
        let bytes = &bytes[start..start + tensor.size_bytes() as usize];
        let values = bytes.chunks(tensor.element.size_bytes()).map(|bytes| tensor.element.value(bytes)).collect();
        (tensor.name.clone(), (tensor.shape, values))
    };
    header.tensors.into_iter().map(of).collect()
}

#[test]
fn merges_are_those_of_mergekit() {
    let models = Models::new();
    let mut count = 0;
    for entry in std::fs::read_dir(merges()).expect("golden files") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        count += 1;
        let name = path.file_stem().expect("a name").to_str().expect("UTF-8");
        let yaml = std::fs::read_to_string(&path).expect("read");
        let out = models.merged(&yaml, name, 0).unwrap_or_else(|error| panic!("{name}: {error}"));
        let golden = json_of(&path.with_extension("json"));
        let found = read(&out.join("model.safetensors"));
        let expected = golden["tensors"].as_object().expect("tensors");
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
        let mut largest: f64 = 0.0;
        for (tensor, expected) in expected {
            let (shape, values) = &found[tensor];
            assert_eq!(json!(shape), expected["shape"], "{name}: {tensor}");
            for index in 0..8 {
                let number = f64::from(values[values.len() * index / 8]);
                largest = largest.max((number - expected["numbers"][index].as_f64().expect("a number")).abs());
            }
            let sum = |of: fn(f64) -> f64| values.iter().map(|value| of(f64::from(*value))).sum::<f64>();
            for (key, found) in [("sum", sum(|value| value)), ("sizes", sum(f64::abs))] {
                let difference = (found - expected[key].as_f64().expect("a number")).abs() / values.len() as f64;
                largest = largest.max(difference);
            }
        }
        eprintln!("{name}: {largest:.1e}");
        assert!(largest < DIFFERENCE_MAX, "{name}: {largest:e}");
        assert_eq!(json_of(&out.join("config.json"))["num_hidden_layers"], golden["layers"], "{name}");
        assert!(hf::open(&out).is_ok(), "{name}: the result is a checkpoint");
    }
    assert!(count >= 8, "only {count} golden merges");
}

const DARE: &str = "
merge_method: dare_linear
base_model: a
models:
  - model: b
    parameters: { weight: 0.5, density: 0.25 }
dtype: float32
";

#[test]
fn dare_drops_by_chance_and_makes_up_for_it() {
    let models = Models::new();
    let (a, b) = (tensors("a"), tensors("b"));
    let merged = models.tensors(DARE, 7);
    let (mut kept, mut all) = (0, 0);
    for (name, (_, values)) in &merged {
        for ((value, a), b) in values.iter().zip(&a[name].1).zip(&b[name].1) {
            let whole = a + (b - a) * 0.5 / 0.25;
            assert!((value - a).abs() < 1e-5 || (value - whole).abs() < 1e-5, "{name}: {value} of {a} and {b}");
            kept += usize::from((value - whole).abs() < 1e-5);
            all += 1;
        }
    }
    let share = kept as f64 / all as f64;
    assert!((0.24..0.26).contains(&share), "{share} kept");
    assert!(models.tensors(DARE, 7) == merged, "the same seed gives the same");
    assert!(models.tensors(DARE, 8) != merged, "another seed gives another");
}

#[test]
fn dare_that_drops_nothing_is_what_it_thins_out() {
    let models = Models::new();
    let of = |method: &str, normalize: bool| {
        let yaml = format!(
            "{{merge_method: {method}, base_model: a, dtype: float32, parameters: {{normalize: {normalize}}}, models: [
               {{model: b, parameters: {{weight: 0.5, density: 1.0}}}}, {{model: c, parameters: {{weight: 0.3}}}}]}}"
        );
        models.tensors(&yaml, 0)
    };
    assert!(of("dare_linear", false) == of("task_arithmetic", false));
    assert!(of("dare_ties", true) == of("ties", true));
    assert!(of("dare_ties", true) != of("dare_linear", true));
}

#[test]
fn gguf_files_are_merged_as_their_checkpoints_are() {
    let models = Models::new();
    for name in ["a", "b"] {
        let path = models.folder.path().join(format!("{name}.gguf"));
        let conversion = Conversion::plan(models.checkpoints[name].path(), OutputType::F32).expect("converts");
        conversion.write(&path, |_| {}).expect("written");
    }
    // Filters know tensors by the names that checkpoints have, whatever the files.
    let yaml = |end: &str| {
        format!(
            "{{merge_method: slerp, base_model: a{end}, dtype: float32, models: [{{model: a{end}}}, {{model: b{end}}}],
              parameters: {{t: [{{filter: self_attn, value: [0.1, 0.9]}}, {{value: 0.5}}]}}}}"
        )
    };
    let of_files = models.merged(&yaml(".gguf"), "files.gguf", 0).expect("merges");
    let of_checkpoints = models.merged(&yaml(""), "checkpoints.gguf", 0).expect("merges");
    let (left, right) = (GgufFile::open(of_files).expect("a model"), GgufFile::open(of_checkpoints).expect("a model"));
    let folder = models.merged(&yaml(""), "folder", 0).expect("merges");
    let third = hf::open(&folder).expect("a checkpoint");
    for tensor in left.tensors() {
        let data = left.tensor_data(tensor);
        assert!(*data == *right.tensor_data(right.required_tensor(&tensor.name).expect("there")), "{}", tensor.name);
        // Sums of turned rows are added up in another order.
        let other = third.tensor_data(third.required_tensor(&tensor.name).expect("there"));
        let numbers = |bytes: &[u8]| -> Vec<f32> {
            bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four"))).collect()
        };
        let largest = numbers(&data).iter().zip(numbers(&other)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-6, "{}: {largest}", tensor.name);
    }
    let f16 = models.merged(&yaml(".gguf").replace("float32", "float16"), "half.gguf", 0).expect("merges");
    let f16 = GgufFile::open(f16).expect("a model");
    let type_of = |name: &str| f16.required_tensor(name).expect("there").tensor_type;
    assert_eq!((type_of("blk.0.attn_q.weight"), type_of("output_norm.weight")), (TensorType::F16, TensorType::F32));
    assert_eq!(f16.metadata().u32("general.file_type").expect("set"), 1);
}

#[test]
fn layers_of_files_are_stacked() {
    let models = Models::new();
    let yaml = "{merge_method: passthrough, slices: [{sources: [{model: a, layer_range: [0, 2]}]},
                 {sources: [{model: b, layer_range: [1, 2]}]}]}";
    let file = GgufFile::open(models.merged(yaml, "stack.gguf", 0).expect("merges")).expect("a model");
    assert_eq!(file.metadata().u32("llama.block_count").expect("set"), 3);
    let own = hf::open(models.checkpoints["b"].path()).expect("a checkpoint");
    let (ours, theirs) = ("blk.2.ffn_up.weight", "blk.1.ffn_up.weight");
    let (ours, theirs) = (file.required_tensor(ours).expect("there"), own.required_tensor(theirs).expect("there"));
    assert!(*file.tensor_data(ours) == *own.tensor_data(theirs));
    lair_model::check_tensors(&file).expect("a whole model");
}

#[test]
fn large_results_are_written_in_parts() {
    let models = Models::new();
    let config = MergeConfig::parse(DARE).expect("sound");
    let options = MergeOptions { part_bytes_max: 50_000, ..MergeOptions::default() };
    let out = models.folder.path().join("parts");
    let place = |name: &str| Ok::<_, MergeError>(models.checkpoints[name].path().to_owned());
    Merge::plan(&config, &out, options, place).expect("fits").write(&out, |_| {}).expect("written");
    assert!(out.join("model.safetensors.index.json").is_file() && !out.join("model.safetensors").exists());
    let (parts, whole) = (hf::open(&out).expect("a checkpoint"), models.merged(DARE, "whole", 0).expect("merges"));
    let whole = hf::open(&whole).expect("a checkpoint");
    assert!(parts.paths().len() > 1);
    for tensor in whole.tensors() {
        let other = parts.required_tensor(&tensor.name).expect("there");
        assert!(*whole.tensor_data(tensor) == *parts.tensor_data(other), "{}", tensor.name);
    }
}

#[test]
fn what_cannot_be_merged_is_refused_by_name() {
    let models = Models::new();
    let linear =
        "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]\n";
    let cases = [
        ("merge_method: linear\n", "`models`"),
        ("merge_method: magic\nmodels: [{model: a}]\n", "slerp"),
        ("merge_method: linear\nmodels: [{model: a}, {model: b}]\n", "`weight`"),
        ("merge_method: linear\nmodels: [{model: a, parameters: {wieght: 1}}]\n", "`wieght`"),
        ("merge_method: ties\nmodels: [{model: a, parameters: {weight: 1}}]\n", "`base_model`"),
        ("merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\n", "`t`"),
        ("merge_method: slerp\nbase_model: a\nmodels: [{model: b}, {model: c}]\nparameters: {t: 1}\n", "2"),
        ("merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [1, 3]}]}]\n", "`layer_range`"),
        ("merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [1, 1]}]}]\n", "`layer_range`"),
        ("merge_method: passthrough\nslices: [{sources: [{model: a}]}]\n", "`layer_range`"),
        ("merge_method: linear\nmodels: [{model: a+adapter, parameters: {weight: 1}}]\n", "adapter"),
        (&format!("{linear}tokenizer_source: union\n"), "union"),
        (&format!("{linear}tokenizer_source: base\n"), "`base_model`"),
        (&format!("{linear}dtype: int4\n"), "`dtype`"),
        (&format!("{linear}surprise: 1\n"), "`surprise`"),
        (&format!("{linear}modules: {{x: 1}}\n"), "`modules`"),
        (&linear.replace("weight: 1}}]", "weight: -1}}]"), "sum to"),
        (
            "merge_method: dare_ties\nbase_model: a\nmodels: [{model: b, parameters: {weight: 1, density: 2}}]\n",
            "`density`",
        ),
        ("[", "YAML"),
    ];
    for (yaml, words) in cases {
        let error = models.merged(yaml, "out", 0).expect_err(yaml).to_string();
        assert!(error.contains(words), "{yaml}: {error:?} does not say {words:?}");
    }
    // Another width, and another architecture.
    let other = Checkpoint::without_weights("llama");
    let mut wide = tensors("b");
    wide.insert("model.norm.weight".to_owned(), (vec![3], vec![1.0; 3]));
    std::fs::write(other.path().join("model.safetensors"), safetensors(&wide)).expect("written");
    let phi = Checkpoint::make("phi2");
    for (place, words) in [(other.path(), "`model.norm.weight`"), (phi.path(), "`PhiForCausalLM`")] {
        let yaml = linear.replace("model: b", &format!("model: {}", place.display()));
        let error = models.merged(&yaml, "out", 0).expect_err(words).to_string();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }
}
