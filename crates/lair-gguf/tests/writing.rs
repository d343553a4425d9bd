//! What is written is read back the same, and a file appears whole or not at all.
#![allow(clippy::unwrap_used)]

use std::io::{self, Write};

use lair_gguf::{
    Array, GgufError, GgufFile, GgufWriter, Header, Metadata, NestedArray, StringArray, TensorInfo, TensorType, Value,
};
use lair_testkit::shared_data;
use proptest::prelude::*;

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        any::<String>().prop_map(|text| Value::String(text.into())),
    ]
}

fn flat_array() -> impl Strategy<Value = Array> {
    fn many<T: Arbitrary + 'static>(build: fn(Box<[T]>) -> Array) -> BoxedStrategy<Array> {
        prop::collection::vec(any::<T>(), 0..6).prop_map(move |elements| build(elements.into())).boxed()
    }
    prop_oneof![
        many(Array::U8),
        many(Array::I8),
        many(Array::U16),
        many(Array::I16),
        many(Array::U32),
        many(Array::I32),
        many(Array::U64),
        many(Array::I64),
        many(Array::F32),
        many(Array::F64),
        many(Array::Bool),
        prop::collection::vec(any::<String>(), 0..6).prop_map(|strings| Array::String(StringArray::from_iter(strings))),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let array = flat_array().prop_recursive(2, 12, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(|arrays| Array::Array(NestedArray::new(&arrays).unwrap()))
    });
    prop_oneof![number(), array.prop_map(Value::Array)]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let keys = prop::collection::vec(("[a-z.é ]{1,20}", value()), 0..12);
    (keys, prop::option::of(0_u32..13)).prop_map(|(keys, alignment)| {
        let mut metadata = Metadata::default();
        keys.into_iter().for_each(|(key, value)| metadata.set(&key, value));
        if let Some(power) = alignment {
            metadata.set("general.alignment", 1_u32 << power);
        }
        metadata
    })
}

fn tensor() -> impl Strategy<Value = (Vec<u64>, TensorType)> {
    let tensor_type = (0_usize..35).prop_map(|index| TensorType::all().nth(index).unwrap());
    (prop::collection::vec(0_u64..4, 1..5), tensor_type).prop_map(|(mut shape, tensor_type)| {
        shape[0] *= tensor_type.block_length() as u64;
        (shape, tensor_type)
    })
}

/// Bytes that tell tensors apart.
fn fill(tensor: &TensorInfo, out: &mut dyn Write) -> io::Result<()> {
    let seed = tensor.name.len() as u64 + tensor.offset;
    // In pieces, as a converter would write.
    let bytes: Vec<u8> = (0..tensor.size_bytes).map(|index| (index * 7 + seed) as u8).collect();
    bytes.chunks(100).try_for_each(|piece| out.write_all(piece))
}

proptest! {
    #[test]
    fn reads_back_what_was_written(metadata in metadata(), tensors in prop::collection::vec(tensor(), 0..8)) {
        let mut writer = GgufWriter::new(metadata).unwrap();
        for (index, (shape, tensor_type)) in tensors.iter().enumerate() {
            writer.add_tensor(&"t".repeat(index + 1), shape, *tensor_type).unwrap();
        }
        let mut bytes = Vec::new();
        writer.write(&mut bytes, fill).unwrap();
        prop_assert_eq!(bytes.len() as u64, writer.size_bytes());
        let header = Header::parse(&bytes, bytes.len() as u64).unwrap();
        prop_assert_eq!(header.version, 3);
        prop_assert!(header.metadata.iter().eq(writer.metadata().iter()));
        prop_assert_eq!(&header.tensors, writer.tensors());
        for tensor in &header.tensors {
            let mut expected = Vec::new();
            fill(tensor, &mut expected).unwrap();
            let range = header.tensor_range(tensor);
            prop_assert_eq!(&bytes[range.start as usize..range.end as usize], &expected);
        }
    }
}

#[test]
fn real_files_are_rewritten_byte_for_byte() {
    for name in ["models/stories260K-f32.gguf", "tokenizers/ggml-vocab-qwen2.gguf"] {
        let Some(path) = shared_data(name) else { return };
        let model = GgufFile::open(&path).unwrap();
        let mut bytes = Vec::new();
        let data = |tensor: &TensorInfo| model.tensor_data(model.tensor(&tensor.name).unwrap());
        GgufWriter::like(&model).unwrap().write(&mut bytes, |tensor, out| out.write_all(&data(tensor))).unwrap();
        let mut original = std::fs::read(&path).unwrap();
        // A file without tensors need not be padded.
        original.resize(original.len().next_multiple_of(32), 0);
        assert!(bytes == original, "{name}");
    }
}

