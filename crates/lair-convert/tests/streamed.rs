//! A conversion holds a few slabs of rows, whatever the size of a tensor or of the model.

mod support;

use lair_convert::{Conversion, OutputType};
use lair_gguf::GgufFile;
use lair_testkit::counting::{Counting, peak_of};
use serde_json::{Map, Value, json};
use support::{Checkpoint, json_of};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Slabs of 16 MiB at most, the pieces of threads, and the vocabulary.
const PEAK_MAX: usize = 40 << 20;
const HIDDEN: usize = 2048;
const FFN: usize = 8192;

/// A checkpoint of one layer in BF16, 134 MB, whose weights are zeros in a hole of its file.
fn large() -> Checkpoint {
    let checkpoint = Checkpoint::without_weights("llama");
    let path = checkpoint.path().join("config.json");
    let mut config = json_of(&path);
    for (key, value) in
        [("hidden_size", HIDDEN), ("intermediate_size", FFN), ("num_hidden_layers", 1), ("head_dim", HIDDEN / 4)]
    {
        config[key] = json!(value);
    }
    std::fs::write(path, config.to_string()).expect("written");
    let vocabulary = config["vocab_size"].as_u64().expect("a size") as usize;
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary, HIDDEN]),
        ("lm_head.weight".to_owned(), vec![vocabulary, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for (name, shape) in [
        ("input_layernorm", vec![HIDDEN]),
        ("post_attention_layernorm", vec![HIDDEN]),
        ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
        ("self_attn.k_proj", vec![HIDDEN / 2, HIDDEN]),
        ("self_attn.v_proj", vec![HIDDEN / 2, HIDDEN]),
        ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
        ("mlp.gate_proj", vec![FFN, HIDDEN]),
        ("mlp.up_proj", vec![FFN, HIDDEN]),
        ("mlp.down_proj", vec![HIDDEN, FFN]),
    ] {
        shapes.push((format!("model.layers.0.{name}.weight"), shape));
    }
    let (mut header, mut start) = (Map::new(), 0);
    for (name, shape) in shapes {
        let end = start + shape.iter().product::<usize>() * 2;
        header.insert(name, json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}));
        start = end;
    }
    let header = Value::Object(header).to_string();
    let path = checkpoint.path().join("model.safetensors");
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()).expect("written");
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("opens");
    file.set_len((8 + header.len() + start) as u64).expect("a hole");
    checkpoint
}

/// One test, since the counters are of the whole process.
#[test]
fn a_model_larger_than_the_memory_it_takes_is_converted() {
    let checkpoint = large();
    let out = checkpoint.path().join("out.gguf");
    for output in [OutputType::F16, OutputType::Auto] {
        let (written, peak) = peak_of(|| Conversion::plan(checkpoint.path(), output)?.write(&out, |_| {}));
        written.expect("converts");
        let length = std::fs::metadata(&out).expect("there").len();
        assert!(length > 100_000_000, "{length} bytes are no large model");
        eprintln!("{}: {peak} bytes of memory for a file of {length}", output.name());
        assert!(peak < PEAK_MAX, "{}: {peak} bytes of memory for a file of {length}", output.name());
    }
    let file = GgufFile::open(&out).expect("a model");
    assert_eq!(file.required_tensor("blk.0.ffn_up.weight").expect("there").tensor_type.name(), "BF16");
}
