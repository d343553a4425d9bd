//! Models in GGUF made checkpoints again: the same tensors under the same names, and a configuration that means the same.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use lair_convert::export::Export;
use lair_convert::{Conversion, ConvertError, ElementType, OutputType, hf, safetensors::Header};
use lair_gguf::{GgufFile, Metadata, TensorType};
use support::{Checkpoint, names, tensors_of};

const PART_BYTES_MAX: u64 = 5_000_000_000;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn read(folder: &Path) -> Tensors {
    let bytes = std::fs::read(folder.join("model.safetensors")).expect("read");
    let header = Header::parse(&bytes).expect("a sound file");
    let of = |tensor: lair_convert::StoredTensor| {
        let bytes = &bytes[tensor.start as usize..][..tensor.size_bytes() as usize];
        let values = bytes.chunks(tensor.element.size_bytes()).map(|bytes| tensor.element.value(bytes)).collect();
        (tensor.name.clone(), (tensor.shape, values))
    };
    header.tensors.into_iter().map(of).collect()
}

fn convert(checkpoint: &Path, output: OutputType, path: &Path) -> GgufFile {
    Conversion::plan(checkpoint, output).expect("converts").write(path, |_| {}).expect("written");
    GgufFile::open(path).expect("a model")
}

/// What two models say of themselves, but for their names and how they are stored.
fn differences(before: &Metadata, after: &Metadata) -> Vec<String> {
    let counts = |key: &str| {
        !key.starts_with("general.") && !["tokenizer.ggml.eot_token_id"].contains(&key) && !key.ends_with("vocab_size")
    };
    let keys: std::collections::BTreeSet<&str> =
        before.iter().chain(after.iter()).map(|(key, _)| key).filter(|key| counts(key)).collect();
    let is_other = |key: &&&str| before.get(key) != after.get(key);
    let say = |key: &&str| {
        let of = |metadata: &Metadata| metadata.get(key).map_or("nothing".to_owned(), |value| value.to_string());
        format!("{key}: {} was {}", of(after), of(before))
    };
    keys.iter().filter(is_other).map(say).collect()
}

/// Checkpoints of models that are not brought back.
const IS_NOT_BROUGHT_BACK: [&str; 53] = [
    "apertus",
    "bailingmoe3",
    "bamba",
    "bert",
    "chameleon",
    "cohere2moe",
    "dbrx",
    "deepseek-ocr2",
    "deepseek32",
    "deepseek4",
    "deepseek4-128",
    "dots3note",
    "falcon-h1",
    "falcon-mamba",
    "gemma3n",
    "gemma4",
    "glm-dsa",
    "glm5-next",
    "gpt-oss",
    "granite_swa",
    "granite_swa-moe",
    "granitehybrid",
    "granitehybrid-dense",
    "hrm_text",
    "hy_v4",
    "jamba",
    "kimi-linear",
    "laguna",
    "laguna-elements",
    "lfm2",
    "lfm2moe",
    "llama4",
    "mamba",
    "mamba2",
    "mimo2",
    "minimax-01",
    "minimax-m3",
    "mistral4",
    "mt5",
    "muse-glimmer",
    "nemotron_h",
    "nemotron_h-moe",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "qwen4exp",
    "stablelm-parallel",
    "step35",
    "t5",
    "t5-relu",
    "t5encoder",
    "umt5",
    "xlm-roberta",
];

fn is_encoder(file: &GgufFile) -> bool {
    file.metadata().contains("tokenizer.ggml.token_type_count")
}

/// Not checkpoints whose experts transformers stores in another way than they are written here, one by one, nor those of a model
/// that sees, whose part for text is written as a model of its own.
fn is_same_form(expected: &Tensors) -> bool {
    // A Granite without a state space comes back as one of Granite's dense classes.
    let is_other_class = |key: &String| key.ends_with("shared_mlp.input_linear.weight");
    let is_part = |key: &String| key.starts_with("language_model.");
    !expected.keys().any(|key| key.ends_with("experts.gate_up_proj") || is_other_class(key) || is_part(key))
}

