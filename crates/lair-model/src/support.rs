//! What the forward pass can run: everything else that can be declared is refused by name.

use lair_compute::Mask;

use crate::spec::{
    Architecture, Attention, Encoder, EncoderInput, ExpertsFfn, Ffn, HeadOutput, KeyChoice, LatentAttention, Layer,
    LayerInput, Mixer, Norm, Residual,
};
use crate::{ModelConfig, ModelError};

/// Checks that the forward pass can run every part of a model.
///
/// # Errors
/// [`ModelError::Unsupported`] names the first part that cannot.
pub fn check_support(architecture: &Architecture, config: &ModelConfig) -> Result<(), ModelError> {
    let has_logits = architecture.output_in(config) != HeadOutput::HiddenState;
    let has_logits = has_logits && !architecture.is_diffusion;
    let is_causal = config.is_causal != Some(false);
    let layers = (0..config.layer_count).map(|layer_index| (architecture.layer)(config, layer_index));
    let is_run_once = config.loop_count == 1;
    let mut missing = architecture.encoder.as_ref().and_then(|encoder| self::encoder(encoder, config));
    missing = missing.or((!is_run_once).then_some("layers that are run several times"));
    missing = missing.or_else(|| layers.into_iter().find_map(|parts| layer(&parts, has_logits)));
    let layers = (0..config.layer_count).map(|layer_index| (architecture.layer)(config, layer_index));
    missing = missing.or_else(|| choices(layers));
    let mut layers = (0..config.layer_count).map(|layer_index| (architecture.layer)(config, layer_index));
    missing = missing.or_else(|| if is_causal { None } else { layers.find_map(|parts| only_before(&parts)) });
    if let Some(what) = missing {
        return Err(ModelError::Unsupported { architecture: architecture.gguf_name.to_owned(), what });
    }
    Ok(())
}

/// What can see only what stands before, in a model that its file says to be no decoder.
fn only_before(layer: &Layer) -> Option<&'static str> {
    let of_decoder = |mask| matches!(mask, Mask::Window(_) | Mask::Chunk(_));
    match &layer.mixer {
        Mixer::Attention(Attention { mask, .. }) | Mixer::LatentAttention(LatentAttention { mask, .. })
            if of_decoder(*mask) =>
        {
            Some("windows of a decoder whose file says that it sees what follows")
        }
        Mixer::CompressedAttention(_) => Some("compressed keys in a model whose file says that it sees what follows"),
        Mixer::Attention(_) | Mixer::LatentAttention(_) if choice_of(layer) != KeyChoice::All => {
            Some("keys that are chosen in a model whose file says that it sees what follows")
        }
        Mixer::None | Mixer::Attention(_) | Mixer::LatentAttention(_) => None,
        _ => Some("recurrent layers in a model whose file says that it sees what follows"),
    }
}

/// Which keys a layer reads.
fn choice_of(layer: &Layer) -> KeyChoice {
    match &layer.mixer {
        Mixer::Attention(attention) => attention.choice,
        Mixer::LatentAttention(attention) => attention.choice,
        Mixer::CompressedAttention(attention) => attention.choice,
        _ => KeyChoice::All,
    }
}

/// A layer that reads what an earlier one has chosen, where none has.
fn choices(layers: impl Iterator<Item = Layer>) -> Option<&'static str> {
    let mut has_chosen = false;
    for layer in layers {
        match choice_of(&layer) {
            KeyChoice::Indexed(_) => has_chosen = true,
            KeyChoice::Earlier if !has_chosen => return Some("keys that an earlier layer has chosen, where none has"),
            KeyChoice::Earlier | KeyChoice::All => {}
        }
    }
    None
}

fn encoder(encoder: &Encoder, config: &ModelConfig) -> Option<&'static str> {
    if !matches!((encoder.input)(config), EncoderInput::Tokens(_)) {
        return Some("an encoder of sound");
    }
    let differs = config.decoder_layer_count.is_some_and(|count| count != config.layer_count);
    differs.then_some("an encoder and a decoder with different numbers of layers")
}

fn layer(layer: &Layer, has_logits: bool) -> Option<&'static str> {
    let mixer = match &layer.mixer {
        Mixer::Attention(parts) => attention(parts, has_logits),
        _ => None,
    };
    mixer
        .or_else(|| match &layer.ffn {
            Ffn::None | Ffn::Dense(_) | Ffn::ChannelMix(_) => None,
            Ffn::Experts(experts) | Ffn::ExpertsIfThere { experts, .. } => latent(experts, layer),
            // What stands in the stream when the experts read it is the dense network's input, or else kept before the mixer.
            Ffn::DenseAndExperts(both) => {
                let is_summed = layer.ffn_output_norm != Norm::None;
                let reads_stream = both.experts_input == LayerInput::Normalised;
                let reads_before = both.experts.router_input == LayerInput::BeforeMixer;
                let is_odd =
                    is_summed != reads_stream || is_summed && (reads_before || both.dense.gate_cutoff.is_some());
                let odd = is_odd
                    .then_some("a network and experts that read different inputs, or what the other has added to");
                odd.or_else(|| both.experts.latent.map(|_| "experts in a space of their own beside a network"))
            }
        })
        .or_else(|| {
            let experts = match &layer.ffn {
                Ffn::Experts(experts) | Ffn::ExpertsIfThere { experts, .. } => Some(experts),
                Ffn::DenseAndExperts(both) => Some(&both.experts),
                _ => None,
            };
            let reads_stream = layer.residual == Residual::Sequential && layer.normed_stream.is_none();
            let has_norm = experts.is_some_and(|experts| experts.router_norm.is_some());
            (has_norm && !reads_stream).then_some("a router with a norm of its own in a parallel layer")
        })
}

fn attention(attention: &Attention, has_logits: bool) -> Option<&'static str> {
    // A later token would change what was computed for an earlier one: tokens cannot be generated one by one.
    (has_logits && attention.mask.sees_what_follows()).then_some("generation with attention in both directions")
}

/// What cannot stand around experts that work in a space of their own.
fn latent(experts: &ExpertsFfn, layer: &Layer) -> Option<&'static str> {
    let is_gated = experts.shared.is_some_and(|shared| shared.gate.is_some() || shared.sum_scale != 1.0);
    let reads_other = experts.router_input != LayerInput::Normalised || experts.router_norm.is_some();
    let is_odd = is_gated || reads_other || experts.adjugates.is_some() || layer.ffn_output_norm != Norm::None;
    (experts.latent.is_some() && is_odd)
        .then_some("experts in a space of their own, with a gate, a norm or another input")
}
