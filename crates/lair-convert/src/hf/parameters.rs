//! Hyper-parameters: from the keys of `config.json` to those of GGUF.
//!
//! Which key stands for which is the same for nearly all models; what an architecture has besides, its declaration says
//! ([`Parameter`]). Sources: the configuration classes of `transformers`; the GGUF specification.

use lair_gguf::{Metadata, Value};
use lair_model::spec::source::Parameter;
use lair_model::spec::{Architecture, Source};

use super::config::HfConfig;
use crate::error::ConvertError;

/// Counts that all models have, or may have.
pub(crate) const COUNTS: [(&str, &[&str]); 12] = [
    ("block_count", &["num_hidden_layers", "n_layer", "n_layers", "num_layers"]),
    (
        "context_length",
        &["max_position_embeddings", "n_ctx", "n_positions", "max_sequence_length", "model_max_length", "max_length"],
    ),
    ("embedding_length", &["hidden_size", "n_embd", "n_embed", "dim"]),
    ("feed_forward_length", &["intermediate_size", "n_inner", "hidden_dim", "ffn_dim"]),
    ("attention.head_count", &["num_attention_heads", "n_head", "n_heads"]),
    ("attention.head_count_kv", &["num_key_value_heads", "n_kv_heads"]),
    ("attention.key_length", &["head_dim"]),
    ("attention.value_length", &["head_dim"]),
    ("expert_count", &["num_local_experts", "num_experts", "n_routed_experts"]),
    ("expert_used_count", &["num_experts_per_tok", "num_experts_per_token", "top_k_experts"]),
    ("expert_group_count", &["n_group"]),
    ("expert_group_used_count", &["topk_group"]),
];

/// Numbers that all models have, or may have.
pub(crate) const NUMBERS: [(&str, &[&str]); 2] = [
    ("attention.layer_norm_rms_epsilon", &["rms_norm_eps", "norm_eps"]),
    ("attention.layer_norm_epsilon", &["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"]),
];

/// How experts are chosen, by the words of several families, and the number that GGUF has for it.
pub(crate) const GATES: [&str; 6] = [
    "score_function",
    "scoring_func",
    "score_func",
    "moe_router_activation",
    "moe_router_activation_func",
    "expert_selection_fn",
];

/// Sets the keys of the hyper-parameters.
pub(crate) fn set_parameters(
    metadata: &mut Metadata,
    architecture: &Architecture,
    source: &Source,
    config: &HfConfig,
) -> Result<(), ConvertError> {
    let mut keys = Keys { metadata, prefix: architecture.gguf_name };
    for (key, names) in COUNTS {
        keys.set(key, config.count(names));
    }
    for (key, names) in NUMBERS {
        keys.set(key, config.number(names).map(|number| number as f32));
    }
    if config.flag(&["is_causal"]) == Some(false) {
        keys.set("attention.causal", Some(false));
    }
    if let Some(gate) = config.first(&GATES).and_then(|gate| gate.as_str()) {
        let number = match gate {
            "softmax" => 1u32,
            "sigmoid" => 2,
            "sqrtsoftplus" => 4,
            other => {
                return Err(ConvertError::Unsupported { what: format!("the choice of experts by `{other}`") });
            }
        };
        keys.set("expert_gating_func", Some(number));
    }
    rope(&mut keys, config)?;
    for parameter in source.parameters {
        own(&mut keys, *parameter, config);
    }
    Ok(())
}

struct Keys<'a> {
    metadata: &'a mut Metadata,
    prefix: &'a str,
}

impl Keys<'_> {
    fn set(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.metadata.set(&format!("{}.{key}", self.prefix), value);
        }
    }

    fn has(&self, key: &str) -> bool {
        self.metadata.contains(&format!("{}.{key}", self.prefix))
    }
}

