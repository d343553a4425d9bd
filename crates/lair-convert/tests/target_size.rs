//! Files of a wanted size: they are not larger, their types lose less than the mix of that size, wishes are kept.

use std::collections::BTreeMap;
use std::path::Path;

use lair_convert::quantize::{
    CANDIDATES, Entry, FileType, Importance, ImportanceMatrix, Options, Plan, QuantizeError, Reason, Target,
    TensorRule, search, size_of, write,
};
use lair_gguf::{GgufFile, GgufWriter, Metadata, TensorType};

/// Two layers of a small model. Some tensors are easy (a few large weights and zeros), some are hard (all of one size).
fn model(folder: &Path) -> GgufFile {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", 2_u32);
    metadata.set("llama.attention.head_count", 4_u32);
    let mut writer = GgufWriter::new(metadata).expect("valid keys");
    let mut add = |name: &str, shape: &[u64]| {
        writer.add_tensor(name, shape, TensorType::F16).expect("valid");
    };
    add("token_embd.weight", &[256, 64]);
    add("output.weight", &[256, 64]);
    for layer in 0..2 {
        for (name, shape) in
            [("attn_q", [256, 256]), ("attn_v", [256, 64]), ("ffn_up", [256, 512]), ("ffn_down", [512, 256])]
        {
            add(&format!("blk.{layer}.{name}.weight"), &shape);
        }
    }
    // Rows that are no blocks of 256.
    add("blk.1.attn_k.weight", &[96, 64]);
    let path = folder.join("model.gguf");
    writer
        .write_file(&path, |tensor, out| {
            let is_easy = tensor.name.starts_with("blk.0");
            let mut state = tensor.name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
            let values: Vec<f32> = (0..tensor.element_count())
                .map(|index| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let value = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                    if is_easy && index % 32 != 0 { value * 1e-4 } else { value * 0.1 }
                })
                .collect();
            let mut bytes = vec![0; tensor.size_bytes as usize];
            lair_quant::quantize(tensor.tensor_type, &values, &mut bytes).expect("plain numbers");
            out.write_all(&bytes)
        })
        .expect("written");
    GgufFile::open(path).expect("valid")
}

fn options(importance: bool) -> Options {
    let entry = |length: usize| Entry {
        sums: (0..length).map(|column| if column % 16 == 0 { 50.0 } else { 1.0 }).collect(),
        counts: vec![1.0],
    };
    let mut entries = BTreeMap::new();
    for layer in 0..2 {
        for (name, length) in [("attn_q", 256), ("attn_v", 256), ("ffn_up", 256), ("ffn_down", 512)] {
            entries.insert(format!("blk.{layer}.{name}.weight"), entry(length));
        }
    }
    let matrix = ImportanceMatrix { entries, ..ImportanceMatrix::default() };
    Options {
        file_type: FileType::from_name("Q4_K_M"),
        importance: importance.then(|| Importance { matrix, file: "i.gguf".to_owned() }),
        thread_count: 2,
        ..Options::default()
    }
}

fn target(size_bytes: u64) -> Target {
    Target { size_bytes, candidates: CANDIDATES.to_vec() }
}

#[test]
fn files_are_at_most_as_large_as_wanted_and_lose_less_the_larger_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    for importance in [false, true] {
        let options = options(importance);
        let mut last = f64::INFINITY;
        for size in [340_000, 400_000, 460_000, 530_000, 600_000] {
            let found = search(&model, &options, &target(size), &|_, _| true).expect("it can be reached");
            assert!(found.size_bytes <= size, "{} of {size}", found.size_bytes);
            assert!(found.size_bytes > size * 9 / 10, "{} of {size}: bytes are left over", found.size_bytes);
            assert!(found.expected_loss < last, "{size}: {} after {last}", found.expected_loss);
            last = found.expected_loss;
            let out = folder.path().join("out.gguf");
            write(&model, &found.plan, &options, (&out, false), &mut |_| true).expect("written");
            assert_eq!(std::fs::metadata(&out).expect("written").len(), found.size_bytes);
        }
    }
}

#[test]
fn types_lose_less_than_the_mix_of_their_size_and_hard_tensors_get_more_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    let options = options(true);
    let mix = size_of(&Plan::new(&model, &options).expect("a mix")).expect("a size");
    let found = search(&model, &options, &target(mix), &|_, _| true).expect("it can be reached");
    assert!(found.expected_loss < 0.9 * found.loss_before, "{} of {}", found.expected_loss, found.loss_before);
    let bits = |name: &str| {
        let tensor = found.plan.tensors.iter().find(|tensor| tensor.name == name).expect("it is there");
        8.0 * tensor.size_after as f64 / tensor.shape.iter().product::<u64>() as f64
    };
    assert!(bits("blk.0.attn_q.weight") < bits("blk.1.attn_q.weight"));
    let chosen = found.plan.tensors.iter().filter(|tensor| tensor.reason == Reason::Searched).count();
    assert_eq!((chosen, found.errors.len()), (11, 11));
}

