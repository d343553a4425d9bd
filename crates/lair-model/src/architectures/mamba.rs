//! Mamba, with Falcon Mamba; and Mamba-2. Layers are state spaces alone.
//!
//! References: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces"; Dao and Gu, "Transformers
//! are SSMs". GGUF names: `mamba`, `mamba2`.

use crate::ModelConfig;
use crate::spec::{Architecture, Ffn, Layer, Mamba, Mamba2, Mixer, Norm};

/// Mamba.
pub const MAMBA: Architecture = Architecture {
    gguf_name: "mamba",
    hf_names: &["MambaForCausalLM", "MambaLMHeadModel", "FalconMambaForCausalLM"],
    layer: |config, _| state_space(Mixer::Mamba(mamba(config))),
    ..Architecture::DECODER
};

/// Mamba-2.
pub const MAMBA2: Architecture = Architecture {
    gguf_name: "mamba2",
    hf_names: &["Mamba2ForCausalLM"],
    layer: |_, _| state_space(Mixer::Mamba2(Mamba2::STANDARD)),
    ..Architecture::DECODER
};

fn state_space(mixer: Mixer) -> Layer {
    Layer { mixer, ffn_norm: Norm::None, ffn: Ffn::None, ..Layer::PRE_NORM }
}

/// Falcon Mamba norms what its channels select, without weights.
fn mamba(config: &ModelConfig) -> Mamba {
    let norm = match config.recurrent {
        Some(recurrent) if recurrent.has_unweighted_norms => Norm::RmsUnweighted,
        _ => Norm::None,
    };
    Mamba { time_step_norm: norm, b_norm: norm, c_norm: norm, ..Mamba::STANDARD }
}
