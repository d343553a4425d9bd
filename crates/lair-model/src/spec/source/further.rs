//! Names of hybrids, state spaces, and of families that share few names with Llama.

use super::{Change, Parameter, Renaming, Source, Values, name};

/// LFM2 and LFM2 with experts.
pub const LFM2_NAMES: &[Renaming] = &[
    name("embedding_norm", "token_embd_norm"),
    name("layers.*.operator_norm", "blk.*.attn_norm"),
    name("layers.*.ffn_norm", "blk.*.ffn_norm"),
    name("layers.*.conv.in_proj", "blk.*.shortconv.in_proj"),
    name("layers.*.conv.conv", "blk.*.shortconv.conv").with(Change::Channels),
    name("layers.*.conv.out_proj", "blk.*.shortconv.out_proj"),
    name("layers.*.self_attn.out_proj", "blk.*.attn_output"),
    name("layers.*.self_attn.q_layernorm", "blk.*.attn_q_norm"),
    name("layers.*.self_attn.k_layernorm", "blk.*.attn_k_norm"),
    name("layers.*.feed_forward.w1", "blk.*.ffn_gate"),
    name("layers.*.feed_forward.w2", "blk.*.ffn_down"),
    name("layers.*.feed_forward.w3", "blk.*.ffn_up"),
    name("layers.*.feed_forward.gate", "blk.*.ffn_gate_inp"),
    name("layers.*.feed_forward.experts.*.w1", "blk.*.ffn_gate_exps"),
    name("layers.*.feed_forward.experts.*.w2", "blk.*.ffn_down_exps"),
    name("layers.*.feed_forward.experts.*.w3", "blk.*.ffn_up_exps"),
    name("layers.*.feed_forward.expert", "blk.*.exp_probs_b"),
];

/// gpt-oss: gates and inputs of the experts lie between one another; as numbers experts are transposed, in blocks they are
/// not.
pub const GPT_OSS_NAMES: &[Renaming] = &[
    name("layers.*.post_attention_layernorm", "blk.*.post_attention_norm"),
    name("layers.*.self_attn.sinks", "blk.*.attn_sinks"),
    name("layers.*.mlp.router", "blk.*.ffn_gate_inp"),
    name("layers.*.mlp.experts.gate_up_proj", "blk.*.ffn_gate_exps").with(Change::AlternateColumnsTransposed(0)),
    name("layers.*.mlp.experts.gate_up_proj", "blk.*.ffn_up_exps").with(Change::AlternateColumnsTransposed(1)),
    name("layers.*.mlp.experts.down_proj", "blk.*.ffn_down_exps").with(Change::Transposed),
    name("layers.*.mlp.experts.gate_up_proj_blocks", "blk.*.ffn_gate_exps").with(Change::AlternateRows(0)),
    name("layers.*.mlp.experts.gate_up_proj_blocks", "blk.*.ffn_up_exps").with(Change::AlternateRows(1)),
    name("layers.*.mlp.experts.down_proj_blocks", "blk.*.ffn_down_exps"),
    name("layers.*.mlp.experts.gate_up_proj_bias", "blk.*.ffn_gate_exps")
        .with(Change::AlternateColumns(0))
        .ending(".bias"),
    name("layers.*.mlp.experts.gate_up_proj_bias", "blk.*.ffn_up_exps")
        .with(Change::AlternateColumns(1))
        .ending(".bias"),
    name("layers.*.mlp.experts.down_proj_bias", "blk.*.ffn_down_exps").ending(".bias"),
];

/// Mamba.
pub const MAMBA_NAMES: &[Renaming] = &[
    name("embeddings", "token_embd"),
    name("embedding", "token_embd"),
    name("norm_f", "output_norm"),
    name("lm_head", "output"),
    name("layers.*.norm", "blk.*.attn_norm"),
    name("layers.*.mixer.in_proj", "blk.*.ssm_in"),
    name("layers.*.mixer.conv1d", "blk.*.ssm_conv1d").with(Change::Channels),
    name("layers.*.mixer.x_proj", "blk.*.ssm_x"),
    name("layers.*.mixer.dt_proj", "blk.*.ssm_dt"),
    name("layers.*.mixer.A_log", "blk.*.ssm_a").of(Values::NegatedExponential).ending(""),
    name("layers.*.mixer.D", "blk.*.ssm_d").ending(""),
    name("layers.*.mixer.out_proj", "blk.*.ssm_out"),
];

