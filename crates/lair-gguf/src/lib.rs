//! The model file: read, check, map, write and split GGUF.

mod tensor_type;

pub use tensor_type::TensorType;
