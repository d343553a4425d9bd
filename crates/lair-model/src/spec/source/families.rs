//! Names of models that share few with others: an encoder with a decoder, hybrids, residual streams.

use super::{Change, Parameter, Renaming, Source, Values, name};

/// T5 and its like.
pub const T5_NAMES: &[Renaming] = &[
    name("shared", "token_embd"),
    name("shared", "output").of(Values::ScaledHead),
    name("lm_head", "output").of(Values::ScaledHead),
    name("encoder.block.*.layer.0.layer_norm", "enc.blk.*.attn_norm"),
    name("encoder.block.*.layer.0.SelfAttention.q", "enc.blk.*.attn_q"),
    name("encoder.block.*.layer.0.SelfAttention.k", "enc.blk.*.attn_k"),
    name("encoder.block.*.layer.0.SelfAttention.v", "enc.blk.*.attn_v"),
    name("encoder.block.*.layer.0.SelfAttention.o", "enc.blk.*.attn_o"),
    name("encoder.block.*.layer.0.SelfAttention.relative_attention_bias", "enc.blk.*.attn_rel_b"),
    name("encoder.block.*.layer.1.layer_norm", "enc.blk.*.ffn_norm"),
    name("encoder.block.*.layer.1.DenseReluDense.wi", "enc.blk.*.ffn_up"),
    name("encoder.block.*.layer.1.DenseReluDense.wi_0", "enc.blk.*.ffn_gate"),
    name("encoder.block.*.layer.1.DenseReluDense.wi_1", "enc.blk.*.ffn_up"),
    name("encoder.block.*.layer.1.DenseReluDense.wo", "enc.blk.*.ffn_down"),
    name("encoder.final_layer_norm", "enc.output_norm"),
    name("decoder.block.*.layer.0.layer_norm", "dec.blk.*.attn_norm"),
    name("decoder.block.*.layer.0.SelfAttention.q", "dec.blk.*.attn_q"),
    name("decoder.block.*.layer.0.SelfAttention.k", "dec.blk.*.attn_k"),
    name("decoder.block.*.layer.0.SelfAttention.v", "dec.blk.*.attn_v"),
    name("decoder.block.*.layer.0.SelfAttention.o", "dec.blk.*.attn_o"),
    name("decoder.block.*.layer.0.SelfAttention.relative_attention_bias", "dec.blk.*.attn_rel_b"),
    name("decoder.block.*.layer.1.layer_norm", "dec.blk.*.cross_attn_norm"),
    name("decoder.block.*.layer.1.EncDecAttention.q", "dec.blk.*.cross_attn_q"),
    name("decoder.block.*.layer.1.EncDecAttention.k", "dec.blk.*.cross_attn_k"),
    name("decoder.block.*.layer.1.EncDecAttention.v", "dec.blk.*.cross_attn_v"),
    name("decoder.block.*.layer.1.EncDecAttention.o", "dec.blk.*.cross_attn_o"),
    name("decoder.block.*.layer.2.layer_norm", "dec.blk.*.ffn_norm"),
    name("decoder.block.*.layer.2.DenseReluDense.wi", "dec.blk.*.ffn_up"),
    name("decoder.block.*.layer.2.DenseReluDense.wi_0", "dec.blk.*.ffn_gate"),
    name("decoder.block.*.layer.2.DenseReluDense.wi_1", "dec.blk.*.ffn_up"),
    name("decoder.block.*.layer.2.DenseReluDense.wo", "dec.blk.*.ffn_down"),
    name("decoder.final_layer_norm", "dec.output_norm"),
];

/// Gemma 3n.
const GEMMA3N_NAMES: &[Renaming] = &[
    name("embed_tokens_per_layer", "per_layer_token_embd"),
    name("per_layer_model_projection", "per_layer_model_proj"),
    name("per_layer_projection_norm", "per_layer_proj_norm"),
    name("altup_projections.*", "altup_proj"),
    name("altup_unembed_projections.*", "altup_unembd_proj"),
    name("layers.*.post_attention_layernorm", "blk.*.post_attention_norm"),
    name("layers.*.pre_feedforward_layernorm", "blk.*.ffn_norm"),
    name("layers.*.post_feedforward_layernorm", "blk.*.post_ffw_norm"),
    name("layers.*.per_layer_input_gate", "blk.*.inp_gate"),
    name("layers.*.per_layer_projection", "blk.*.proj"),
    name("layers.*.post_per_layer_input_norm", "blk.*.post_norm"),
    name("layers.*.altup.correct_output_scale", "blk.*.altup_correct_scale"),
    name("layers.*.altup.correction_coefs", "blk.*.altup_correct_coef"),
    name("layers.*.altup.prediction_coefs", "blk.*.altup_predict_coef"),
    name("layers.*.altup.modality_router", "blk.*.altup_router"),
    name("layers.*.altup.router_norm", "blk.*.altup_router_norm"),
    name("layers.*.laurel.linear_left", "blk.*.laurel_l"),
    name("layers.*.laurel.linear_right", "blk.*.laurel_r"),
    name("layers.*.laurel.post_laurel_norm", "blk.*.laurel_post_norm"),
];

