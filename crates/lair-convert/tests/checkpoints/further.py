"""Models of `make.py` that came later: hybrids, encoders with decoders, text parts of models that see, and what reads few keys.

Each is a class of `transformers`, the name of its configuration and the keys of a tiny one.
"""

import torch

V = 320
PLAIN = dict(rope_type="default", rope_theta=10000.0)
COMMON = dict(vocab_size=V, bos_token_id=0, eos_token_id=0, pad_token_id=0)
LLAMA = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=128, **COMMON)
FOUR = {**LLAMA, "num_hidden_layers": 4}
MLA = dict(kv_lora_rank=16, q_lora_rank=24, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=12, n_routed_experts=4,
           n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=16,
           **{**LLAMA, "num_key_value_heads": 4})
# Of contexts as long as the test's all keys are chosen. llama.cpp rotates the indexer's heads by parts of 64 elements.
INDEX = dict(index_topk=128, index_head_dim=64, index_n_heads=2)
# Scores that grow behind eight positions.
GROWING = dict(rope_type="yarn", rope_theta=10000.0, factor=16.0, original_max_position_embeddings=8, beta_fast=32.0, beta_slow=1.0,
               mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.5)
T5 = dict(vocab_size=V, d_model=32, d_kv=8, d_ff=64, num_layers=3, num_heads=4, relative_attention_num_buckets=8,
          decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
# Tensors that a class stores and computes itself: left out, so that it does.
COMPUTED = (".slope_rate", "_decay")
VISION = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
# Chameleon's tokens of pictures. The class knows them by name, for which there is no room here.
PICTURES = (4, 8196)


def without_pictures(logits):
    """The logits as the class gives them where `vocabulary_map` names the tokens of pictures."""
    logits = logits[-1:].clone()
    logits[:, slice(*PICTURES)] = torch.finfo(logits.dtype).min
    return logits


OUTPUTS = {"chameleon": without_pictures}


def experts_of_tokens(name, made):
    """Which experts the tokens of a layer go to; classes begin with the same for all."""
    if not name.endswith(".tid2eid"):
        return made
    rows, columns = made.shape
    layer = int(name.split("layers.")[1].split(".")[0])
    return (torch.arange(rows)[:, None] * 7 + layer + torch.arange(columns) * (1 + torch.arange(rows)[:, None] % 3)) % 4


# Of the keys of four tokens each fewer are read than there are; those of eight are all read.
DEEPSEEK4 = dict(
    **{**LLAMA, "num_hidden_layers": 4, "num_key_value_heads": 1}, head_dim=16, q_lora_rank=24, partial_rotary_factor=0.5,
    num_experts_per_tok=2, n_routed_experts=4, hc_mult=4, swiglu_limit=0.05, sliding_window=16, o_groups=2, o_lora_rank=8,
    index_n_heads=4, index_head_dim=16, index_topk=3,
    layer_types=["sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention",
                 "compressed_sparse_attention"],
    compress_rates=dict(compressed_sparse_attention=4, heavily_compressed_attention=8),
    mlp_layer_types=["hash_moe", "hash_moe", "moe", "moe"],
    rope_parameters=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=32, beta_slow=1))

