//! Nanbeige 4. A Llama; its newest models run all layers several times, which is refused.
//!
//! Reference: the published model code. GGUF name: `nanbeige`.

use super::llama;
use crate::spec::source::Parameter;
use crate::spec::{Architecture, Source};

/// Nanbeige 4.
pub const NANBEIGE: Architecture = Architecture {
    gguf_name: "nanbeige",
    hf_names: &["NanbeigeForCausalLM"],
    layer: llama::layer,
    source: Some(Source {
        parameters: &[
            Parameter::VocabularySize,
            Parameter::RopeDimensions,
            Parameter::CountOr("num_loops", &["num_loops"], 1),
            Parameter::FlagOr("skip_loop_final_norm", &["skip_loop_final_norm"], false),
        ],
        ..Source::LLAMA
    }),
    ..Architecture::DECODER
};
