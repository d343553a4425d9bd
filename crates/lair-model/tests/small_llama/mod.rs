//! A llama of 2 layers made up on the spot, which tests can bend: keys and tensors are listed, then written.

use lair_gguf::{GgufFile, GgufWriter, Metadata, TensorType};

pub const HIDDEN_SIZE: u64 = 32;
pub const VOCABULARY_SIZE: u64 = 24;
const FFN_SIZE: u64 = 48;
const KV_WIDTH: u64 = 16;

/// Keys and tensors of a model to be.
pub struct SmallLlama {
    pub metadata: Metadata,
    /// Name, shape (fastest first), values.
    pub tensors: Vec<(String, Vec<u64>, Vec<f32>)>,
    directory: tempfile::TempDir,
}

impl SmallLlama {
    pub fn new() -> SmallLlama {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", "llama");
        let counts = [
            ("block_count", 2),
            ("context_length", 64),
            ("embedding_length", HIDDEN_SIZE as u32),
            ("feed_forward_length", FFN_SIZE as u32),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
            ("vocab_size", VOCABULARY_SIZE as u32),
        ];
        for (key, count) in counts {
            metadata.set(&format!("llama.{key}"), count);
        }
        metadata.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
        let directory = tempfile::tempdir().expect("a temporary folder can be made");
        let mut model = SmallLlama { metadata, tensors: Vec::new(), directory };
        model.add("token_embd.weight", &[HIDDEN_SIZE, VOCABULARY_SIZE]);
        model.add("output_norm.weight", &[HIDDEN_SIZE]);
        model.add("output.weight", &[HIDDEN_SIZE, VOCABULARY_SIZE]);
        for layer_index in 0..2 {
            let mut add = |stem: &str, shape: &[u64]| model.add(&format!("blk.{layer_index}.{stem}.weight"), shape);
            add("attn_norm", &[HIDDEN_SIZE]);
            add("attn_q", &[HIDDEN_SIZE, HIDDEN_SIZE]);
            add("attn_k", &[HIDDEN_SIZE, KV_WIDTH]);
            add("attn_v", &[HIDDEN_SIZE, KV_WIDTH]);
            add("attn_output", &[HIDDEN_SIZE, HIDDEN_SIZE]);
            add("ffn_norm", &[HIDDEN_SIZE]);
            add("ffn_gate", &[HIDDEN_SIZE, FFN_SIZE]);
            add("ffn_up", &[HIDDEN_SIZE, FFN_SIZE]);
            add("ffn_down", &[FFN_SIZE, HIDDEN_SIZE]);
        }
        model
    }

    /// Adds a tensor with values that depend on its name.
    pub fn add(&mut self, name: &str, shape: &[u64]) {
        let count: u64 = shape.iter().product();
        let seed = name.bytes().fold(7u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let value = |index: u64| {
            let bits = seed.wrapping_add(index as u32).wrapping_mul(2_654_435_761);
            (bits >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        self.tensors.push((name.to_owned(), shape.to_vec(), (0..count).map(value).collect()));
    }

    pub fn remove(&mut self, name: &str) -> Vec<f32> {
        let place = self.tensors.iter().position(|tensor| tensor.0 == name).expect("the tensor is there");
        self.tensors.remove(place).2
    }

    pub fn values_mut(&mut self, name: &str) -> &mut Vec<f32> {
        &mut self.tensors.iter_mut().find(|tensor| tensor.0 == name).expect("the tensor is there").2
    }

    /// Writes the file and opens it.
    pub fn open(&self) -> GgufFile {
        let path = self.directory.path().join("small.gguf");
        let mut writer = GgufWriter::new(self.metadata.clone()).expect("valid keys");
        for (name, shape, _) in &self.tensors {
            writer.add_tensor(name, shape, TensorType::F32).expect("a valid shape");
        }
        let source = |tensor: &lair_gguf::TensorInfo, out: &mut dyn std::io::Write| {
            let values = &self.tensors.iter().find(|(name, ..)| *name == tensor.name).expect("declared above").2;
            values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
        };
        writer.write_file(&path, source).expect("the file can be written");
        GgufFile::open(&path).expect("a valid file")
    }
}
