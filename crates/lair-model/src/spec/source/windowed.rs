//! Names and hyper-parameters of models whose layers with a window differ in more than that, of residual streams read by
//! gates, and of two stacks in turn.

use super::{Change, Parameter, Renaming, Values, name, part};

/// MiMo V2.
pub const MIMO2_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::Number("attention.layer_norm_rms_epsilon", &["layernorm_epsilon", "rms_norm_eps"]),
    Parameter::KvHeadsOfWindows("swa_num_key_value_heads"),
    Parameter::Count("attention.value_length", &["v_head_dim"]),
    Parameter::WindowCount("attention.key_length_swa", &["swa_head_dim"]),
    Parameter::WindowCount("attention.value_length_swa", &["swa_v_head_dim"]),
    Parameter::RopeDimensionsOfKinds,
    Parameter::Count("attention.sliding_window", &["sliding_window"]),
    Parameter::WindowPattern(6),
    Parameter::FlagOfLayers("attention.sliding_window_pattern", "hybrid_layer_pattern"),
    Parameter::Number("attention.value_scale", &["attention_value_scale"]),
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::CountOr("expert_gating_func", &[], 2),
    Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
];

/// Step 3.5.
pub const STEP35_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.g_proj", "blk.*.attn_gate"),
    name("layers.*.moe.gate", "blk.*.ffn_gate_inp"),
    name("layers.*.moe.router_bias", "blk.*.exp_probs_b").ending(".bias"),
    name("layers.*.moe.gate_proj", "blk.*.ffn_gate_exps"),
    name("layers.*.moe.up_proj", "blk.*.ffn_up_exps"),
    name("layers.*.moe.down_proj", "blk.*.ffn_down_exps"),
    name("layers.*.share_expert.gate_proj", "blk.*.ffn_gate_shexp"),
    name("layers.*.share_expert.up_proj", "blk.*.ffn_up_shexp"),
    name("layers.*.share_expert.down_proj", "blk.*.ffn_down_shexp"),
];

/// Its hyper-parameters.
pub const STEP35_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::CountOfWindows(
        "attention.head_count",
        &["num_attention_heads"],
        &["attention_other_setting.num_attention_heads"],
    ),
    Parameter::CountOfWindows(
        "attention.head_count_kv",
        &["num_key_value_heads", "num_attention_groups"],
        &["attention_other_setting.num_attention_groups"],
    ),
    Parameter::Count("attention.sliding_window", &["sliding_window"]),
    Parameter::WindowPattern(1),
    // Of what it says half is turned in layers without a window.
    Parameter::Count("rope.dimension_count", &["head_dim"]),
    Parameter::Count("rope.dimension_count_swa", &["head_dim"]),
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::Count("expert_shared_feed_forward_length", &["share_expert_dim", "share_expert_dims"]),
    Parameter::CountOr("expert_gating_func", &[], 2),
    Parameter::LeadingDense,
    Parameter::Number("expert_weights_scale", &["moe_router_scaling_factor"]),
    Parameter::FlagOr("expert_weights_norm", &["norm_expert_weight"], true),
    Parameter::NumberOfLayers("swiglu_clamp_exp", "swiglu_limits"),
    Parameter::NumberOfLayers("swiglu_clamp_shexp", "swiglu_limits_shared"),
];

/// MiniMax M3.
pub const MINIMAX_M3_NAMES: &[Renaming] = &[
    name("layers.*.block_sparse_moe.shared_experts.gate_proj", "blk.*.ffn_gate_shexp"),
    name("layers.*.block_sparse_moe.shared_experts.up_proj", "blk.*.ffn_up_shexp"),
    name("layers.*.block_sparse_moe.shared_experts.down_proj", "blk.*.ffn_down_shexp"),
    name("layers.*.self_attn.index_q_proj", "blk.*.indexer.q_proj"),
    name("layers.*.self_attn.index_k_proj", "blk.*.indexer.k_proj"),
    name("layers.*.self_attn.index_q_norm", "blk.*.indexer.q_norm"),
    name("layers.*.self_attn.index_k_norm", "blk.*.indexer.k_norm"),
];

