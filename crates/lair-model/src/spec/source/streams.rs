//! Names of models with several residual streams whose attention reads keys that stand for runs of positions, and of Granite
//! Switch, whose products have adapters beside them.

use super::{Change, Derived, Layers, Parameter, Renaming, Source, Values, name};

/// DeepSeek V4. Where two names make a tensor, the first is the published one, the second that of saving with transformers.
pub const DEEPSEEK4_NAMES: &[Renaming] = &[
    name("embed", "token_embd"),
    name("head", "output"),
    name("hc_head_fn", "output_hc_fn"),
    name("hc_head_base", "output_hc_base"),
    name("hc_head_scale", "output_hc_scale"),
    name("hc_head.hc_fn", "output_hc_fn"),
    name("hc_head.hc_base", "output_hc_base"),
    name("hc_head.hc_scale", "output_hc_scale"),
    name("layers.*.hc_attn_fn", "blk.*.hc_attn_fn"),
    name("layers.*.hc_attn_base", "blk.*.hc_attn_base"),
    name("layers.*.hc_attn_scale", "blk.*.hc_attn_scale"),
    name("layers.*.hc_ffn_fn", "blk.*.hc_ffn_fn"),
    name("layers.*.hc_ffn_base", "blk.*.hc_ffn_base"),
    name("layers.*.hc_ffn_scale", "blk.*.hc_ffn_scale"),
    name("layers.*.attn_norm", "blk.*.attn_norm"),
    name("layers.*.attn.attn_sink", "blk.*.attn_sinks"),
    name("layers.*.attn.wq_a", "blk.*.attn_q_a"),
    name("layers.*.attn.q_norm", "blk.*.attn_q_a_norm"),
    name("layers.*.attn.wq_b", "blk.*.attn_q_b"),
    name("layers.*.attn.wkv", "blk.*.attn_kv"),
    name("layers.*.attn.kv_norm", "blk.*.attn_kv_a_norm"),
    name("layers.*.attn.norm", "blk.*.attn_kv_a_norm"),
    name("layers.*.attn.wo_a", "blk.*.attn_output_a"),
    name("layers.*.attn.wo_b", "blk.*.attn_output_b"),
    name("layers.*.attn.compressor.wkv", "blk.*.attn_compressor_kv"),
    name("layers.*.attn.compressor.wgate", "blk.*.attn_compressor_gate"),
    name("layers.*.attn.compressor.ape", "blk.*.attn_compressor_ape"),
    name("layers.*.attn.compressor.norm", "blk.*.attn_compressor_norm"),
    name("layers.*.attn.indexer.wq_b", "blk.*.indexer.attn_q_b"),
    name("layers.*.attn.indexer.weights_proj", "blk.*.indexer.proj"),
    name("layers.*.attn.indexer.compressor.wkv", "blk.*.indexer_compressor_kv"),
    name("layers.*.attn.indexer.compressor.wgate", "blk.*.indexer_compressor_gate"),
    name("layers.*.attn.indexer.compressor.ape", "blk.*.indexer_compressor_ape"),
    name("layers.*.attn.indexer.compressor.norm", "blk.*.indexer_compressor_norm"),
    name("layers.*.ffn_norm", "blk.*.ffn_norm"),
    name("layers.*.ffn.gate", "blk.*.ffn_gate_inp"),
    name("layers.*.ffn.gate.bias", "blk.*.exp_probs_b").only_in(Layers::WithoutTable),
    name("layers.*.ffn.gate.bias_vl", "blk.*.exp_probs_b_vl").ending(".bias"),
    name("layers.*.ffn.gate.tid2eid", "blk.*.ffn_gate_tid2eid").of(Values::Whole),
    name("layers.*.ffn.experts.*.w1", "blk.*.ffn_gate_exps"),
    name("layers.*.ffn.experts.*.w2", "blk.*.ffn_down_exps"),
    name("layers.*.ffn.experts.*.w3", "blk.*.ffn_up_exps"),
    name("layers.*.ffn.shared_experts.w1", "blk.*.ffn_gate_shexp"),
    name("layers.*.ffn.shared_experts.w2", "blk.*.ffn_down_shexp"),
    name("layers.*.ffn.shared_experts.w3", "blk.*.ffn_up_shexp"),
];