#[test]
fn every_checkpoint_comes_back_as_it_was() {
    let mut failures = Vec::new();
    for name in names() {
        let checkpoint = Checkpoint::make(&name);
        let file = convert(checkpoint.path(), OutputType::F32, &checkpoint.path().join("x.gguf"));
        let export = match Export::plan(&file, None) {
            Ok(export) => export,
            // The part for text of a model that sees is no model of its own in transformers; encoders have no such class.
            Err(error)
                if (name.contains("vl") || ["mpt", "paddleocr"].contains(&&*name) || is_encoder(&file))
                    && error.to_string().contains("without a class") =>
            {
                continue;
            }
            // What was changed in numbers, or put together of parts of rows, is refused by the tensor's name.
            Err(ConvertError::Unsupported { what }) if IS_NOT_BROUGHT_BACK.contains(&&*name) => {
                assert!(what.contains('`'), "{name}: no tensor is named: {what}");
                continue;
            }
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        let folder = checkpoint.path().join("back");
        export.write(&folder, PART_BYTES_MAX, |_| {}).expect("written");
        let (found, expected) = (read(&folder), tensors_of(&name));
        if is_same_form(&expected) {
            let names = |tensors: &Tensors| tensors.keys().cloned().collect::<Vec<_>>();
            if names(&found) != names(&expected) {
                let other = found.keys().find(|key| !expected.contains_key(*key));
                failures.push(format!("{name}: other tensors, for example {other:?}"));
                continue;
            }
            for (tensor, (shape, values)) in &expected {
                let (other, numbers) = &found[tensor];
                // What 1 was added to and taken from has lost its last bits.
                let largest = values.iter().zip(numbers).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                if shape != other || values.len() != numbers.len() || largest > 2e-7 {
                    failures.push(format!("{name}: `{tensor}` is {other:?}, was {shape:?}, differs by {largest}"));
                }
            }
        }
        match hf::open(&folder) {
            Ok(again) => {
                let differences = differences(file.metadata(), again.metadata());
                failures.extend(differences.iter().map(|line| format!("{name}: {line}")));
                for tensor in file.tensors() {
                    let other = again.required_tensor(&tensor.name).expect("the same tensors");
                    assert_eq!((&tensor.shape, tensor.tensor_type), (&other.shape, other.tensor_type), "{name}");
                }
            }
            Err(error) => failures.push(format!("{name}: read again: {error}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn weights_become_numbers_of_the_type_that_is_asked_for() {
    let checkpoint = Checkpoint::make("llama");
    let path = checkpoint.path().join("x.gguf");
    let file = convert(checkpoint.path(), OutputType::Q8_0, &path);
    for (element, expected) in [
        (None, TensorType::F16),
        (Some(ElementType::BF16), TensorType::BF16),
        (Some(ElementType::F32), TensorType::F32),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        Export::plan(&file, element).expect("planned").write(folder.path(), 30_000, |_| {}).expect("written");
        assert!(folder.path().join("model.safetensors.index.json").is_file());
        let again = hf::open(folder.path()).expect("a checkpoint");
        assert_eq!(again.required_tensor("blk.0.attn_q.weight").expect("there").tensor_type, expected);
        // Vectors stay as they are.
        assert_eq!(again.required_tensor("output_norm.weight").expect("there").tensor_type, TensorType::F32);
    }
}

#[test]
fn what_has_no_place_in_a_checkpoint_is_refused_by_name() {
    let checkpoint = Checkpoint::make("llama");
    let file = convert(checkpoint.path(), OutputType::F32, &checkpoint.path().join("x.gguf"));
    let with = |change: &dyn Fn(&mut Metadata)| {
        let mut metadata = file.metadata().clone();
        change(&mut metadata);
        let mut writer = lair_gguf::GgufWriter::new(metadata).expect("sound keys");
        for tensor in file.tensors() {
            writer.add_tensor(&tensor.name, &tensor.shape, tensor.tensor_type).expect("as it was");
        }
        let mut tensors = file.tensors().iter();
        let path = checkpoint.path().join("changed.gguf");
        writer
            .write_file(&path, |_, out| out.write_all(&file.tensor_data(tensors.next().expect("as many"))))
            .expect("written");
        Export::plan(&GgufFile::open(&path).expect("a model"), None).err().expect("refused").to_string()
    };
    let check = |change: &dyn Fn(&mut Metadata), words: &str| {
        let error = with(change);
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    };
    check(&|metadata| metadata.set("llama.surprise", 7u32), "`llama.surprise`");
    check(&|metadata| metadata.set("general.architecture", "wavtokenizer-dec"), "`wavtokenizer-dec`");
    check(&|metadata| metadata.set("tokenizer.ggml.model", "rwkv"), "`rwkv`");
    check(&|metadata| metadata.set("tokenizer.ggml.pre", "jais-2"), "`jais-2`");
}
