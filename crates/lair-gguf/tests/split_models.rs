//! Models in shards: written, opened by any of them, and refused when they do not belong together.
#![allow(missing_docs, reason = "the attack list calls these tests by their names, which say what they hold")]
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use lair_gguf::{GgufError, GgufFile, GgufWriter, MapMode, Metadata, OpenOptions, SplitLimit, TensorInfo, TensorType};
use lair_testkit::shared_data;

/// A model of `count` tensors of 4 x 8 numbers, called `name`.
fn writer(name: &str, count: usize) -> GgufWriter {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "llama");
    metadata.set("general.name", name);
    metadata.set("general.alignment", 64_u32);
    let mut writer = GgufWriter::new(metadata).unwrap();
    for index in 0..count {
        writer.add_tensor(&format!("blk.{index}.weight"), &[8, 4], TensorType::F32).unwrap();
    }
    writer
}

fn source(tensor: &TensorInfo, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    let first = tensor.name.as_bytes()[4];
    out.write_all(&vec![first; tensor.size_bytes as usize])
}

fn write(folder: &Path, name: &str, count: usize, limit: SplitLimit) -> Vec<PathBuf> {
    writer(name, count).write_shards(folder.join(name), limit, source).unwrap()
}

#[test]
pub fn opens_the_whole_model_by_any_shard() {
    let folder = tempfile::tempdir().unwrap();
    let paths = write(folder.path(), "m", 7, SplitLimit::Tensors(3));
    let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]);
    for map in [MapMode::Mapped, MapMode::Copied] {
        for path in &paths {
            let model = OpenOptions { map }.open(path).unwrap();
            assert_eq!(model.paths().collect::<Vec<_>>(), paths);
            assert_eq!(model.metadata().str("general.name").unwrap(), "m");
            assert_eq!(model.metadata().u32("split.tensors.count").unwrap(), 7);
            assert_eq!(model.tensors().iter().map(|tensor| tensor.shard).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1, 2]);
            assert_eq!(model.alignment(), 64);
            for (index, tensor) in model.tensors().iter().enumerate() {
                assert_eq!(tensor.name, format!("blk.{index}.weight"));
                assert_eq!(&*model.tensor_data(tensor), [b'0' + index as u8; 128]);
            }
            let size: u64 = paths.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
            assert_eq!(model.size_bytes(), size);
        }
    }
    // The same files under names that say nothing, given in order.
    let model = OpenOptions::default().open_shards(&paths).unwrap();
    assert_eq!(model.tensors().len(), 7);
}

#[test]
pub fn shards_are_cut_by_size_too() {
    let folder = tempfile::tempdir().unwrap();
    // 128 bytes each: 300 hold two, 128 one, 0 one as well.
    for (bytes, shards) in [(300, 3), (128, 5), (0, 5), (640, 1)] {
        let paths = write(folder.path(), &format!("by-{bytes}"), 5, SplitLimit::Bytes(bytes));
        assert_eq!(paths.len(), shards, "{bytes}");
        assert_eq!(GgufFile::open(&paths[0]).unwrap().tensors().len(), 5);
    }
    let empty = write(folder.path(), "empty", 0, SplitLimit::Bytes(1));
    assert_eq!(GgufFile::open(&empty[0]).unwrap().tensors().len(), 0);
}

#[test]
pub fn a_split_model_joined_again_is_what_it_was() {
    let Some(path) = shared_data("models/stories260K-f32.gguf") else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = GgufFile::open(&path).unwrap();
    let copy = |model: &GgufFile, tensor: &TensorInfo, out: &mut dyn std::io::Write| {
        out.write_all(&model.tensor_data(model.tensor(&tensor.name).unwrap()))
    };
    let limit = SplitLimit::Bytes(300_000);
    let writer = GgufWriter::like(&model).unwrap();
    let paths = writer.write_shards(folder.path().join("s"), limit, |tensor, out| copy(&model, tensor, out)).unwrap();
    assert!(paths.len() > 2);
    let split = GgufFile::open(&paths[1]).unwrap();
    let joined_path = folder.path().join("joined.gguf");
    let joined = GgufWriter::like(&split).unwrap();
    joined.write_file(&joined_path, |tensor, out| copy(&split, tensor, out)).unwrap();
    assert_eq!(std::fs::metadata(&joined_path).unwrap().len(), joined.size_bytes());
    let again = GgufFile::open(&joined_path).unwrap();
    assert_eq!(again.metadata(), model.metadata());
    assert_eq!(again.tensors(), model.tensors());
    assert!(model.tensors().iter().all(|tensor| *again.tensor_data(tensor) == *model.tensor_data(tensor)));
}

