//! Makes model files of checkpoints: folders in the layout of Hugging Face, with safetensors or PyTorch's files.
//!
//! [`hf::open`] puts a checkpoint together as a model ([`lair_gguf::GgufFile`]): its tensors under the names of its
//! architecture's declaration, its hyper-parameters and its tokenizer as metadata. That model can be run as it is, and
//! written to a file ([`Conversion`]). Nothing in a checkpoint is run. [`quantize`] makes smaller files of larger ones,
//! [`export`] checkpoints of model files, [`merge`] one model of several, and [`lora`] is about low-rank adapters.

pub mod checkpoint;
mod convert;
mod element;
mod error;
pub mod export;
mod file_types;
pub mod hf;
mod latent;
pub mod lora;
mod matrix;
pub mod merge;
mod packed;
mod parallel;
mod pytorch;
pub mod quantize;
mod recipe;
mod reshape;
pub mod safetensors;
mod safetensors_file;
mod stored;

pub use checkpoint::is_checkpoint;
pub use convert::{Conversion, Progress};
pub use element::ElementType;
pub use error::{ConvertError, Fault};
pub use file_types::OutputType;
pub use stored::StoredTensor;

/// The tensors of a file that PyTorch saved.
///
/// # Errors
/// If the file is damaged or holds anything but plain values and tensors: the fault names it.
pub fn parse_pytorch(bytes: &[u8]) -> Result<Vec<StoredTensor>, Fault> {
    pytorch::parse(bytes)
}