/// Its hyper-parameters.
pub const MINIMAX_M3_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::Count("feed_forward_length", &["dense_intermediate_size", "intermediate_size"]),
    Parameter::Count("expert_feed_forward_length", &["intermediate_size"]),
    Parameter::Count("expert_shared_feed_forward_length", &["shared_intermediate_size"]),
    Parameter::CountOr("expert_shared_count", &["n_shared_experts"], 1),
    Parameter::CountOr("expert_gating_func", &[], 2),
    Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
    Parameter::FlagOr("expert_weights_norm", &[], true),
    Parameter::LeadingDense,
    Parameter::Count("rope.dimension_count", &["rotary_dim"]),
    Parameter::Count("attention.indexer.head_count", &INDEXER_KEYS[0]),
    Parameter::Count("attention.indexer.key_length", &INDEXER_KEYS[1]),
    Parameter::Count("attention.indexer.top_k", &INDEXER_KEYS[2]),
    Parameter::Count("attention.indexer.block_size", &INDEXER_KEYS[3]),
    Parameter::Count("attention.indexer.local_blocks", &INDEXER_KEYS[4]),
];

/// As transformers writes them, and as the published files do.
const INDEXER_KEYS: [[&str; 2]; 5] = [
    ["index_n_heads", "sparse_attention_config.sparse_num_index_heads"],
    ["index_head_dim", "sparse_attention_config.sparse_index_dim"],
    ["index_topk_blocks", "sparse_attention_config.sparse_topk_blocks"],
    ["index_block_size", "sparse_attention_config.sparse_block_size"],
    ["index_local_blocks", "sparse_attention_config.sparse_local_block"],
];

/// Granite with windows: gates and inputs stay together.
pub const GRANITE_SWA_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.sinks", "blk.*.attn_sinks"),
    name("layers.*.block_sparse_moe.router", "blk.*.ffn_gate_inp"),
    name("layers.*.block_sparse_moe.router.layer", "blk.*.ffn_gate_inp"),
    name("layers.*.block_sparse_moe.experts.gate_up_proj", "blk.*.ffn_gate_up_exps"),
    name("layers.*.block_sparse_moe.experts.down_proj", "blk.*.ffn_down_exps"),
    name("layers.*.block_sparse_moe.input_linear", "blk.*.ffn_gate_up_exps"),
    name("layers.*.block_sparse_moe.output_linear", "blk.*.ffn_down_exps"),
    name("layers.*.shared_mlp.input_linear", "blk.*.ffn_up_shexp"),
    name("layers.*.shared_mlp.output_linear", "blk.*.ffn_down_shexp"),
];

/// Its hyper-parameters.
pub const GRANITE_SWA_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::RopeDimensions,
    Parameter::Number("attention.scale", &["attention_multiplier"]),
    Parameter::Number("embedding_scale", &["embedding_multiplier"]),
    Parameter::Number("residual_scale", &["residual_multiplier"]),
    Parameter::Number("logit_scale", &["logits_scaling"]),
    Parameter::Count("attention.sliding_window", &["sliding_window"]),
    Parameter::WindowPattern(4),
    Parameter::FlagOfLayers("attention.rope_pattern", "layer_rope_theta"),
    Parameter::FlagOfLayers("attention.rope_pattern", "no_rope_layers"),
    Parameter::Count("expert_shared_feed_forward_length", &["shared_intermediate_size"]),
];

/// Laguna.
pub const LAGUNA_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::CountOfLayers("attention.head_count", "num_attention_heads_per_layer"),
    Parameter::Count("attention.sliding_window", &["sliding_window"]),
    Parameter::WindowPattern(4),
    Parameter::RopeDimensionsOfKinds,
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::Count("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"]),
    Parameter::FlagOr("expert_weights_norm", &[], true),
    Parameter::Number("expert_weights_scale", &["moe_routed_scaling_factor"]),
    Parameter::CountOr("expert_gating_func", &[], 2),
    Parameter::LeadingDense,
];

