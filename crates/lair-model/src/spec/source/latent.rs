//! Names of models with attention over compressed keys and values whose widening products lie apart in files, and of what
//! chooses keys for it.

use super::{Change, Layers, Parameter, Renaming, Values};

const fn name(from: &'static str, to: &'static str) -> Renaming {
    Renaming::new(from, to)
}

/// Latent attention with an indexer (DeepSeek V3.2, GLM 5), Mistral 4 without.
pub const LATENT_APART_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.q_a_proj", "blk.*.attn_q_a"),
    name("layers.*.self_attn.q_a_layernorm", "blk.*.attn_q_a_norm"),
    name("layers.*.self_attn.q_b_proj", "blk.*.attn_q_b"),
    name("layers.*.self_attn.kv_a_proj_with_mqa", "blk.*.attn_kv_a_mqa"),
    name("layers.*.self_attn.kv_a_layernorm", "blk.*.attn_kv_a_norm"),
    name("layers.*.self_attn.kv_b_proj", "blk.*.attn_k_b").with(Change::LatentKeys),
    name("layers.*.self_attn.kv_b_proj", "blk.*.attn_v_b").with(Change::LatentValues),
    name("layers.*.self_attn.indexer.wq_b", "blk.*.indexer.attn_q_b"),
    name("layers.*.self_attn.indexer.wk", "blk.*.indexer.attn_k"),
    name("layers.*.self_attn.indexer.k_norm", "blk.*.indexer.k_norm"),
    name("layers.*.self_attn.indexer.weights_proj", "blk.*.indexer.proj"),
];

/// dots.llm3 note: the same, with a gate for each head and a norm of the turned key.
pub const DOTS3_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.q_a_proj", "blk.*.attn_q_a"),
    name("layers.*.self_attn.q_a_layernorm", "blk.*.attn_q_a_norm").of(Values::TimesRootOfShare),
    name("layers.*.self_attn.q_b_proj", "blk.*.attn_q_b"),
    name("layers.*.self_attn.kv_a_proj_with_mqa", "blk.*.attn_kv_a_mqa"),
    name("layers.*.self_attn.kv_a_layernorm", "blk.*.attn_kv_a_norm").of(Values::TimesRootOfShare),
    name("layers.*.self_attn.kv_b_proj", "blk.*.attn_k_b").with(Change::LatentKeys),
    name("layers.*.self_attn.kv_b_proj", "blk.*.attn_v_b").with(Change::LatentValues),
    name("layers.*.self_attn.k_rope_only_layernorm", "blk.*.attn_k_norm"),
    name("layers.*.self_attn.g_proj", "blk.*.attn_gate"),
    name("layers.*.self_attn.indexer.wq_b", "blk.*.indexer.attn_q_b"),
    name("layers.*.self_attn.indexer.wk", "blk.*.indexer.attn_k"),
    name("layers.*.self_attn.indexer.k_norm", "blk.*.indexer.k_norm"),
    name("layers.*.self_attn.indexer.weights_proj", "blk.*.indexer.proj"),
];

