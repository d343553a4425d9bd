"""More models of `other_models.py`: experts beside dense networks, texts made by diffusion, and what came later.

Keys, names and shapes are those of the published model code that llama.cpp's converter reads.
"""

from other_models import (ATTENTION, DIM, EXPERT_FFN, EXPERTS, FFN, H, HEAD_NORMS, HEADS, KV, LAYERS, LLAMA, MLP, MOE, NORMS, OF_EXPERTS,
                          QKV, V, ends, experts, model, network, w)

# Baichuan's models of 7 billion weights have 32 layers, and those of 13 billion 40: files say it by that number alone.
BAICHUAN = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads" and key != "rope_theta"}
PACKED = w({**NORMS, "self_attn.W_pack": [3 * H, H], "self_attn.o_proj": [H, H], **MLP})
BIASED = w({**NORMS, **ATTENTION, **MLP}, biased=[name for name in ATTENTION if name != "self_attn.o_proj"])
SHARED = network("mlp.shared_experts.", "gate_proj", "up_proj", "down_proj", 2 * EXPERT_FFN)

MODELS = {
    "arctic": ("ArcticForCausalLM", dict(
        **LLAMA, num_local_experts=EXPERTS, num_experts_per_tok=2, moe_layer_frequency=1, parallel_attn_mlp_res=True,
        use_residual=True, moe_eval_capacity_factor=1), model(
        ends(), "model.layers", *[w({
            **NORMS, "residual_layernorm": [H], **ATTENTION, "block_sparse_moe.gate": [EXPERTS, H],
            **experts("block_sparse_moe.experts", "w1", "w3", "w2", FFN), **network("residual_mlp.", "w1", "w3", "w2", H)})] * LAYERS)),
    "baichuan": ("BaichuanForCausalLM", dict(**{**BAICHUAN, "num_hidden_layers": 32}), model(ends(), "model.layers", *[PACKED] * 32)),
    "baichuan-13b": ("BaichuanForCausalLM", dict(
        **{**BAICHUAN, "num_hidden_layers": 40, "max_position_embeddings": None}, model_max_length=128), model(
        ends(), "model.layers", *[PACKED] * 40)),
    "bailingmoe2": ("BailingMoeV2ForCausalLM", dict(
        **LLAMA, **OF_EXPERTS, head_dim=DIM, num_shared_experts=1, n_group=2, topk_group=1, score_function="sigmoid",
        routed_scaling_factor=2.5, norm_topk_prob=True, first_k_dense_replace=1, partial_rotary_factor=0.5, use_qk_norm=True,
        moe_router_enable_expert_bias=True, num_nextn_predict_layers=0), model(
        ends("model.word_embeddings"), "model.layers", *[{**w({
            **NORMS, "attention.query_key_value": [QKV, H], "attention.query_layernorm": [DIM],
            "attention.key_layernorm": [DIM], "attention.dense": [H, H], **mlp}), **scores} for mlp, scores in (
                (MLP, {}), ({**MOE, **network("mlp.shared_experts.", "gate_proj", "up_proj", "down_proj", EXPERT_FFN)},
                            {"mlp.gate.expert_bias": [EXPERTS]}))])),
    "deepseek": ("DeepseekForCausalLM", dict(
        **{**LLAMA, "num_hidden_layers": 3}, n_routed_experts=EXPERTS, num_experts_per_tok=2, moe_intermediate_size=EXPERT_FFN,
        n_shared_experts=2, first_k_dense_replace=1, moe_layer_freq=1, norm_topk_prob=False, scoring_func="softmax"), model(
        ends(), "model.layers", *[w({**NORMS, **ATTENTION, **mlp}) for mlp in (MLP, {**MOE, **SHARED}, {**MOE, **SHARED})])),
    "dream": ("DreamModel", dict(**LLAMA, mask_token_id=9), model(ends(), "model.layers", *[BIASED] * LAYERS)),
    # The numbers of the router's bias are in the checkpoints, and no one reads them.
    "grovemoe": ("GroveMoeForCausalLM", dict(**LLAMA, **OF_EXPERTS, head_dim=DIM, norm_topk_prob=True), model(
        ends(), "model.layers", *[{**w({
            **NORMS, **ATTENTION, **HEAD_NORMS, **MOE, **{
                name: shape for name, shape in experts("mlp.chunk_experts", "gate_proj", "up_proj", "down_proj", DIM).items()
                if int(name.split(".")[2]) < EXPERTS // 2}}), "mlp.expert_bias": [EXPERTS]}] * LAYERS)),
    "llada": ("LLaDAModelLM", dict(
        d_model=H, n_heads=HEADS, n_kv_heads=HEADS, n_layers=LAYERS, mlp_hidden_size=FFN, mlp_ratio=4, rope_theta=500000.0,
        rms_norm_eps=1e-5, vocab_size=V, embedding_size=V, max_sequence_length=128, mask_token_id=9, weight_tying=False,
        activation_type="silu", block_type="llama", include_bias=False), model(
        w({"model.transformer.wte": [V, H], "model.transformer.ln_f": [H], "model.transformer.ff_out": [V, H]}),
        "model.transformer.blocks", *[w({
            "attn_norm": [H], "ff_norm": [H], "q_proj": [H, H], "k_proj": [H, H], "v_proj": [H, H], "attn_out": [H, H],
            "ff_proj": [FFN, H], "up_proj": [FFN, H], "ff_out": [H, FFN]})] * LAYERS)),
    "maincoder": ("MaincoderForCausalLM", dict(**LLAMA, head_dim=DIM, use_qk_norm=True), model(
        ends(), "model.layers", *[w({**NORMS, **ATTENTION, **HEAD_NORMS, **MLP})] * LAYERS)),
    "nanbeige": ("NanbeigeForCausalLM", dict(**LLAMA, head_dim=16, num_loops=1), model(
        ends(), "model.layers", *[w({**NORMS, **MLP, "self_attn.q_proj": [16 * HEADS, H], "self_attn.k_proj": [16 * KV, H],
                                     "self_attn.v_proj": [16 * KV, H], "self_attn.o_proj": [H, 16 * HEADS]})] * LAYERS)),
    "plm": ("PLMForCausalLM", dict(
        **{**LLAMA, "num_key_value_heads": HEADS, "hidden_act": "relu2", "tie_word_embeddings": True}, kv_lora_rank=16,
        q_lora_rank=None, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=12), model(
        w({"model.embed_tokens": [V, H], "model.norm": [H]}), "model.layers", *[w({
            **NORMS, "self_attn.q_proj": [12 * HEADS, H], "self_attn.kv_a_proj_with_mqa": [20, H],
            "self_attn.kv_a_layernorm": [16], "self_attn.kv_b_proj": [20 * HEADS, 16], "self_attn.o_proj": [H, 12 * HEADS],
            "mlp.up_proj": [FFN, H], "mlp.down_proj": [H, FFN]})] * LAYERS)),
    "rnd1": ("RND1", dict(**LLAMA, **OF_EXPERTS, head_dim=DIM, norm_topk_prob=True, mask_token_id=9), model(
        ends(), "model.layers", *[w({**NORMS, **ATTENTION, **HEAD_NORMS, **MOE})] * LAYERS)),
}
