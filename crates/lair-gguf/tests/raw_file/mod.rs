//! Builds files byte by byte, right or wrong, without the crate's own writer, and remembers where each field stands.
#![allow(dead_code)] // Each test binary uses a part.

/// What a field means, so that a test knows how to break it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Count,
    Length,
    ValueType,
    TensorType,
    Number,
    Text,
}

#[derive(Clone, Debug)]
pub struct RawField {
    pub kind: Kind,
    pub start: usize,
    pub length: usize,
}

#[derive(Clone, Debug, Default)]
pub struct RawFile {
    pub bytes: Vec<u8>,
    pub fields: Vec<RawField>,
    /// Where the tensor table ends.
    pub header_length: usize,
}

pub const U8: u32 = 0;
pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const F32: u32 = 6;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;
pub const U64: u32 = 10;

impl RawFile {
    pub fn new(tensor_count: u64, key_count: u64) -> RawFile {
        RawFile::with_start(b"GGUF", 3, tensor_count, key_count)
    }

    pub fn with_start(magic: &[u8], version: u32, tensor_count: u64, key_count: u64) -> RawFile {
        let mut file = RawFile::default();
        file.push(Kind::Text, magic);
        file.u32(Kind::Number, version);
        file.u64(Kind::Count, tensor_count);
        file.u64(Kind::Count, key_count);
        file
    }

    pub fn push(&mut self, kind: Kind, bytes: &[u8]) {
        self.fields.push(RawField { kind, start: self.bytes.len(), length: bytes.len() });
        self.bytes.extend_from_slice(bytes);
        self.header_length = self.bytes.len();
    }

    pub fn u32(&mut self, kind: Kind, value: u32) {
        self.push(kind, &value.to_le_bytes());
    }

    pub fn u64(&mut self, kind: Kind, value: u64) {
        self.push(kind, &value.to_le_bytes());
    }

    pub fn string(&mut self, text: impl AsRef<[u8]>) {
        self.u64(Kind::Length, text.as_ref().len() as u64);
        self.push(Kind::Text, text.as_ref());
    }

    /// A key and the type of its value; the value is pushed next.
    pub fn key(&mut self, key: impl AsRef<[u8]>, value_type: u32) -> &mut RawFile {
        self.string(key);
        self.u32(Kind::ValueType, value_type);
        self
    }

    pub fn u32_key(&mut self, key: &str, value: u32) {
        self.key(key, U32).u32(Kind::Number, value);
    }

    pub fn string_key(&mut self, key: &str, value: &str) {
        self.key(key, STRING).string(value);
    }

    /// A key with an array; its elements are pushed next.
    pub fn array_key(&mut self, key: &str, element_type: u32, length: u64) -> &mut RawFile {
        self.key(key, ARRAY).array(element_type, length)
    }

    pub fn array(&mut self, element_type: u32, length: u64) -> &mut RawFile {
        self.u32(Kind::ValueType, element_type);
        self.u64(Kind::Length, length);
        self
    }

    pub fn tensor(&mut self, name: impl AsRef<[u8]>, shape: &[u64], tensor_type: u32, offset: u64) {
        self.string(name);
        self.u32(Kind::Count, shape.len() as u32);
        shape.iter().for_each(|length| self.u64(Kind::Length, *length));
        self.u32(Kind::TensorType, tensor_type);
        self.u64(Kind::Number, offset);
    }

    /// Padding, then `length` bytes of data.
    pub fn data(&mut self, alignment: usize, length: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
        self.bytes.extend((0..length).map(|index| index as u8));
    }
}

/// A small valid file with values of many types, arrays, a vocabulary and tensors of four types.
pub fn sample() -> RawFile {
    let mut file = RawFile::new(4, 12);
    file.string_key("general.architecture", "llama");
    file.u32_key("general.alignment", 32);
    file.key("llama.context_length", U64).u64(Kind::Number, 4096);
    file.key("llama.attention.layer_norm_rms_epsilon", F32).push(Kind::Number, &1e-5_f32.to_le_bytes());
    file.key("tokenizer.ggml.add_bos_token", BOOL).push(Kind::Number, &[1]);
    file.key("some.byte", U8).push(Kind::Number, &[200]);
    let file_tokens = file.array_key("tokenizer.ggml.tokens", STRING, 3);
    ["<s>", "", "é"].iter().for_each(|token| file_tokens.string(token));
    let scores = file.array_key("tokenizer.ggml.scores", F32, 3);
    [0.0_f32, -1.0, -2.5].iter().for_each(|score| scores.push(Kind::Number, &score.to_le_bytes()));
    file.array_key("flags", BOOL, 2).push(Kind::Number, &[0, 1]);
    file.array_key("empty", I32, 0);
    let nested = file.array_key("nested", ARRAY, 2);
    nested.array(U32, 1).u32(Kind::Number, 7);
    nested.array(STRING, 1).string("in");
    file.u32_key("tokenizer.ggml.bos_token_id", 0);
    // 48, 136, 16 and 144 bytes, each padded to a multiple of 32.
    file.tensor("a.f32", &[4, 3], 0, 0);
    file.tensor("b.q8_0", &[64, 2], 8, 64);
    file.tensor("c.f16", &[8], 1, 224);
    file.tensor("d.q4_k", &[256, 1, 1], 12, 256);
    let header_length = file.header_length;
    file.data(32, 256 + 160);
    file.header_length = header_length;
    file
}
