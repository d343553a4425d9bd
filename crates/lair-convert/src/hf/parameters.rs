//! Hyper-parameters: from the keys of `config.json` to those of GGUF.
//!
//! Which key stands for which is the same for nearly all models; what an architecture has besides, its declaration says
//! ([`Parameter`]). Sources: the configuration classes of `transformers`; the GGUF specification.

use lair_gguf::{Metadata, Value};
use lair_model::spec::source::Parameter;
use lair_model::spec::{Architecture, Source};

use super::config::{HfConfig, LayerKind};
use super::derived;
use super::layer_parameters::of_layers;
use crate::error::{ConvertError, printable};

/// Counts that all models have, or may have.
pub(crate) const COUNTS: [(&str, &[&str]); 12] = [
    ("block_count", &["num_hidden_layers", "n_layer", "n_layers", "num_layers"]),
    (
        "context_length",
        &[
            "max_position_embeddings",
            "n_ctx",
            "n_positions",
            "max_sequence_length",
            "model_max_length",
            "max_length",
            "max_seq_len",
            "seq_length",
        ],
    ),
    ("embedding_length", &["hidden_size", "n_embd", "n_embed", "dim", "d_model"]),
    ("feed_forward_length", &["intermediate_size", "n_inner", "hidden_dim", "ffn_dim", "ffn_hidden_size"]),
    ("attention.head_count", &["num_attention_heads", "n_head", "n_heads"]),
    ("attention.head_count_kv", &["num_key_value_heads", "n_kv_heads"]),
    ("attention.key_length", &["head_dim"]),
    ("attention.value_length", &["head_dim"]),
    (
        "expert_count",
        &["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "ffn_config.moe_num_experts"],
    ),
    ("expert_used_count", &["num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k"]),
    ("expert_group_count", &["n_group", "num_expert_group"]),
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
    keys.set("block_count", config.layer_count());
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
    rope(&mut keys, source, config)?;
    for parameter in source.parameters {
        if let Parameter::Only(name, words) = parameter
            && let Some(word) = config.first(&[name]).and_then(|word| word.as_str())
            && !words.contains(&word)
        {
            let what = format!("`{name}` of `{}` in `{}`", printable(word), architecture.gguf_name);
            return Err(ConvertError::Unsupported { what });
        }
        match parameter {
            Parameter::Derived(derived) => derived::set(&mut keys, *derived, config)?,
            parameter => own(&mut keys, *parameter, config),
        }
    }
    Ok(())
}

/// The keys below an architecture's name.
pub(super) struct Keys<'a> {
    pub(super) metadata: &'a mut Metadata,
    prefix: &'a str,
}

impl Keys<'_> {
    pub(super) fn set(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.metadata.set(&format!("{}.{key}", self.prefix), value);
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.metadata.contains(&format!("{}.{key}", self.prefix))
    }
}

