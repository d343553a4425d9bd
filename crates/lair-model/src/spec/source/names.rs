//! Names of checkpoints that are near to Llama's, GPT-2's or Mixtral's.

use super::{Change, Derived, Parameter, Renaming, half, name, transposed};

/// Llama, and nearly all that came after it.
pub const LLAMA_NAMES: &[Renaming] = &[
    name("embed_tokens", "token_embd"),
    name("norm", "output_norm"),
    name("lm_head", "output"),
    name("layers.*.input_layernorm", "blk.*.attn_norm"),
    name("layers.*.self_attn.q_proj", "blk.*.attn_q"),
    name("layers.*.self_attn.k_proj", "blk.*.attn_k"),
    name("layers.*.self_attn.v_proj", "blk.*.attn_v"),
    name("layers.*.self_attn.o_proj", "blk.*.attn_output"),
    name("layers.*.self_attn.q_norm", "blk.*.attn_q_norm"),
    name("layers.*.self_attn.k_norm", "blk.*.attn_k_norm"),
    name("layers.*.post_attention_layernorm", "blk.*.ffn_norm"),
    name("layers.*.mlp.gate_proj", "blk.*.ffn_gate"),
    name("layers.*.mlp.up_proj", "blk.*.ffn_up"),
    name("layers.*.mlp.down_proj", "blk.*.ffn_down"),
    // Experts, one by one or all in one tensor.
    name("layers.*.mlp.gate", "blk.*.ffn_gate_inp"),
    name("layers.*.mlp.experts.*.gate_proj", "blk.*.ffn_gate_exps"),
    name("layers.*.mlp.experts.*.up_proj", "blk.*.ffn_up_exps"),
    name("layers.*.mlp.experts.*.down_proj", "blk.*.ffn_down_exps"),
    half("layers.*.mlp.experts.gate_up_proj", "blk.*.ffn_gate_exps", 0),
    half("layers.*.mlp.experts.gate_up_proj", "blk.*.ffn_up_exps", 1),
    name("layers.*.mlp.experts.down_proj", "blk.*.ffn_down_exps"),
    name("layers.*.mlp.gate.e_score_correction", "blk.*.exp_probs_b"),
    name("layers.*.mlp.shared_expert.gate_proj", "blk.*.ffn_gate_shexp"),
    name("layers.*.mlp.shared_expert.up_proj", "blk.*.ffn_up_shexp"),
    name("layers.*.mlp.shared_expert.down_proj", "blk.*.ffn_down_shexp"),
    name("layers.*.mlp.shared_expert_gate", "blk.*.ffn_gate_inp_shexp"),
    name("layers.*.mlp.shared_experts.gate_proj", "blk.*.ffn_gate_shexp"),
    name("layers.*.mlp.shared_experts.up_proj", "blk.*.ffn_up_shexp"),
    name("layers.*.mlp.shared_experts.down_proj", "blk.*.ffn_down_shexp"),
    // Mixtral's.
    name("layers.*.block_sparse_moe.gate", "blk.*.ffn_gate_inp"),
    name("layers.*.block_sparse_moe.experts.*.w1", "blk.*.ffn_gate_exps"),
    name("layers.*.block_sparse_moe.experts.*.w2", "blk.*.ffn_down_exps"),
    name("layers.*.block_sparse_moe.experts.*.w3", "blk.*.ffn_up_exps"),
    name("layers.*.block_sparse_moe.e_score_correction", "blk.*.exp_probs_b"),
];

/// Norms before and after both halves, the later ones under the names that others have for the former.
pub const SANDWICH_NAMES: &[Renaming] = &[
    name("layers.*.post_attention_layernorm", "blk.*.post_attention_norm"),
    name("layers.*.pre_feedforward_layernorm", "blk.*.ffn_norm"),
    name("layers.*.post_feedforward_layernorm", "blk.*.post_ffw_norm"),
];

