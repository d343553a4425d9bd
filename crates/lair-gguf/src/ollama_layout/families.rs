//! The families of Ollama's files, one entry each.

use super::{Edit, Family, Setting, odd};
use crate::metadata::Metadata;
use crate::tensor_info::TensorInfo;
use crate::value::Value;

/// Which pre-tokenizer the vocabulary was made for.
const PRE: &str = "tokenizer.ggml.pre";
/// Embeddings of tokens for each layer.
pub(super) const PER_LAYER: &str = "per_layer_token_embd.weight";

/// The families; of two of one architecture the one that is told from more comes first.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        architecture: "gptoss",
        is_ollamas: |_, _| true,
        edits: &[
            Edit::Architecture("gpt-oss"),
            Edit::FromShape {
                key: "gpt-oss.expert_feed_forward_length",
                tensor: "blk.0.ffn_gate_exps.weight",
                dimension: 1,
            },
            Edit::Default { key: "gpt-oss.rope.scaling.type", value: Setting::Text("yarn") },
            Edit::Set { key: PRE, value: Setting::Text("gpt-4o") },
            Edit::RenamePart { from: "attn_out", to: "attn_output" },
            Edit::AddEnding { behind: ".attn_sinks", ending: ".weight" },
            Edit::RenamePart { from: "ffn_norm", to: "post_attention_norm" },
        ],
    },
    Family {
        architecture: "gemma3",
        is_ollamas: |_, tensors| has(tensors, "dense.0.weight"),
        edits: &[
            Edit::Architecture("gemma-embedding"),
            Edit::Remove("gemma-embedding.attention.causal"),
            Edit::Remove("gemma-embedding.attention.sliding_window_pattern"),
            Edit::Default { key: "gemma-embedding.rope.freq_base_swa", value: Setting::Number(10_000.0) },
            Edit::FromShape { key: "gemma-embedding.dense_2_feat_in", tensor: "dense.0.weight", dimension: 0 },
            Edit::FromShape { key: "gemma-embedding.dense_2_feat_out", tensor: "dense.0.weight", dimension: 1 },
            Edit::FromShape { key: "gemma-embedding.dense_3_feat_in", tensor: "dense.1.weight", dimension: 0 },
            Edit::FromShape { key: "gemma-embedding.dense_3_feat_out", tensor: "dense.1.weight", dimension: 1 },
            Edit::RenameTensor { from: "dense.0.weight", to: "dense_2.weight" },
            Edit::RenameTensor { from: "dense.1.weight", to: "dense_3.weight" },
            Edit::RenameTensor { from: "norm.weight", to: "output_norm.weight" },
        ],
    },
    Family {
        architecture: "gemma3",
        is_ollamas: |metadata, tensors| {
            let own_keys = [
                "gemma3.mm.tokens_per_image",
                "gemma3.rope.global.freq_base",
                "gemma3.rope.local.freq_base",
                "tokenizer.ggml.add_padding_token",
                "tokenizer.ggml.add_unknown_token",
            ];
            own_keys.iter().any(|key| metadata.contains(key))
                || !metadata.contains("gemma3.attention.layer_norm_rms_epsilon")
                || has_prefix(tensors, "v.")
                || has_prefix(tensors, "mm.")
        },
        edits: &[
            Edit::CopyKey { from: "gemma3.rope.global.freq_base", to: "gemma3.rope.freq_base" },
            Edit::CopyKey { from: "gemma3.rope.local.freq_base", to: "gemma3.rope.freq_base_swa" },
            Edit::Default { key: "gemma3.attention.layer_norm_rms_epsilon", value: Setting::Number(1e-6) },
            Edit::Default { key: "gemma3.rope.freq_base", value: Setting::Number(1_000_000.0) },
            Edit::Default { key: "gemma3.rope.freq_base_swa", value: Setting::Number(10_000.0) },
            Edit::Odd(odd::scale_long_context),
            Edit::Odd(odd::cut_vocabulary),
            Edit::Hide("v."),
            Edit::Hide("mm."),
        ],
    },
    Family { architecture: "olmo3", is_ollamas: |_, _| true, edits: &[Edit::Architecture("olmo2")] },
    Family {
        architecture: "lfm2",
        is_ollamas: |_, tensors| has(tensors, "output_norm.weight") && !has(tensors, "token_embd_norm.weight"),
        edits: &[
            Edit::RenamePart { from: "output_norm", to: "token_embd_norm" },
            Edit::Set { key: PRE, value: Setting::Text("lfm2") },
            Edit::FromShape { key: "lfm2.feed_forward_length", tensor: "blk.0.ffn_gate.weight", dimension: 1 },
        ],
    },
    Family {
        architecture: "qwen25vl",
        is_ollamas: |_, _| true,
        edits: &[
            Edit::Architecture("qwen2vl"),
            Edit::Pad { from: "qwen2vl.rope.mrope_section", to: "qwen2vl.rope.dimension_sections", length: 4 },
            Edit::Hide("v."),
            Edit::Hide("mm."),
        ],
    },
    Family {
        architecture: "qwen35",
        is_ollamas: |metadata, tensors| is_qwen35_of_ollama("qwen35", metadata, tensors),
        edits: &[
            Edit::Largest("qwen35.attention.head_count_kv"),
            Edit::Pad { from: "qwen35.rope.dimension_sections", to: "qwen35.rope.dimension_sections", length: 4 },
            Edit::AddEnding { behind: ".ssm_dt", ending: ".bias" },
            Edit::Hide("v."),
            Edit::Hide("mm."),
            Edit::Hide("mtp."),
        ],
    },
    Family {
        architecture: "qwen35moe",
        is_ollamas: |metadata, tensors| is_qwen35_of_ollama("qwen35moe", metadata, tensors),
        edits: &[
            Edit::Largest("qwen35moe.attention.head_count_kv"),
            Edit::Pad { from: "qwen35moe.rope.dimension_sections", to: "qwen35moe.rope.dimension_sections", length: 4 },
            Edit::AddEnding { behind: ".ssm_dt", ending: ".bias" },
            Edit::Hide("v."),
            Edit::Hide("mm."),
            Edit::Hide("mtp."),
        ],
    },
    Family {
        architecture: "mistral3",
        is_ollamas: |metadata, tensors| {
            let own_keys = ["rope.scaling.beta_fast", "rope.scaling.mscale_all_dim", "rope.scaling_beta"];
            has_prefix(tensors, "v.")
                || has_prefix(tensors, "mm.")
                || own_keys.iter().any(|key| metadata.contains(&format!("mistral3.{key}")))
        },
        edits: &[
            Edit::CopyKey { from: "mistral3.rope.scaling.beta_fast", to: "mistral3.rope.scaling.yarn_beta_fast" },
            Edit::CopyKey { from: "mistral3.rope.scaling.beta_slow", to: "mistral3.rope.scaling.yarn_beta_slow" },
            Edit::CopyKey {
                from: "mistral3.rope.scaling.mscale_all_dim",
                to: "mistral3.rope.scaling.yarn_log_multiplier",
            },
            Edit::CopyKey { from: "mistral3.rope.scaling_beta", to: "mistral3.attention.temperature_scale" },
            Edit::Name { key: PRE, text: "tekken" },
            Edit::Hide("v."),
            Edit::Hide("mm."),
        ],
    },
    Family {
        architecture: "gemma3n",
        is_ollamas: |_, tensors| match (rows(tensors, "token_embd.weight"), rows(tensors, PER_LAYER)) {
            (Some(tokens), Some(layers)) => tokens > layers,
            _ => false,
        },
        edits: &[
            Edit::Set { key: "tokenizer.ggml.model", value: Setting::Text("llama") },
            Edit::Odd(odd::cut_embedding),
            Edit::Odd(odd::cut_vocabulary),
            Edit::Odd(odd::type_bytes_and_unused),
            Edit::Default { key: "tokenizer.ggml.eot_token_id", value: Setting::Count(106) },
        ],
    },
    Family {
        architecture: "gemma4",
        is_ollamas: |metadata, tensors| {
            ["a.", "v.", "mm.", "model.vision_tower."].iter().any(|prefix| has_prefix(tensors, prefix))
                || metadata.get("tokenizer.ggml.model").and_then(Value::as_str) == Some("llama")
        },
        edits: &[
            Edit::Set { key: "tokenizer.ggml.model", value: Setting::Text("gemma4") },
            Edit::Odd(odd::name_expert_scales),
            Edit::Hide("a."),
            Edit::Hide("v."),
            Edit::Hide("mm."),
            Edit::Hide("model.vision_tower."),
        ],
    },
    Family {
        architecture: "qwen3next",
        is_ollamas: |_, tensors| tensors.iter().any(|info| info.name.ends_with(".ssm_dt")),
        edits: &[
            Edit::Largest("qwen3next.attention.head_count_kv"),
            Edit::AddEnding { behind: ".ssm_dt", ending: ".bias" },
        ],
    },
    Family {
        architecture: "qwen3vl",
        is_ollamas: |metadata, _| !metadata.contains("qwen3vl.rope.dimension_sections"),
        edits: &[
            Edit::Default { key: "qwen3vl.rope.dimension_sections", value: Setting::Sections([24, 20, 20, 0]) },
            Edit::CountOf { from: "qwen3vl.vision.deepstack_visual_indexes", to: "qwen3vl.n_deepstack_layers" },
            Edit::Hide("v."),
            Edit::Hide("mm."),
        ],
    },
    Family {
        architecture: "qwen3vlmoe",
        is_ollamas: |metadata, _| !metadata.contains("qwen3vlmoe.rope.dimension_sections"),
        edits: &[
            Edit::Default { key: "qwen3vlmoe.rope.dimension_sections", value: Setting::Sections([24, 20, 20, 0]) },
            Edit::CountOf { from: "qwen3vlmoe.vision.deepstack_visual_indexes", to: "qwen3vlmoe.n_deepstack_layers" },
            Edit::Hide("v."),
            Edit::Hide("mm."),
        ],
    },
    Family {
        architecture: "deepseekocr",
        is_ollamas: |_, _| true,
        edits: &[
            Edit::Architecture("deepseek2-ocr"),
            Edit::Default { key: "deepseek2-ocr.attention.layer_norm_rms_epsilon", value: Setting::Number(1e-6) },
            Edit::FromShape {
                key: "deepseek2-ocr.expert_feed_forward_length",
                tensor: "blk.1.ffn_down_exps.weight",
                dimension: 0,
            },
            Edit::Odd(odd::count_shared_experts),
            Edit::Hide("s."),
            Edit::Hide("v."),
            Edit::Hide("mm."),
        ],
    },
    Family {
        architecture: "glm4moelite",
        is_ollamas: |_, _| true,
        edits: &[
            Edit::Architecture("deepseek2"),
            Edit::Odd(odd::absorb_heads),
            Edit::Default { key: "deepseek2.expert_group_count", value: Setting::Count(1) },
            Edit::Default { key: "deepseek2.expert_group_used_count", value: Setting::Count(1) },
            Edit::Set { key: PRE, value: Setting::Text("glm4") },
            Edit::Odd(odd::ends_of_turn),
        ],
    },
    Family {
        architecture: "nemotron_h_omni",
        is_ollamas: |_, tensors| ["v.", "a.", "mm."].iter().any(|prefix| has_prefix(tensors, prefix)),
        edits: &[Edit::Hide("a."), Edit::Hide("v."), Edit::Hide("mm."), Edit::Odd(odd::text_of_nemotron)],
    },
    Family {
        architecture: "nemotron_h_moe",
        is_ollamas: |_, tensors| {
            has_prefix(tensors, "mtp.") || tensors.iter().any(|info| info.name.contains(".ffn_latent_in"))
        },
        edits: &[
            Edit::FromShape {
                key: "nemotron_h_moe.moe_latent_size",
                tensor: "blk.#.ffn_latent_in.weight",
                dimension: 1,
            },
            Edit::RenamePart { from: "ffn_latent_in", to: "ffn_latent_down" },
            Edit::RenamePart { from: "ffn_latent_out", to: "ffn_latent_up" },
            Edit::Hide("mtp."),
        ],
    },
    Family {
        architecture: "llama",
        is_ollamas: |metadata, _| odd::lacks_llama_3(metadata),
        edits: &[Edit::Name { key: PRE, text: "llama-bpe" }, Edit::Odd(odd::end_turns_of_llama_3)],
    },
    Family {
        architecture: "llama4",
        is_ollamas: |_, tensors| has_prefix(tensors, "v.") || has_prefix(tensors, "mm."),
        edits: &[Edit::Hide("v."), Edit::Hide("mm.")],
    },
    Family {
        architecture: "laguna",
        is_ollamas: |metadata, tensors| {
            metadata.contains("laguna.rope.swa.dimension_count")
                || metadata.contains("laguna.rope.swa.freq_base")
                || has(tensors, "blk.0.attn_g.weight")
        },
        edits: &[
            Edit::CopyKey { from: "laguna.rope.swa.dimension_count", to: "laguna.rope.dimension_count_swa" },
            Edit::CopyKey { from: "laguna.rope.swa.freq_base", to: "laguna.rope.freq_base_swa" },
            Edit::RenamePart { from: "attn_g", to: "attn_gate" },
        ],
    },
    Family {
        architecture: "bert",
        is_ollamas: |metadata, _| metadata.get("tokenizer.ggml.model").and_then(Value::as_str) == Some("t5"),
        edits: &[Edit::Odd(odd::decode_character_table)],
    },
    Family {
        architecture: "clip",
        is_ollamas: |metadata, _| metadata.contains("clip.has_llava_projector"),
        edits: &[Edit::Default { key: "clip.projector_type", value: Setting::Text("mlp") }],
    },
];

fn is_qwen35_of_ollama(architecture: &str, metadata: &Metadata, tensors: &[TensorInfo]) -> bool {
    let own_keys = ["vision.block_count", "image_token_id", "ssm.v_head_reordered", "rope.mrope_interleaved"];
    own_keys.iter().any(|key| metadata.contains(&format!("{architecture}.{key}")))
        || has_prefix(tensors, "mtp.")
        || has_prefix(tensors, "v.")
}

fn has(tensors: &[TensorInfo], name: &str) -> bool {
    tensors.iter().any(|info| info.name == name)
}

fn has_prefix(tensors: &[TensorInfo], prefix: &str) -> bool {
    tensors.iter().any(|info| info.name.starts_with(prefix))
}

/// Rows of a matrix.
pub(super) fn rows(tensors: &[TensorInfo], name: &str) -> Option<u64> {
    tensors.iter().find(|info| info.name == name)?.shape.get(1).copied()
}
