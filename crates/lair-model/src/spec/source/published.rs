//! Names of families whose code is published with their weights, and whose layout the converter of GGUF's own runtime knows.

use super::{Change, Renaming, Values, half, name, transposed};

/// Ling 1: queries, keys and values in one product.
pub const BAILINGMOE_NAMES: &[Renaming] = &[
    name("word_embeddings", "token_embd"),
    name("layers.*.attention.query_key_value", "blk.*.attn_q").with(Change::HeadPart { index: 0, as_neighbours: true }),
    name("layers.*.attention.query_key_value", "blk.*.attn_k").with(Change::HeadPart { index: 1, as_neighbours: true }),
    name("layers.*.attention.query_key_value", "blk.*.attn_v")
        .with(Change::HeadPart { index: 2, as_neighbours: false }),
    name("layers.*.attention.dense", "blk.*.attn_output"),
];

/// CogVLM: beside each expert for text one for pictures, which is not run, and without which llama.cpp does not load a file.
pub const COGVLM_NAMES: &[Renaming] = &[
    name("layers.*.self_attn.language_expert_query_key_value", "blk.*.attn_qkv"),
    name("layers.*.self_attn.language_expert_dense", "blk.*.attn_output"),
    name("layers.*.mlp.language_mlp.gate_proj", "blk.*.ffn_gate"),
    name("layers.*.mlp.language_mlp.up_proj", "blk.*.ffn_up"),
    name("layers.*.mlp.language_mlp.down_proj", "blk.*.ffn_down"),
    name("layers.*.self_attn.vision_expert_query_key_value", "blk.*.vis_attn_qkv"),
    name("layers.*.self_attn.vision_expert_dense", "blk.*.vis_attn_output"),
    name("layers.*.mlp.vision_mlp.gate_proj", "blk.*.vis_gate"),
    name("layers.*.mlp.vision_mlp.up_proj", "blk.*.vis_up"),
    name("layers.*.mlp.vision_mlp.down_proj", "blk.*.vis_down"),
];

/// A layer with a product in place of attention (DeciLM).
pub const DECI_NAMES: &[Renaming] = &[name("layers.*.self_attn.linear_attn", "blk.*.attn_output")];

/// Grok 1 as it was published for `transformers`, then Grok 2.
pub const GROK_NAMES: &[Renaming] = &[
    name("in_out_embed", "token_embd"),
    name("rms_norm", "output_norm"),
    name("decoder_layer.*.rms_norm", "blk.*.attn_norm"),
    name("decoder_layer.*.rms_norm_1", "blk.*.attn_output_norm"),
    name("decoder_layer.*.rms_norm_2", "blk.*.ffn_norm"),
    name("decoder_layer.*.rms_norm_3", "blk.*.layer_output_norm"),
    name("decoder_layer.*.multi_head_attention.query", "blk.*.attn_q"),
    name("decoder_layer.*.multi_head_attention.key", "blk.*.attn_k"),
    name("decoder_layer.*.multi_head_attention.value", "blk.*.attn_v"),
    name("decoder_layer.*.multi_head_attention.linear", "blk.*.attn_output"),
    name("decoder_layer.*.router", "blk.*.ffn_gate_inp"),
    name("decoder_layer.*.moe.*.linear", "blk.*.ffn_gate_exps"),
    name("decoder_layer.*.moe.*.linear_1", "blk.*.ffn_down_exps"),
    name("decoder_layer.*.moe.*.linear_v", "blk.*.ffn_up_exps"),
    name("layers.*.pre_attn_norm", "blk.*.attn_norm"),
    name("layers.*.post_attn_norm", "blk.*.attn_output_norm"),
    name("layers.*.pre_moe_norm", "blk.*.ffn_norm"),
    name("layers.*.post_moe_norm", "blk.*.post_ffw_norm"),
];

/// Jais: GPT-2's transposed products, a gate, and factors of the embedding and of the head within their weights.
pub const JAIS_NAMES: &[Renaming] = &[
    name("wte", "token_embd").of(Values::EmbeddingScale),
    name("lm_head", "output").of(Values::HeadScale),
    transposed("h.*.mlp.c_fc2", "blk.*.ffn_gate"),
];