/// GPT-2, whose weights are transposed.
pub const GPT2_NAMES: &[Renaming] = &[
    transposed("h.*.attn.c_attn", "blk.*.attn_qkv"),
    transposed("h.*.attn.c_proj", "blk.*.attn_output"),
    transposed("h.*.mlp.c_fc", "blk.*.ffn_up"),
    transposed("h.*.mlp.c_proj", "blk.*.ffn_down"),
];

/// GPT-2's names for what it shares with StarCoder.
pub const GPT_NAMES: &[Renaming] = &[
    name("wte", "token_embd"),
    name("wpe", "position_embd"),
    name("h.*.ln_1", "blk.*.attn_norm"),
    name("h.*.attn.c_attn", "blk.*.attn_qkv"),
    name("h.*.attn.c_proj", "blk.*.attn_output"),
    name("h.*.ln_2", "blk.*.ffn_norm"),
    name("h.*.mlp.c_fc", "blk.*.ffn_up"),
    name("h.*.mlp.c_proj", "blk.*.ffn_down"),
    name("ln_f", "output_norm"),
    name("lm_head", "output"),
];

/// Phi 1 to 2.
pub const PHI_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.dense", "blk.*.attn_output"),
    name("layers.*.mlp.fc1", "blk.*.ffn_up"),
    name("layers.*.mlp.fc2", "blk.*.ffn_down"),
    name("final_layernorm", "output_norm"),
];

/// Fused products as Phi 3 has them; GGUF files keep them fused.
pub const FUSED_NAMES: &[Renaming] =
    &[name("layers.*.self_attn.qkv_proj", "blk.*.attn_qkv"), name("layers.*.mlp.gate_up_proj", "blk.*.ffn_up")];

/// GLM 4: fused gates, and norms behind both halves.
pub const GLM4_NAMES: &[Renaming] = &[
    name("layers.*.mlp.gate_up_proj", "blk.*.ffn_up"),
    name("layers.*.post_self_attn_layernorm", "blk.*.post_attention_norm"),
    name("layers.*.post_mlp_layernorm", "blk.*.post_ffw_norm"),
];

/// The norm before the feed-forward network under the name of what stands before it.
pub const POST_ATTENTION_NAMES: &[Renaming] = &[name("layers.*.post_attention_layernorm", "blk.*.post_attention_norm")];

/// StarCoder 2.
pub const STARCODER2_NAMES: &[Renaming] =
    &[name("layers.*.mlp.c_fc", "blk.*.ffn_up"), name("layers.*.mlp.c_proj", "blk.*.ffn_down")];

/// GPT-NeoX.
pub const GPTNEOX_NAMES: &[Renaming] = &[
    name("embed_in", "token_embd"),
    name("embed_out", "output"),
    name("final_layer_norm", "output_norm"),
    name("layers.*.input_layernorm", "blk.*.attn_norm"),
    name("layers.*.attention.query_key_value", "blk.*.attn_qkv"),
    name("layers.*.attention.dense", "blk.*.attn_output"),
    name("layers.*.post_attention_layernorm", "blk.*.ffn_norm"),
    name("layers.*.mlp.dense_h_to_4h", "blk.*.ffn_up"),
    name("layers.*.mlp.dense_4h_to_h", "blk.*.ffn_down"),
];

/// BLOOM.
pub const BLOOM_NAMES: &[Renaming] = &[
    name("word_embeddings", "token_embd"),
    name("word_embeddings_layernorm", "token_embd_norm"),
    name("h.*.input_layernorm", "blk.*.attn_norm"),
    name("h.*.self_attention.query_key_value", "blk.*.attn_qkv"),
    name("h.*.self_attention.dense", "blk.*.attn_output"),
    name("h.*.post_attention_layernorm", "blk.*.ffn_norm"),
    name("h.*.mlp.dense_h_to_4h", "blk.*.ffn_up"),
    name("h.*.mlp.dense_4h_to_h", "blk.*.ffn_down"),
    name("ln_f", "output_norm"),
    name("lm_head", "output"),
];