MODELS = {
    "apertus": ("ApertusForCausalLM", "ApertusConfig", dict(**LLAMA)),
    "bailingmoe3": ("BailingHybridForCausalLM", "BailingHybridConfig", dict(
        **{**MLA, "num_hidden_layers": 4, "q_lora_rank": None}, n_group=2, topk_group=1, first_k_dense_replace=1, head_dim=8,
        layer_group_size=2, num_local_experts=4, num_mtp_layers=0)),
    "bitnet": ("BitNetForCausalLM", "BitNetConfig", dict(**LLAMA, hidden_act="silu", tie_word_embeddings=True)),
    "chameleon": ("ChameleonForConditionalGeneration", "ChameleonConfig", dict(
        **{**LLAMA, "vocab_size": PICTURES[1] + 24}, vocabulary_map={"<image>": 3}, vq_config=dict(
            embed_dim=4, num_embeddings=8, latent_channels=4, resolution=8, base_channels=32, channel_multiplier=[1],
            num_res_blocks=1))),
    "cohere2moe": ("Cohere2MoeForCausalLM", "Cohere2MoeConfig", dict(
        **FOUR, head_dim=8, logit_scale=0.25, sliding_window=16, num_experts=4, num_experts_per_tok=2, num_shared_experts=1,
        expert_selection_fn="sigmoid", first_k_dense_replace=1, prefix_dense_intermediate_size=48)),
    "dbrx": ("DbrxForCausalLM", "DbrxConfig", dict(
        d_model=32, n_heads=4, n_layers=2, max_seq_len=128, attn_config=dict(kv_n_heads=2, clip_qkv=0.2, rope_theta=10000.0),
        ffn_config=dict(ffn_hidden_size=16, moe_num_experts=4, moe_top_k=2), **COMMON)),
    "deepseek-ocr2": ("DeepseekOcr2ForConditionalGeneration", "DeepseekOcr2Config", dict(
        image_token_id=9, text_config=dict(
            **{**LLAMA, "num_key_value_heads": 4}, n_routed_experts=4, n_shared_experts=2, num_experts_per_tok=2,
            moe_intermediate_size=16, mlp_layer_types=["dense", "sparse"], topk_method="greedy"),
        vision_config=dict(
            sam_config=dict(hidden_size=16, output_channels=8, num_hidden_layers=1, num_attention_heads=2, image_size=32,
                            patch_size=8, window_size=2, global_attn_indexes=[0], downsample_channels=[8, 8]),
            encoder_config=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                                num_key_value_heads=2)))),
    "deepseek32": ("DeepseekV32ForCausalLM", "DeepseekV32Config", dict(
        **MLA, **INDEX, n_group=2, topk_group=1, first_k_dense_replace=1)),
    "deepseek4": ("DeepseekV4ForCausalLM", "DeepseekV4Config", DEEPSEEK4),
    # Lengths and a width that llama.cpp takes.
    "deepseek4-128": ("DeepseekV4ForCausalLM", "DeepseekV4Config", {
        **DEEPSEEK4, "index_head_dim": 64,
        "compress_rates": dict(compressed_sparse_attention=4, heavily_compressed_attention=128)}),
    "dots3note": ("Dots3NoteForConditionalGeneration", "Dots3NoteConfig", dict(
        text_config=dict(
            **{**MLA, "num_hidden_layers": 4}, **INDEX, head_dim=12, shared_experts_intermediate_size=16, sliding_window=16,
            layer_types=["indexed_attention", "indexed_attention", "sliding_attention", "sliding_attention"],
            per_layer_config={str(layer): dict(
                num_attention_heads=2, num_key_value_heads=2, q_lora_rank=24, kv_lora_rank=20, head_dim=16, qk_nope_head_dim=12,
                v_head_dim=10, qk_rope_head_dim=4) for layer in (2, 3)}),
        vision_config=dict(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_layer_types=["dense"],
            adapter_in_dim=16, adapter_out_dim=32),
        audio_config=dict(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, feature_size=8,
            downsample_hidden_size=8, adapter_input_size=16, adapter_out_dim=32))),
    "falcon-h1": ("FalconH1ForCausalLM", "FalconH1Config", dict(
        **LLAMA, mamba_d_ssm=48, mamba_n_heads=4, mamba_d_head=12, mamba_n_groups=2, mamba_d_state=8, mamba_chunk_size=16,
        mamba_rms_norm=True, mamba_norm_before_gate=False, lm_head_multiplier=0.5, embedding_multiplier=3.0,
        mlp_multipliers=[0.9, 1.2], key_multiplier=0.7, attention_out_multiplier=1.3, attention_in_multiplier=0.8,
        ssm_multipliers=[0.5, 0.6, 0.7, 0.8, 0.9], ssm_in_multiplier=1.5, ssm_out_multiplier=1.1)),
    # Wide networks: of the gates that count the class takes the deviation of all, the declaration that of a sample.
    "gemma3n": ("Gemma3nForCausalLM", "Gemma3nTextConfig", dict(
        **{**LLAMA, "hidden_size": 16, "intermediate_size": 16384, "num_attention_heads": 2, "num_key_value_heads": 1,
           "num_hidden_layers": 3}, head_dim=8, num_kv_shared_layers=0, sliding_window=16, vocab_size_per_layer_input=V,
        hidden_size_per_layer_input=256, laurel_rank=64, activation_sparsity_pattern=[0.95] * 3,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"])),
    "glm-dsa": ("GlmMoeDsaForCausalLM", "GlmMoeDsaConfig", dict(**MLA, **INDEX, first_k_dense_replace=1)),
    # Pools of four tokens, of which fewer are read than there are.
    "glm5-next": ("Glm5NextForConditionalGeneration", "Glm5NextConfig", dict(
        text_config=dict(
            **{**LLAMA, "num_hidden_layers": 4, "num_key_value_heads": 4}, q_lora_rank=24, kv_lora_rank=16, qk_nope_head_dim=8,
            v_head_dim=12, qk_rope_head_dim=0, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2,
            moe_intermediate_size=16, routed_scaling_factor=2.5, swiglu_limit=0.05, linear_head_dim=8, linear_num_heads=4,
            index_topk=12, index_head_dim=16, index_n_heads=4, index_kpool=4, hc_mult=4,
            layer_types=["linear_attention", "indexed_attention", "linear_attention", "indexed_attention"],
            mlp_layer_types=["dense", "sparse", "sparse", "sparse"], indexer_types=["full"] * 4),
        vision_config=dict(depth=1, hidden_size=16, num_heads=2, out_hidden_size=32, intermediate_size=16,
                           projection_intermediate_size=16, image_size=28))),
    "granite_swa": ("GraniteSWAForCausalLM", "GraniteSWAConfig", dict(
        **FOUR, sliding_window=16, attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.5,
        logits_scaling=2.0, layer_rope_theta=[0, 10000.0, 10000.0, 10000.0])),
    "granite_swa-moe": ("GraniteMoeSWAForCausalLM", "GraniteMoeSWAConfig", dict(
        **FOUR, sliding_window=16, attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.5,
        logits_scaling=2.0, num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=16)),
    "hrm_text": ("HrmTextForCausalLM", "HrmTextConfig", dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, head_dim=8, H_cycles=2, L_cycles=2,
        max_position_embeddings=128, embedding_scale=3.0, prefix_lm=False, **COMMON)),
    "hunyuan_vl": ("HunYuanVLForConditionalGeneration", "HunYuanVLConfig", dict(
        tie_word_embeddings=False, text_config=dict(
            **LLAMA, head_dim=8, tie_word_embeddings=False,
            rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, alpha=50.0, factor=1.0, mrope_section=[1, 1, 1, 1],
                                 beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0)),
        vision_config=dict(**VISION, max_image_size=32, out_hidden_size=32, text_hidden_size=32, patch_size=16))),
    "hy_v4": ("HYV4ForCausalLM", "HYV4Config", dict(
        **{**MLA, "num_hidden_layers": 3}, **INDEX, swiglu_limit=1.0)),
    "jina-bert-v3": ("JinaEmbeddingsV3Model", "JinaEmbeddingsV3Config", dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=128,
        vocab_size=V, pad_token_id=1)),
    "kimi-linear": ("KimiLinearForCausalLM", "KimiLinearConfig", dict(
        **{**{key: value for key, value in MLA.items() if key not in ("n_routed_experts", "q_lora_rank")},
           "num_hidden_layers": 4}, num_local_experts=4, rms_norm_eps=1e-6, linear_head_dim=8, linear_num_heads=4,
        layer_types=["linear_attention"] * 3 + ["full_attention"])),
    "laguna": ("LagunaForCausalLM", "LagunaConfig", dict(
        **FOUR, head_dim=8, moe_intermediate_size=16, shared_expert_intermediate_size=16, num_experts_per_tok=2, num_experts=4,
        sliding_window=16, layer_types=["full_attention"] + ["sliding_attention"] * 3,
        num_attention_heads_per_layer=[4, 8, 8, 8], moe_routed_scaling_factor=2.5)),
    "laguna-elements": ("LagunaForCausalLM", "LagunaConfig", dict(
        **LLAMA, head_dim=8, moe_intermediate_size=16, shared_expert_intermediate_size=16, num_experts_per_tok=2, num_experts=4,
        sliding_window=0, gating="per-element")),
    "llama4": ("Llama4ForCausalLM", "Llama4TextConfig", dict(
        **FOUR, intermediate_size_mlp=48, head_dim=8, num_local_experts=4, interleave_moe_layer_step=2)),
    "mimo2": ("MiMoV2FlashForCausalLM", "MiMoV2FlashConfig", dict(
        **FOUR, head_dim=12, v_head_dim=8, sliding_window=16, moe_intermediate_size=16, num_experts_per_tok=2,
        n_routed_experts=4, layer_types=["full_attention"] + ["sliding_attention"] * 2 + ["full_attention"],
        rope_parameters={
            kind + "_attention": dict(rope_type="default", rope_theta=theta, partial_rotary_factor=0.334)
            for kind, theta in (("full", 50000.0), ("sliding", 10000.0))})),
    "minimax-01": ("MiniMaxForCausalLM", "MiniMaxConfig", dict(
        **FOUR, head_dim=8, num_local_experts=4, block_size=16, full_attn_alpha_factor=2.5, linear_attn_alpha_factor=2.5,
        mlp_alpha_factor=2.5)),
    "minimax-m3": ("MiniMaxM3SparseForConditionalGeneration", "MiniMaxM3VLConfig", dict(
        projector_hidden_size=16, text_config=dict(
            **FOUR, head_dim=8, dense_intermediate_size=48, shared_intermediate_size=64, num_experts_per_tok=2,
            num_local_experts=4, rotary_dim=4,
            rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5), index_n_heads=2, index_head_dim=8, index_block_size=4, index_topk_blocks=32,
            layer_types=["full_attention"] + ["minimax_m3_sparse"] * 3, mlp_layer_types=["dense"] + ["sparse"] * 3),
        vision_config=dict(**VISION, image_size=28))),
    # Queries grow three times in the test's context.
    "mistral3": ("Ministral3ForCausalLM", "Ministral3Config", dict(**LLAMA, head_dim=8, rope_parameters=GROWING)),
    **{name: ("Mistral3ForConditionalGeneration", "Mistral3Config", dict(
        image_token_index=9, text_config=dict(model_type=text, **LLAMA, **of_text),
        vision_config=dict(model_type="pixtral", **VISION, image_size=28, patch_size=14, head_dim=8)))
       for name, text, of_text in (("mistral3-small", "mistral", dict(head_dim=16)),
                                   ("mistral3-text", "ministral3", dict(head_dim=8, rope_parameters=GROWING)))},
    "mistral4": ("Mistral4ForCausalLM", "Mistral4Config", dict(**MLA, rope_parameters=GROWING)),
    "mt5": ("MT5ForConditionalGeneration", "MT5Config", dict(T5)),
    "muse-glimmer": ("MuseGlimmerForConditionalGeneration", "MuseGlimmerConfig", dict(
        out_hidden_size=64, projector_hidden_size=16, text_config=dict(**FOUR, head_dim=8, sliding_window=16),
        vision_config=dict(**VISION, pos_emb_height=2, pos_emb_width=2))),
    "paddleocr": ("PaddleOCRVLForConditionalGeneration", "PaddleOCRVLConfig", dict(
        tie_word_embeddings=False, text_config=dict(
            **LLAMA, head_dim=8, tie_word_embeddings=False,
            rope_parameters=dict(rope_type="default", rope_theta=10000.0, mrope_section=[1, 1, 2])),
        vision_config=dict(**VISION, image_size=28))),
    "qwen4exp": ("Qwen4ExpForCausalLM", "Qwen4ExpTextConfig", dict(
        **FOUR, head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8,
        moe_intermediate_size=16, shared_expert_intermediate_size=16, num_experts_per_tok=2, num_experts=4, hc_count=2,
        hc_lowrank=8, ple_layer_ids=[2], ple_embed_dim=32, heads_per_ngram=2, ngram_vocab_size_base=100,
        make_ngram_vocab_size_divisible_by=8, split_ngram_parts=2, indexer_n_heads=2, indexer_kv_heads=1, indexer_head_dim=8,
        indexer_budget=128, indexer_compress_ratio=4, output_gate_type="sigmoid",
        rope_parameters=dict(rope_type="default", rope_theta=10000.0, mrope_section=[1, 1, 2]))),
    "step35": ("Step3p7ForConditionalGeneration", "Step3p7Config", dict(
        text_config=dict(
            **FOUR, head_dim=8, moe_intermediate_size=16, n_routed_experts=4, num_experts_per_tok=2, share_expert_dim=16,
            sliding_window=16, num_sliding_attention_heads=6,
            layer_types=["full_attention"] + ["sliding_attention"] * 3, mlp_layer_types=["dense"] + ["sparse"] * 3,
            moe_router_scaling_factor=3.0, rope_theta=[50000.0, 10000.0, 10000.0, 10000.0],
            partial_rotary_factors=[0.5, 1.0, 1.0, 1.0], swiglu_limits=[None, None, None, 0.05],
            swiglu_limits_shared=[None, None, 0.05, None]),
        vision_config=dict(**VISION, image_size=28))),
    "t5": ("T5ForConditionalGeneration", "T5Config", dict(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
    "t5-relu": ("T5ForConditionalGeneration", "T5Config", dict(T5)),
    "t5encoder": ("T5EncoderModel", "T5Config", dict(**T5, feed_forward_proj="gated-gelu")),
    "umt5": ("UMT5ForConditionalGeneration", "UMT5Config", dict(T5)),
}