/// Jina Embeddings 2, and the names of its model for code.
pub const JINA_2_NAMES: &[Renaming] = &[
    name("encoder.layer.*.attention.self.layer_norm_q", "blk.*.attn_q_norm"),
    name("encoder.layer.*.attention.self.layer_norm_k", "blk.*.attn_k_norm"),
    name("encoder.layer.*.layer_norm_1", "blk.*.attn_norm_2"),
    name("encoder.layer.*.layer_norm_2", "blk.*.layer_output_norm"),
    half("encoder.layer.*.mlp.gated_layers", "blk.*.ffn_gate", 0),
    half("encoder.layer.*.mlp.gated_layers", "blk.*.ffn_up", 1),
    name("encoder.layer.*.mlp.gated_layers_w", "blk.*.ffn_gate"),
    name("encoder.layer.*.mlp.gated_layers_v", "blk.*.ffn_up"),
    // Here the gate is the second.
    half("encoder.layer.*.mlp.up_gated_layer", "blk.*.ffn_up", 0),
    half("encoder.layer.*.mlp.up_gated_layer", "blk.*.ffn_gate", 1),
    name("encoder.layer.*.mlp.wo", "blk.*.ffn_down"),
    name("encoder.layer.*.mlp.down_layer", "blk.*.ffn_down"),
    name("encoder.layer.*.mlp.layernorm", "blk.*.layer_output_norm"),
];

/// NeoBERT.
pub const NEO_BERT_NAMES: &[Renaming] = &[
    name("encoder", "token_embd"),
    name("layer_norm", "enc.output_norm"),
    name("transformer_encoder.*.attention_norm", "blk.*.attn_norm"),
    name("transformer_encoder.*.qkv", "blk.*.attn_qkv"),
    name("transformer_encoder.*.wo", "blk.*.attn_output"),
    name("transformer_encoder.*.ffn_norm", "blk.*.ffn_norm"),
    name("transformer_encoder.*.ffn.w12", "blk.*.ffn_up"),
    name("transformer_encoder.*.ffn.w3", "blk.*.ffn_down"),
];

/// Nomic Embed 2: all experts of a layer in one matrix.
pub const NOMIC_MOE_NAMES: &[Renaming] = &[
    name("encoder.layers.*.mlp.fc1", "blk.*.ffn_up"),
    name("encoder.layers.*.mlp.router.layer", "blk.*.ffn_gate_inp"),
    name("encoder.layers.*.mlp.experts.mlp.w1", "blk.*.ffn_up_exps").with(Change::ExpertRows),
    name("encoder.layers.*.mlp.experts.mlp.w2", "blk.*.ffn_down_exps").with(Change::ExpertRowsTransposed),
];

/// OpenELM.
pub const OPENELM_NAMES: &[Renaming] = &[
    name("token_embeddings", "token_embd"),
    name("norm", "output_norm"),
    name("lm_head", "output"),
    name("layers.*.attn_norm", "blk.*.attn_norm"),
    name("layers.*.attn.qkv_proj", "blk.*.attn_qkv"),
    name("layers.*.attn.q_norm", "blk.*.attn_q_norm"),
    name("layers.*.attn.k_norm", "blk.*.attn_k_norm"),
    name("layers.*.attn.out_proj", "blk.*.attn_output"),
    name("layers.*.ffn_norm", "blk.*.ffn_norm"),
    half("layers.*.ffn.proj_1", "blk.*.ffn_gate", 0),
    half("layers.*.ffn.proj_1", "blk.*.ffn_up", 1),
    name("layers.*.ffn.proj_2", "blk.*.ffn_down"),
];

/// PLaMo 1, whose heads share keys in turn: the second query head uses the second key.
pub const PLAMO_NAMES: &[Renaming] = &[
    name("layers.layers.*.norm", "blk.*.attn_norm"),
    name("layers.layers.*.self_attn.q_proj", "blk.*.attn_q").with(Change::HeadsByKey),
    name("layers.layers.*.self_attn.k_proj", "blk.*.attn_k"),
    name("layers.layers.*.self_attn.v_proj", "blk.*.attn_v"),
    name("layers.layers.*.self_attn.o_proj", "blk.*.attn_output").with(Change::HeadColumnsByKey),
    name("layers.layers.*.mlp.gate_proj", "blk.*.ffn_gate"),
    name("layers.layers.*.mlp.up_proj", "blk.*.ffn_up"),
    name("layers.layers.*.mlp.down_proj", "blk.*.ffn_down"),
];