/// EXAONE 3.
pub const EXAONE_NAMES: &[Renaming] = &[
    name("wte", "token_embd"),
    name("ln_f", "output_norm"),
    name("lm_head", "output"),
    name("h.*.ln_1", "blk.*.attn_norm"),
    name("h.*.attn.attention.q_proj", "blk.*.attn_q"),
    name("h.*.attn.attention.k_proj", "blk.*.attn_k"),
    name("h.*.attn.attention.v_proj", "blk.*.attn_v"),
    name("h.*.attn.attention.out_proj", "blk.*.attn_output"),
    name("h.*.ln_2", "blk.*.ffn_norm"),
    name("h.*.mlp.c_fc_0", "blk.*.ffn_gate"),
    name("h.*.mlp.c_fc_1", "blk.*.ffn_up"),
    name("h.*.mlp.c_proj", "blk.*.ffn_down"),
];

/// Baichuan's queries, keys and values in one product.
pub const BAICHUAN_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.W_pack", "blk.*.attn_q").with(Change::HeadPart { index: 0, as_neighbours: true }),
    name("layers.*.self_attn.W_pack", "blk.*.attn_k").with(Change::HeadPart { index: 1, as_neighbours: true }),
    name("layers.*.self_attn.W_pack", "blk.*.attn_v").with(Change::HeadPart { index: 2, as_neighbours: false }),
];

/// LLaDA.
pub const LLADA_NAMES: &[Renaming] = &[
    name("wte", "token_embd"),
    name("ln_f", "output_norm"),
    name("ff_out", "output"),
    name("blocks.*.attn_norm", "blk.*.attn_norm"),
    name("blocks.*.q_proj", "blk.*.attn_q"),
    name("blocks.*.k_proj", "blk.*.attn_k"),
    name("blocks.*.v_proj", "blk.*.attn_v"),
    name("blocks.*.attn_out", "blk.*.attn_output"),
    name("blocks.*.ff_norm", "blk.*.ffn_norm"),
    name("blocks.*.ff_proj", "blk.*.ffn_gate"),
    name("blocks.*.up_proj", "blk.*.ffn_up"),
    name("blocks.*.ff_out", "blk.*.ffn_down"),
];
/// The scores for the choice of ERNIE's experts.
pub const ERNIE_MOE_NAMES: &[Renaming] = &[name("layers.*.mlp.moe_statics.e_score_correction", "blk.*.exp_probs_b")];

/// Hunyuan's norms of queries and keys.
pub const HUNYUAN_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.query_layernorm", "blk.*.attn_q_norm"),
    name("layers.*.self_attn.key_layernorm", "blk.*.attn_k_norm"),
];

/// Granite's experts, gates and inputs of all of them in one tensor.
pub const GRANITEMOE_NAMES: &[Renaming] = &[
    name("layers.*.block_sparse_moe.router.layer", "blk.*.ffn_gate_inp"),
    half("layers.*.block_sparse_moe.input_linear", "blk.*.ffn_gate_exps", 0),
    half("layers.*.block_sparse_moe.input_linear", "blk.*.ffn_up_exps", 1),
    name("layers.*.block_sparse_moe.output_linear", "blk.*.ffn_down_exps"),
    half("layers.*.shared_mlp.input_linear", "blk.*.ffn_gate_shexp", 0),
    half("layers.*.shared_mlp.input_linear", "blk.*.ffn_up_shexp", 1),
    name("layers.*.shared_mlp.output_linear", "blk.*.ffn_down_shexp"),
];

/// Attention over compressed keys and values, their widening products in one (DeepSeek V2).
pub const LATENT_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.q_a_proj", "blk.*.attn_q_a"),
    name("layers.*.self_attn.q_a_layernorm", "blk.*.attn_q_a_norm"),
    name("layers.*.self_attn.q_b_proj", "blk.*.attn_q_b"),
    name("layers.*.self_attn.kv_a_proj_with_mqa", "blk.*.attn_kv_a_mqa"),
    name("layers.*.self_attn.kv_a_layernorm", "blk.*.attn_kv_a_norm"),
    name("layers.*.self_attn.kv_b_proj", "blk.*.attn_kv_b"),
];

