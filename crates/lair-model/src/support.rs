//! What the forward pass can run: everything else that can be declared is refused by name.

use lair_compute::Mask;

use crate::spec::{Architecture, Attention, Embedding, ExpertScoring, ExpertsFfn, Ffn, HeadOutput, Layer, Mixer, Norm};
use crate::{ModelConfig, ModelError};

/// Checks that the forward pass can run every part of a model, in contexts of up to `context_length` positions.
///
/// # Errors
/// [`ModelError::Unsupported`] names the first part that cannot; [`ModelError::ContextTooLong`] tells what is possible.
pub fn check_support(
    architecture: &Architecture,
    config: &ModelConfig,
    context_length: usize,
) -> Result<(), ModelError> {
    let has_logits = (architecture.head)(config).output_in(config) != HeadOutput::HiddenState;
    let is_causal = config.is_causal != Some(false);
    let layers = (0..config.layer_count).map(|layer_index| (architecture.layer)(config, layer_index));
    let mut missing = architecture.encoder.is_some().then_some("an encoder with cross attention");
    missing = missing.or_else(|| embedding(&(architecture.embedding)(config)));
    missing = missing.or_else(|| layers.into_iter().find_map(|parts| layer(&parts, has_logits)));
    let mut layers = (0..config.layer_count).map(|layer_index| (architecture.layer)(config, layer_index));
    missing = missing.or_else(|| if is_causal { None } else { layers.find_map(|parts| only_before(&parts)) });
    if let Some(what) = missing {
        return Err(ModelError::Unsupported { architecture: architecture.gguf_name.to_owned(), what });
    }
    let layers = (0..config.layer_count).map(|layer_index| (architecture.layer)(config, layer_index));
    match layers.filter_map(|parts| context_limit(&parts)).min() {
        Some(limit) if context_length > limit => Err(ModelError::ContextTooLong {
            architecture: architecture.gguf_name.to_owned(),
            limit,
            asked: context_length,
            what: "attention with a temperature",
        }),
        _ => Ok(()),
    }
}

/// What can see only what stands before, in a model that its file says to be no decoder.
fn only_before(layer: &Layer) -> Option<&'static str> {
    match &layer.mixer {
        Mixer::Attention(attention) if matches!(attention.mask, Mask::Window(_) | Mask::Chunk(_)) => {
            Some("windows of a decoder whose file says that it sees what follows")
        }
        Mixer::None | Mixer::Attention(_) | Mixer::LatentAttention(_) => None,
        _ => Some("recurrent layers in a model whose file says that it sees what follows"),
    }
}

/// The longest context a layer can be run in, where there is a limit: up to its length a temperature is 1.
fn context_limit(layer: &Layer) -> Option<usize> {
    match &layer.mixer {
        Mixer::Attention(attention) => attention.temperature.map(|temperature| temperature.length),
        _ => None,
    }
}

fn embedding(embedding: &Embedding) -> Option<&'static str> {
    embedding.per_layer.map(|_| "embeddings for each layer")
}

fn layer(layer: &Layer, has_logits: bool) -> Option<&'static str> {
    if layer.cross.is_some() {
        return Some("cross attention");
    }
    if layer.per_layer_input.is_some() {
        return Some("embeddings for each layer");
    }
    if layer.output_scale.is_some() {
        return Some("a factor on a layer's output");
    }
    let mixer = match &layer.mixer {
        Mixer::Attention(parts) => attention(parts, has_logits),
        Mixer::LatentAttention(_) => Some("latent attention"),
        _ => None,
    };
    mixer.or_else(|| match &layer.ffn {
        Ffn::None | Ffn::ChannelMix(_) => None,
        Ffn::Dense(ffn) => (ffn.inner_norm != Norm::None).then_some("a norm within the feed-forward network"),
        Ffn::Experts(ffn) => experts(ffn),
        Ffn::DenseAndExperts(_) => Some("one network beside experts"),
    })
}

fn attention(attention: &Attention, has_logits: bool) -> Option<&'static str> {
    if attention.relative_bias.is_some() {
        return Some("learned biases by distance");
    }
    if attention.clamp.is_some() {
        return Some("clamped queries, keys and values");
    }
    if attention.inner_norm != Norm::None {
        return Some("a norm of the heads' output");
    }
    // A later token would change what was computed for an earlier one: tokens cannot be generated one by one.
    (has_logits && attention.mask.sees_what_follows()).then_some("generation with attention in both directions")
}

fn experts(experts: &ExpertsFfn) -> Option<&'static str> {
    if experts.groups.is_some_and(|groups| groups.count > 1) {
        return Some("choice of experts by groups");
    }
    if experts.router_norm.is_some() {
        return Some("a router with a norm of its own");
    }
    (experts.scoring == ExpertScoring::SqrtSoftplus).then_some("experts scored by the root of softplus")
}
