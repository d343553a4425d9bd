//! Llama 4. Three layers that see their own chunk and are turned for each that sees everything, is not turned, and whose
//! queries grow with their position; in some layers one expert by sigmoid, whose input is weighted, and a shared network.
//!
//! Reference: the published model code of Meta. Files without experts see everything in all layers. GGUF name: `llama4`.

use lair_compute::{Gating, Mask, NormOrder, Temperature, Weighing};

use crate::ModelConfig;
use crate::spec::source::{Change, Parameter, Renaming};
use crate::spec::{
    Architecture, Attention, ExpertScoring, ExpertsFfn, Ffn, Layer, Mixer, Norm, Rope, SharedExperts, Source,
};

/// Llama 4.
pub const LLAMA4: Architecture = Architecture {
    gguf_name: "llama4",
    hf_names: &["Llama4ForCausalLM", "Llama4ForConditionalGeneration"],
    layer,
    source: Some(Source {
        names: &[
            name("layers.*.feed_forward.gate_proj", "blk.*.ffn_gate"),
            name("layers.*.feed_forward.up_proj", "blk.*.ffn_up"),
            name("layers.*.feed_forward.down_proj", "blk.*.ffn_down"),
            name("layers.*.feed_forward.router", "blk.*.ffn_gate_inp"),
            half("blk.*.ffn_gate_exps", 0),
            half("blk.*.ffn_up_exps", 1),
            name("layers.*.feed_forward.experts.down_proj", "blk.*.ffn_down_exps").with(Change::Transposed),
            name("layers.*.feed_forward.shared_expert.gate_proj", "blk.*.ffn_gate_shexp"),
            name("layers.*.feed_forward.shared_expert.up_proj", "blk.*.ffn_up_shexp"),
            name("layers.*.feed_forward.shared_expert.down_proj", "blk.*.ffn_down_shexp"),
        ],
        parameters: &[
            Parameter::VocabularySize,
            Parameter::Count("feed_forward_length", &["intermediate_size_mlp"]),
            Parameter::Count("expert_feed_forward_length", &["intermediate_size"]),
            Parameter::Count("interleave_moe_layer_step", &["interleave_moe_layer_step"]),
            Parameter::Count("rope.dimension_count", &["head_dim"]),
        ],
        ..Source::TEXT_PART
    }),
    ..Architecture::DECODER
};

const fn name(from: &'static str, to: &'static str) -> Renaming {
    Renaming::new(from, to)
}

/// One half of the columns that hold gates and inputs of the experts.
const fn half(to: &'static str, index: usize) -> Renaming {
    name("layers.*.feed_forward.experts.gate_up_proj", to).with(Change::PartTransposed { index, count: 2 })
}

/// Positions of a chunk, and those over which queries of other layers stay as they are.
const CHUNK: usize = 8192;
/// Every so-many-th layer leaves queries and keys as they are.
const ROPE_STEP: usize = 4;
/// Experts of Maverick, which does not normalise queries and keys.
const MAVERICK_EXPERTS: usize = 128;

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let experts = config.experts.as_ref();
    let has_chunks = experts.is_some();
    let is_turned = !has_chunks || !(layer_index + 1).is_multiple_of(ROPE_STEP);
    let is_normed = is_turned && experts.is_none_or(|experts| experts.expert_count != MAVERICK_EXPERTS);
    let norm = if is_normed { Norm::RmsUnweighted } else { Norm::None };
    let is_chunked = has_chunks && config.has_window(layer_index, 4);
    let layer = Layer {
        mixer: Mixer::Attention(Attention {
            q_norm: norm,
            k_norm: norm,
            norm_order: NormOrder::AfterRope,
            rope: is_turned.then(|| Rope::interleaved(config).with_factors(config)),
            scale: config.attention_scale,
            mask: if is_chunked { Mask::Chunk(CHUNK) } else { Mask::Causal },
            temperature: (!is_turned).then_some(Temperature { length: CHUNK, scale: 0.1, offset: 1 }),
            ..Attention::STANDARD
        }),
        ..Layer::PRE_NORM
    };
    let Some(experts) =
        experts.filter(|experts| experts.layer_step.is_some_and(|step| (layer_index + 1).is_multiple_of(step)))
    else {
        return layer;
    };
    let ffn = ExpertsFfn {
        scoring: ExpertScoring::Gating(Gating::Sigmoid),
        normalise: false,
        scale: experts.weights_scale,
        weighing: Weighing::Input,
        shared: experts.expert_ffn_size.map(SharedExperts::swiglu),
        ..ExpertsFfn::SOFTMAX
    };
    Layer { ffn: Ffn::Experts(ffn), ..layer }
}