/// Hyper-parameters of DeepSeek V2 and V3.
pub const LATENT_PARAMETERS: &[Parameter] = &[
    Parameter::Count("attention.q_lora_rank", &["q_lora_rank"]),
    Parameter::Count("attention.kv_lora_rank", &["kv_lora_rank"]),
    Parameter::Sum("attention.key_length", ["qk_nope_head_dim", "qk_rope_head_dim"]),
    Parameter::Count("attention.value_length", &["v_head_dim"]),
    Parameter::Count("rope.dimension_count", &["qk_rope_head_dim"]),
    Parameter::YarnSlope,
    Parameter::Count("expert_feed_forward_length", &["moe_intermediate_size"]),
    Parameter::Count("expert_shared_count", &["n_shared_experts"]),
    Parameter::CountOr("leading_dense_block_count", &["first_k_dense_replace"], 0),
    Parameter::Number("expert_weights_scale", &["routed_scaling_factor"]),
    Parameter::Flag("expert_weights_norm", &["norm_topk_prob"]),
    // Whatever files of V2 say, or do not.
    Parameter::Derived(Derived::GatesOfClass("DeepseekV3ForCausalLM", 2)),
];

/// Ling 2.
pub const BAILING_NAMES: &[Renaming] = &[
    name("word_embeddings", "token_embd"),
    name("layers.*.attention.query_key_value", "blk.*.attn_qkv"),
    name("layers.*.attention.query_layernorm", "blk.*.attn_q_norm"),
    name("layers.*.attention.key_layernorm", "blk.*.attn_k_norm"),
    name("layers.*.attention.dense", "blk.*.attn_output"),
    name("layers.*.mlp.gate.expert", "blk.*.exp_probs_b"),
];

/// Trinity.
pub const AFMOE_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.gate_proj", "blk.*.attn_gate"),
    name("layers.*.post_attention_layernorm", "blk.*.post_attention_norm"),
    name("layers.*.pre_mlp_layernorm", "blk.*.ffn_norm"),
    name("layers.*.post_mlp_layernorm", "blk.*.post_ffw_norm"),
    name("layers.*.mlp.router.gate", "blk.*.ffn_gate_inp"),
    name("layers.*.mlp.expert", "blk.*.exp_probs_b"),
];

/// Arctic's dense network and the norms before both.
pub const ARCTIC_NAMES: &[Renaming] = &[
    name("layers.*.residual_layernorm", "blk.*.ffn_norm"),
    name("layers.*.post_attention_layernorm", "blk.*.ffn_norm_exps"),
    name("layers.*.residual_mlp.w1", "blk.*.ffn_gate"),
    name("layers.*.residual_mlp.w2", "blk.*.ffn_down"),
    name("layers.*.residual_mlp.w3", "blk.*.ffn_up"),
];

/// SmallThinker's experts.
pub const SMALLTHINKER_NAMES: &[Renaming] = &[
    name("layers.*.block_sparse_moe.primary_router", "blk.*.ffn_gate_inp"),
    name("layers.*.block_sparse_moe.experts.*.gate", "blk.*.ffn_gate_exps"),
    name("layers.*.block_sparse_moe.experts.*.up", "blk.*.ffn_up_exps"),
    name("layers.*.block_sparse_moe.experts.*.down", "blk.*.ffn_down_exps"),
];

/// K-EXAONE's scores for the choice.
pub const EXAONE_MOE_NAMES: &[Renaming] = &[name("layers.*.mlp.e_score_correction", "blk.*.exp_probs_b")];

/// GroveMoE's smaller experts, one for a group of the others.
pub const GROVEMOE_NAMES: &[Renaming] = &[
    name("layers.*.mlp.chunk_experts.*.gate_proj", "blk.*.ffn_gate_chexps"),
    name("layers.*.mlp.chunk_experts.*.up_proj", "blk.*.ffn_up_chexps"),
    name("layers.*.mlp.chunk_experts.*.down_proj", "blk.*.ffn_down_chexps"),
];

/// The vision part of a model whose text part is converted.
pub const VISION: &[&str] = &["vision_tower.", "vision_model.", "multi_modal_projector.", "visual."];
