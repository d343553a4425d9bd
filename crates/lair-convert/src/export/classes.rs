//! What classes of transformers call things, and what all models of a class have without a GGUF file's saying so.

use lair_gguf::GgufFile;
use lair_model::ModelConfig;
use lair_model::spec::Architecture;
use serde_json::{Map, Value as Json, json};

/// Keys that classes call otherwise than most: the start of the class, GGUF's key, its own.
const OWN_KEYS: [(&str, &str, &str); 19] = [
    ("Qwen", "expert_count", "num_experts"),
    ("Olmoe", "expert_count", "num_experts"),
    ("Afmoe", "expert_count", "num_experts"),
    ("ExaoneMoe", "expert_count", "num_experts"),
    ("Mellum", "expert_count", "num_experts"),
    ("HunYuanMoE", "expert_count", "num_experts"),
    ("HunYuanMoE", "expert_used_count", "moe_topk"),
    ("HYV3", "expert_count", "num_experts"),
    ("Dots1", "expert_count", "n_routed_experts"),
    ("Deepseek", "expert_count", "n_routed_experts"),
    ("Glm4Moe", "expert_count", "n_routed_experts"),
    ("GPT2", "feed_forward_length", "n_inner"),
    ("GPTBigCode", "feed_forward_length", "n_inner"),
    ("Falcon", "feed_forward_length", "ffn_hidden_size"),
    ("GPTNeoX", "attention.layer_norm_epsilon", "layer_norm_eps"),
    ("GPT", "attention.layer_norm_epsilon", "layer_norm_epsilon"),
    ("Bloom", "attention.layer_norm_epsilon", "layer_norm_epsilon"),
    ("Falcon", "attention.layer_norm_epsilon", "layer_norm_epsilon"),
    ("Starcoder2", "attention.layer_norm_epsilon", "norm_epsilon"),
];

/// `model_type` of classes whose name in lower case it is not.
const MODEL_TYPES: [(&str, &str); 25] = [
    ("GPT2LMHeadModel", "gpt2"),
    ("GPTNeoXForCausalLM", "gpt_neox"),
    ("GPTBigCodeForCausalLM", "gpt_bigcode"),
    ("Qwen2MoeForCausalLM", "qwen2_moe"),
    ("Qwen3MoeForCausalLM", "qwen3_moe"),
    ("Gemma3ForCausalLM", "gemma3_text"),
    ("GraniteMoeForCausalLM", "granitemoe"),
    ("SeedOssForCausalLM", "seed_oss"),
    ("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense"),
    ("Ernie4_5ForCausalLM", "ernie4_5"),
    ("Glm4MoeForCausalLM", "glm4_moe"),
    ("Dots1ForCausalLM", "dots1"),
    ("Exaone4ForCausalLM", "exaone4"),
    ("ExaoneMoeForCausalLM", "exaone_moe"),
    ("SmolLM3ForCausalLM", "smollm3"),
    ("Starcoder2ForCausalLM", "starcoder2"),
    ("Cohere2ForCausalLM", "cohere2"),
    ("Ernie4_5_MoeForCausalLM", "ernie4_5_moe"),
    ("MiniMaxM2ForCausalLM", "minimax_m2"),
    ("DeepseekV2ForCausalLM", "deepseek_v2"),
    ("DeepseekV3ForCausalLM", "deepseek_v3"),
    ("Olmo3ForCausalLM", "olmo3"),
    ("Olmo2ForCausalLM", "olmo2"),
    ("HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe"),
    ("HYV3ForCausalLM", "hy_v3"),
];

/// What all models of a class have, as JSON, where nothing in the file says it.
const FIXED_KEYS: [(&str, &str, &str); 17] = [
    ("Qwen3Moe", "norm_topk_prob", "true"),
    ("Mellum", "norm_topk_prob", "true"),
    ("Afmoe", "mup_enabled", "true"),
    ("Afmoe", "global_attn_every_n_layers", "4"),
    ("DeepseekV2", "q_lora_rank", "null"),
    ("DeepseekV3", "q_lora_rank", "null"),
    ("DeepseekV2", "topk_method", "\"greedy\""),
    ("DeepseekV3", "n_group", "1"),
    ("DeepseekV3", "topk_group", "1"),
    ("Exaone4", "sliding_window", "null"),
    ("Olmo3", "sliding_window", "null"),
    ("Falcon", "alibi", "false"),
    ("Falcon", "bias", "false"),
    ("Falcon", "parallel_attn", "true"),
    ("MiniCPM3", "scale_emb", "12"),
    ("MiniCPM3", "scale_depth", "1.4"),
    ("MiniCPM3", "dim_model_base", "256"),
];

/// Layers of the models of Gemma 2 and 3 whose scores are scaled by the width of the residual stream.
const GEMMA_LARGEST: [(&str, usize); 2] = [("Gemma2", 46), ("Gemma3", 62)];