/// Jamba.
pub const JAMBA_NAMES: &[Renaming] = &[
    name("final_layernorm", "output_norm"),
    name("layers.*.pre_ff_layernorm", "blk.*.ffn_norm"),
    name("layers.*.mamba.in_proj", "blk.*.ssm_in"),
    name("layers.*.mamba.conv1d", "blk.*.ssm_conv1d").with(Change::Channels),
    name("layers.*.mamba.x_proj", "blk.*.ssm_x"),
    name("layers.*.mamba.dt_proj", "blk.*.ssm_dt"),
    name("layers.*.mamba.dt_layernorm", "blk.*.ssm_dt_norm"),
    name("layers.*.mamba.b_layernorm", "blk.*.ssm_b_norm"),
    name("layers.*.mamba.c_layernorm", "blk.*.ssm_c_norm"),
    name("layers.*.mamba.A_log", "blk.*.ssm_a").of(Values::NegatedExponential).ending(""),
    name("layers.*.mamba.D", "blk.*.ssm_d").ending(""),
    name("layers.*.mamba.out_proj", "blk.*.ssm_out"),
    name("layers.*.feed_forward.gate_proj", "blk.*.ffn_gate"),
    name("layers.*.feed_forward.up_proj", "blk.*.ffn_up"),
    name("layers.*.feed_forward.down_proj", "blk.*.ffn_down"),
    name("layers.*.feed_forward.router", "blk.*.ffn_gate_inp"),
    name("layers.*.feed_forward.experts.*.gate_proj", "blk.*.ffn_gate_exps"),
    name("layers.*.feed_forward.experts.*.up_proj", "blk.*.ffn_up_exps"),
    name("layers.*.feed_forward.experts.*.down_proj", "blk.*.ffn_down_exps"),
];

/// Mamba-2, and the layers without attention of Nemotron-H.
pub const MAMBA2_NAMES: &[Renaming] = &[
    name("embeddings", "token_embd"),
    name("norm_f", "output_norm"),
    name("lm_head", "output"),
    name("layers.*.norm", "blk.*.attn_norm"),
    name("layers.*.mixer.in_proj", "blk.*.ssm_in"),
    name("layers.*.mixer.conv1d", "blk.*.ssm_conv1d").with(Change::Channels),
    name("layers.*.mixer.dt_bias", "blk.*.ssm_dt").ending(".bias"),
    name("layers.*.mixer.A_log", "blk.*.ssm_a").with(Change::Column).of(Values::NegatedExponential).ending(""),
    name("layers.*.mixer.D", "blk.*.ssm_d").with(Change::Column).ending(""),
    name("layers.*.mixer.norm", "blk.*.ssm_norm").with(Change::StateGroups),
    name("layers.*.mixer.out_proj", "blk.*.ssm_out"),
];

/// Attention and networks of Nemotron-H, which are layers of their own.
pub const NEMOTRON_H_NAMES: &[Renaming] = &[
    name("layers.*.mixer.q_proj", "blk.*.attn_q"),
    name("layers.*.mixer.k_proj", "blk.*.attn_k"),
    name("layers.*.mixer.v_proj", "blk.*.attn_v"),
    name("layers.*.mixer.o_proj", "blk.*.attn_output"),
    name("layers.*.mixer.up_proj", "blk.*.ffn_up"),
    name("layers.*.mixer.down_proj", "blk.*.ffn_down"),
    name("layers.*.mixer.gate", "blk.*.ffn_gate_inp"),
    name("layers.*.mixer.gate.e_score_correction", "blk.*.exp_probs_b"),
    name("layers.*.mixer.experts.*.up_proj", "blk.*.ffn_up_exps"),
    name("layers.*.mixer.experts.*.down_proj", "blk.*.ffn_down_exps"),
    name("layers.*.mixer.experts.up_proj", "blk.*.ffn_up_exps"),
    name("layers.*.mixer.experts.down_proj", "blk.*.ffn_down_exps"),
    name("layers.*.mixer.shared_experts.up_proj", "blk.*.ffn_up_shexp"),
    name("layers.*.mixer.shared_experts.down_proj", "blk.*.ffn_down_shexp"),
];

