//! The types that tensors get, against those that llama.cpp's quantizer chooses (`goldens/make_mixes.py`).

use std::collections::BTreeMap;
use std::path::Path;

use lair_convert::quantize::{Entry, FileType, Importance, ImportanceMatrix, Options, Plan, Reason, TensorRule};
use lair_gguf::{GgufFile, GgufWriter, Metadata, TensorType};
use serde_json::Value as Json;

const GOLDENS: &str = include_str!("goldens/mixes.json");

/// A model of the goldens: keys, names and shapes, all weights zero.
fn model(folder: &Path, shape: &Json) -> GgufFile {
    let architecture = shape["architecture"].as_str().expect("a name");
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", architecture);
    for (key, field) in [
        ("block_count", "block_count"),
        ("attention.head_count", "head_count"),
        ("attention.head_count_kv", "head_count_kv"),
        ("expert_count", "expert_count"),
    ] {
        metadata.set(&format!("{architecture}.{key}"), shape[field].as_u64().expect("a number") as u32);
    }
    let mut writer = GgufWriter::new(metadata).expect("valid keys");
    for (name, lengths) in tensors(shape) {
        let tensor_type = if lengths.len() == 1 { TensorType::F32 } else { TensorType::F16 };
        writer.add_tensor(&name, &lengths, tensor_type).expect("a valid tensor");
    }
    let path = folder.join("model.gguf");
    writer.write_file(&path, |tensor, out| out.write_all(&vec![0; tensor.size_bytes as usize])).expect("written");
    GgufFile::open(path).expect("valid")
}

fn tensors(shape: &Json) -> Vec<(String, Vec<u64>)> {
    let lengths =
        |value: &Json| value.as_array().expect("lengths").iter().map(|n| n.as_u64().expect("a length")).collect();
    let list = shape["tensors"].as_array().expect("tensors");
    list.iter().map(|entry| (entry[0].as_str().expect("a name").to_owned(), lengths(&entry[1]))).collect()
}

/// Importances of one for every tensor.
fn importance(shape: &Json) -> Importance {
    let entry = |(name, lengths): (String, Vec<u64>)| {
        let experts = lengths.get(2).copied().unwrap_or(1) as usize;
        (name, Entry { sums: vec![1.0; lengths[0] as usize * experts], counts: vec![1.0; experts] })
    };
    let entries: BTreeMap<String, Entry> = tensors(shape).into_iter().map(entry).collect();
    Importance { matrix: ImportanceMatrix { entries, ..ImportanceMatrix::default() }, file: "i.gguf".to_owned() }
}

/// The types by names, from the runs of the goldens.
fn expected(shape: &Json, runs: &str) -> BTreeMap<String, TensorType> {
    let kind = |name: &str| match name.strip_prefix("blk.") {
        Some(rest) => rest.split_once('.').expect("a layer").1.to_owned(),
        None => name.to_owned(),
    };
    let mut names: Vec<String> = tensors(shape).into_iter().map(|(name, _)| name).collect();
    names.sort_by_key(|name| kind(name));
    let types = runs.split(' ').flat_map(|run| {
        let (count, name) = run.split_once('*').unwrap_or(("1", run));
        let tensor_type = TensorType::from_name(name).expect("a known type");
        std::iter::repeat_n(tensor_type, count.parse().expect("a count"))
    });
    names.into_iter().zip(types).collect()
}

#[test]
fn every_tensor_gets_the_type_that_the_reference_chooses() {
    let goldens: Json = serde_json::from_str(GOLDENS).expect("JSON");
    let mut checked = 0;
    for (name, shape) in goldens.as_object().expect("shapes") {
        let folder = tempfile::tempdir().expect("a folder");
        let model = model(folder.path(), shape);
        for (mix, runs) in shape["mixes"].as_object().expect("mixes") {
            let (file_type, importance) = match mix.strip_suffix(" with importance") {
                Some(file_type) => (file_type, Some(importance(shape))),
                None => (mix.as_str(), None),
            };
            let file_type = FileType::from_name(file_type);
            assert!(file_type.is_some(), "{mix}");
            let options = Options { file_type, importance, ..Options::default() };
            let plan = Plan::new(&model, &options).expect("a plan");
            let expected = expected(shape, runs.as_str().expect("runs"));
            for tensor in &plan.tensors {
                assert_eq!(tensor.to, expected[&tensor.name], "{name} as {mix}: {}", tensor.name);
                checked += 1;
            }
            plan.check(&options).expect("importances are there where they are needed");
        }
    }
    assert!(checked > 50_000, "{checked} tensors");
}

#[test]
fn wishes_come_before_the_mix() {
    let goldens: Json = serde_json::from_str(GOLDENS).expect("JSON");
    let shape = &goldens["tinyllama"];
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path(), shape);
    let pattern = regex::Regex::new(r"blk\.[01]\.ffn_down").expect("a pattern");
    let options = Options {
        file_type: FileType::from_name("Q4_K_M"),
        output: Some(TensorType::Q8_0),
        embedding: Some(TensorType::Q5_0),
        rules: vec![TensorRule { pattern, to: TensorType::IQ4_NL }],
        ..Options::default()
    };
    let plan = Plan::new(&model, &options).expect("a plan");
    let of = |name: &str| plan.tensors.iter().find(|tensor| tensor.name == name).expect("it is there").clone();
    assert_eq!(of("output.weight").to, TensorType::Q8_0);
    assert_eq!(of("token_embd.weight").to, TensorType::Q5_0);
    assert_eq!(
        (of("blk.1.ffn_down.weight").to, of("blk.1.ffn_down.weight").reason),
        (TensorType::IQ4_NL, Reason::Wish)
    );
    assert_eq!(of("blk.10.ffn_down.weight").to, TensorType::Q4_K);
    assert_eq!(of("blk.0.attn_norm.weight").reason, Reason::Kept);

    let pure = Options { is_pure: true, file_type: options.file_type, ..Options::default() };
    let plan = Plan::new(&model, &pure).expect("a plan");
    assert!(plan.tensors.iter().all(|tensor| matches!(tensor.to, TensorType::Q4_K | TensorType::F32)));

    let copy = Plan::new(&model, &Options::default()).expect("a plan");
    assert!(copy.tensors.iter().all(|tensor| tensor.from == tensor.to));
}