/// Architectures whose files lack what their classes have, or have it in other numbers.
const WITHOUT_WAY_BACK: [&str; 29] = [
    "apertus",
    "bailingmoe3",
    "chameleon",
    "cohere2moe",
    "dbrx",
    "deepseek2-ocr",
    "deepseek32",
    "deepseek4",
    "dots3note",
    "falcon-h1",
    "gemma3n",
    "glm-dsa",
    "glm5-next",
    "granite_swa",
    "graniteswitch",
    "hrm_text",
    "hy_v4",
    "kimi-linear",
    "laguna",
    "llama4",
    "mimo2",
    "minimax-01",
    "minimax-m3",
    "mistral4",
    "muse-glimmer",
    "qwen4exp",
    "step35",
    "t5",
    "t5encoder",
];

/// Whether the models of an architecture are made checkpoints again.
pub(super) fn has_way_back(architecture: &Architecture) -> bool {
    !WITHOUT_WAY_BACK.contains(&architecture.gguf_name)
}

/// `expert_gating_func` of DeepSeek V3.
const SIGMOID: u32 = 2;

/// The class of transformers that has the model's parts.
pub(super) fn class_of(architecture: &Architecture, config: &ModelConfig, file: &GgufFile) -> Option<&'static str> {
    let gating = file.metadata().optional_u32(&config.key("expert_gating_func")).ok().flatten();
    let chosen = match architecture.gguf_name {
        // It keeps what belongs to attention in an object of its own.
        "mpt" => return None,
        "llama" if config.experts.is_some() => "MixtralForCausalLM",
        "llama" => "LlamaForCausalLM",
        "deepseek2" if gating == Some(SIGMOID) => "DeepseekV3ForCausalLM",
        "olmo2" if config.window.is_some() => "Olmo3ForCausalLM",
        // Of two spellings that of transformers.
        "ernie4_5" => "Ernie4_5ForCausalLM",
        "exaone-moe" => "ExaoneMoeForCausalLM",
        // The other class rounds its weights anew.
        "bitnet" => "BitNetForCausalLM",
        _ => "",
    };
    let fits = |class: &&&'static str| match chosen {
        "" => class.ends_with("ForCausalLM") || class.ends_with("LMHeadModel"),
        chosen => **class == chosen,
    };
    architecture.hf_names.iter().find(fits).copied()
}

/// `model_type` of a class, as transformers registers it.
pub(super) fn model_type(class: &str) -> String {
    let own = MODEL_TYPES.iter().find(|(known, _)| *known == class).map(|(_, name)| (*name).to_owned());
    own.unwrap_or_else(|| class.trim_end_matches("ForCausalLM").to_lowercase())
}

/// What a class calls a key of GGUF, where it is not what most call it.
pub(super) fn own_name(class: &str, key: &str) -> Option<&'static str> {
    OWN_KEYS.iter().find(|(start, known, _)| class.starts_with(start) && *known == key).map(|found| found.2)
}

/// Adds what a class needs and no key of the file says in its words.
pub(super) fn complete(keys: &mut Map<String, Json>, class: &str, config: &ModelConfig, file: &GgufFile) {
    for (start, key, value) in FIXED_KEYS {
        if class.starts_with(start) && !keys.contains_key(key) {
            keys.insert(key.to_owned(), serde_json::from_str(value).expect("the table holds JSON"));
        }
    }
    let is_unwindowed = keys.get("sliding_window").is_some_and(Json::is_null) && !keys.contains_key("layer_types");
    if is_unwindowed && ["Exaone4", "Olmo3"].iter().any(|start| class.starts_with(start)) {
        keys.insert("layer_types".to_owned(), json!(vec!["full_attention"; config.layer_count]));
    }
    for (start, layer_count) in GEMMA_LARGEST {
        if class.starts_with(start) {
            let heads = config.head_counts.first().copied().unwrap_or(1).max(1);
            let divisor = if config.layer_count == layer_count { config.hidden_size / heads } else { config.key_dim };
            keys.insert("query_pre_attn_scalar".to_owned(), json!(divisor));
        }
    }
    if class.starts_with("StableLm") {
        let has = |name: &str| json!(file.tensor(name).is_some());
        keys.insert("use_qkv_bias".to_owned(), has("blk.0.attn_q.bias"));
        keys.insert("qk_layernorm".to_owned(), has("blk.0.attn_q_norm.weight"));
    }
    if config.latent.is_some() {
        let latent = config.key_dim.saturating_sub(config.rope_dimension_count);
        keys.insert("qk_nope_head_dim".to_owned(), json!(latent));
        // What these classes call so is the part of a head that is turned, all of it.
        keys.insert("head_dim".to_owned(), json!(config.rope_dimension_count));
        keys.retain(|key, _| !["partial_rotary_factor", "rotary_pct"].contains(&key.as_str()));
        if keys.get("n_group").is_some_and(|count| !count.is_null()) && class.starts_with("DeepseekV2") {
            keys.insert("topk_method".to_owned(), json!("group_limited_greedy"));
        }
    }
    if class.starts_with("Falcon") {
        let is_new = file.tensor("blk.0.attn_norm_2.weight").is_some();
        let kv_heads = config.kv_head_counts.first().copied().unwrap_or(1);
        keys.insert("new_decoder_architecture".to_owned(), json!(is_new));
        keys.insert("multi_query".to_owned(), json!(is_new || kv_heads == 1));
        keys.insert("num_kv_heads".to_owned(), json!(kv_heads));
        keys.remove("num_key_value_heads");
    }
}