/// Mamba-2 within a layer of Llama's.
pub const MAMBA2_LAYER_NAMES: &[Renaming] = &[
    name("embed_tokens", "token_embd"),
    name("norm", "output_norm"),
    name("final_layernorm", "output_norm"),
    name("lm_head", "output"),
    name("layers.*.input_layernorm", "blk.*.attn_norm"),
    name("layers.*.post_attention_layernorm", "blk.*.ffn_norm"),
    name("layers.*.pre_ff_layernorm", "blk.*.ffn_norm"),
    name("layers.*.self_attn.q_proj", "blk.*.attn_q"),
    name("layers.*.self_attn.k_proj", "blk.*.attn_k"),
    name("layers.*.self_attn.v_proj", "blk.*.attn_v"),
    name("layers.*.self_attn.o_proj", "blk.*.attn_output"),
    name("layers.*.mamba.in_proj", "blk.*.ssm_in"),
    name("layers.*.mamba.conv1d", "blk.*.ssm_conv1d").with(Change::Channels),
    name("layers.*.mamba.dt_bias", "blk.*.ssm_dt").ending(".bias"),
    name("layers.*.mamba.A_log", "blk.*.ssm_a").with(Change::Column).of(Values::NegatedExponential).ending(""),
    name("layers.*.mamba.D", "blk.*.ssm_d").with(Change::Column).ending(""),
    name("layers.*.mamba.norm", "blk.*.ssm_norm").with(Change::StateGroups),
    name("layers.*.mamba.out_proj", "blk.*.ssm_out"),
    name("layers.*.feed_forward.gate_proj", "blk.*.ffn_gate"),
    name("layers.*.feed_forward.up_proj", "blk.*.ffn_up"),
    name("layers.*.feed_forward.down_proj", "blk.*.ffn_down"),
];

/// The one network of Granite 4 without experts, which has the name of that beside experts.
pub const GRANITE_DENSE_NAMES: &[Renaming] = &[
    name("layers.*.shared_mlp.input_linear", "blk.*.ffn_gate").with(Change::Part { index: 0, count: 2 }),
    name("layers.*.shared_mlp.input_linear", "blk.*.ffn_up").with(Change::Part { index: 1, count: 2 }),
    name("layers.*.shared_mlp.output_linear", "blk.*.ffn_down"),
];

/// Qwen3-Next: a delta net whose inputs lie by key heads.
pub const QWEN3NEXT_NAMES: &[Renaming] = &[
    name("layers.*.post_attention_layernorm", "blk.*.post_attention_norm"),
    name("layers.*.linear_attn.in_proj_qkvz", "blk.*.attn_qkv").with(Change::DeltaInputs),
    name("layers.*.linear_attn.in_proj_qkvz", "blk.*.attn_gate").with(Change::DeltaGates),
    name("layers.*.linear_attn.in_proj_ba", "blk.*.ssm_ba"),
    name("layers.*.linear_attn.conv1d", "blk.*.ssm_conv1d").with(Change::Channels),
    name("layers.*.linear_attn.dt_bias", "blk.*.ssm_dt").ending(".bias"),
    name("layers.*.linear_attn.A_log", "blk.*.ssm_a").of(Values::NegatedExponential).ending(""),
    name("layers.*.linear_attn.norm", "blk.*.ssm_norm"),
    name("layers.*.linear_attn.out_proj", "blk.*.ssm_out"),
];

/// Qwen 3.5: the inputs of the delta net in tensors of their own, value heads in turn.
pub const QWEN35_NAMES: &[Renaming] = &[
    name("layers.*.post_attention_layernorm", "blk.*.post_attention_norm"),
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
];

/// Hyper-parameters of the delta nets of both.
pub const DELTA_PARAMETERS: &[Parameter] = &[
    Parameter::Count("ssm.conv_kernel", &["linear_conv_kernel_dim"]),
    Parameter::Count("ssm.state_size", &["linear_key_head_dim"]),
    Parameter::Count("ssm.group_count", &["linear_num_key_heads"]),
    Parameter::Count("ssm.time_step_rank", &["linear_num_value_heads"]),
    Parameter::Product("ssm.inner_size", ["linear_value_head_dim", "linear_num_value_heads"]),
    Parameter::CountOr("full_attention_interval", &["full_attention_interval"], 4),
    Parameter::RecurrentLayers,
    Parameter::RopeDimensions,
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::Count("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"]),
];

