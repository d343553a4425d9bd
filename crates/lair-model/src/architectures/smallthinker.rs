//! SmallThinker. Experts with ReLU gates, chosen by what the layer reads, so that they can be fetched during attention;
//! windows in three layers of four, of which only these are turned.
//!
//! Reference: Song et al., "SmallThinker", section 2. GGUF name: `smallthinker`.

use lair_compute::{Activation, Gating, Mask};

use crate::ModelConfig;
use crate::spec::source::{Derived, Parameter, SMALLTHINKER_NAMES};
use crate::spec::{Architecture, Attention, ExpertScoring, ExpertsFfn, Ffn, Layer, LayerInput, Mixer, Rope, Source};

/// SmallThinker.
pub const SMALLTHINKER: Architecture = Architecture {
    gguf_name: "smallthinker",
    hf_names: &["SmallThinkerForCausalLM"],
    layer,
    source: Some(Source {
        names: SMALLTHINKER_NAMES,
        parameters: &[
            Parameter::Count("expert_count", &["moe_num_primary_experts"]),
            Parameter::Count("expert_used_count", &["moe_num_active_primary_experts"]),
            Parameter::Count("expert_feed_forward_length", &["moe_ffn_hidden_size"]),
            Parameter::Count("feed_forward_length", &["moe_ffn_hidden_size"]),
            Parameter::Derived(Derived::LaidOutWindow("sliding_window_layout", "sliding_window_size")),
            Parameter::Derived(Derived::SoftmaxIf("moe_primary_router_apply_softmax")),
        ],
        ..Source::USUAL
    }),
    ..Architecture::DECODER
};

/// Positions of a window, whatever the file says.
const WINDOW: usize = 4096;
/// Of so many layers the first is not turned.
const ROPE_STEP: usize = 4;

fn layer(config: &ModelConfig, layer_index: usize) -> Layer {
    let has_windows = config.window.is_some();
    let is_turned = !has_windows || !layer_index.is_multiple_of(ROPE_STEP);
    let has_window = has_windows && config.has_window_after_first(layer_index, 4);
    let gating = config.experts.as_ref().and_then(|experts| experts.gating).unwrap_or(Gating::Softmax);
    Layer {
        mixer: Mixer::Attention(Attention {
            rope: is_turned.then(|| Rope::half_split(config)),
            mask: if has_window { Mask::Window(WINDOW) } else { Mask::Causal },
            ..Attention::STANDARD
        }),
        ffn: Ffn::Experts(ExpertsFfn {
            scoring: ExpertScoring::Gating(gating),
            scale: config.experts.as_ref().map_or(1.0, |experts| experts.weights_scale),
            activation: Activation::Relu,
            router_input: LayerInput::BeforeMixer,
            ..ExpertsFfn::SOFTMAX
        }),
        ..Layer::PRE_NORM
    }
}