/// HY V4: gates by another name, sinks, and factors of several residual streams. Transformers turns halves of heads against
/// each other, files neighbours.
pub const HY_V4_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.q_a_proj", "blk.*.attn_q_a"),
    name("layers.*.self_attn.q_a_layernorm", "blk.*.attn_q_a_norm"),
    name("layers.*.self_attn.q_b_proj", "blk.*.attn_q_b").with(Change::NeighbourTails),
    name("layers.*.self_attn.kv_a_proj_with_mqa", "blk.*.attn_kv_a_mqa").with(Change::NeighbourTail),
    name("layers.*.self_attn.kv_a_layernorm", "blk.*.attn_kv_a_norm"),
    name("layers.*.self_attn.kv_b_proj", "blk.*.attn_k_b").with(Change::LatentKeys),
    name("layers.*.self_attn.kv_b_proj", "blk.*.attn_v_b").with(Change::LatentValues),
    name("layers.*.self_attn.learnable_sink_param", "blk.*.attn_sinks"),
    name("layers.*.self_attn.linear_gate", "blk.*.attn_gate"),
    name("layers.*.self_attn.indexer.wq_b", "blk.*.indexer.attn_q_b"),
    name("layers.*.self_attn.indexer.wk", "blk.*.indexer.attn_k"),
    name("layers.*.self_attn.indexer.k_norm", "blk.*.indexer.k_norm"),
    name("layers.*.self_attn.indexer.weights_proj", "blk.*.indexer.proj"),
    // The published names, and those that saving with transformers makes of them.
    name("layers.*.mlp.linear_gate", "blk.*.ffn_gate"),
    name("layers.*.mlp.shared_experts.linear_gate", "blk.*.ffn_gate_shexp"),
    name("layers.*.hc_pre.hc_attn_layer.hc_fn", "blk.*.hc_attn_fn"),
    name("layers.*.hc_pre.hc_attn_layer.hc_base", "blk.*.hc_attn_base"),
    name("layers.*.hc_pre.hc_attn_layer.hc_scale", "blk.*.hc_attn_scale"),
    name("layers.*.hc_pre.hc_mlp_layer.hc_fn", "blk.*.hc_ffn_fn"),
    name("layers.*.hc_pre.hc_mlp_layer.hc_base", "blk.*.hc_ffn_base"),
    name("layers.*.hc_pre.hc_mlp_layer.hc_scale", "blk.*.hc_ffn_scale"),
    name("layers.*.hc_attn_layer.hc_pre.hc_fn", "blk.*.hc_attn_fn"),
    name("layers.*.hc_attn_layer.hc_pre.hc_base", "blk.*.hc_attn_base"),
    name("layers.*.hc_attn_layer.hc_pre.hc_scale", "blk.*.hc_attn_scale"),
    name("layers.*.hc_mlp_layer.hc_pre.hc_fn", "blk.*.hc_ffn_fn"),
    name("layers.*.hc_mlp_layer.hc_pre.hc_base", "blk.*.hc_ffn_base"),
    name("layers.*.hc_mlp_layer.hc_pre.hc_scale", "blk.*.hc_ffn_scale"),
    name("hc_head.hc_head_fn", "output_hc_fn"),
    name("hc_head.hc_head_base", "output_hc_base"),
    name("hc_head.hc_head_scale", "output_hc_scale"),
    name("hc_pre.hc_head.hc_head_fn", "output_hc_fn"),
    name("hc_pre.hc_head.hc_head_base", "output_hc_base"),
    name("hc_pre.hc_head.hc_head_scale", "output_hc_scale"),
];

/// Kimi Linear: delta rules with a decay for each key element, and latent attention.
pub const KIMI_LINEAR_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.q_conv1d", "blk.*.ssm_conv1d_q"),
    name("layers.*.self_attn.k_conv1d", "blk.*.ssm_conv1d_k"),
    name("layers.*.self_attn.v_conv1d", "blk.*.ssm_conv1d_v"),
    name("layers.*.self_attn.A_log", "blk.*.ssm_a").of(Values::NegatedExponential).ending(""),
    name("layers.*.self_attn.dt_bias", "blk.*.ssm_dt").ending(".bias"),
    name("layers.*.self_attn.f_a_proj", "blk.*.ssm_f_a"),
    name("layers.*.self_attn.f_b_proj", "blk.*.ssm_f_b"),
    name("layers.*.self_attn.g_a_proj", "blk.*.ssm_g_a"),
    name("layers.*.self_attn.g_b_proj", "blk.*.ssm_g_b"),
    name("layers.*.self_attn.b_proj", "blk.*.ssm_beta"),
    name("layers.*.self_attn.o_norm", "blk.*.ssm_norm"),
    name("layers.*.self_attn.kv_a_proj_with_mqa", "blk.*.attn_kv_a_mqa"),
    name("layers.*.self_attn.kv_a_layernorm", "blk.*.attn_kv_a_norm"),
    name("layers.*.self_attn.kv_b_proj", "blk.*.attn_k_b").with(Change::LatentKeys),
    name("layers.*.self_attn.kv_b_proj", "blk.*.attn_v_b").with(Change::LatentValues),
    name("layers.*.block_sparse_moe.gate_proj", "blk.*.ffn_gate"),
    name("layers.*.block_sparse_moe.up_proj", "blk.*.ffn_up"),
    name("layers.*.block_sparse_moe.down_proj", "blk.*.ffn_down"),
    name("layers.*.block_sparse_moe.gate.e_score_correction", "blk.*.exp_probs_b"),
    name("layers.*.block_sparse_moe.shared_experts.gate_proj", "blk.*.ffn_gate_shexp"),
    name("layers.*.block_sparse_moe.shared_experts.up_proj", "blk.*.ffn_up_shexp"),
    name("layers.*.block_sparse_moe.shared_experts.down_proj", "blk.*.ffn_down_shexp"),
];

