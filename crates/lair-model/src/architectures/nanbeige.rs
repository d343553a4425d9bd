//! Nanbeige 4. A Llama; its newest models run all layers several times, which is refused.
//!
//! Reference: the published model code. GGUF name: `nanbeige`.

use super::llama;
use crate::spec::{Architecture, Source};

/// Nanbeige 4.
pub const NANBEIGE: Architecture = Architecture {
    gguf_name: "nanbeige",
    hf_names: &["NanbeigeForCausalLM"],
    layer: llama::layer,
    source: Some(Source::LLAMA),
    ..Architecture::DECODER
};