/// The base of the angles and how they are scaled.
fn rope(keys: &mut Keys<'_>, source: &Source, config: &HfConfig) -> Result<(), ConvertError> {
    let is_growth =
        |parameter: &Parameter| matches!(parameter, Parameter::Number("rope.scaling.alpha", _) | Parameter::GrownBase);
    let grows_base = source.parameters.iter().any(is_growth);
    let number = |name: &str| config.rope_number(name).map(|number| number as f32);
    keys.set("rope.freq_base", number("rope_theta"));
    keys.set("rope.freq_base_swa", config.window_theta.map(|theta| theta as f32));
    let factor = number("factor");
    match config.rope_type() {
        None | Some("default" | "llama3" | "mrope" | "proportional") => {}
        // Such scaling begins behind the context that the model was trained for, but for Hunyuan's.
        Some("dynamic") if !has_alpha(config) => {}
        // It makes the base larger, which the declaration says.
        Some("dynamic" | "xdrope") if has_alpha(config) && grows_base => {}
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

/// Whether the base of the angles grows by a factor (Hunyuan).
pub(super) fn has_alpha(config: &HfConfig) -> bool {
    config.rope.get("alpha").is_some_and(|alpha| !alpha.is_null())
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
        Parameter::Product(key, [one, other]) => {
            let product = |one: u32| one.checked_mul(config.count(&[other])?);
            keys.set(key, config.count(&[one]).and_then(product));
        }
        Parameter::CountOrTimes(key, names, of, times) => {
            let product = || config.count(&[of])?.checked_mul(times);
            keys.set(key, config.count(names).or_else(product));
        }
        Parameter::Quotient(key, [one, other]) => {
            let quotient = |one: u32| one.checked_div(config.count(&[other])?);
            if !keys.has(key) {
                keys.set(key, config.count(&[one]).and_then(quotient));
            }
        }
        Parameter::AttentionLayers => {
            let heads = config.kv_head_count().unwrap_or(0);
            keys.set("attention.head_count_kv", by_layer(config, |kind| kind == LayerKind::Attention, heads));
        }
        Parameter::RecurrentLayers => {
            let flags = config.all_layer_kinds().into_iter().map(|kind| kind == LayerKind::Recurrent);
            keys.set("attention.recurrent_layers", Some(flags.collect::<Vec<bool>>()));
        }
        Parameter::FfnLayers(name) => {
            let width = config.count(&[name]).unwrap_or(0);
            keys.set("feed_forward_length", by_layer(config, |kind| kind == LayerKind::Network, width));
        }
        Parameter::CountOfAttention(key, name) => {
            let count = config.count(&[name]);
            keys.set(key, count.and_then(|count| by_layer(config, |kind| kind == LayerKind::Attention, count)));
        }
        Parameter::TurnsIn(class) => {
            let is_hybrid = config.all_layer_kinds().contains(&LayerKind::Recurrent);
            keys.set("rope.scaling.finetuned", Some(config.class == class || !is_hybrid));
        }
        Parameter::IsClass(key, class) => keys.set(key, Some(config.class == class)),
        Parameter::ContextBehindPadding => {
            let length = config.count(&["max_position_embeddings"]);
            keys.set("context_length", length.and_then(|length| length.checked_sub(config.padding_positions())));
        }
        // Others' arithmetic is in a place of its own.
        Parameter::Derived(_) => {}
        Parameter::Word(key, names) => keys.set(key, config.first(names).and_then(|word| word.as_str())),
        Parameter::HalfOfHeadTurned => {
            let share = config.rope_number("partial_rotary_factor").unwrap_or(0.5);
            keys.set("rope.dimension_count", config.head_dim().map(|dim| (share * f64::from(dim)) as u32));
            let ratio = config.number(&["rope_ratio"]);
            keys.set("rope.freq_base", ratio.map(|ratio| (10_000.0 * ratio) as f32));
        }
        Parameter::DepthScale(key, name) => {
            let by_depth = |scale: f64| Some((scale / f64::from(config.layer_count()?).sqrt()) as f32);
            keys.set(key, config.number(&[name]).and_then(by_depth));
        }
        Parameter::Ratio(key, [one, other]) => {
            let ratio = |one: f64| Some((one / config.number(&[other])?) as f32);
            keys.set(key, config.number(&[one]).and_then(ratio));
        }
        Parameter::GlobalHeads => global_heads(keys, config),
        Parameter::Never(key) => drop(keys.metadata.remove(&format!("{}.{key}", keys.prefix))),
        Parameter::AdjustedFfn => keys.set("feed_forward_length", adjusted_ffn(config)),
        Parameter::Sections(sections) => {
            if !keys.has("rope.dimension_sections") {
                keys.set("rope.dimension_sections", Some(sections.to_vec()));
            }
        }
        Parameter::FlagOfLayers(key, name) => {
            let list = config.first(&[name]).and_then(|list| list.as_array());
            let flag = |entry: &serde_json::Value| entry.as_bool().unwrap_or(entry.as_u64() != Some(0));
            keys.set(key, list.map(|list| list.iter().map(flag).collect::<Vec<bool>>()));
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
                let hidden = config.count(&["hidden_size", "n_embd", "d_model"]);
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
        parameter => of_layers(keys, parameter, config),
    }
}

/// Gemma 4: layers without a window have heads of another width, sometimes of another number; the last layers, which use the keys
/// of others, may have networks twice as wide.
fn global_heads(keys: &mut Keys<'_>, config: &HfConfig) {
    let own = config.count(&["head_dim"]);
    // Newer files say what differs layer by layer.
    let differing = |name: &str| {
        let layers = config.first(&["per_layer_config"])?.as_object()?;
        layers.values().find_map(|layer| layer[name].as_u64()).and_then(|count| u32::try_from(count).ok())
    };
    let dim = config.count(&["global_head_dim"]).or_else(|| differing("head_dim")).or(own);
    for key in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
        keys.set(key, dim);
    }
    for key in ["attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa"] {
        keys.set(key, own);
    }
    let heads = config.count(&["num_global_key_value_heads"]).or_else(|| differing("num_key_value_heads"));
    let types = config.first(&["layer_types"]).and_then(|types| types.as_array());
    if let (Some(global), Some(own), Some(types)) = (heads, config.kv_head_count(), types) {
        let count = |kind: &serde_json::Value| if kind == "sliding_attention" { own } else { global } as i32;
        keys.set("attention.head_count_kv", Some(types.iter().map(count).collect::<Vec<i32>>()));
    }
    if config.flag(&["use_double_wide_mlp"]) == Some(true)
        && let (Some(width), Some(layers)) = (config.count(&["intermediate_size"]), config.layer_count())
    {
        let first = layers.saturating_sub(config.count(&["num_kv_shared_layers"]).unwrap_or(0));
        let width = |layer: u32| if layer < first { width } else { width.saturating_mul(2) } as i32;
        keys.set("feed_forward_length", Some((0..layers.min(1 << 16)).map(width).collect::<Vec<i32>>()));
    }
}

/// The width of LFM2's feed-forward networks: two thirds of what is said, times a factor, in whole multiples.
fn adjusted_ffn(config: &HfConfig) -> Option<u32> {
    let said = config.count(&["block_ff_dim", "intermediate_size"])?;
    if config.flag(&["block_auto_adjust_ff_dim"]) != Some(true) {
        return Some(said);
    }
    let factor = config.number(&["block_ffn_dim_multiplier"]).unwrap_or(1.0);
    let width = (factor * f64::from(said / 3 * 2 + said % 3 * 2 / 3)) as u32;
    let multiple = config.count(&["block_multiple_of"]).filter(|multiple| *multiple > 0)?;
    width.div_ceil(multiple).checked_mul(multiple)
}

/// A count for each layer: this one in layers of a kind, 0 in others.
fn by_layer(config: &HfConfig, has_it: impl Fn(LayerKind) -> bool, count: u32) -> Option<Vec<i32>> {
    let count = i32::try_from(count).ok()?;
    Some(config.all_layer_kinds().into_iter().map(|kind| if has_it(kind) { count } else { 0 }).collect())
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
