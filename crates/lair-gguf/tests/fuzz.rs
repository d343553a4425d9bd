//! Fuzzing of model files; `fuzz/README.md` lists all targets.

mod raw_file;

use lair_gguf::{Header, ShardName, check_vocabulary};
use lair_testkit::fuzz::{Target, outcome};

#[test]
fn gguf_header() {
    let small = raw_file::sample();
    let words =
        &["GGUF\x03\0\0\0", "general.alignment", "general.architecture", "tokenizer.ggml.tokens", "\0\0\0\0\0\0\0\0"];
    let target = Target { runs: 30_000, ..Target::new("gguf_header", [small.bytes], words) };
    target.run(|bytes| {
        let parsed = Header::parse(bytes, bytes.len() as u64);
        if let Ok(header) = &parsed {
            for tensor in &header.tensors {
                let end = u128::from(header.data_start) + u128::from(tensor.offset) + u128::from(tensor.size_bytes);
                assert!(tensor.size_bytes == 0 || end <= bytes.len() as u128, "{tensor:?}");
            }
            return format!("{}, {}", outcome(&check_vocabulary(&header.metadata)), header.tensors.len());
        }
        let without_data = Header::parse_without_data(bytes);
        format!("{}; {}", outcome(&parsed), outcome(&without_data))
    });
}

#[test]
fn shard_name() {
    let seeds = [&b"model-00001-of-00003.gguf"[..], b"x-of-.gguf"].map(<[u8]>::to_vec);
    Target::new("shard_name", seeds, &["-of-", "00001", ".gguf", "/", "-"]).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        format!("{}", ShardName::parse(std::path::Path::new(text.as_ref())).is_some())
    });
}