/// Its hyper-parameters.
pub const DEEPSEEK4_PARAMETERS: &[Parameter] = &[
    Parameter::VocabularySize,
    Parameter::RopeDimensions,
    Parameter::Count("rope.dimension_count", &["qk_rope_head_dim"]),
    Parameter::Count("attention.q_lora_rank", &["q_lora_rank"]),
    Parameter::Count("attention.sliding_window", &["sliding_window"]),
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::Count("expert_shared_count", &["n_shared_experts"]),
    Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
    Parameter::Flag("expert_weights_norm", &["norm_topk_prob"]),
    Parameter::NumberRepeated("swiglu_clamp_exp", "swiglu_limit"),
    Parameter::NumberRepeated("swiglu_clamp_shexp", "swiglu_limit"),
    Parameter::Count("attention.indexer.head_count", &["index_n_heads"]),
    Parameter::Count("attention.indexer.key_length", &["index_head_dim"]),
    Parameter::Count("attention.indexer.top_k", &["index_topk"]),
    Parameter::Count("attention.output_group_count", &["o_groups"]),
    Parameter::Count("attention.output_lora_rank", &["o_lora_rank"]),
    Parameter::Derived(Derived::RunLengths),
    Parameter::Number("attention.compress_rope_freq_base", &["compress_rope_theta"]),
    Parameter::Count("hyper_connection.count", &["hc_mult"]),
    Parameter::Count("hyper_connection.sinkhorn_iterations", &["hc_sinkhorn_iters"]),
    Parameter::Number("hyper_connection.epsilon", &["hc_eps"]),
    Parameter::Derived(Derived::TableLayers),
    Parameter::Product("embedding_length_out", ["hidden_size", "hc_mult"]),
];

/// How it is stored, without what sees and what predicts further tokens.
pub const DEEPSEEK4_SOURCE: Source = Source {
    names: DEEPSEEK4_NAMES,
    parameters: DEEPSEEK4_PARAMETERS,
    left_out: &["mtp.", "vision.", "aligner."],
    ..Source::USUAL
};

/// GLM 5.3: the part for text.
pub const GLM5_NEXT_NAMES: &[Renaming] = &[
    name("layers.*.hc_attn_fn", "blk.*.hc_attn_fn"),
    name("layers.*.hc_attn_base", "blk.*.hc_attn_base"),
    name("layers.*.hc_attn_scale", "blk.*.hc_attn_scale"),
    name("layers.*.hc_ffn_fn", "blk.*.hc_ffn_fn"),
    name("layers.*.hc_ffn_base", "blk.*.hc_ffn_base"),
    name("layers.*.hc_ffn_scale", "blk.*.hc_ffn_scale"),
    name("layers.*.self_attn.q_conv1d", "blk.*.ssm_conv1d_q"),
    name("layers.*.self_attn.k_conv1d", "blk.*.ssm_conv1d_k"),
    name("layers.*.self_attn.v_conv1d", "blk.*.ssm_conv1d_v"),
    name("layers.*.self_attn.A_log", "blk.*.ssm_a").with(Change::Flat).of(Values::NegatedExponential).ending(""),
    name("layers.*.self_attn.dt_bias", "blk.*.ssm_dt").ending(".bias"),
    name("layers.*.self_attn.f_a_proj", "blk.*.ssm_f_a"),
    name("layers.*.self_attn.f_b_proj", "blk.*.ssm_f_b"),
    name("layers.*.self_attn.g_a_proj", "blk.*.ssm_g_a"),
    name("layers.*.self_attn.g_b_proj", "blk.*.ssm_g_b"),
    name("layers.*.self_attn.b_proj", "blk.*.ssm_beta"),
    name("layers.*.self_attn.o_norm", "blk.*.ssm_norm"),
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
    name("layers.*.self_attn.indexer.index_kpool_compress_ape", "blk.*.indexer_compressor_ape"),
    name("layers.*.self_attn.indexer.index_kpool_compress_gate", "blk.*.indexer_compressor_gate"),
];

