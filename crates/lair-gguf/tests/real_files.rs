//! Real files: models, vocabularies, and the headers of many architectures.
#![allow(clippy::unwrap_used)]

use lair_gguf::{GgufFile, Header, MapMode, OpenOptions, TensorType};
use lair_testkit::shared_data;

fn files(folder: &str, suffix: &str) -> Vec<std::path::PathBuf> {
    let Some(folder) = shared_data(folder) else { return Vec::new() };
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(suffix));
    paths.sort();
    paths
}

#[test]
fn opens_a_real_model() {
    let Some(path) = shared_data("models/stories260K-f32.gguf") else { return };
    for map in [MapMode::Mapped, MapMode::Copied] {
        let model = OpenOptions { map }.open(&path).unwrap();
        assert_eq!(model.architecture().unwrap(), "llama");
        assert_eq!(model.version(), 3);
        assert_eq!(model.size_bytes(), 1_185_344);
        assert_eq!(model.tensors().len(), 48);
        let metadata = model.metadata();
        assert_eq!(metadata.u32("llama.embedding_length").unwrap(), 64);
        assert_eq!(metadata.strings("tokenizer.ggml.tokens").unwrap().len(), 512);
        assert_eq!(metadata.strings("tokenizer.ggml.tokens").unwrap().get(1), Some("<s>"));
        assert_eq!(metadata.f32_array("tokenizer.ggml.scores").unwrap().len(), 512);
        let embedding = model.tensor("token_embd.weight").unwrap();
        assert_eq!((embedding.shape.as_slice(), embedding.tensor_type), ([64, 512].as_slice(), TensorType::F32));
        let data = model.tensor_data(embedding);
        assert_eq!(data.len(), 64 * 512 * 4);
        assert_eq!(data.as_ptr() as usize % 32, 0);
        model.check_unchanged().unwrap();
        assert!(!model.was_damaged());
    }
}

#[test]
fn a_file_of_version_1_holds_the_same_model() {
    let (Some(old), Some(new)) =
        (shared_data("models/stories260K-f32.v1.gguf"), shared_data("models/stories260K-f32.gguf"))
    else {
        return;
    };
    let (old, new) = (GgufFile::open(old).unwrap(), GgufFile::open(new).unwrap());
    assert_eq!((old.version(), new.version()), (1, 3));
    assert_eq!(old.tensors().len(), new.tensors().len());
    for tensor in new.tensors() {
        let same = old.tensor(&tensor.name).unwrap();
        assert_eq!((&same.shape, same.tensor_type), (&tensor.shape, tensor.tensor_type));
        assert_eq!(&*old.tensor_data(same), &*new.tensor_data(tensor), "{}", tensor.name);
    }
    for (key, value) in old.metadata().iter() {
        assert_eq!(new.metadata().get(key), Some(value), "{key}");
    }
}

#[test]
fn reads_every_vocabulary() {
    for path in files("tokenizers", ".gguf") {
        let model = GgufFile::open(&path).unwrap();
        let tokens = model.metadata().strings("tokenizer.ggml.tokens").unwrap();
        assert!(tokens.len() >= 30_000, "{}: {}", path.display(), tokens.len());
        assert!(model.tensors().is_empty());
    }
}

#[test]
fn reads_the_header_of_every_architecture_without_its_weights() {
    for path in files("archs", ".meta.gguf") {
        let bytes = std::fs::read(&path).unwrap();
        let header = Header::parse_without_data(&bytes).unwrap();
        header.architecture().unwrap();
        assert!(!header.tensors.is_empty(), "{}", path.display());
        let error = Header::parse(&bytes, bytes.len() as u64).unwrap_err().to_string();
        assert!(error.contains("the file ends at byte"), "{error}");
    }
}