/// Hyper-parameters of Nemotron-H, with experts and without.
pub const NEMOTRON_H_PARAMETERS: [Parameter; 8] = [
    Parameter::VocabularySize,
    Parameter::AttentionLayers,
    Parameter::Count("ssm.conv_kernel", &["conv_kernel"]),
    Parameter::Count("ssm.state_size", &["ssm_state_size"]),
    Parameter::Count("ssm.group_count", &["n_groups"]),
    Parameter::Product("ssm.inner_size", ["mamba_num_heads", "mamba_head_dim"]),
    Parameter::Count("ssm.time_step_rank", &["mamba_num_heads"]),
    Parameter::NumberOr("attention.layer_norm_rms_epsilon", &["layer_norm_epsilon", "rms_norm_eps", "norm_eps"], 1e-5),
];

/// Hyper-parameters of Mamba-2 within hybrids.
pub const MAMBA2_LAYER_PARAMETERS: [Parameter; 6] = [
    Parameter::VocabularySize,
    Parameter::Count("ssm.conv_kernel", &["mamba_d_conv"]),
    Parameter::Count("ssm.state_size", &["mamba_d_state"]),
    Parameter::Count("ssm.group_count", &["mamba_n_groups"]),
    Parameter::Product("ssm.inner_size", ["mamba_expand", "hidden_size"]),
    Parameter::Count("ssm.time_step_rank", &["mamba_n_heads"]),
];

/// What a file of state spaces alone has for attention and networks, which it does not have.
pub const NO_ATTENTION: [Parameter; 3] = [
    Parameter::CountOr("context_length", &[], 1 << 20),
    Parameter::CountOr("feed_forward_length", &[], 0),
    Parameter::CountOr("attention.head_count", &[], 0),
];

/// Falcon.
pub const FALCON_NAMES: &[Renaming] = &[
    name("word_embeddings", "token_embd"),
    name("h.*.input_layernorm", "blk.*.attn_norm"),
    name("h.*.ln_mlp", "blk.*.attn_norm"),
    name("h.*.ln_attn", "blk.*.attn_norm_2"),
    name("h.*.self_attention.query_key_value", "blk.*.attn_qkv").with(Change::KeyGroups),
    name("h.*.self_attention.dense", "blk.*.attn_output"),
    name("h.*.mlp.dense_h_to_4h", "blk.*.ffn_up"),
    name("h.*.mlp.dense_4h_to_h", "blk.*.ffn_down"),
    name("ln_f", "output_norm"),
    name("lm_head", "output"),
];

/// MPT.
pub const MPT_NAMES: &[Renaming] = &[
    name("wte", "token_embd"),
    name("wpe", "position_embd"),
    name("blocks.*.norm_1", "blk.*.attn_norm"),
    name("blocks.*.attn.Wqkv", "blk.*.attn_qkv"),
    name("blocks.*.attn.q_ln", "blk.*.attn_q_norm"),
    name("blocks.*.attn.k_ln", "blk.*.attn_k_norm"),
    name("blocks.*.attn.out_proj", "blk.*.attn_output"),
    name("blocks.*.norm_2", "blk.*.ffn_norm"),
    name("blocks.*.ffn.up_proj", "blk.*.ffn_up"),
    name("blocks.*.ffn.down_proj", "blk.*.ffn_down"),
    name("blocks.*.ffn.act.scales", "blk.*.ffn.act.scales").ending(""),
    name("norm_f", "output_norm"),
    name("lm_head", "output"),
];

/// StableLM's norms of queries and keys, one for each head.
pub const STABLELM_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.q_layernorm.norms.*", "blk.*.attn_q_norm"),
    name("layers.*.self_attn.k_layernorm.norms.*", "blk.*.attn_k_norm"),
];

