//! Hyper-parameters that follow from others in a way that only one family has ([`Derived`]).
//!
//! Sources: the published model code of each family, and what the converter of GGUF's own runtime makes of its keys.

use lair_model::spec::source::Derived;
use serde_json::Value as Json;

use super::config::HfConfig;
use super::parameters::Keys;
use crate::error::ConvertError;

/// Layers that a list is made for; more are refused where the model is read.
const LAYER_COUNT_MAX: u32 = 1 << 16;
/// DeciLM's widths are whole multiples of this.
const SEARCHED_MULTIPLE: u32 = 256;
/// Positions of Nomic Embed's first and second generation, and what they were trained for.
const TRAINED_CONTEXTS: [(u32, u32); 2] = [(8192, 2048), (2048, 512)];

/// Sets the keys that `derived` stands for.
pub(super) fn set(keys: &mut Keys<'_>, derived: Derived, config: &HfConfig) -> Result<(), ConvertError> {
    match derived {
        Derived::OfEachLayer(key, number) => {
            let count = config.layer_count().unwrap_or(0).min(LAYER_COUNT_MAX);
            keys.set(key, Some(vec![number; count as usize]));
        }
        Derived::TwoThirdsOf(name) => {
            let width = config.count(&[name]).map(|width| u64::from(width) * 2 / 3);
            keys.set("feed_forward_length", width.and_then(|width| u32::try_from(width).ok()));
        }
        Derived::WholeTwoThirds(multiple) => {
            let width = config.count(&["n_embd", "hidden_size"]).map(|hidden| u64::from(hidden) * 8 / 3);
            let width = width.and_then(|width| u32::try_from(width).ok()?.checked_next_multiple_of(multiple));
            keys.set("feed_forward_length", width);
        }
        Derived::ListedWidths => listed_widths(keys, config),
        Derived::SearchedLayers => searched_layers(keys, config),
        Derived::AttentionInPeriods => attention_in_periods(keys, config),
        Derived::TrainedContext => {
            let positions = config.count(&["n_positions", "max_position_embeddings"]);
            let trained = TRAINED_CONTEXTS.iter().find(|(from, _)| positions == Some(*from)).map(|found| found.1);
            keys.set("context_length", trained);
        }
        Derived::ScoreScale(name) => {
            let by_width = || config.head_dim().map(|dim| 1.0 / f64::from(dim).sqrt());
            keys.set("attention.output_scale", config.number(&[name]).or_else(by_width).map(|scale| scale as f32));
        }
        Derived::WindowRopeDimensions => {
            let share = config
                .first(&["rope_parameters"])
                .and_then(|all| all["sliding_attention"]["partial_rotary_factor"].as_f64());
            let turned = |dim: u32| (share.unwrap_or(1.0) * f64::from(dim)) as u32;
            keys.set("rope.dimension_count_swa", config.head_dim().map(turned));
        }
        Derived::MaskToken(id) => {
            if config.count(&["vocab_size"]).is_some_and(|size| id < size) {
                keys.metadata.set("tokenizer.ggml.mask_token_id", id);
            }
        }
        Derived::ShiftedLogits(are_shifted) => keys.metadata.set("diffusion.shift_logits", are_shifted),
        Derived::RunLengths => keys.set("attention.compress_ratios", run_lengths(config)),
        Derived::TableLayers => keys.set("hash_layer_count", Some(table_layers(config))),
        Derived::LayersBut(others) => {
            keys.set("block_count", config.layer_count().map(|count| count.saturating_sub(others)));
        }
        Derived::Tokens(key, name) => keys.set(key, counts(config, name).map(signed)),
        // It is set where the tensors are at hand.
        Derived::NumberOfTensor(..) => {}
        Derived::GatesOfClass(class, number) => {
            if config.class == class && !keys.has("expert_gating_func") {
                keys.set("expert_gating_func", Some(number));
            }
        }
        Derived::SoftmaxIf(name) => {
            let is_softmax = config.flag(&[name]) == Some(true);
            keys.set("expert_gating_func", Some(if is_softmax { 1u32 } else { 2 }));
        }
        Derived::LaidOutWindow(layout, size) => {
            let has_window = counts(config, layout).is_some_and(|layers| layers.iter().any(|layer| *layer != 0));
            keys.set("attention.sliding_window", config.count(&[size]).filter(|_| has_window));
        }
        Derived::Rwkv6Widths => {
            let hidden = config.count(&["hidden_size"]).unwrap_or(0);
            let is_wide = u32::from(hidden == 4096);
            keys.set("time_mix_extra_dim", Some(32u32 << is_wide));
            keys.set("time_decay_extra_dim", Some(64u32 << is_wide));
            let width = (u64::from(hidden) * 7 / 2 / 32 * 32) as u32;
            keys.set("feed_forward_length", Some(config.count(&["intermediate_size"]).unwrap_or(width)));
        }
        Derived::Rwkv7Widths => rwkv7_widths(keys, config),
        Derived::Required(name, what) => {
            if config.flag(&[name]) == Some(false) {
                return Err(ConvertError::Unsupported { what: format!("{what} (`{name}`)") });
            }
        }
        Derived::Refused(name, what) => {
            if config.first(&[name]).is_some_and(|value| *value != Json::Bool(false)) {
                return Err(ConvertError::Unsupported { what: format!("{what} (`{name}`)") });
            }
        }
    }
    Ok(())
}