/// Opens `path` and gives the message it is refused with.
fn refusal(path: &Path) -> String {
    GgufFile::open(path).map(|_| ()).unwrap_err().to_string()
}

#[test]
pub fn names_a_missing_shard() {
    let folder = tempfile::tempdir().unwrap();
    let paths = write(folder.path(), "m", 7, SplitLimit::Tensors(3));
    std::fs::remove_file(&paths[1]).unwrap();
    let error = GgufFile::open(&paths[0]).unwrap_err();
    assert!(matches!(&error, GgufError::MissingShard { number: 2, count: 3, path } if *path == paths[1]), "{error}");
    assert!(error.to_string().contains("shard 2 of 3 is missing") && error.hint().is_some());
}

#[test]
pub fn refuses_shards_that_do_not_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = || write(folder.path(), "m", 7, SplitLimit::Tensors(3));
    let other = write(folder.path(), "other", 7, SplitLimit::Tensors(3));

    let paths = fresh();
    std::fs::copy(&paths[1], &paths[2]).unwrap();
    let message = refusal(&paths[0]);
    assert!(message.contains("split.no is 1, expected 2"), "{message}");

    let paths = fresh();
    std::fs::copy(&other[0], &paths[0]).unwrap();
    GgufFile::open(&paths[0]).unwrap(); // Later shards do not say whose they are, and the names fit.

    let paths = fresh();
    let renamed = folder.path().join("m-00001-of-00004.gguf");
    std::fs::copy(&paths[0], &renamed).unwrap();
    let message = refusal(&renamed);
    assert!(message.contains("split.count is 3, expected 4, as its name says"), "{message}");

    let unnamed = folder.path().join("model.gguf");
    std::fs::copy(&paths[0], &unnamed).unwrap();
    let message = refusal(&unnamed);
    assert!(message.contains("expected a name that ends in `-00001-of-00003.gguf`"), "{message}");

    let message = OpenOptions::default().open_shards(&paths[..2]).unwrap_err().to_string();
    assert!(message.contains("split.count is 3, expected 2"), "{message}");
    let none: [&Path; 0] = [];
    assert!(OpenOptions::default().open_shards(&none).is_err());

    // A shard of a model with as many shards but other tensors.
    let larger = write(folder.path(), "larger", 8, SplitLimit::Tensors(3));
    std::fs::copy(&larger[2], &paths[2]).unwrap();
    let message = refusal(&paths[0]);
    assert!(message.contains("split.tensors.count is 8, expected 7"), "{message}");
}

/// Writes one shard by hand: its keys, and one tensor of this name.
fn write_shard(path: &Path, keys: &[(&str, u32)], name: Option<&str>, tensor: &str) {
    let mut metadata = Metadata::default();
    keys.iter().for_each(|(key, value)| metadata.set(key, *value));
    if let Some(name) = name {
        metadata.set("general.name", name);
    }
    let mut writer = GgufWriter::new(metadata).unwrap();
    writer.add_tensor(tensor, &[8], TensorType::F32).unwrap();
    writer.write_file(path, |_, out| out.write_all(&[0; 32])).unwrap();
}

#[test]
pub fn refuses_shards_that_contradict_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = [1, 2].map(|number| folder.path().join(format!("m-{number:05}-of-00002.gguf")));
    let keys = |number| [("split.no", number), ("split.count", 2)];
    write_shard(&first, &keys(0), Some("a"), "t.1");
    write_shard(&second, &keys(1), Some("a"), "t.2");
    GgufFile::open(&first).unwrap();

    write_shard(&second, &keys(1), Some("b"), "t.2");
    assert!(refusal(&first).contains("general.name is `b`, expected `a`"));

    write_shard(&second, &keys(1), None, "t.1");
    assert!(refusal(&first).contains("a tensor's name is `t.1`, expected each name once"));

    write_shard(&second, &[("split.no", 1), ("split.count", 3)], None, "t.2");
    assert!(refusal(&first).contains("split.count is 3, expected 2"));

    write_shard(&second, &[("split.no", 1), ("split.count", u32::MAX)], None, "t.2");
    assert!(refusal(&second).contains("split.count is 4294967295, expected 2"));

    write_shard(&first, &[("split.tensors.count", 3), ("split.no", 0), ("split.count", 2)], None, "t.1");
    write_shard(&second, &keys(1), None, "t.2");
    assert!(refusal(&first).contains("split.tensors.count is 3, expected 2, as in all shards"));

    let lone = folder.path().join("n-00001-of-00002.gguf");
    write_shard(&lone, &[], None, "t.1");
    assert!(refusal(&lone).contains("split.count is 1, expected 2, as its name says"));
}