/// GLM 4 of 2024 as transformers has it, then ChatGLM 2 to 4 by their own code.
pub const CHATGLM_NAMES: &[Renaming] = &[
    name("embed_tokens", "token_embd"),
    name("norm", "output_norm"),
    name("lm_head", "output"),
    name("layers.*.input_layernorm", "blk.*.attn_norm"),
    name("layers.*.self_attn.q_proj", "blk.*.attn_q"),
    name("layers.*.self_attn.k_proj", "blk.*.attn_k"),
    name("layers.*.self_attn.v_proj", "blk.*.attn_v"),
    name("layers.*.self_attn.o_proj", "blk.*.attn_output"),
    name("layers.*.post_attention_layernorm", "blk.*.ffn_norm"),
    name("layers.*.mlp.gate_up_proj", "blk.*.ffn_up"),
    name("layers.*.mlp.down_proj", "blk.*.ffn_down"),
    name("embedding.word_embeddings", "token_embd"),
    name("encoder.layers.*.input_layernorm", "blk.*.attn_norm"),
    name("encoder.layers.*.self_attention.query_key_value", "blk.*.attn_qkv"),
    name("encoder.layers.*.self_attention.dense", "blk.*.attn_output"),
    name("encoder.layers.*.post_attention_layernorm", "blk.*.ffn_norm"),
    name("encoder.layers.*.mlp.dense_h_to_4h", "blk.*.ffn_up"),
    name("encoder.layers.*.mlp.dense_4h_to_h", "blk.*.ffn_down"),
    name("encoder.final_layernorm", "output_norm"),
    name("output_layer", "output"),
];

/// BERT, RoBERTa and XLM-RoBERTa; older files name the parts of norms as TensorFlow does.
pub const BERT_NAMES: &[Renaming] = &[
    name("embeddings.word_embeddings", "token_embd"),
    name("embeddings.position_embeddings", "position_embd").with(Change::BehindPadding),
    name("embeddings.token_type_embeddings", "token_types"),
    name("embeddings.LayerNorm", "token_embd_norm"),
    name("embeddings.LayerNorm.gamma", "token_embd_norm").ending(".weight"),
    name("embeddings.LayerNorm.beta", "token_embd_norm").ending(".bias"),
    name("encoder.layer.*.attention.self.query", "blk.*.attn_q"),
    name("encoder.layer.*.attention.self.key", "blk.*.attn_k"),
    name("encoder.layer.*.attention.self.value", "blk.*.attn_v"),
    name("encoder.layer.*.attention.output.dense", "blk.*.attn_output"),
    name("encoder.layer.*.attention.output.LayerNorm", "blk.*.attn_output_norm"),
    name("encoder.layer.*.attention.output.LayerNorm.gamma", "blk.*.attn_output_norm").ending(".weight"),
    name("encoder.layer.*.attention.output.LayerNorm.beta", "blk.*.attn_output_norm").ending(".bias"),
    name("encoder.layer.*.intermediate.dense", "blk.*.ffn_up"),
    name("encoder.layer.*.output.dense", "blk.*.ffn_down"),
    name("encoder.layer.*.output.LayerNorm", "blk.*.layer_output_norm"),
    name("encoder.layer.*.output.LayerNorm.gamma", "blk.*.layer_output_norm").ending(".weight"),
    name("encoder.layer.*.output.LayerNorm.beta", "blk.*.layer_output_norm").ending(".bias"),
];

/// Nomic Embed.
pub const NOMIC_NAMES: &[Renaming] = &[
    name("embeddings.word_embeddings", "token_embd"),
    name("embeddings.token_type_embeddings", "token_types"),
    name("emb_ln", "token_embd_norm"),
    name("encoder.layers.*.attn.Wqkv", "blk.*.attn_qkv"),
    name("encoder.layers.*.attn.out_proj", "blk.*.attn_output"),
    name("encoder.layers.*.norm1", "blk.*.attn_output_norm"),
    name("encoder.layers.*.mlp.fc11", "blk.*.ffn_up"),
    name("encoder.layers.*.mlp.fc12", "blk.*.ffn_gate"),
    name("encoder.layers.*.mlp.fc2", "blk.*.ffn_down"),
    name("encoder.layers.*.norm2", "blk.*.layer_output_norm"),
];

/// ModernBERT.
pub const MODERN_BERT_NAMES: &[Renaming] = &[
    name("embeddings.tok_embeddings", "token_embd"),
    name("embeddings.norm", "token_embd_norm"),
    name("layers.*.attn_norm", "blk.*.attn_norm"),
    name("layers.*.attn.Wqkv", "blk.*.attn_qkv"),
    name("layers.*.attn.Wo", "blk.*.attn_output"),
    name("layers.*.mlp_norm", "blk.*.ffn_norm"),
    name("layers.*.mlp.Wi", "blk.*.ffn_up"),
    name("layers.*.mlp.Wo", "blk.*.ffn_down"),
    name("final_norm", "output_norm"),
];

