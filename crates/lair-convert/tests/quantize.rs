//! Files that are quantized: what stands in them, and what is refused.

use std::path::Path;

use lair_convert::quantize::{Entry, FileType, Importance, ImportanceMatrix, Options, Plan, QuantizeError, write};
use lair_gguf::{GgufFile, GgufWriter, Metadata, SplitLimit, TensorInfo, TensorType};

const ROW: u64 = 512;

/// A model of two layers with experts in F16, of numbers that look random.
fn writer() -> GgufWriter {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", 2_u32);
    metadata.set("llama.attention.head_count", 4_u32);
    metadata.set("llama.expert_count", 3_u32);
    let mut writer = GgufWriter::new(metadata).expect("valid keys");
    writer.add_tensor("token_embd.weight", &[ROW, 40], TensorType::F16).expect("valid");
    for layer in 0..2 {
        let name = |rest: &str| format!("blk.{layer}.{rest}");
        writer.add_tensor(&name("attn_norm.weight"), &[ROW], TensorType::F32).expect("valid");
        writer.add_tensor(&name("attn_v.weight"), &[ROW, 64], TensorType::F16).expect("valid");
        writer.add_tensor(&name("ffn_down_exps.weight"), &[ROW, 70, 3], TensorType::F16).expect("valid");
    }
    writer
}

fn bytes_of(tensor: &TensorInfo) -> Vec<u8> {
    let count = tensor.element_count();
    let seed = tensor.name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    let value = |i: u64| {
        let mut x = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((x >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.1
    };
    let values: Vec<f32> = (0..count).map(value).collect();
    let mut bytes = vec![0; tensor.size_bytes as usize];
    lair_quant::quantize(tensor.tensor_type, &values, &mut bytes).expect("plain numbers");
    bytes
}

fn source(folder: &Path) -> GgufFile {
    let path = folder.join("source.gguf");
    writer().write_file(&path, |tensor, out| out.write_all(&bytes_of(tensor))).expect("written");
    GgufFile::open(path).expect("valid")
}

fn options(file_type: &str) -> Options {
    Options { file_type: FileType::from_name(file_type), ..Options::default() }
}

fn quantized(model: &GgufFile, options: &Options, out: &Path) -> Result<GgufFile, QuantizeError> {
    let plan = Plan::new(model, options)?;
    let paths = write(model, &plan, options, (out, true), &mut |_| true)?;
    Ok(GgufFile::open(&paths[0])?)
}

fn floats(model: &GgufFile, name: &str) -> Vec<f32> {
    let tensor = model.required_tensor(name).expect("it is there");
    let mut values = vec![0.0; tensor.element_count() as usize];
    lair_quant::dequantize(tensor.tensor_type, &model.tensor_data(tensor), &mut values).expect("readable");
    values
}

#[test]
fn values_stay_close_and_keys_say_what_was_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = source(folder.path());
    for (name, error_max) in [("Q8_0", 0.01), ("Q6_K", 0.03), ("Q4_K_M", 0.1), ("Q4_0", 0.12), ("BF16", 0.005)] {
        let made = quantized(&model, &options(name), &folder.path().join(format!("{name}.gguf"))).expect("quantized");
        let file_type = FileType::from_name(name).expect("known");
        assert_eq!(made.metadata().u32("general.file_type").ok(), Some(file_type.id));
        assert_eq!(made.metadata().u32("general.quantization_version").ok(), Some(2));
        for tensor in model.tensors() {
            let (before, after) = (floats(&model, &tensor.name), floats(&made, &tensor.name));
            let square = |x: f64| x * x;
            let error: f64 = before.iter().zip(&after).map(|(a, b)| square(f64::from(a - b))).sum();
            let size: f64 = before.iter().map(|a| square(f64::from(*a))).sum();
            let relative = (error / size).sqrt();
            assert!(relative <= error_max, "{name}, {}: {relative}", tensor.name);
        }
    }
}

#[test]
fn threads_change_no_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = source(folder.path());
    let bytes = |thread_count: usize| {
        let options = Options { thread_count, ..options("Q4_K_M") };
        let path = folder.path().join(format!("{thread_count}.gguf"));
        quantized(&model, &options, &path).expect("quantized");
        std::fs::read(path).expect("it was written")
    };
    let expected = bytes(1);
    for thread_count in [2, 3, 5] {
        assert!(bytes(thread_count) == expected, "{thread_count} threads");
    }
}

#[test]
fn each_expert_has_its_own_importances() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = source(folder.path());
    let name = "blk.0.ffn_down_exps.weight";
    // The second expert looks at its first half only.
    let sums: Vec<f32> = (0..3 * ROW).map(|i| if i / ROW == 1 && i % ROW >= ROW / 2 { 1e-6 } else { 1.0 }).collect();
    let entry = Entry { sums, counts: vec![1.0; 3] };
    let matrix = ImportanceMatrix { entries: [(name.to_owned(), entry)].into(), ..ImportanceMatrix::default() };
    let importance = Some(Importance { matrix, file: "i.gguf".to_owned() });
    let with = Options { importance, is_pure: true, ..options("Q4_K_S") };
    let made = quantized(&model, &with, &folder.path().join("with.gguf")).expect("quantized");
    let plain = Options { importance: None, is_pure: true, ..options("Q4_K_S") };
    let without = quantized(&model, &plain, &folder.path().join("without.gguf")).expect("quantized");
    assert_eq!(made.metadata().str("quantize.imatrix.file").ok(), Some("i.gguf"));
    assert_eq!(made.metadata().u32("quantize.imatrix.entries_count").ok(), Some(1));
    // Super-blocks are 256 wide, so the halves are blocks of their own: equal weights within, equal blocks.
    assert_eq!(floats(&made, "blk.1.attn_v.weight"), floats(&without, "blk.1.attn_v.weight"));
    assert_ne!(floats(&made, name), floats(&without, name));
}