/// How Gemma 3n is stored: the part for text.
pub const GEMMA3N_SOURCE: Source = Source {
    names: GEMMA3N_NAMES,
    parameters: &[
        Parameter::VocabularySize,
        Parameter::Count("attention.sliding_window", &["sliding_window"]),
        Parameter::WindowPattern(5),
        Parameter::CountOr("attention.shared_kv_layers", &["num_kv_shared_layers"], 0),
        Parameter::Count("embedding_length_per_layer_input", &["hidden_size_per_layer_input"]),
        Parameter::CountOr("altup.active_idx", &["altup_active_idx"], 0),
        Parameter::Count("altup.num_inputs", &["altup_num_inputs"]),
        Parameter::Number("final_logit_softcapping", &["final_logit_softcapping"]),
    ],
    left_out: &["vision_tower.", "audio_tower.", "embed_vision.", "embed_audio."],
    space_prefix: Some(false),
    ..Source::TEXT_PART
};

/// Falcon-H1, whose multipliers files have in the weights.
pub const FALCON_H1_NAMES: &[Renaming] = &[
    name("embed_tokens", "token_embd").of(Values::Times(&["embedding_multiplier"])),
    name("final_layernorm", "output_norm"),
    name("lm_head", "output").of(Values::Times(&["lm_head_multiplier"])),
    name("layers.*.input_layernorm", "blk.*.attn_norm"),
    // The one norm of files whose name has no end.
    name("layers.*.pre_ff_layernorm", "blk.*.ffn_norm").ending(""),
    name("layers.*.self_attn.q_proj", "blk.*.attn_q").of(Values::Times(&["attention_in_multiplier"])),
    name("layers.*.self_attn.k_proj", "blk.*.attn_k").of(Values::Times(&["attention_in_multiplier", "key_multiplier"])),
    name("layers.*.self_attn.v_proj", "blk.*.attn_v").of(Values::Times(&["attention_in_multiplier"])),
    name("layers.*.self_attn.o_proj", "blk.*.attn_output").of(Values::Times(&["attention_out_multiplier"])),
    name("layers.*.mamba.in_proj", "blk.*.ssm_in").of(Values::TimesStateInputs("ssm_in_multiplier")),
    name("layers.*.mamba.conv1d", "blk.*.ssm_conv1d").with(Change::Channels),
    name("layers.*.mamba.dt_bias", "blk.*.ssm_dt").ending(".bias"),
    name("layers.*.mamba.A_log", "blk.*.ssm_a").with(Change::Column).of(Values::NegatedExponential).ending(""),
    name("layers.*.mamba.D", "blk.*.ssm_d").with(Change::Column).ending(""),
    name("layers.*.mamba.norm", "blk.*.ssm_norm").with(Change::StateGroups),
    name("layers.*.mamba.out_proj", "blk.*.ssm_out").of(Values::Times(&["ssm_out_multiplier"])),
    name("layers.*.feed_forward.gate_proj", "blk.*.ffn_gate").of(Values::Times(&["mlp_multipliers.0"])),
    name("layers.*.feed_forward.up_proj", "blk.*.ffn_up"),
    name("layers.*.feed_forward.down_proj", "blk.*.ffn_down").of(Values::Times(&["mlp_multipliers.1"])),
];

/// DBRX: experts one behind the other in a matrix.
pub const DBRX_NAMES: &[Renaming] = &[
    name("wte", "token_embd"),
    name("norm_f", "output_norm"),
    name("lm_head", "output"),
    name("blocks.*.norm_attn_norm.norm_1", "blk.*.attn_norm"),
    name("blocks.*.norm_attn_norm.norm_2", "blk.*.attn_output_norm"),
    name("blocks.*.norm_attn_norm.attn.Wqkv", "blk.*.attn_qkv"),
    name("blocks.*.norm_attn_norm.attn.out_proj", "blk.*.attn_output"),
    name("blocks.*.ffn.router.layer", "blk.*.ffn_gate_inp"),
    name("blocks.*.ffn.experts.mlp.w1", "blk.*.ffn_gate_exps").with(Change::ExpertRows),
    name("blocks.*.ffn.experts.mlp.v1", "blk.*.ffn_up_exps").with(Change::ExpertRows),
    name("blocks.*.ffn.experts.mlp.w2", "blk.*.ffn_down_exps").with(Change::ExpertRowsTransposed),
];