fn one_tensor() -> GgufWriter {
    let mut writer = GgufWriter::new(Metadata::default()).unwrap();
    writer.add_tensor("t", &[8], TensorType::F32).unwrap();
    writer
}

#[test]
fn a_failed_write_leaves_nothing_and_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    type Source = fn(&TensorInfo, &mut dyn Write) -> io::Result<()>;
    let bad: [(Source, &str); 4] = [
        (|_, _| Err(io::Error::other("no weights")), "no weights"),
        (|_, out| out.write_all(&[0; 31]), "found 31 bytes of data, expected 32"),
        (|_, out| out.write_all(&[0; 33]), "1 bytes more than the tensor has"),
        (|_, out| (0..9).try_for_each(|_| out.write_all(&[0; 4])), "4 bytes more than the tensor has"),
    ];
    for (source, expected) in bad {
        let error = one_tensor().write_file(&path, source).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(files(), 0);
    }
    one_tensor().write_file(&path, |_, out| out.write_all(&[1; 32])).unwrap();
    one_tensor().write_file(&path, bad[0].0).unwrap_err();
    let model = GgufFile::open(&path).unwrap();
    assert_eq!(&*model.tensor_data(&model.tensors()[0]), [1; 32]);
    // Replaced whole; who has the old one open keeps it.
    one_tensor().write_file(&path, |_, out| out.write_all(&[2; 32])).unwrap();
    assert_eq!(&*model.tensor_data(&model.tensors()[0]), [1; 32]);
    assert_eq!(files(), 1);
    let missing = folder.path().join("no/such/folder/m.gguf");
    assert!(matches!(one_tensor().write_file(&missing, bad[0].0), Err(GgufError::Io { action: "create", .. })));
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_rights_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (path, plain) = (folder.path().join("m.gguf"), folder.path().join("plain"));
    one_tensor().write_file(&path, |_, out| out.write_all(&[1; 32])).unwrap();
    std::fs::write(&plain, b"").unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
}

#[test]
fn refuses_to_write_what_it_would_refuse_to_read() {
    let mut writer = one_tensor();
    let message = |error: Result<&TensorInfo, GgufError>| error.unwrap_err().to_string();
    assert!(message(writer.add_tensor("", &[1], TensorType::F32)).contains("0 bytes"));
    assert!(message(writer.add_tensor(&"n".repeat(64), &[1], TensorType::F32)).contains("64 bytes"));
    assert!(message(writer.add_tensor("u", &[], TensorType::F32)).contains("1 to 4 dimensions"));
    assert!(message(writer.add_tensor("u", &[1; 5], TensorType::F32)).contains("1 to 4 dimensions"));
    assert!(message(writer.add_tensor("u", &[31], TensorType::Q4_0)).contains("multiple of 32"));
    assert!(message(writer.add_tensor("u", &[1 << 40, 1 << 40], TensorType::F32)).contains("fewer than 2^63"));
    assert!(message(writer.add_tensor("u", &[1 << 62], TensorType::I8)).contains("an end below 2^62"));
    writer.add_tensor("t", &[1], TensorType::F32).unwrap();
    let error = writer.write(&mut Vec::new(), fill).unwrap_err();
    assert!(error.to_string().contains("the name twice"), "{error}");
    for alignment in [Value::U32(13), Value::U32(0), Value::U64(32), Value::U32(1 << 21)] {
        let mut metadata = Metadata::default();
        metadata.set("general.alignment", alignment);
        assert!(matches!(GgufWriter::new(metadata), Err(GgufError::Unwritable { .. })));
    }
    let mut metadata = Metadata::default();
    metadata.set("", 1_u32);
    assert!(GgufWriter::new(metadata).is_err());
    let deep = (0..4).try_fold(Array::U8([1].into()), |array, _| Ok(Array::Array(NestedArray::new(&[array])?)));
    let deep: Result<Array, GgufError> = deep;
    assert!(deep.unwrap_err().to_string().contains("nesting"));
}