/// PLaMo 2 and 3. Norms add numbers of their own to their weights: 1, and behind a mixer or network the fifth of it and
/// `5^-1.5`.
pub const PLAMO_2_NAMES: &[Renaming] = &[
    name("norm", "output_norm").of(Values::Plus(1.0)),
    name("layers.layers.*.pre_mixer_norm", "blk.*.attn_norm").of(Values::Plus(1.0)),
    name("layers.layers.*.post_mixer_norm", "blk.*.post_attention_norm").of(Values::Plus(0.2)).ending(""),
    name("layers.layers.*.pre_mlp_norm", "blk.*.ffn_norm").of(Values::Plus(1.0)),
    name("layers.layers.*.post_mlp_norm", "blk.*.post_ffw_norm").of(Values::Plus(0.089_442_72)).ending(""),
    name("layers.layers.*.mlp.gate_up_proj", "blk.*.ffn_up"),
    name("layers.layers.*.mlp.down_proj", "blk.*.ffn_down"),
    name("layers.layers.*.mixer.qkv_proj", "blk.*.attn_qkv"),
    name("layers.layers.*.mixer.o_proj", "blk.*.attn_output"),
    name("layers.layers.*.mixer.q_norm", "blk.*.attn_q_norm").of(Values::Plus(1.0)),
    name("layers.layers.*.mixer.k_norm", "blk.*.attn_k_norm").of(Values::Plus(1.0)),
    // Those of the second.
    name("layers.layers.*.mixer.q_weight", "blk.*.attn_q_norm"),
    name("layers.layers.*.mixer.k_weight", "blk.*.attn_k_norm"),
    name("layers.layers.*.mixer.in_proj", "blk.*.ssm_in"),
    name("layers.layers.*.mixer.conv1d", "blk.*.ssm_conv1d").with(Change::Channels),
    name("layers.layers.*.mixer.bcdt_proj", "blk.*.ssm_x"),
    name("layers.layers.*.mixer.dt_proj", "blk.*.ssm_dt"),
    name("layers.layers.*.mixer.dt_bias", "blk.*.ssm_dt").ending(".bias"),
    name("layers.layers.*.mixer.dt_norm_weight", "blk.*.ssm_dt_norm").ending(""),
    name("layers.layers.*.mixer.B_norm_weight", "blk.*.ssm_b_norm").ending(""),
    name("layers.layers.*.mixer.C_norm_weight", "blk.*.ssm_c_norm").ending(""),
    name("layers.layers.*.mixer.A_log", "blk.*.ssm_a").of(Values::NegatedExponential).ending(""),
    name("layers.layers.*.mixer.D", "blk.*.ssm_d").ending(""),
    name("layers.layers.*.mixer.out_proj", "blk.*.ssm_out"),
];

/// Qwen 1.
pub const QWEN_NAMES: &[Renaming] = &[
    name("h.*.mlp.w1", "blk.*.ffn_up"),
    name("h.*.mlp.w2", "blk.*.ffn_gate"),
    name("h.*.mlp.c_proj", "blk.*.ffn_down"),
];

/// Refact.
pub const REFACT_NAMES: &[Renaming] = &[
    name("h.*.attn.q", "blk.*.attn_q"),
    half("h.*.attn.kv", "blk.*.attn_k", 0),
    half("h.*.attn.kv", "blk.*.attn_v", 1),
    half("h.*.mlp.gate_up_proj", "blk.*.ffn_gate", 0),
    half("h.*.mlp.gate_up_proj", "blk.*.ffn_up", 1),
];

/// Spark X2.5.
pub const SPARK_NAMES: &[Renaming] =
    &[name("layers.*.self_attn.q_k_v_proj", "blk.*.attn_qkv"), name("layers.*.self_attn.g_proj", "blk.*.attn_gate")];

/// Talkie, whose angles turn the other way: the second half of each head of queries and keys is negated.
pub const TALKIE_NAMES: &[Renaming] = &[
    name("embed", "token_embd"),
    name("lm_head", "output"),
    name("blocks.*.attn.attn_query", "blk.*.attn_q").of(Values::NegatedSecondHalves),
    name("blocks.*.attn.attn_key", "blk.*.attn_k").of(Values::NegatedSecondHalves),
    name("blocks.*.attn.attn_value", "blk.*.attn_v"),
    name("blocks.*.attn.attn_resid", "blk.*.attn_output"),
    name("blocks.*.attn.head_gain.head_g", "blk.*.attn_q_norm").with(Change::Column),
    name("blocks.*.attn_gain.a_g", "blk.*.attn_output").ending(".scale"),
    name("blocks.*.mlp.mlp_gate", "blk.*.ffn_gate"),
    name("blocks.*.mlp.mlp_linear", "blk.*.ffn_up"),
    name("blocks.*.mlp.mlp_resid", "blk.*.ffn_down"),
    name("blocks.*.mlp_gain.a_g", "blk.*.ffn_down").ending(".scale"),
    name("blocks.*.embed_skip.a_g", "blk.*.layer_output_scale"),
];