#[test]
fn a_split_model_keeps_its_shards() {
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = folder.path().join("split");
    let paths = writer()
        .write_shards(&prefix, SplitLimit::Tensors(3), |tensor, out| out.write_all(&bytes_of(tensor)))
        .expect("written");
    let model = GgufFile::open(&paths[1]).expect("valid");
    let made = quantized(&model, &options("Q5_K_M"), &folder.path().join("small.gguf")).expect("quantized");
    assert_eq!(made.paths().len(), model.paths().len());
    assert!(made.path().ends_with("small-00001-of-00003.gguf"));
    for (before, after) in model.tensors().iter().zip(made.tensors()) {
        assert_eq!((&before.name, before.shard), (&after.name, after.shard));
    }
}

#[test]
fn what_would_be_worthless_or_wrong_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = source(folder.path());
    let out = folder.path().join("refused.gguf");
    let refused = |model: &GgufFile, options: &Options| quantized(model, options, &out).expect_err("refused");
    assert!(matches!(refused(&model, &options("IQ2_XXS")), QuantizeError::NeedsImportance { .. }));

    let small = quantized(&model, &options("Q4_K_M"), &folder.path().join("small.gguf")).expect("quantized");
    assert!(matches!(refused(&small, &options("Q2_K")), QuantizeError::Requantizes { .. }));
    let again = Options { allows_requantizing: true, ..options("Q8_0") };
    quantized(&small, &again, &folder.path().join("again.gguf")).expect("allowed");

    let entry = Entry { sums: vec![1.0; 7], counts: vec![1.0] };
    let matrix = ImportanceMatrix { entries: [("blk.0.attn_v.weight".to_owned(), entry)].into(), ..Default::default() };
    let foreign = Options { importance: Some(Importance { matrix, file: String::new() }), ..options("Q4_K_M") };
    assert!(matches!(refused(&model, &foreign), QuantizeError::ImportanceShape { found: 7, expected: ROW, .. }));

    let path = folder.path().join("damaged.gguf");
    let damage = |tensor: &TensorInfo| {
        let mut bytes = bytes_of(tensor);
        if tensor.name == "blk.1.attn_v.weight" {
            bytes[2 * (3 * ROW as usize + 5)..][..2].copy_from_slice(&[0, 0x7c]);
        }
        bytes
    };
    writer().write_file(&path, |tensor, out| out.write_all(&damage(tensor))).expect("written");
    let damaged = GgufFile::open(path).expect("valid");
    assert!(matches!(refused(&damaged, &options("Q4_K_M")), QuantizeError::NotFinite { row: 3, .. }));

    let plan = Plan::new(&model, &options("Q8_0")).expect("a plan");
    let stopped = write(&model, &plan, &options("Q8_0"), (&out, false), &mut |_| false);
    assert!(matches!(stopped, Err(QuantizeError::Stopped)));
    assert!(!out.exists(), "nothing is left of what was refused");
}

#[test]
fn importance_matrices_come_back_from_both_formats() {
    let folder = tempfile::tempdir().expect("a folder");
    let entry = |sums: &[f32], counts: &[f32]| Entry { sums: sums.to_vec(), counts: counts.to_vec() };
    let mut matrix = ImportanceMatrix {
        entries: [
            ("a.weight".to_owned(), entry(&[2.0, 4.0, 6.0, 8.0], &[2.0])),
            ("b.weight".to_owned(), entry(&[2.0, 4.0, 6.0, 8.0], &[2.0, 0.0])),
        ]
        .into(),
        datasets: vec!["wiki.txt".to_owned()],
        chunk_count: 5,
        chunk_size: 512,
        ..ImportanceMatrix::default()
    };
    let (new, old) = (folder.path().join("i.gguf"), folder.path().join("i.dat"));
    matrix.write(&new).expect("written");
    matrix.write_old(&old).expect("written");
    assert_eq!(ImportanceMatrix::read(&new).expect("valid"), matrix);
    let mut back = ImportanceMatrix::read(&old).expect("valid");
    assert_eq!(back.entries["a.weight"].means(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(back.entries["b.weight"].means(), [1.0, 2.0, 1.0, 1.0], "an expert that saw nothing counts as 1");
    assert_eq!((back.chunk_count, &back.datasets), (5, &vec!["wiki.txt".to_owned()]));

    // Pieces of text are no rows; an old file's one count stands for all experts.
    assert!(matches!(back.merge(&matrix), Err(QuantizeError::ImportanceCounts)));
    back.count_rows(100);
    assert_eq!(back.entries["a.weight"], entry(&[500.0, 1000.0, 1500.0, 2000.0], &[500.0]));
    back.merge(&matrix).expect("both count rows");
    assert_eq!(back.entries["b.weight"], entry(&[502.0, 1004.0, 506.0, 508.0], &[502.0, 500.0]));

    matrix.merge(&matrix.clone()).expect("equal shapes");
    assert_eq!(matrix.entries["a.weight"], entry(&[4.0, 8.0, 12.0, 16.0], &[4.0]));
    assert_eq!(matrix.chunk_count, 10);

    let whole = std::fs::read(&old).expect("written");
    for length in 0..whole.len() {
        std::fs::write(&old, &whole[..length]).expect("written");
        // Only where the data set's part is missing is a cut file whole.
        if let Ok(cut) = ImportanceMatrix::read(&old) {
            assert_eq!(cut.entries.len(), 2, "{length} bytes");
        }
    }
}