/// Its hyper-parameters.
pub const GLM5_NEXT_PARAMETERS: &[Parameter] = &[
    Parameter::Derived(Derived::Required("mhc", "one residual stream")),
    Parameter::Derived(Derived::Required("mla_use_nope", "latent attention that turns queries and keys")),
    Parameter::VocabularySize,
    Parameter::LatentLayers,
    Parameter::NumberOr("attention.layer_norm_epsilon", &[], 1e-6),
    Parameter::Count("ssm.conv_kernel", &["linear_attn_config.short_conv_kernel_size", "linear_conv_kernel_dim"]),
    Parameter::Count("kda.head_dim", &["linear_attn_config.head_dim", "linear_head_dim"]),
    Parameter::Number("kda.gate_lower_bound", &["linear_attn_config.gate_lower_bound", "linear_lower_bound"]),
    Parameter::Count("attention.q_lora_rank", &["q_lora_rank"]),
    Parameter::Count("attention.kv_lora_rank", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length", ["kv_lora_rank", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length_mla", ["qk_nope_head_dim", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length_mla", &["v_head_dim"]),
    Parameter::Count("rope.dimension_count", &["qk_rope_head_dim"]),
    Parameter::Count("attention.indexer.head_count", &["index_n_heads"]),
    Parameter::Count("attention.indexer.key_length", &["index_head_dim"]),
    Parameter::Count("attention.indexer.top_k", &["index_topk"]),
    Parameter::Count("attention.indexer.kpool", &["index_kpool"]),
    Parameter::FlagOr("attention.indexer.kpool_select_tail", &["index_kpool_always_select_tail"], true),
    Parameter::FlagOfWords("attention.indexer.types", "indexer_types", &["full"]),
    Parameter::Count("hyper_connection.count", &["hc_mult"]),
    Parameter::Count("hyper_connection.sinkhorn_iterations", &["hc_sinkhorn_iters"]),
    Parameter::Number("hyper_connection.epsilon", &["hc_eps"]),
    Parameter::LeadingDense,
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::Count("expert_shared_count", &["n_shared_experts"]),
    Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
    Parameter::Flag("expert_weights_norm", &["norm_topk_prob"]),
    Parameter::NumberRepeated("swiglu_clamp_exp", "swiglu_limit"),
    Parameter::NumberRepeated("swiglu_clamp_shexp", "swiglu_limit"),
];

/// One matrix of the adapters beside a product.
const fn adapter(from: &'static str, to: &'static str, end: &'static str) -> Renaming {
    Renaming::new(from, to).with(Change::Adapters).ending(end)
}

/// The same, its rows in the order of queries or keys.
const fn turned_adapter(from: &'static str, to: &'static str) -> Renaming {
    Renaming::new(from, to).with(Change::NeighbourAdapters).ending(".lora_b")
}

/// Granite Switch: products with a stack of adapters beside each.
pub const GRANITE_SWITCH_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.qkv_proj.base_layer", "blk.*.attn_qkv").with(Change::NeighbourQueriesAndKeys),
    name("layers.*.self_attn.o_proj.base_layer", "blk.*.attn_output"),
    name("layers.*.shared_mlp.input_linear.base_layer", "blk.*.ffn_gate").with(Change::Part { index: 0, count: 2 }),
    name("layers.*.shared_mlp.input_linear.base_layer", "blk.*.ffn_up").with(Change::Part { index: 1, count: 2 }),
    name("layers.*.shared_mlp.output_linear.base_layer", "blk.*.ffn_down"),
    adapter("layers.*.self_attn.qkv_proj.lora_A_slices.0", "blk.*.attn_q", ".lora_a"),
    adapter("layers.*.self_attn.qkv_proj.lora_A_slices.1", "blk.*.attn_k", ".lora_a"),
    adapter("layers.*.self_attn.qkv_proj.lora_A_slices.2", "blk.*.attn_v", ".lora_a"),
    turned_adapter("layers.*.self_attn.qkv_proj.lora_B_slices.0", "blk.*.attn_q"),
    turned_adapter("layers.*.self_attn.qkv_proj.lora_B_slices.1", "blk.*.attn_k"),
    adapter("layers.*.self_attn.qkv_proj.lora_B_slices.2", "blk.*.attn_v", ".lora_b"),
    adapter("layers.*.self_attn.o_proj.lora_A", "blk.*.attn_output", ".lora_a"),
    adapter("layers.*.self_attn.o_proj.lora_B", "blk.*.attn_output", ".lora_b"),
    adapter("layers.*.shared_mlp.input_linear.lora_A_slices.0", "blk.*.ffn_gate", ".lora_a"),
    adapter("layers.*.shared_mlp.input_linear.lora_A_slices.1", "blk.*.ffn_up", ".lora_a"),
    adapter("layers.*.shared_mlp.input_linear.lora_B_slices.0", "blk.*.ffn_gate", ".lora_b"),
    adapter("layers.*.shared_mlp.input_linear.lora_B_slices.1", "blk.*.ffn_up", ".lora_b"),
    adapter("layers.*.shared_mlp.output_linear.lora_A", "blk.*.ffn_down", ".lora_a"),
    adapter("layers.*.shared_mlp.output_linear.lora_B", "blk.*.ffn_down", ".lora_b"),
];

/// Its hyper-parameters.
pub const GRANITE_SWITCH_PARAMETERS: &[Parameter] = &[
    // The last layer of a checkpoint is what finds the adapter, and has no tensors.
    Parameter::Derived(Derived::LayersBut(1)),
    Parameter::Never("attention.key_length"),
    Parameter::Never("attention.value_length"),
    Parameter::VocabularySize,
    Parameter::RopeDimensions,
    Parameter::Number("attention.scale", &["attention_multiplier"]),
    Parameter::Number("embedding_scale", &["embedding_multiplier"]),
    Parameter::Number("residual_scale", &["residual_multiplier"]),
    Parameter::Number("logit_scale", &["logits_scaling"]),
    Parameter::Count("expert_shared_feed_forward_length", &["shared_intermediate_size"]),
    Parameter::CountOr("expert_used_count", &[], 0),
    Parameter::Count("adapters.count", &["num_adapters"]),
    Parameter::Count("adapters.lora_rank", &["max_lora_rank"]),
    Parameter::Derived(Derived::Tokens("adapters.token_ids_activate", "adapter_token_ids")),
    Parameter::Derived(Derived::Tokens("adapters.token_ids_substitute", "adapter_substitute_token_ids")),
    Parameter::NumberOr("adapters.router_gain", &["control_token_gain"], 15.0),
];