const fn shift(from: &'static str, place: usize) -> Renaming {
    Renaming::new(from, "blk.*.time_mix_lerp_fused").with(Change::Flat).at(place)
}

const fn flat(from: &'static str, to: &'static str) -> Renaming {
    Renaming::new(from, to).with(Change::Flat)
}

/// RWKV 6: shifts in one tensor, products of low rank transposed, and what the stream gets halved with its depth.
pub const RWKV6_NAMES: &[Renaming] = &[
    name("embeddings", "token_embd"),
    name("blocks.*.pre_ln", "token_embd_norm"),
    name("ln_out", "output_norm"),
    name("head", "output"),
    name("blocks.*.ln1", "blk.*.attn_norm"),
    name("blocks.*.ln2", "blk.*.attn_norm_2"),
    flat("blocks.*.attention.time_maa_x", "blk.*.time_mix_lerp_x"),
    shift("blocks.*.attention.time_maa_w", 0),
    shift("blocks.*.attention.time_maa_k", 1),
    shift("blocks.*.attention.time_maa_v", 2),
    shift("blocks.*.attention.time_maa_r", 3),
    shift("blocks.*.attention.time_maa_g", 4),
    transposed("blocks.*.attention.time_maa_w1", "blk.*.time_mix_w1"),
    transposed("blocks.*.attention.time_maa_w2", "blk.*.time_mix_w2"),
    flat("blocks.*.attention.time_decay", "blk.*.time_mix_decay"),
    transposed("blocks.*.attention.time_decay_w1", "blk.*.time_mix_decay_w1"),
    transposed("blocks.*.attention.time_decay_w2", "blk.*.time_mix_decay_w2"),
    name("blocks.*.attention.time_faaaa", "blk.*.time_mix_first"),
    name("blocks.*.attention.key", "blk.*.time_mix_key"),
    name("blocks.*.attention.value", "blk.*.time_mix_value"),
    name("blocks.*.attention.receptance", "blk.*.time_mix_receptance"),
    name("blocks.*.attention.gate", "blk.*.time_mix_gate"),
    name("blocks.*.attention.output", "blk.*.time_mix_output").of(Values::HalvedByDepth),
    name("blocks.*.attention.ln_x", "blk.*.time_mix_ln"),
    flat("blocks.*.feed_forward.time_maa_k", "blk.*.channel_mix_lerp_k"),
    flat("blocks.*.feed_forward.time_maa_r", "blk.*.channel_mix_lerp_r"),
    name("blocks.*.feed_forward.key", "blk.*.channel_mix_key"),
    name("blocks.*.feed_forward.value", "blk.*.channel_mix_value").of(Values::HalvedByDepth),
    name("blocks.*.feed_forward.receptance", "blk.*.channel_mix_receptance"),
];

