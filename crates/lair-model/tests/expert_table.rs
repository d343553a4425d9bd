//! DeepSeek V4 as it is published: the first layers choose experts by a table of tokens, and the products of groups of heads
//! stand one below the other. Against the outputs of an outside reference (`goldens/expert_table.py`).

mod runner;

use std::path::PathBuf;

use lair_compute::cpu::{Cpu, CpuOptions};
use lair_gguf::{GgufFile, GgufWriter, TensorType};
use lair_model::{LoadOptions, Model, ModelError};
use lair_testkit::normalised_mean_squared_error;
use lair_testkit::npy::read_f32;
use lair_testkit::tiny_models::TinyModel;
use runner::Runner;

const EXPERTS: u32 = 2;
/// Of the golden logits there are those of every so-many-th token.
const STEP: usize = 8;

/// The tiny model with tables in so many layers, of which each token takes one expert.
struct WithTables {
    tiny: TinyModel,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

/// The expert of a token of a layer.
type Rule = fn(u32, u32) -> i32;

/// The script has the same rule.
fn table_of(layer: u32, token: u32) -> i32 {
    ((token * token / 3 + layer) % EXPERTS) as i32
}

fn with_tables(layers: u32, table_type: TensorType, expert: Rule) -> Option<WithTables> {
    let tiny = TinyModel::make("deepseek4")?;
    let file = GgufFile::open(tiny.path()).expect("tiny models are valid");
    let mut metadata = file.metadata().clone();
    metadata.set("deepseek4.hash_layer_count", layers);
    metadata.set("deepseek4.expert_used_count", 1u32);
    let mut writer = GgufWriter::new(metadata).expect("the keys can be written");
    let by_table = |name: &str| (0..layers).any(|layer| name == format!("blk.{layer}.exp_probs_b.bias"));
    for tensor in file.tensors().iter().filter(|tensor| !by_table(&tensor.name)) {
        let shape = match (tensor.name.ends_with("attn_output_a.weight"), tensor.shape.as_slice()) {
            (true, [columns, rows, count]) => vec![*columns, rows * count],
            _ => tensor.shape.clone(),
        };
        writer.add_tensor(&tensor.name, &shape, tensor.tensor_type).expect("the tensor can be written");
    }
    let vocabulary_size = tiny.width as u32;
    let table_name = |layer: u32| format!("blk.{layer}.ffn_gate_tid2eid.weight");
    for layer in 0..layers {
        writer.add_tensor(&table_name(layer), &[1, vocabulary_size.into()], table_type).expect("the table too");
    }
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let path = directory.path().join("deepseek4.gguf");
    let written = writer.write_file(&path, |tensor, out| match file.tensor(&tensor.name) {
        Some(stored) => out.write_all(file.tensor_data(stored).as_ref()),
        None => {
            let layer = (0..layers).find(|layer| table_name(*layer) == tensor.name).expect("a table");
            (0..vocabulary_size).try_for_each(|token| out.write_all(&expert(layer, token).to_le_bytes()))
        }
    });
    written.expect("the model can be written");
    Some(WithTables { tiny, path, _directory: directory })
}

fn cpu(threads: usize) -> Cpu {
    Cpu::new(CpuOptions { threads: Some(threads), ..CpuOptions::default() }).expect("threads can be started")
}

fn runner(model: &WithTables, threads: usize) -> Runner<Cpu> {
    let file = GgufFile::open(&model.path).expect("the model is valid");
    let length = model.tiny.tokens.len();
    Runner::new(&file, cpu(threads), length, length)
}

#[test]
fn experts_of_a_table_give_the_outputs_of_the_reference_however_tokens_are_fed() {
    let Some(model) = with_tables(2, TensorType::I32, table_of) else { return };
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/expert_table/deepseek4.npy");
    let (expected, _) = read_f32(&golden);
    let tokens = &model.tiny.tokens;
    let whole = runner(&model, 1).step(tokens);
    let rows = whole.chunks_exact(model.tiny.width).skip(STEP - 1).step_by(STEP);
    let error = normalised_mean_squared_error(&rows.flatten().copied().collect::<Vec<_>>(), &expected);
    eprintln!("{error:.2e}");
    assert!(error <= 1e-7, "{error:e}");

    let mut parts = runner(&model, 2);
    let (first, second) = tokens.split_at(50);
    let mut logits = parts.step(first);
    second.chunks(3).for_each(|chunk| logits.extend(parts.step(chunk)));
    assert!(logits == whole, "two threads or chunks change the outputs");
}

#[test]
fn rows_that_are_not_wanted_take_their_tokens_with_them() {
    // The last layer has a table, too: what it computes is for the rows wanted only.
    let Some(model) = with_tables(4, TensorType::I32, table_of) else { return };
    let (tokens, width) = (&model.tiny.tokens[..20], model.tiny.width);
    let whole = runner(&model, 2).step(tokens);
    let wanted = runner(&model, 2).step_wanting(tokens, &[3, 19]);
    assert!(wanted[..width] == whole[3 * width..4 * width] && wanted[width..] == whole[19 * width..]);
}

#[test]
fn a_table_of_what_are_no_experts_is_refused_by_name() {
    let load = |table_type, expert: Rule| {
        let model = with_tables(1, table_type, expert)?;
        let file = GgufFile::open(&model.path).expect("the file is well-formed");
        Some(Model::load(&file, &cpu(1), LoadOptions::default()).map(|_| ()))
    };
    let cases: [(TensorType, Rule); 3] =
        [(TensorType::I32, |_, _| EXPERTS as i32), (TensorType::I32, |_, _| -1), (TensorType::F32, |_, _| 0)];
    for (table_type, expert) in cases {
        let Some(result) = load(table_type, expert) else { return };
        assert!(
            matches!(&result, Err(ModelError::TensorValues { name, .. }) if name == "blk.0.ffn_gate_tid2eid.weight"),
            "{result:?}"
        );
    }
}
