//! HRM Text (Mimir): a fast and a slow stack of layers that are run in turn, each reading the sum of what both have made. The
//! layers of a file are all runs together, of which the first of each stack has the weights of the others.
//!
//! Layers have gated attention and norms without weights; the one behind a stack is a norm of the stream. Prefixes that see
//! what follows are not run. References: Wang et al., "Hierarchical Reasoning Model", section 2; the published model code.
//! GGUF name: `hrm_text`.

use crate::config::CycleConfig;
use crate::spec::source::{HRM_NAMES, Parameter};
use crate::spec::{
    Architecture, Attention, AttentionGate, Embedding, Head, Layer, Mixer, Norm, Rope, Source, Turn, TurnState,
};
use crate::{ModelConfig, ModelError};

/// HRM Text.
pub const HRM_TEXT: Architecture = Architecture {
    gguf_name: "hrm_text",
    hf_names: &["HrmTextForCausalLM"],
    embedding: |config| Embedding {
        scale: config.embedding_scale.unwrap_or(1.0),
        fast_state: Some("hrm.z_l_init"),
        ..Embedding::TOKENS
    },
    layer,
    block_of: |config, layer_index| {
        let place = Place::of(config, layer_index);
        place.within + if place.is_slow() { place.cycles.stack_length } else { 0 }
    },
    head: |_| Head { norm: Norm::None, ..Head::LOGITS },
    check: |config| match config.cycles {
        Some(_) => Ok(()),
        None => {
            Err(ModelError::MissingKey { key: config.key("hrm.layers_per_stack"), expected: "the layers of a stack" })
        }
    },
    source: Some(Source {
        family: HRM_NAMES,
        parameters: &[
            Parameter::VocabularySize,
            Parameter::StackRuns,
            Parameter::RopeDimensions,
            Parameter::Number("embedding_scale", &["embedding_scale"]),
            Parameter::Count("hrm.layers_per_stack", &["num_layers_per_stack", "num_hidden_layers"]),
            Parameter::Count("hrm.h_cycles", &["H_cycles"]),
            Parameter::Count("hrm.l_cycles", &["L_cycles"]),
            Parameter::FlagOr("hrm.prefix_lm", &["prefix_lm"], false),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// Where a layer stands among the runs of both stacks.
struct Place {
    cycles: CycleConfig,
    /// Which run of its cycle: the last one is that of the slow stack.
    run: usize,
    /// Which layer of its stack.
    within: usize,
}

impl Place {
    fn of(config: &ModelConfig, layer_index: usize) -> Place {
        let single = CycleConfig { stack_length: 1, slow_count: 1, fast_count: config.layer_count };
        let cycles = config.cycles.unwrap_or(single);
        let run = layer_index / cycles.stack_length % (cycles.fast_count + 1);
        Place { cycles, run, within: layer_index % cycles.stack_length }
    }

    fn is_slow(&self) -> bool {
        self.run == self.cycles.fast_count
    }

    fn turn(&self) -> Turn {
        // The stream is what the run before has made: behind the slow stack the slow state, else the fast one.
        let other = if self.run == 0 { TurnState::Fast } else { TurnState::Slow };
        let made = if self.is_slow() { TurnState::Slow } else { TurnState::Fast };
        let is_last = self.within + 1 == self.cycles.stack_length;
        Turn { adds: (self.within == 0).then_some(other), becomes: is_last.then_some(made) }
    }
}

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let turn = Place::of(config, layer_index).turn();
    Layer {
        mixer_norm: Norm::RmsUnweighted,
        mixer: Mixer::Attention(Attention {
            rope: Some(Rope::half_split(config)),
            gate: AttentionGate::Tensor("attn_gate"),
            ..Attention::STANDARD
        }),
        ffn_norm: Norm::RmsUnweighted,
        ffn_stream_norm: if turn.becomes.is_some() { Norm::RmsUnweighted } else { Norm::None },
        turn,
        ..Layer::PRE_NORM
    }
}