#[test]
fn no_choice_is_expected_to_lose_more_than_a_stock_mix_of_its_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    for (name, spare) in [("Q2_K", 0), ("IQ3_M", 9_000), ("Q4_0", 0), ("Q4_K_M", 0), ("Q5_K_M", 9_000), ("Q6_K", 0)] {
        let options = Options { file_type: FileType::from_name(name), ..options(true) };
        let size = size_of(&Plan::new(&model, &options).expect("a mix")).expect("a size") + spare;
        let found = search(&model, &options, &target(size), &|_, _| true).expect("it can be reached");
        assert!(found.size_bytes <= size, "{name}: {} of {size}", found.size_bytes);
        let (after, before) = (found.expected_loss, found.loss_before);
        assert!(before > 0.0 && after <= before, "{name}: {after} instead of {before}");
    }
}

#[test]
fn nothing_but_candidates_is_chosen() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    let candidates = vec![TensorType::Q4_1, TensorType::Q8_0];
    let wanted = Target { size_bytes: 500_000, candidates: candidates.clone() };
    let found = search(&model, &options(true), &wanted, &|_, _| true).expect("it can be reached");
    let others: Vec<_> = found.plan.tensors.iter().filter(|tensor| !candidates.contains(&tensor.to)).collect();
    assert!(others.is_empty() && found.loss_before > 0.0, "{others:?}");
}

#[test]
fn a_choice_does_not_depend_on_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    let choose = |thread_count| {
        let options = Options { thread_count, ..options(true) };
        search(&model, &options, &target(300_000), &|_, _| true).expect("it can be reached").plan.tensors
    };
    assert_eq!(choose(1), choose(3));
}

#[test]
fn wishes_are_kept_and_what_cannot_be_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model(folder.path());
    let rules = vec![TensorRule { pattern: regex::Regex::new("attn_v").expect("valid"), to: TensorType::Q8_0 }];
    let options = Options { rules, output: Some(TensorType::F16), ..options(false) };
    let found = search(&model, &options, &target(420_000), &|_, _| true).expect("it can be reached");
    for tensor in &found.plan.tensors {
        let expected = match &tensor.name[..] {
            "output.weight" => Some(TensorType::F16),
            name if name.contains("attn_v") => Some(TensorType::Q8_0),
            _ => None,
        };
        assert!(expected.is_none_or(|expected| tensor.to == expected), "{} is {}", tensor.name, tensor.to);
        // Without importances no type of two bits, but for embeddings, which stock mixes give one too.
        let is_embedding = tensor.name == "token_embd.weight";
        assert!(
            is_embedding || !matches!(tensor.to, TensorType::IQ2_XS | TensorType::Q2_K | TensorType::IQ3_XXS),
            "{}",
            tensor.to
        );
    }
    let small = search(&model, &options, &target(1000), &|_, _| true);
    let Err(QuantizeError::TargetTooSmall { target: 1000, least }) = small else { panic!("{small:?}") };
    assert!(search(&model, &options, &target(least), &|_, _| true).is_ok(), "what is said to be possible is");
    assert!(matches!(search(&model, &options, &target(300_000), &|_, _| false), Err(QuantizeError::Stopped)));
}

#[test]
fn a_row_that_holds_nearly_everything_counts_wherever_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    // More elements than are tried.
    let (columns, rows) = (256, 4096);
    let value = |index: usize| {
        let small = ((index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        // One large weight among small ones of its row: rounding the others costs next to nothing.
        if index / columns == 1357 { if index % columns == 7 { 9_000.0 } else { 0.0 } } else { small }
    };
    let values: Vec<f32> = (0..columns * rows).map(value).collect();
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", 1_u32);
    let mut writer = GgufWriter::new(metadata).expect("valid keys");
    let shape = [columns as u64, rows as u64];
    writer.add_tensor("blk.0.ffn_down.weight", &shape, TensorType::F32).expect("valid");
    let path = folder.path().join("model.gguf");
    writer
        .write_file(&path, |tensor, out| {
            let mut bytes = vec![0; tensor.size_bytes as usize];
            lair_quant::quantize(tensor.tensor_type, &values, &mut bytes).expect("plain numbers");
            out.write_all(&bytes)
        })
        .expect("written");
    let model = GgufFile::open(path).expect("valid");
    let options = Options { file_type: FileType::from_name("Q4_0"), thread_count: 1, ..Options::default() };
    let wanted = Target { size_bytes: 700_000, candidates: vec![TensorType::Q4_0] };
    let found = search(&model, &options, &wanted, &|_, _| true).expect("it can be reached");

    let mut bytes = vec![0; TensorType::Q4_0.size_bytes(values.len() as u64).expect("whole blocks") as usize];
    lair_quant::quantize(TensorType::Q4_0, &values, &mut bytes).expect("plain numbers");
    let mut back = vec![0.0; values.len()];
    lair_quant::dequantize(TensorType::Q4_0, &bytes, &mut back).expect("whole blocks");
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let changed = squares(&mut values.iter().zip(&back).map(|(x, y)| x - y));
    let expected = changed / squares(&mut values.iter().copied());
    let error = found.errors["blk.0.ffn_down.weight"];
    assert!((error / expected - 1.0).abs() < 0.05, "{error} instead of {expected}");
}