/// RWKV 7. Files have numbers for the first layer's mixing of values too, which are not used: those of another mixing.
pub const RWKV7_NAMES: &[Renaming] = &[
    name("embeddings", "token_embd"),
    name("layers.*.pre_norm", "token_embd_norm"),
    name("layers.*.attn_norm", "blk.*.attn_norm"),
    name("layers.*.ffn_norm", "blk.*.attn_norm_2"),
    shift("layers.*.attn.x_r", 0),
    shift("layers.*.attn.x_w", 1),
    shift("layers.*.attn.x_k", 2),
    shift("layers.*.attn.x_v", 3),
    shift("layers.*.attn.x_a", 4),
    shift("layers.*.attn.x_g", 5),
    flat("layers.*.attn.k_k", "blk.*.time_mix_k_k"),
    flat("layers.*.attn.k_a", "blk.*.time_mix_k_a"),
    flat("layers.*.attn.r_k", "blk.*.time_mix_r_k"),
    name("layers.*.attn.r_proj", "blk.*.time_mix_receptance"),
    name("layers.*.attn.k_proj", "blk.*.time_mix_key"),
    name("layers.*.attn.v_proj", "blk.*.time_mix_value"),
    name("layers.*.attn.o_proj", "blk.*.time_mix_output"),
    name("layers.*.attn.g_norm", "blk.*.time_mix_ln"),
    name("layers.*.attn.w_lora.lora.0", "blk.*.time_mix_w1"),
    name("layers.*.attn.w_lora.lora.2", "blk.*.time_mix_w2"),
    name("layers.*.attn.w_lora.lora.2.bias", "blk.*.time_mix_w0").ending(".weight"),
    name("layers.*.attn.a_lora.lora.0", "blk.*.time_mix_a1"),
    name("layers.*.attn.a_lora.lora.2", "blk.*.time_mix_a2"),
    name("layers.*.attn.a_lora.lora.2.bias", "blk.*.time_mix_a0").ending(".weight"),
    name("layers.0.attn.a_lora.lora.0", "blk.0.time_mix_v1"),
    name("layers.0.attn.a_lora.lora.2", "blk.0.time_mix_v2"),
    name("layers.0.attn.a_lora.lora.2.bias", "blk.0.time_mix_v0").ending(".weight"),
    name("layers.*.attn.v_lora.lora.0", "blk.*.time_mix_v1"),
    name("layers.*.attn.v_lora.lora.2", "blk.*.time_mix_v2"),
    name("layers.*.attn.v_lora.lora.2.bias", "blk.*.time_mix_v0").ending(".weight"),
    name("layers.*.attn.g_lora.lora.0", "blk.*.time_mix_g1"),
    name("layers.*.attn.g_lora.lora.2", "blk.*.time_mix_g2"),
    flat("layers.*.ffn.x_k", "blk.*.channel_mix_lerp_k"),
    name("layers.*.ffn.key", "blk.*.channel_mix_key"),
    name("layers.*.ffn.value", "blk.*.channel_mix_value"),
];

/// RWKV 7 distilled from Qwen 2.5, whose products of low rank are transposed.
pub const ARWKV7_NAMES: &[Renaming] = &[
    shift("layers.*.self_attn.time_mixer.x_r", 0),
    shift("layers.*.self_attn.time_mixer.x_w", 1),
    shift("layers.*.self_attn.time_mixer.x_k", 2),
    shift("layers.*.self_attn.time_mixer.x_v", 3),
    shift("layers.*.self_attn.time_mixer.x_a", 4),
    shift("layers.*.self_attn.time_mixer.x_g", 5),
    flat("layers.*.self_attn.time_mixer.w0", "blk.*.time_mix_w0"),
    flat("layers.*.self_attn.time_mixer.a0", "blk.*.time_mix_a0"),
    flat("layers.0.self_attn.time_mixer.a0", "blk.0.time_mix_v0"),
    flat("layers.*.self_attn.time_mixer.v0", "blk.*.time_mix_v0"),
    flat("layers.*.self_attn.time_mixer.k_k", "blk.*.time_mix_k_k"),
    flat("layers.*.self_attn.time_mixer.k_a", "blk.*.time_mix_k_a"),
    flat("layers.*.self_attn.time_mixer.r_k", "blk.*.time_mix_r_k"),
    transposed("layers.*.self_attn.time_mixer.w1", "blk.*.time_mix_w1"),
    transposed("layers.*.self_attn.time_mixer.w2", "blk.*.time_mix_w2"),
    transposed("layers.*.self_attn.time_mixer.a1", "blk.*.time_mix_a1"),
    transposed("layers.*.self_attn.time_mixer.a2", "blk.*.time_mix_a2"),
    transposed("layers.0.self_attn.time_mixer.a1", "blk.0.time_mix_v1"),
    transposed("layers.0.self_attn.time_mixer.a2", "blk.0.time_mix_v2"),
    transposed("layers.*.self_attn.time_mixer.v1", "blk.*.time_mix_v1"),
    transposed("layers.*.self_attn.time_mixer.v2", "blk.*.time_mix_v2"),
    transposed("layers.*.self_attn.time_mixer.g1", "blk.*.time_mix_g1"),
    transposed("layers.*.self_attn.time_mixer.g2", "blk.*.time_mix_g2"),
    name("layers.*.self_attn.time_mixer.receptance", "blk.*.time_mix_receptance"),
    name("layers.*.self_attn.time_mixer.key", "blk.*.time_mix_key"),
    name("layers.*.self_attn.time_mixer.value", "blk.*.time_mix_value"),
    name("layers.*.self_attn.time_mixer.output", "blk.*.time_mix_output"),
    name("layers.*.self_attn.time_mixer.ln_x", "blk.*.time_mix_ln"),
];