/// RWKV 7: ranks by powers of the stream's width, as multiples of 32, to the nearest, halves to the even.
fn rwkv7_widths(keys: &mut Keys<'_>, config: &HfConfig) {
    let hidden = config.count(&["hidden_size"]).unwrap_or(0);
    let usual = |exponent: f64, factor: f64| {
        let steps = (f64::from(hidden).powf(exponent) * factor / 32.0).round_ties_even().max(1.0);
        (steps as u32).saturating_mul(32)
    };
    for (key, names, otherwise) in [
        ("attention.decay_lora_rank", ["lora_rank_decay", "decay_low_rank_dim"], usual(0.5, 1.8)),
        ("attention.iclr_lora_rank", ["lora_rank_iclr", "a_low_rank_dim"], usual(0.5, 1.8)),
        ("attention.value_residual_mix_lora_rank", ["lora_rank_value_residual_mix", "v_low_rank_dim"], usual(0.5, 1.3)),
        ("attention.gate_lora_rank", ["lora_rank_gate", "gate_low_rank_dim"], usual(0.8, 0.6)),
    ] {
        keys.set(key, Some(config.count(&names).unwrap_or(otherwise)));
    }
    let width = config.count(&["intermediate_size"]).unwrap_or(hidden.saturating_mul(4));
    keys.set("feed_forward_length", Some(width));
}

/// A list of counts.
fn counts(config: &HfConfig, name: &str) -> Option<Vec<u32>> {
    let list = config.first(&[name])?.as_array()?;
    list.iter().map(|entry| u32::try_from(entry.as_u64()?).ok()).collect()
}

/// DeepSeek V4: positions of a compressed key in each layer. Kinds of layers whose length nothing says have the published one.
fn run_lengths(config: &HfConfig) -> Option<Vec<i32>> {
    let length = config.layer_count()?.min(LAYER_COUNT_MAX) as usize;
    if let Some(mut listed) = counts(config, "compress_ratios") {
        // Behind them are those of layers that predict further tokens.
        listed.truncate(length);
        return Some(signed(listed));
    }
    let of_kind = |kind: &Json| match kind.as_str()? {
        "sliding_attention" => Some(0),
        "compressed_sparse_attention" => {
            Some(config.count(&["compress_rates.compressed_sparse_attention", "compress_rate_csa"]).unwrap_or(4))
        }
        "heavily_compressed_attention" => {
            Some(config.count(&["compress_rates.heavily_compressed_attention", "compress_rate_hca"]).unwrap_or(128))
        }
        _ => None,
    };
    let types = config.first(&["layer_types"])?.as_array()?;
    types.iter().take(length).map(of_kind).collect::<Option<Vec<u32>>>().map(signed)
}

/// DeepSeek V4: first layers whose experts a table of tokens chooses.
pub(super) fn table_layers(config: &HfConfig) -> u32 {
    let listed = || {
        let kinds = config.first(&["mlp_layer_types"])?.as_array()?;
        u32::try_from(kinds.iter().take_while(|kind| *kind == "hash_moe").count()).ok()
    };
    config.count(&["num_hash_layers"]).or_else(listed).unwrap_or(0)
}

/// As GGUF has counts of layers.
fn signed(list: impl IntoIterator<Item = u32>) -> Vec<i32> {
    list.into_iter().map(|count| i32::try_from(count).unwrap_or(i32::MAX)).collect()
}