/// Gemma 4.
const GEMMA4_NAMES: &[Renaming] = &[
    name("embed_tokens_per_layer", "per_layer_token_embd"),
    name("per_layer_model_projection", "per_layer_model_proj"),
    name("per_layer_projection_norm", "per_layer_proj_norm"),
    name("layers.*.post_attention_layernorm", "blk.*.post_attention_norm"),
    name("layers.*.pre_feedforward_layernorm", "blk.*.ffn_norm"),
    name("layers.*.post_feedforward_layernorm", "blk.*.post_ffw_norm"),
    name("layers.*.per_layer_input_gate", "blk.*.inp_gate"),
    name("layers.*.per_layer_projection", "blk.*.proj"),
    name("layers.*.post_per_layer_input_norm", "blk.*.post_norm"),
    name("layers.*.layer_scalar", "blk.*.layer_output_scale"),
];

/// How Gemma 4 is stored: the part for text.
pub const GEMMA4_SOURCE: Source = Source {
    names: GEMMA4_NAMES,
    parameters: &[
        Parameter::GlobalHeads,
        Parameter::Count("attention.sliding_window", &["sliding_window"]),
        Parameter::WindowPattern(6),
        Parameter::CountOr("attention.shared_kv_layers", &["num_kv_shared_layers"], 0),
        Parameter::CountOr("embedding_length_per_layer_input", &["hidden_size_per_layer_input"], 0),
        Parameter::Number("final_logit_softcapping", &["final_logit_softcapping"]),
        Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    ],
    left_out: &["vision_tower.", "audio_tower.", "embed_vision.", "embed_audio."],
    space_prefix: Some(false),
    ..Source::TEXT_PART
};

/// Hunyuan with experts.
pub const HUNYUAN_MOE_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.query_layernorm", "blk.*.attn_q_norm"),
    name("layers.*.self_attn.key_layernorm", "blk.*.attn_k_norm"),
    name("layers.*.mlp.gate.wg", "blk.*.ffn_gate_inp"),
    name("layers.*.mlp.shared_mlp.gate_proj", "blk.*.ffn_gate_shexp"),
    name("layers.*.mlp.shared_mlp.up_proj", "blk.*.ffn_up_shexp"),
    name("layers.*.mlp.shared_mlp.down_proj", "blk.*.ffn_down_shexp"),
];

/// HY 3.
pub const HY_V3_NAMES: &[Renaming] = &[
    name("layers.*.mlp.router.gate", "blk.*.ffn_gate_inp"),
    name("layers.*.mlp.expert", "blk.*.exp_probs_b").ending(""),
    name("layers.*.mlp.shared_mlp.gate_proj", "blk.*.ffn_gate_shexp"),
    name("layers.*.mlp.shared_mlp.up_proj", "blk.*.ffn_up_shexp"),
    name("layers.*.mlp.shared_mlp.down_proj", "blk.*.ffn_down_shexp"),
];

/// InternLM 2: queries, keys and values by groups of heads in one.
pub const INTERNLM2_NAMES: &[Renaming] = &[
    name("tok_embeddings", "token_embd"),
    name("output", "output"),
    name("layers.*.attention_norm", "blk.*.attn_norm"),
    name("layers.*.attention.wqkv", "blk.*.attn_q").with(Change::KeyGroupPart { index: 0, as_neighbours: true }),
    name("layers.*.attention.wqkv", "blk.*.attn_k").with(Change::KeyGroupPart { index: 1, as_neighbours: true }),
    name("layers.*.attention.wqkv", "blk.*.attn_v").with(Change::KeyGroupPart { index: 2, as_neighbours: false }),
    name("layers.*.attention.wo", "blk.*.attn_output"),
    name("layers.*.ffn_norm", "blk.*.ffn_norm"),
    name("layers.*.feed_forward.w1", "blk.*.ffn_gate"),
    name("layers.*.feed_forward.w2", "blk.*.ffn_down"),
    name("layers.*.feed_forward.w3", "blk.*.ffn_up"),
];