/// Ling 3.
pub const BAILING3_NAMES: &[Renaming] = &[
    name("word_embeddings", "token_embd"),
    name("layers.*.attention.q_proj", "blk.*.attn_q"),
    name("layers.*.attention.k_proj", "blk.*.attn_k"),
    name("layers.*.attention.v_proj", "blk.*.attn_v"),
    name("layers.*.attention.dense", "blk.*.attn_output"),
    name("layers.*.attention.o_proj", "blk.*.attn_output"),
    name("layers.*.attention.q_conv1d", "blk.*.ssm_conv1d_q"),
    name("layers.*.attention.k_conv1d", "blk.*.ssm_conv1d_k"),
    name("layers.*.attention.v_conv1d", "blk.*.ssm_conv1d_v"),
    name("layers.*.attention.A_log", "blk.*.ssm_a").with(Change::Column).of(Values::Exponential).ending(""),
    name("layers.*.attention.dt_bias", "blk.*.ssm_dt").ending(".bias"),
    name("layers.*.attention.f_proj", "blk.*.ssm_f_a"),
    name("layers.*.attention.g_proj", "blk.*.ssm_g_a").only_in(Layers::WithoutAttention),
    name("layers.*.attention.g_proj", "blk.*.attn_gate").only_in(Layers::WithAttention),
    name("layers.*.attention.b_proj", "blk.*.ssm_beta"),
    name("layers.*.attention.o_norm", "blk.*.ssm_norm"),
    name("layers.*.attention.q_a_proj", "blk.*.attn_q_a"),
    name("layers.*.attention.q_a_layernorm", "blk.*.attn_q_a_norm"),
    name("layers.*.attention.q_b_proj", "blk.*.attn_q_b"),
    name("layers.*.attention.kv_a_proj_with_mqa", "blk.*.attn_kv_a_mqa"),
    name("layers.*.attention.kv_a_layernorm", "blk.*.attn_kv_a_norm"),
    name("layers.*.attention.kv_b_proj", "blk.*.attn_k_b").with(Change::LatentKeys),
    name("layers.*.attention.kv_b_proj", "blk.*.attn_v_b").with(Change::LatentValues),
    name("layers.*.mlp.gate.expert", "blk.*.exp_probs_b"),
];

