//! Version 1, the first GGUF: counts, lengths and dimensions take four bytes instead of eight.
#![allow(clippy::unwrap_used)]

use lair_gguf::{Array, GgufError, GgufWriter, Header, StringArray, Value};

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A string, an array of strings, an array of arrays, and a tensor of 3 x 2.
fn sample() -> (Vec<u8>, usize) {
    let parts = [
        b"GGUF".to_vec(),
        numbers(&[1, 1, 3]),
        [text("general.architecture"), numbers(&[8]), text("llama")].concat(),
        [text("words"), numbers(&[9, 8, 2]), text("é"), text("")].concat(),
        // Two arrays of u32: [7, 8] and [].
        [text("nested"), numbers(&[9, 9, 2, 4, 2, 7, 8, 4, 0])].concat(),
        [text("t"), numbers(&[2, 3, 2, 0]), vec![0; 8]].concat(),
    ];
    let mut bytes = parts.concat();
    let header_length = bytes.len();
    bytes.resize(header_length.next_multiple_of(32), 0);
    bytes.extend(0..24);
    (bytes, header_length)
}

#[test]
fn is_read_and_written_as_version_3() {
    let (bytes, _) = sample();
    let header = Header::parse(&bytes, bytes.len() as u64).unwrap();
    assert_eq!(header.version, 1);
    assert_eq!(header.architecture().unwrap(), "llama");
    assert_eq!(header.metadata.strings("words").unwrap(), &StringArray::from_iter(["é", ""]));
    let Some(Value::Array(Array::Array(nested))) = header.metadata.get("nested") else { panic!("an array of arrays") };
    assert_eq!(nested.iter().collect::<Vec<_>>(), [Array::U32([7, 8].into()), Array::U32([].into())]);
    assert_eq!(header.tensors[0].shape, [3, 2]);
    let data = header.tensor_range(&header.tensors[0]);
    assert_eq!(data.end, bytes.len() as u64);

    let mut writer = GgufWriter::new(header.metadata.clone()).unwrap();
    writer.add_tensor("t", &[3, 2], header.tensors[0].tensor_type).unwrap();
    let mut written = Vec::new();
    let data = &bytes[data.start as usize..];
    writer.write(&mut written, |_, out| out.write_all(data)).unwrap();
    let again = Header::parse(&written, written.len() as u64).unwrap();
    assert_eq!((again.version, &again.metadata, &again.tensors), (3, &header.metadata, &header.tensors));
}

#[test]
fn every_truncation_and_every_flipped_bit_is_safe() {
    let (bytes, header_length) = sample();
    for length in 4..header_length {
        let error = Header::parse(&bytes[..length], length as u64).unwrap_err();
        assert!(matches!(error, GgufError::Truncated { .. }), "{length}: {error}");
    }
    for place in 0..header_length {
        for bit in 0..8 {
            let mut broken = bytes.clone();
            broken[place] ^= 1 << bit;
            if let Ok(header) = Header::parse(&broken, broken.len() as u64) {
                let fits = |range: std::ops::Range<u64>| range.is_empty() || range.end <= broken.len() as u64;
                assert!(header.tensors.iter().all(|tensor| fits(header.tensor_range(tensor))));
            }
        }
    }
}

/// A file of version 3 that says it is of version 1 must not pass for an empty one.
#[test]
fn a_mislabelled_later_version_is_refused() {
    for (tensors, keys) in [(0_u64, 0_u64), (0, 3), (1, 0), (1, 3)] {
        let mut bytes = [b"GGUF".to_vec(), numbers(&[1])].concat();
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(keys.to_le_bytes());
        bytes.extend([0; 64]);
        assert!(Header::parse(&bytes, bytes.len() as u64).is_err(), "{tensors} tensors, {keys} keys");
    }
}