/// HRM Text: the fast stack, then the slow one.
pub const HRM_NAMES: &[Renaming] = &[
    name("embed_tokens", "token_embd"),
    name("lm_head", "output"),
    name("z_L_init", "hrm.z_l_init").ending(""),
    part("L_module.layers.*.attn.gqkv_proj", "blk.*.attn_gate", 0, 4),
    part("L_module.layers.*.attn.gqkv_proj", "blk.*.attn_q", 1, 4),
    part("L_module.layers.*.attn.gqkv_proj", "blk.*.attn_k", 2, 4),
    part("L_module.layers.*.attn.gqkv_proj", "blk.*.attn_v", 3, 4),
    name("L_module.layers.*.attn.o_proj", "blk.*.attn_output"),
    part("L_module.layers.*.mlp.gate_up_proj", "blk.*.ffn_gate", 0, 2),
    part("L_module.layers.*.mlp.gate_up_proj", "blk.*.ffn_up", 1, 2),
    name("L_module.layers.*.mlp.down_proj", "blk.*.ffn_down"),
    part("H_module.layers.*.attn.gqkv_proj", "blk.+.attn_gate", 0, 4),
    part("H_module.layers.*.attn.gqkv_proj", "blk.+.attn_q", 1, 4),
    part("H_module.layers.*.attn.gqkv_proj", "blk.+.attn_k", 2, 4),
    part("H_module.layers.*.attn.gqkv_proj", "blk.+.attn_v", 3, 4),
    name("H_module.layers.*.attn.o_proj", "blk.+.attn_output"),
    part("H_module.layers.*.mlp.gate_up_proj", "blk.+.ffn_gate", 0, 2),
    part("H_module.layers.*.mlp.gate_up_proj", "blk.+.ffn_up", 1, 2),
    name("H_module.layers.*.mlp.down_proj", "blk.+.ffn_down"),
];

/// Muse Glimmer: norms of layers add 1, the last one does not.
pub const MUSE_NAMES: &[Renaming] = &[
    name("layers.*.input_layernorm", "blk.*.attn_norm").of(Values::Plus(1.0)),
    name("layers.*.post_attention_layernorm", "blk.*.post_attention_norm").of(Values::Plus(1.0)),
    name("layers.*.pre_feedforward_layernorm", "blk.*.ffn_norm").of(Values::Plus(1.0)),
    name("layers.*.post_feedforward_layernorm", "blk.*.post_ffw_norm").of(Values::Plus(1.0)),
    name("layers.*.self_attn.gate_proj", "blk.*.attn_gate"),
];

/// Jina Embeddings 3, with and without the adapters of its tasks beside.
pub const JINA3_NAMES: &[Renaming] = &[
    name("embeddings.word_embeddings", "token_embd"),
    name("embeddings.word_embeddings.parametrizations.weight.original", "token_embd"),
    name("embeddings.token_type_embeddings", "token_types"),
    name("embeddings.token_type_embeddings.parametrizations.weight.original", "token_types"),
    name("emb_ln", "token_embd_norm"),
    name("encoder.layers.*.mixer.Wqkv", "blk.*.attn_qkv"),
    name("encoder.layers.*.mixer.Wqkv.parametrizations.weight.original", "blk.*.attn_qkv"),
    name("encoder.layers.*.mixer.out_proj", "blk.*.attn_output"),
    name("encoder.layers.*.mixer.out_proj.parametrizations.weight.original", "blk.*.attn_output"),
    name("encoder.layers.*.norm1", "blk.*.attn_output_norm"),
    name("encoder.layers.*.mlp.fc1", "blk.*.ffn_up"),
    name("encoder.layers.*.mlp.fc1.parametrizations.weight.original", "blk.*.ffn_up"),
    name("encoder.layers.*.mlp.fc2", "blk.*.ffn_down"),
    name("encoder.layers.*.mlp.fc2.parametrizations.weight.original", "blk.*.ffn_down"),
    name("encoder.layers.*.norm2", "blk.*.layer_output_norm"),
];

