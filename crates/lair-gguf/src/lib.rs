//! The model file: read, check, map, write and split GGUF.
//!
//! [`GgufFile::open`] maps a model (one file, or all shards of a split one) and hands out its metadata and its
//! tensors; [`Header::parse`] is the pure parser beneath it. Nothing in a file is trusted: every length is compared
//! with the bytes that remain before anything is allocated, and every refusal says where and why.
//!
//! ```no_run
//! # fn main() -> Result<(), lair_gguf::GgufError> {
//! let model = lair_gguf::GgufFile::open("model-00001-of-00003.gguf")?;
//! let layer_count = model.metadata().u32(&format!("{}.block_count", model.architecture()?))?;
//! let embedding = model.required_tensor("token_embd.weight")?;
//! let bytes: lair_gguf::TensorData = model.tensor_data(embedding); // Shares the mapping, copies nothing.
//! println!("{layer_count} layers, {} of {:?}, {} bytes", embedding.tensor_type, embedding.shape, bytes.len());
//! # Ok(())
//! # }
//! ```

mod assembled;
mod cursor;
mod endian;
mod error;
mod file;
mod file_type;
mod foreign;
mod foreign_types;
mod header;
mod mapped_file;
mod mapping;
mod metadata;
mod new_file;
mod ollama_layout;
mod shard_name;
#[cfg(target_os = "linux")]
mod sigbus;
mod split;
mod string_array;
mod tensor_info;
mod tensor_type;
mod value;
mod vocabulary;
mod writer;

pub use assembled::{AssembledTensor, TensorBytes, TensorMaker};
pub use endian::{ByteOrder, byte_order, write_in_order};
pub use error::GgufError;
pub use file::{GgufFile, MapMode, OpenOptions, TensorData};
pub use file_type::file_type_name;
pub use foreign::OtherFormat;
pub use foreign_types::{TypeMaker, type_maker};
pub use header::{Header, limits};
pub use mapped_file::MappedFile;
pub use metadata::{FromValue, Metadata};
pub use shard_name::ShardName;
pub use split::SplitLimit;
pub use string_array::StringArray;
pub use tensor_info::TensorInfo;
pub use tensor_type::TensorType;
pub use value::{Array, NestedArray, Value, ValueType};
pub use vocabulary::check_vocabulary;
pub use writer::{GgufWriter, encoded_value};