/// OpenELM: heads are listed, widths by factors of the hidden size, to the nearest whole multiple, which is never less than
/// nine tenths.
fn listed_widths(keys: &mut Keys<'_>, config: &HfConfig) {
    for (key, name) in [("attention.head_count", "num_query_heads"), ("attention.head_count_kv", "num_kv_heads")] {
        keys.set(key, counts(config, name).map(signed));
    }
    let hidden = config.number(&["model_dim"]);
    let divisor = config.count(&["ffn_dim_divisor"]).filter(|divisor| *divisor > 0);
    let factors = config.first(&["ffn_multipliers"]).and_then(Json::as_array);
    if let (Some(hidden), Some(divisor), Some(factors)) = (hidden, divisor, factors) {
        let width = |factor: &Json| {
            let exact = factor.as_f64().unwrap_or(0.0) * hidden;
            let whole = (exact + f64::from(divisor) / 2.0) as u32 / divisor * divisor;
            let whole = whole.max(divisor);
            if f64::from(whole) < 0.9 * exact { whole.saturating_add(divisor) } else { whole }
        };
        keys.set("feed_forward_length", Some(signed(factors.iter().map(width))));
    }
}

/// Heads of keys and values of each layer, where a configuration has them so.
pub(super) fn kv_heads_of_layers(config: &HfConfig) -> Option<Vec<u32>> {
    counts(config, "num_key_value_heads_per_layer").or_else(|| {
        let heads = config.head_count()?;
        let layers = config.first(&["block_configs"])?.as_array()?;
        let kv_heads = |layer: &Json| match layer["attention"]["n_heads_in_group"].as_u64() {
            Some(group) if group > 0 => heads / u32::try_from(group).unwrap_or(u32::MAX),
            _ => 0,
        };
        Some(layers.iter().map(kv_heads).collect())
    })
}

/// DeciLM: which layers have attention, a product in its place, or nothing; how wide their networks are.
fn searched_layers(keys: &mut Keys<'_>, config: &HfConfig) {
    keys.set("attention.head_count_kv", kv_heads_of_layers(config).map(signed));
    let Some(layers) = config.first(&["block_configs"]).and_then(Json::as_array) else { return };
    let (heads, hidden) = (config.head_count().unwrap_or(0), config.count(&["hidden_size"]).unwrap_or(0));
    let has_product = |layer: &Json| layer["attention"]["replace_with_linear"] == Json::Bool(true);
    let has_attention = |layer: &Json| !layer["attention"]["n_heads_in_group"].is_null();
    let heads = |layer: &Json| if has_attention(layer) || has_product(layer) { heads } else { 0 };
    keys.set("attention.head_count", Some(signed(layers.iter().map(heads))));
    let width = |layer: &Json| {
        let factor = layer["ffn"]["ffn_mult"].as_f64().unwrap_or(0.0);
        let width = (2.0 * factor * f64::from(hidden) / 3.0) as u32;
        width.checked_next_multiple_of(SEARCHED_MULTIPLE).unwrap_or(u32::MAX)
    };
    keys.set("feed_forward_length", Some(signed(layers.iter().map(width))));
    let dim = config.head_dim();
    keys.set("attention.key_length", dim);
    keys.set("attention.value_length", dim);
}

/// PLaMo 2: one layer of each period has attention, that in its middle; of few layers the last.
fn attention_in_periods(keys: &mut Keys<'_>, config: &HfConfig) {
    let count = config.layer_count().unwrap_or(0).min(LAYER_COUNT_MAX);
    let step = config.count(&["mamba_step"]).unwrap_or(2).max(1);
    let has_attention = |layer: u32| match config.flag(&["mamba_enabled"]) {
        Some(false) => true,
        _ if count <= step / 2 => layer + 1 == count,
        _ => layer % step == step / 2,
    };
    // Query heads are not listed: of 0 heads in the first layer llama.cpp makes 0 elements to turn, and loops over them.
    keys.set("attention.head_count", Some(config.head_count().unwrap_or(32)));
    let heads = config.count(&["num_key_value_heads"]).unwrap_or(4);
    let kv_heads = (0..count).map(|layer| if has_attention(layer) { heads } else { 0 });
    keys.set("attention.head_count_kv", Some(signed(kv_heads)));
}