/// Widths of latent attention whose keys are compressed in the file as well, of which one head is kept.
pub const LATENT_APART_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::CountOr("attention.head_count_kv", &[], 1),
    Parameter::Count("attention.q_lora_rank", &["q_lora_rank"]),
    Parameter::Count("attention.kv_lora_rank", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length", ["kv_lora_rank", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length_mla", ["qk_nope_head_dim", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length_mla", &["v_head_dim"]),
    Parameter::Count("rope.dimension_count", &["qk_rope_head_dim"]),
    Parameter::YarnSlope,
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::Count("expert_shared_count", &["n_shared_experts", "num_shared_experts"]),
    Parameter::CountOr("expert_gating_func", &[], 2),
    Parameter::LeadingDense,
    Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
    Parameter::Flag("expert_weights_norm", &["norm_topk_prob", "moe_renormalize"]),
    Parameter::Count("attention.indexer.head_count", &["index_n_heads"]),
    Parameter::Count("attention.indexer.key_length", &["index_head_dim"]),
    Parameter::Count("attention.indexer.top_k", &["index_topk"]),
    Parameter::FlagOfWords("attention.indexer.types", "indexer_types", &["full"]),
];

/// Mistral 4: no indexer, experts chosen by softmax, and queries that grow with their position.
pub const MISTRAL4_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::CountOr("attention.head_count_kv", &[], 1),
    Parameter::Count("attention.q_lora_rank", &["q_lora_rank"]),
    Parameter::Count("attention.kv_lora_rank", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length", ["kv_lora_rank", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length_mla", ["qk_nope_head_dim", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length_mla", &["v_head_dim"]),
    Parameter::Count("rope.dimension_count", &["qk_rope_head_dim"]),
    Parameter::YarnSlope,
    Parameter::Number("attention.temperature_scale", &["llama_4_scaling_beta"]),
    Parameter::Count("attention.temperature_length", &["original_max_position_embeddings"]),
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::CountOr("expert_shared_count", &["n_shared_experts"], 0),
    Parameter::CountOr("expert_gating_func", &[], 1),
    Parameter::CountOr("leading_dense_block_count", &["first_k_dense_replace"], 0),
    Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
    Parameter::Flag("expert_weights_norm", &["norm_topk_prob"]),
];

/// Kimi Linear and Ling 3.
pub const KDA_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::LatentLayers,
    Parameter::Count("ssm.conv_kernel", &CONVOLUTIONS),
    Parameter::Count("kda.head_dim", &["linear_head_dim", "linear_attn_config.head_dim", "head_dim"]),
    Parameter::Flag("kda.safe_gate", &["kda_safe_gate"]),
    Parameter::Number("kda.gate_lower_bound", &["kda_lower_bound"]),
    Parameter::Count("attention.q_lora_rank", &["q_lora_rank"]),
    Parameter::Count("attention.kv_lora_rank", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length", ["kv_lora_rank", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length_mla", ["qk_nope_head_dim", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length_mla", &["v_head_dim"]),
    Parameter::Count("rope.dimension_count", &["qk_rope_head_dim"]),
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::Count("expert_shared_feed_forward_length", &["moe_shared_expert_intermediate_size"]),
    Parameter::CountOr("expert_shared_count", &["num_shared_experts", "n_shared_experts"], 1),
    Parameter::CountOr("expert_gating_func", &[], 2),
    Parameter::LeadingDense,
    Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
    Parameter::Flag("expert_weights_norm", &["norm_topk_prob", "moe_renormalize"]),
    Parameter::NumberOfLayers("swiglu_clamp_exp", "expert_swiglu_limit_list"),
    Parameter::NumberOfLayers("swiglu_clamp_shexp", "share_expert_swiglu_limit_list"),
];

const CONVOLUTIONS: [&str; 3] =
    ["linear_conv_kernel_dim", "linear_attn_config.short_conv_kernel_size", "short_conv_kernel_size"];

/// dots.llm3 note: widths of layers with a window besides.
pub const DOTS3_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::CountOfWindows("attention.head_count", &["num_attention_heads"], &["swa_num_attention_heads"]),
    Parameter::CountOr("attention.head_count_kv", &[], 1),
    Parameter::Count("attention.q_lora_rank", &["q_lora_rank"]),
    Parameter::Count("attention.kv_lora_rank", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length", ["kv_lora_rank", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length_mla", ["qk_nope_head_dim", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length_mla", &["v_head_dim"]),
    Parameter::WindowCount("attention.kv_lora_rank_swa", &["swa_kv_lora_rank"]),
    Parameter::WindowSum("attention.key_length_swa", [&["swa_kv_lora_rank"], &["swa_qk_rope_head_dim"]]),
    Parameter::WindowCount("attention.value_length_swa", &["swa_kv_lora_rank"]),
    Parameter::WindowSum("attention.key_length_mla_swa", [&["swa_qk_nope_head_dim"], &["swa_qk_rope_head_dim"]]),
    Parameter::WindowCount("attention.value_length_mla_swa", &["swa_v_head_dim"]),
    Parameter::Count("rope.dimension_count", &["qk_rope_head_dim"]),
    Parameter::Count("attention.sliding_window", &["sliding_window", "sliding_window_size"]),
    Parameter::FlagOfWords("attention.sliding_window_pattern", "layer_types", &["sliding_attention"]),
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::Count("expert_shared_count", &["n_shared_experts"]),
    Parameter::CountOr("expert_gating_func", &[], 2),
    Parameter::LeadingDense,
    Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
    Parameter::Flag("expert_weights_norm", &["norm_topk_prob"]),
    Parameter::Count("attention.indexer.head_count", &["index_n_heads"]),
    Parameter::Count("attention.indexer.key_length", &["index_head_dim"]),
    Parameter::Count("attention.indexer.top_k", &["index_topk"]),
    Parameter::FlagOfWords("attention.indexer.types", "layer_types", &["indexed_attention", "full_attention"]),
];

/// HY V4: residual streams besides.
pub const HY_V4_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::CountOr("attention.head_count_kv", &[], 1),
    Parameter::Count("attention.q_lora_rank", &["q_lora_rank"]),
    Parameter::Count("attention.kv_lora_rank", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length", ["kv_lora_rank", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length_mla", ["qk_nope_head_dim", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length_mla", &["v_head_dim"]),
    Parameter::Count("rope.dimension_count", &["qk_rope_head_dim"]),
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::Count("expert_shared_count", &["n_shared_experts"]),
    Parameter::CountOr("expert_gating_func", &[], 2),
    Parameter::LeadingDense,
    Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
    Parameter::Flag("expert_weights_norm", &["norm_topk_prob"]),
    Parameter::NumberRepeated("swiglu_clamp_exp", "swiglu_limit"),
    Parameter::Count("hyper_connection.count", &["hc_mult"]),
    Parameter::Number("hyper_connection.epsilon", &["hc_eps"]),
    Parameter::Number("hyper_connection.magnitude", &["hc_magnitude"]),
    Parameter::Count("attention.indexer.head_count", &["index_n_heads"]),
    Parameter::Count("attention.indexer.key_length", &["index_head_dim"]),
    Parameter::Count("attention.indexer.top_k", &["index_topk"]),
    Parameter::FlagOfWords("attention.indexer.types", "indexer_types", &["full"]),
];