/// The base of the angles and how they are scaled.
fn rope(keys: &mut Keys<'_>, config: &HfConfig) -> Result<(), ConvertError> {
    let number = |name: &str| config.rope_number(name).map(|number| number as f32);
    keys.set("rope.freq_base", number("rope_theta"));
    keys.set("rope.freq_base_swa", config.window_theta.map(|theta| theta as f32));
    let factor = number("factor");
    match config.rope_type() {
        None | Some("default" | "llama3" | "mrope") => {}
        // Such scaling begins behind the context that the model was trained for, but for Hunyuan's.
        Some("dynamic") if config.rope.get("alpha").is_none_or(|alpha| alpha.is_null()) => {}
        Some("linear") => {
            keys.set("rope.scaling.type", Some("linear"));
            keys.set("rope.scaling.factor", factor);
        }
        Some("yarn") => {
            keys.set("rope.scaling.type", Some("yarn"));
            keys.set("rope.scaling.factor", factor);
            let original = number("original_max_position_embeddings").map(|length| length as u32);
            keys.set("rope.scaling.original_context_length", original);
            keys.set("rope.scaling.yarn_ext_factor", number("extrapolation_factor"));
            keys.set("rope.scaling.yarn_attn_factor", number("attention_factor").or_else(|| number("attn_factor")));
            keys.set("rope.scaling.yarn_beta_fast", number("beta_fast"));
            keys.set("rope.scaling.yarn_beta_slow", number("beta_slow"));
        }
        Some("su" | "longrope") => keys.set("rope.scaling.type", Some("longrope")),
        Some(other) => return Err(ConvertError::Unsupported { what: format!("scaling of angles by `{other}`") }),
    }
    if let Some(sections) = config.rope.get("mrope_section").and_then(|sections| sections.as_array()) {
        let mut sections: Vec<i32> = sections.iter().filter_map(|s| s.as_i64()?.try_into().ok()).collect();
        sections.resize(4, 0);
        keys.set("rope.dimension_sections", Some(sections));
    }
    Ok(())
}

/// What only this architecture has.
fn own(keys: &mut Keys<'_>, parameter: Parameter, config: &HfConfig) {
    match parameter {
        Parameter::Count(key, names) => keys.set(key, config.count(names)),
        Parameter::CountOr(key, names, otherwise) => keys.set(key, Some(config.count(names).unwrap_or(otherwise))),
        Parameter::Sum(key, [one, other]) => {
            let sum = |one: u32| one.checked_add(config.count(&[other])?);
            keys.set(key, config.count(&[one]).and_then(sum));
        }
        Parameter::YarnSlope => {
            let slope = config.rope_number("mscale_all_dim").map(|slope| (0.1 * slope) as f32);
            keys.set("rope.scaling.yarn_log_multiplier", slope);
        }
        Parameter::Number(key, names) => keys.set(key, config.number(names).map(|number| number as f32)),
        Parameter::NumberOr(key, names, otherwise) => {
            keys.set(key, Some(config.number(names).map_or(otherwise, |number| number as f32)));
        }
        Parameter::Flag(key, names) => keys.set(key, config.flag(names)),
        Parameter::FlagOr(key, names, otherwise) => keys.set(key, Some(config.flag(names).unwrap_or(otherwise))),
        Parameter::Text(key, text) => keys.set(key, Some(text)),
        Parameter::VocabularySize => keys.set("vocab_size", config.count(&["vocab_size"])),
        Parameter::RopeDimensions => {
            let share = config.rope_number("partial_rotary_factor").unwrap_or(1.0);
            let turned = |dim: u32| (share * f64::from(dim)) as u32;
            keys.set("rope.dimension_count", config.head_dim().map(turned));
        }
        Parameter::FfnOfHidden => {
            if !keys.has("feed_forward_length") {
                let hidden = config.count(&["hidden_size", "n_embd"]);
                keys.set("feed_forward_length", hidden.and_then(|hidden| hidden.checked_mul(4)));
            }
        }
        Parameter::SharedFfn(count, width) => {
            let product = config.count(&[count]).zip(config.count(&[width])).and_then(|(a, b)| a.checked_mul(b));
            keys.set("expert_shared_feed_forward_length", product.filter(|width| *width > 0));
        }
        Parameter::KvHeads => keys.set("attention.head_count_kv", config.kv_head_count()),
        Parameter::HeadDim(otherwise) => {
            let dim = config.count(&["head_dim"]).unwrap_or(otherwise);
            keys.set("attention.key_length", Some(dim));
            keys.set("attention.value_length", Some(dim));
        }
        Parameter::WindowPattern(every) => window_pattern(keys, every, config),
        Parameter::AddsBos(adds) => keys.metadata.set("tokenizer.ggml.add_bos_token", adds),
    }
}

/// Which layers have a window, where the model has one at all.
fn window_pattern(keys: &mut Keys<'_>, every: usize, config: &HfConfig) {
    if config.first(&["sliding_window"]).is_none() {
        return;
    }
    let by_type = config.first(&["layer_types"]).and_then(|types| types.as_array());
    let pattern: Vec<bool> = match by_type {
        Some(types) => types.iter().map(|kind| kind.as_str() == Some("sliding_attention")).collect(),
        None => (1..=config.layer_count().unwrap_or(0) as usize).map(|layer| layer % every != 0).collect(),
    };
    keys.set("attention.sliding_window_pattern", Some(pattern));
}