/// Qwen 4: Qwen 3.5's delta nets, streams read by gates, embeddings of the last tokens.
pub const QWEN4_NAMES: &[Renaming] = &[
    name("layers.*.linear_attn.in_proj_qkv", "blk.*.attn_qkv").with(Change::DeltaInputsInTurn),
    name("layers.*.linear_attn.in_proj_z", "blk.*.attn_gate").with(Change::ValueHeadsInTurn),
    name("layers.*.linear_attn.in_proj_a", "blk.*.ssm_alpha").with(Change::ValueHeadsInTurn),
    name("layers.*.linear_attn.in_proj_b", "blk.*.ssm_beta").with(Change::ValueHeadsInTurn),
    name("layers.*.linear_attn.conv1d", "blk.*.ssm_conv1d").with(Change::DeltaChannelsInTurn),
    name("layers.*.linear_attn.dt_bias", "blk.*.ssm_dt").with(Change::ValueHeadsInTurn).ending(".bias"),
    name("layers.*.linear_attn.A_log", "blk.*.ssm_a")
        .with(Change::ValueHeadsInTurn)
        .of(Values::NegatedExponential)
        .ending(""),
    name("layers.*.linear_attn.norm", "blk.*.ssm_norm"),
    name("layers.*.linear_attn.out_proj", "blk.*.ssm_out").with(Change::ValueHeadColumnsInTurn),
    name("layers.*.self_attn.indexer.index_qk_proj", "blk.*.indexer.q_proj").with(Change::IndexerQueries),
    name("layers.*.self_attn.indexer.index_qk_proj", "blk.*.indexer.k_proj").with(Change::IndexerKey),
    name("layers.*.self_attn.indexer.q_layernorm", "blk.*.indexer.q_norm"),
    name("layers.*.self_attn.indexer.k_layernorm", "blk.*.indexer.k_norm"),
    name("layers.*.attn_hyper_connection.hc_norm", "blk.*.hc_attn_norm"),
    name("layers.*.attn_hyper_connection.input_mix_weight_down", "blk.*.hc_attn_down"),
    name("layers.*.attn_hyper_connection.input_mix_weight_up", "blk.*.hc_attn_up"),
    name("layers.*.attn_hyper_connection.block_inject_weight", "blk.*.hc_attn_inject"),
    name("layers.*.mlp_hyper_connection.hc_norm", "blk.*.hc_ffn_norm"),
    name("layers.*.mlp_hyper_connection.input_mix_weight_down", "blk.*.hc_ffn_down"),
    name("layers.*.mlp_hyper_connection.input_mix_weight_up", "blk.*.hc_ffn_up"),
    name("layers.*.mlp_hyper_connection.block_inject_weight", "blk.*.hc_ffn_inject"),
    name("hyper_connection_mixer.hc_norm", "output_hc_norm"),
    name("hyper_connection_mixer.input_mix_weight_down", "output_hc_down"),
    name("hyper_connection_mixer.input_mix_weight_up", "output_hc_up"),
    name("layers.*.ple.ple_embedding.ngram_embedding.shard_*", "per_layer_token_embd").with(Change::TableParts),
    name("layers.*.ple.ple_embedding.layer_multipliers", "qwen4exp.ple.layer_multipliers").as_key(),
    name("layers.*.ple.ple_embedding.ngram_heads_offsets", "qwen4exp.ple.head_offsets").as_key(),
    name("layers.*.ple.ple_embedding.ngram_heads_vocab_sizes", "qwen4exp.ple.head_vocab_sizes").as_key(),
    name("layers.*.ple.key_proj", "blk.*.ple_key"),
    name("layers.*.ple.value_proj", "blk.*.ple_value"),
    name("layers.*.ple.norm_key", "blk.*.ple_norm_key").of(Values::Plus(1.0)),
    name("layers.*.ple.norm_query", "blk.*.ple_norm_query").of(Values::Plus(1.0)),
    name("layers.*.ple.norm_conv", "blk.*.ple_norm_conv").of(Values::Plus(1.0)),
    name("layers.*.ple.conv1d", "blk.*.ple_conv1d").with(Change::Channels),
];

/// Its hyper-parameters.
pub const QWEN4_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::Count("ssm.conv_kernel", &["linear_conv_kernel_dim"]),
    Parameter::Count("ssm.state_size", &["linear_key_head_dim"]),
    Parameter::Count("ssm.group_count", &["linear_num_key_heads"]),
    Parameter::Count("ssm.time_step_rank", &["linear_num_value_heads"]),
    Parameter::Product("ssm.inner_size", ["linear_value_head_dim", "linear_num_value_heads"]),
    Parameter::CountOr("full_attention_interval", &["full_attention_interval"], 4),
    Parameter::RecurrentLayers,
    Parameter::RopeDimensions,
    Parameter::Sections([11, 11, 10, 0]),
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::Count("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"]),
    Parameter::Count("hyper_connection.count", &["hc_count"]),
    Parameter::Count("hyper_connection.low_rank", &["hc_lowrank"]),
    Parameter::Count("attention.indexer.head_count", &["indexer_n_heads"]),
    Parameter::Count("attention.indexer.key_length", &["indexer_head_dim"]),
    Parameter::Count("attention.indexer.top_k", &["indexer_budget"]),
    Parameter::CountOfAttention("attention.compress_ratios", "indexer_compress_ratio"),
    Parameter::Places("ple.layers", "ple_layer_ids"),
    Parameter::Count("ple.ngram_size", &["ngram_size"]),
    Parameter::Count("ple.heads_per_ngram", &["heads_per_ngram"]),
    Parameter::Count("ple.conv_kernel", &["ple_conv_kernel_size"]),
    Parameter::Count("ple.eos_token_id", &["eos_token_id"]),
    Parameter::NgramRows,
];
