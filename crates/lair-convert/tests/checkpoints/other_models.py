"""Configurations and tensors of models whose code is published with their weights, for `beside_llama_cpp.py`.

Keys, names and shapes are those that llama.cpp's converter reads. A model is a class, a configuration and the shapes of its tensors.
"""

import base64
import json

H, HEADS, KV, FFN, LAYERS, V = 32, 4, 2, 64, 2, 320
DIM = H // HEADS
EXPERTS, EXPERT_FFN = 4, 16
LLAMA = dict(hidden_size=H, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=V,
             num_key_value_heads=KV, max_position_embeddings=128, rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu",
             tie_word_embeddings=False)
OF_EXPERTS = dict(num_experts=EXPERTS, num_experts_per_tok=2, moe_intermediate_size=EXPERT_FFN)
GPT = dict(n_embd=H, n_head=HEADS, n_layer=LAYERS, n_positions=128, layer_norm_epsilon=1e-5, vocab_size=V)


def w(names, biased=()):
    """The weights of these names, and the biases of some."""
    made = {f"{name}.weight": shape for name, shape in names.items()}
    return made | {f"{name}.bias": names[name][:1] for name in biased}


def model(outside, prefix, *layers):
    """What is outside of layers, and each layer."""
    inside = {f"{prefix}.{index}.{name}": shape for index, layer in enumerate(layers) for name, shape in layer.items()}
    return {**outside, **inside}


def ends(embed="model.embed_tokens", norm="model.norm", head="lm_head", norm_bias=False):
    return w({embed: [V, H], norm: [H], head: [V, H]}, biased=[norm] if norm_bias else [])


ATTENTION = {"self_attn.q_proj": [H, H], "self_attn.k_proj": [KV * DIM, H], "self_attn.v_proj": [KV * DIM, H],
             "self_attn.o_proj": [H, H]}
NORMS = {"input_layernorm": [H], "post_attention_layernorm": [H]}
HEAD_NORMS = {"self_attn.q_norm": [DIM], "self_attn.k_norm": [DIM]}
MLP = {"mlp.gate_proj": [FFN, H], "mlp.up_proj": [FFN, H], "mlp.down_proj": [H, FFN]}
QKV = (HEADS + 2 * KV) * DIM


def experts(start, gate, up, down, width=EXPERT_FFN):
    return {f"{start}.{index}.{name}": shape for index in range(EXPERTS)
            for name, shape in ((gate, [width, H]), (up, [width, H]), (down, [H, width]))}


def network(start, gate, up, down, width=FFN):
    return {f"{start}{gate}": [width, H], f"{start}{up}": [width, H], f"{start}{down}": [H, width]}


MOE = {"mlp.gate": [EXPERTS, H], **experts("mlp.experts", "gate_proj", "up_proj", "down_proj")}

def adapters(name, rows, columns, parts=None):
    """The two matrices of each of two adapters of rank 3 beside a product; of several parts, those of each."""
    ends = [("lora_A", "lora_B", rows)] if parts is None else [
        (f"lora_A_slices.{index}", f"lora_B_slices.{index}", part) for index, part in enumerate(parts)]
    return {f"{name}.{end}": shape for a, b, part in ends for end, shape in ((a, [2, 1, 3, columns]), (b, [2, 1, part, 3]))}


HYPER = {f"hc_{part}_{end}": shape for part in ("attn", "ffn")
         for end, shape in (("fn", [24, 4 * H]), ("base", [24]), ("scale", [3]))}
DELTA = {"q_proj": [H, H], "k_proj": [H, H], "v_proj": [H, H], "q_conv1d": [H, 1, 4], "k_conv1d": [H, 1, 4], "v_conv1d": [H, 1, 4],
         "f_a_proj": [8, H], "f_b_proj": [H, 8], "g_a_proj": [8, H], "g_b_proj": [H, 8], "b_proj": [HEADS, H], "o_norm": [8]}
DELTA_VECTORS = {"self_attn.A_log": [HEADS], "self_attn.dt_bias": [H]}
INDEXED = {"q_a_proj": [24, H], "q_a_layernorm": [24], "q_b_proj": [8 * HEADS, 24], "kv_a_proj_with_mqa": [16, H],
           "kv_a_layernorm": [16], "kv_b_proj": [20 * HEADS, 16], "indexer.wq_b": [16, 24], "indexer.wk": [8, H],
           "indexer.k_norm": [8], "indexer.weights_proj": [2, H]}
SCORES = {"mlp.gate.e_score_correction_bias": [EXPERTS]}
INDEXED_REST = {"self_attn.indexer.k_norm.bias": [8], "self_attn.indexer.index_kpool_compress_ape": [4, 8],
                "self_attn.indexer.index_kpool_compress_gate": [8, H], **SCORES}
SPARSE = {**MOE, **network("mlp.shared_experts.", "gate_proj", "up_proj", "down_proj", EXPERT_FFN)}
RANKS = (("w", 64), ("a", 64), ("v", 32), ("g", 128))
# RWKV's heads have 64 elements, and llama.cpp reads as many whatever a file says.
R, RWKV_DIM = 128, 64
RWKV_FFN = R * 7 // 2

MODELS = {
    "bailingmoe": ("BailingMoeForCausalLM", dict(
        **LLAMA, **OF_EXPERTS, num_shared_experts=1, norm_topk_prob=True, first_k_dense_replace=0, head_dim=DIM, norm_head=False),
        model(ends("model.word_embeddings"), "model.layers", *[w({
            **NORMS, "attention.query_key_value": [QKV, H], "attention.dense": [H, H], **MOE,
            **network("mlp.shared_experts.", "gate_proj", "up_proj", "down_proj", EXPERT_FFN)})] * LAYERS)),
    "codeshell": ("CodeShellForCausalLM", dict(**GPT, num_query_groups=KV, tie_word_embeddings=False), model(
        ends("transformer.wte", "transformer.ln_f", norm_bias=True), "transformer.h", *[{**w({
            "ln_1": [H], "attn.c_attn": [QKV, H], "attn.c_proj": [H, H], "ln_2": [H], "mlp.c_fc": [4 * H, H],
            "mlp.c_proj": [H, 4 * H]}, biased=["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"]),
            "attn.rotary_emb.inv_freq": [DIM // 2]}] * LAYERS)),
    "cogvlm": ("CogVLMForCausalLM", dict(**{**LLAMA, "num_key_value_heads": HEADS}), model(
        ends() | {"model.vision.boi": [1, 1, H]}, "model.layers", *[w({
            **NORMS, **{f"self_attn.{kind}_expert_query_key_value": [3 * H, H] for kind in ("language", "vision")},
            **{f"self_attn.{kind}_expert_dense": [H, H] for kind in ("language", "vision")},
            **network("mlp.language_mlp.", "gate_proj", "up_proj", "down_proj"),
            **network("mlp.vision_mlp.", "gate_proj", "up_proj", "down_proj")})] * LAYERS)),
    "deci": ("DeciLMForCausalLM", dict(
        **{**LLAMA, "num_hidden_layers": 4, "num_key_value_heads": None, "intermediate_size": None}, head_dim=None,
        rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                          original_max_position_embeddings=64),
        block_configs=[
            dict(attention=dict(n_heads_in_group=group, no_op=False, replace_with_linear=linear),
                 ffn=dict(ffn_mult=width, no_op=False, replace_with_linear=False))
            for group, linear, width in ((2, False, 5.25), (None, True, 2.625), (None, False, 13.0), (4, False, 5.25))]),
        model(ends(), "model.layers", *[w({**mixer, "post_attention_layernorm": [H], **network(
            "mlp.", "gate_proj", "up_proj", "down_proj", width)}) for mixer, width in (
                ({"input_layernorm": [H], **ATTENTION}, 256),
                ({"input_layernorm": [H], "self_attn.linear_attn": [H, H]}, 256), ({}, 512),
                ({"input_layernorm": [H], **ATTENTION, "self_attn.k_proj": [DIM, H], "self_attn.v_proj": [DIM, H]}, 256))])),
    "decilm": ("DeciLMForCausalLM", dict(**LLAMA, num_key_value_heads_per_layer=[2, 4]), model(
        ends(), "model.layers", *[w({**NORMS, **ATTENTION, "self_attn.k_proj": [kv * DIM, H], "self_attn.v_proj": [kv * DIM, H],
                                     **MLP}) for kv in (2, 4)])),
    # The names and the flat configuration of the publication; of those of transformers there are outputs.
    "glm5-next-flat": ("Glm5NextForConditionalGeneration", dict(
        **{**LLAMA, "num_hidden_layers": 3, "num_key_value_heads": HEADS}, n_routed_experts=EXPERTS, num_experts_per_tok=2,
        moe_intermediate_size=EXPERT_FFN, n_shared_experts=1, routed_scaling_factor=2.5, norm_topk_prob=True, first_k_dense_replace=1,
        layer_types=["linear_attention", "full_attention", "linear_attention"], q_lora_rank=24, kv_lora_rank=16, qk_nope_head_dim=8,
        qk_rope_head_dim=0, v_head_dim=12, mla_use_nope=True, index_n_heads=2, index_head_dim=8, index_topk=128, index_kpool=4,
        indexer_types=["full"] * 3, mhc=True, hc_mult=4, hc_eps=1e-6, hc_sinkhorn_iters=20, swiglu_limit=10.0,
        linear_attn_config=dict(num_heads=HEADS, head_dim=8, short_conv_kernel_size=4, gate_lower_bound=-5.0)), model(
        ends(), "model.layers", *[{**w({**NORMS, **weights, "self_attn.o_proj": [H, 12 * HEADS] if not others else [H, H]}), **HYPER,
                                   **others, **mlp} for weights, others, mlp in (
            ({f"self_attn.{name}": shape for name, shape in DELTA.items()}, DELTA_VECTORS, w(MLP)),
            ({f"self_attn.{name}": shape for name, shape in INDEXED.items()}, {}, {**w(SPARSE), **INDEXED_REST}),
            ({f"self_attn.{name}": shape for name, shape in DELTA.items()}, {**DELTA_VECTORS, **SCORES}, w(SPARSE)))])),
    # The last layer is what finds the adapter.
    "graniteswitch": ("GraniteSwitchForCausalLM", dict(
        **{**LLAMA, "num_hidden_layers": LAYERS + 1, "tie_word_embeddings": True}, shared_intermediate_size=FFN, num_local_experts=0,
        num_experts_per_tok=2, attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.5, logits_scaling=2.0,
        num_adapters=2, max_lora_rank=3, adapter_token_ids=[300, 301], adapter_substitute_token_ids=[5, 6],
        control_token_gain=12.0), model(
        w({"model.embed_tokens": [V, H], "model.norm": [H]}) | {"model.switch.adapter_token_ids": [2]}, "model.layers", *[{
            **w({**NORMS, "self_attn.qkv_proj.base_layer": [QKV, H], "self_attn.o_proj.base_layer": [H, H],
                 "shared_mlp.input_linear.base_layer": [2 * FFN, H], "shared_mlp.output_linear.base_layer": [H, FFN]}),
            **adapters("self_attn.qkv_proj", QKV, H, [H, KV * DIM, KV * DIM]), **adapters("self_attn.o_proj", H, H),
            **adapters("shared_mlp.input_linear", 2 * FFN, H, [FFN, FFN]),
            **adapters("shared_mlp.output_linear", H, FFN)}] * LAYERS)),
    "grok": ("Grok1ForCausalLM", dict(
        **LLAMA, num_local_experts=EXPERTS, num_experts_per_tok=2, embedding_multiplier_scale=78.38367176906169,
        output_multiplier_scale=0.5773502691896257), model(
        ends("transformer.in_out_embed", "transformer.rms_norm"), "transformer.decoder_layer", *[w({
            "rms_norm": [H], "rms_norm_1": [H], "rms_norm_2": [H], "rms_norm_3": [H],
            "multi_head_attention.query": [H, H], "multi_head_attention.key": [KV * DIM, H],
            "multi_head_attention.value": [KV * DIM, H], "multi_head_attention.linear": [H, H], "router": [EXPERTS, H],
            **experts("moe", "linear", "linear_v", "linear_1", FFN)})] * LAYERS)),
    "grok2": ("Grok1ForCausalLM", dict(
        **LLAMA, num_local_experts=EXPERTS, num_experts_per_tok=2, moe_intermediate_size=EXPERT_FFN, head_dim=DIM,
        embedding_multiplier_scale=90.50966799187809, output_multiplier_scale=0.5, final_logit_softcapping=50,
        attn_logit_softcapping=30.0, router_logit_softcapping=30.0, rope_type="original", scaling_factor=16.0,
        original_max_position_embeddings=8192, extrapolation_factor=1.0, attn_factor=1.0, beta_fast=8, beta_slow=1,
        attn_temperature_len=1024, attn_output_multiplier=0.25), model(
        ends(), "model.layers", *[w({
            "pre_attn_norm": [H], "post_attn_norm": [H], "pre_moe_norm": [H], "post_moe_norm": [H], **ATTENTION, **MLP,
            "block_sparse_moe.gate": [EXPERTS, H], **experts("block_sparse_moe.experts", "w1", "w3", "w2")})] * LAYERS)),
    "jais": ("JAISLMHeadModel", dict(
        **GPT, n_inner=FFN, activation_function="swiglu", position_embedding_type="alibi", mup_embeddings_scale=14.6,
        mup_output_alpha=2.22, mup_width_scale=0.11100000000000002, mup_scale_qk_dot_by_d=True), model(
        ends("transformer.wte", "transformer.ln_f", norm_bias=True),
        "transformer.h", *[{
            **w({"ln_1": [H], "attn.c_attn": [H, 3 * H], "attn.c_proj": [H, H], "ln_2": [H], "mlp.c_fc": [H, FFN],
                 "mlp.c_fc2": [H, FFN], "mlp.c_proj": [FFN, H]}),
            **{f"{name}.bias": [size] for name, size in (("ln_1", H), ("attn.c_attn", 3 * H), ("attn.c_proj", H), ("ln_2", H),
                                                         ("mlp.c_fc", FFN), ("mlp.c_fc2", FFN), ("mlp.c_proj", H))}}] * LAYERS)),
    "jina-bert-v2": ("JinaBertForMaskedLM", dict(
        hidden_size=H, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=V,
        max_position_embeddings=128, layer_norm_eps=1e-12, type_vocab_size=2, position_embedding_type="alibi"), model(
        w({"embeddings.word_embeddings": [V, H], "embeddings.token_type_embeddings": [2, H], "embeddings.LayerNorm": [H],
           "pooler.dense": [H, H]}, biased=["embeddings.LayerNorm", "pooler.dense"]), "encoder.layer", *[w({
               "attention.self.query": [H, H], "attention.self.key": [H, H], "attention.self.value": [H, H],
               "attention.output.dense": [H, H], "attention.output.LayerNorm": [H], "mlp.gated_layers": [2 * FFN, H],
               "mlp.wo": [H, FFN], "mlp.layernorm": [H]}, biased=[
                   "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                   "attention.output.LayerNorm", "mlp.wo", "mlp.layernorm"])] * LAYERS)),
    "jina-bert-v2-code": ("JinaBertModel", dict(
        hidden_size=H, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=V,
        max_position_embeddings=128, layer_norm_eps=1e-5, type_vocab_size=2, position_embedding_type="alibi"), model(
        w({"embeddings.word_embeddings": [V, H], "embeddings.token_type_embeddings": [2, H], "embeddings.LayerNorm": [H]},
          biased=["embeddings.LayerNorm"]), "encoder.layer", *[w({
              "attention.self.query": [H, H], "attention.self.key": [H, H], "attention.self.value": [H, H],
              "attention.self.layer_norm_q": [H], "attention.self.layer_norm_k": [H], "attention.output.dense": [H, H],
              "layer_norm_1": [H], "layer_norm_2": [H], "attention.output.LayerNorm": [H], "mlp.up_gated_layer": [2 * FFN, H],
              "mlp.down_layer": [H, FFN]}, biased=[
                  "attention.self.query", "attention.self.key", "attention.self.value", "attention.self.layer_norm_q",
                  "attention.self.layer_norm_k", "attention.output.dense", "layer_norm_1", "layer_norm_2",
                  "attention.output.LayerNorm", "mlp.down_layer"])] * LAYERS)),
    "llada-moe": ("LLaDAMoEModelLM", dict(
        **{**LLAMA, "num_key_value_heads": HEADS}, num_experts=EXPERTS, num_experts_per_tok=2, dense_intermediate_size=48,
        expert_intermediate_size=EXPERT_FFN, shared_expert_intermediate_size=None, qk_layernorm=True), model(
        ends(), "model.layers", *[w({**NORMS, **ATTENTION, **HEAD_NORMS, "self_attn.k_proj": [H, H], "self_attn.v_proj": [H, H],
                                     **MOE})] * LAYERS)),
    "llama-embed": ("LlamaBidirectionalModel", dict(**LLAMA, head_dim=DIM), model(
        w({"embed_tokens": [V, H], "norm": [H]}), "layers", *[w({**NORMS, **ATTENTION, **MLP})] * LAYERS)),
    "maple": ("MapleForCausalLM", dict(
        **{**LLAMA, "num_hidden_layers": 4}, **OF_EXPERTS, head_dim=DIM, num_shared_experts=0, norm_topk_prob=True,
        nope_on_global_attention=True, sliding_window=16, layer_types=["sliding_attention"] * 3 + ["full_attention"]), model(
        ends(), "model.layers", *[w({**NORMS, **ATTENTION, **HEAD_NORMS, **MOE})] * 4)),
    "neo-bert": ("NeoBERT", dict(
        hidden_size=H, intermediate_size=96, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=V, max_length=128,
        norm_eps=1e-5), model(
        w({"model.encoder": [V, H], "model.layer_norm": [H]}), "model.transformer_encoder", *[w({
            "attention_norm": [H], "qkv": [3 * H, H], "wo": [H, H], "ffn_norm": [H], "ffn.w12": [128, H],
            "ffn.w3": [H, 64]})] * LAYERS)),
    "nomic-bert-moe": ("NomicBertModel", dict(
        n_embd=H, n_head=HEADS, n_inner=FFN, n_layer=LAYERS, n_positions=2048, max_trained_positions=2048, vocab_size=200,
        layer_norm_epsilon=1e-5, activation_function="gelu", causal=False, qkv_proj_bias=True, mlp_fc1_bias=True,
        mlp_fc2_bias=True, prenorm=False, rotary_emb_fraction=1.0, rotary_emb_interleaved=False, rotary_emb_scale_base=None,
        rotary_emb_base=10000, type_vocab_size=1, num_experts=EXPERTS, moe_top_k=2, moe_every_n_layers=2, pad_token_id=1), model(
        w({"embeddings.word_embeddings": [200, H], "embeddings.token_type_embeddings": [1, H], "emb_ln": [H]},
          biased=["emb_ln"]), "encoder.layers", *[{**w({
              "attn.Wqkv": [3 * H, H], "attn.out_proj": [H, H], "norm1": [H], "norm2": [H]},
              biased=["attn.Wqkv", "attn.out_proj", "norm1", "norm2"]), **mlp} for mlp in (
                  w({"mlp.fc1": [FFN, H], "mlp.fc2": [H, FFN]}, biased=["mlp.fc1", "mlp.fc2"]),
                  {"mlp.router.layer.weight": [EXPERTS, H], "mlp.experts.mlp.w1": [EXPERTS * FFN, H],
                   "mlp.experts.mlp.w2": [EXPERTS * FFN, H], "mlp.experts.bias": [H]})])),
    "openelm": ("OpenELMForCausalLM", dict(
        model_dim=H, num_transformer_layers=LAYERS, head_dim=DIM, num_query_heads=[2, 4], num_kv_heads=[1, 2],
        ffn_multipliers=[0.5, 2.2], ffn_dim_divisor=16, max_context_length=128, rope_freq_constant=10000, vocab_size=V,
        share_input_output_layers=True, normalize_qk_projections=True), model(
        w({"transformer.token_embeddings": [V, H], "transformer.norm": [H]}), "transformer.layers", *[w({
            "attn_norm": [H], "attn.qkv_proj": [(heads + 2 * kv) * DIM, H], "attn.q_norm": [DIM], "attn.k_norm": [DIM],
            "attn.out_proj": [H, heads * DIM], "ffn_norm": [H], "ffn.proj_1": [2 * width, H],
            "ffn.proj_2": [H, width]}) for heads, kv, width in ((2, 1, 16), (4, 2, 64))])),
    "plamo": ("PlamoForCausalLM", dict(**{**LLAMA, "num_key_value_heads": HEADS}, n_shared_head=2), model(
        ends(), "model.layers.layers", *[{**w({"norm": [H], **ATTENTION, **MLP}),
                                          "self_attn.rotary_emb.inv_freq": [DIM // 2]}] * LAYERS)),
    "plamo2": ("Plamo2ForCausalLM", dict(
        **{**LLAMA, "num_hidden_layers": 4}, hidden_size_per_head=DIM, mamba_step=2, mamba_enabled=True, mamba_d_state=8,
        mamba_d_conv=4, mamba_num_heads=HEADS), model(
        w({"model.embed_tokens": [V, H], "model.norm": [H]}), "model.layers.layers", *[{**w({
            "pre_mixer_norm": [H], "post_mixer_norm": [H], "pre_mlp_norm": [H], "post_mlp_norm": [H],
            "mlp.gate_up_proj": [2 * FFN, H], "mlp.down_proj": [H, FFN]}), **mixer} for mixer in (
                {**w({"mixer.in_proj": [2 * H, H], "mixer.conv1d": [H, 1, 4], "mixer.bcdt_proj": [64 + 16, H],
                      "mixer.dt_proj": [HEADS, 64], "mixer.out_proj": [H, H]}), "mixer.dt_bias": [HEADS],
                 "mixer.A_log": [HEADS], "mixer.D": [HEADS], "mixer.dt_norm_weight": [64], "mixer.B_norm_weight": [8],
                 "mixer.C_norm_weight": [8]},
                {**w({"mixer.qkv_proj": [QKV, H], "mixer.o_proj": [H, H]}), "mixer.q_weight": [HEADS, DIM],
                 "mixer.k_weight": [KV, DIM]}) * 2])),
    "plamo3": ("Plamo3ForCausalLM", dict(
        **{**LLAMA, "num_hidden_layers": 8}, head_dim=DIM, window_size=16, sliding_window_pattern=8, rope_local_theta=10000,
        initial_context_length=64, rope_scaling_factor=2), model(
        w({"model.embed_tokens": [V, H], "model.norm": [H]}), "model.layers.layers", *[w({
            "pre_mixer_norm": [H], "post_mixer_norm": [H], "pre_mlp_norm": [H], "post_mlp_norm": [H],
            "mlp.gate_up_proj": [2 * FFN, H], "mlp.down_proj": [H, FFN], "mixer.qkv_proj": [QKV, H], "mixer.o_proj": [H, H],
            "mixer.q_norm": [DIM], "mixer.k_norm": [DIM]})] * 8)),
    "qwen": ("QWenLMHeadModel", dict(
        hidden_size=H, intermediate_size=2 * FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=512,
        bos_token_id=None, eos_token_id=None, max_position_embeddings=128, seq_length=128, layer_norm_epsilon=1e-6, rotary_emb_base=10000, rotary_pct=1.0,
        kv_channels=DIM, no_bias=True, tie_word_embeddings=False), model(
        w({"transformer.wte": [512, H], "transformer.ln_f": [H], "lm_head": [512, H]}), "transformer.h", *[w({
            "ln_1": [H], "attn.c_attn": [3 * H, H], "attn.c_proj": [H, H], "ln_2": [H], "mlp.w1": [FFN, H], "mlp.w2": [FFN, H],
            "mlp.c_proj": [H, FFN]}, biased=["attn.c_attn"])] * LAYERS)),
    "refact": ("GPTRefactForCausalLM", dict(**GPT, multi_query=True, activation_function="silu"), model(
        ends("transformer.wte", "transformer.ln_f"), "transformer.h", *[w({
            "ln_1": [H], "attn.q": [H, H], "attn.kv": [2 * DIM, H], "attn.c_proj": [H, H], "ln_2": [H],
            "mlp.gate_up_proj": [512, H], "mlp.c_proj": [H, 256]})] * LAYERS)),
    # Of four layers llama.cpp turns all, since that is its period of those that are not.
    **{name: ("SmallThinkerForCausalLM", dict(
        **{**LLAMA, "num_hidden_layers": 5, "intermediate_size": None}, head_dim=DIM, moe_num_primary_experts=EXPERTS,
        moe_num_active_primary_experts=2, moe_ffn_hidden_size=EXPERT_FFN, moe_primary_router_apply_softmax=is_softmax,
        sliding_window_layout=windows, sliding_window_size=4096), model(
        ends(), "model.layers", *[w({
            **NORMS, **ATTENTION, "block_sparse_moe.primary_router": [EXPERTS, H],
            **experts("block_sparse_moe.experts", "gate", "up", "down")})] * 5))
       for name, is_softmax, windows in (("smallthinker", False, [0, 1, 1, 1, 0]), ("smallthinker-plain", True, [0] * 5))},
    "bitnet-latent": ("BitnetForCausalLM", dict(
        **{**LLAMA, "tie_word_embeddings": True}, weight_bits=1, input_bits=8), model(
        {"model.embed_tokens.weight": [V, H], "model.norm.weight": [H]}, "model.layers", *[w({
            **NORMS, **ATTENTION, **MLP, "self_attn.inner_attn_ln": [H], "mlp.ffn_layernorm": [FFN]})] * LAYERS)),
    "spark2_5": ("Spark2_5ForCausalLM", dict(
        **{**LLAMA, "hidden_act": "gelu", "rope_theta": None}, head_dim=DIM, sliding_window=16, gate_attn_act_mode="sigmoid",
        headwise_attn_output_gate=True, layer_types=["sliding_attention", "full_attention"], rope_parameters=dict(
            full_attention=dict(rope_type="default", rope_theta=1000000.0, partial_rotary_factor=0.5),
            sliding_attention=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=1.0))), model(
        ends(), "model.layers", *[w({**NORMS, "self_attn.q_k_v_proj": [QKV, H], "self_attn.g_proj": [HEADS, H],
                                     "self_attn.o_proj": [H, H], **MLP})] * LAYERS)),
    "talkie": ("TalkieForCausalLM", dict(
        hidden_size=H, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, head_dim=DIM, vocab_size=V,
        max_position_embeddings=128, rope_theta=1000000.0), model(
        {"model.embed.weight": [V, H], "lm_head": [V, H], "lm_head_gain.w_g": [1]}, "model.blocks", *[{**w({
            "attn.attn_query": [H, H], "attn.attn_key": [H, H], "attn.attn_value": [H, H], "attn.attn_resid": [H, H],
            "mlp.mlp_gate": [FFN, H], "mlp.mlp_linear": [FFN, H], "mlp.mlp_resid": [H, FFN]}),
            "attn.head_gain.head_g": [HEADS], "attn_gain.a_g": [1], "mlp_gain.a_g": [1], "embed_skip.a_g": [1]}] * LAYERS)),
    "rwkv6": ("Rwkv6ForCausalLM", dict(
        hidden_size=R, attention_hidden_size=R, head_size=RWKV_DIM, intermediate_size=None, num_hidden_layers=4, vocab_size=V,
        layer_norm_epsilon=1e-5, rescale_every=2), model(
        w({"rwkv.embeddings": [V, R], "rwkv.ln_out": [R], "head": [V, R], "rwkv.blocks.0.pre_ln": [R]},
          biased=["rwkv.ln_out", "rwkv.blocks.0.pre_ln"]), "rwkv.blocks", *[{**w({
              "ln1": [R], "ln2": [R], **{f"attention.{name}": [R, R] for name in ("key", "value", "receptance", "gate", "output")},
              "attention.ln_x": [R], "feed_forward.key": [RWKV_FFN, R], "feed_forward.value": [R, RWKV_FFN],
              "feed_forward.receptance": [R, R]}, biased=["ln1", "ln2", "attention.ln_x"]),
              **{f"attention.time_maa_{name}": [1, 1, R] for name in "xwkvrg"}, "attention.time_maa_w1": [R, 5 * 32],
              "attention.time_maa_w2": [5, 32, R], "attention.time_decay": [1, 1, R], "attention.time_decay_w1": [R, 64],
              "attention.time_decay_w2": [64, R], "attention.time_faaaa": [R // RWKV_DIM, RWKV_DIM],
              "feed_forward.time_maa_k": [1, 1, R], "feed_forward.time_maa_r": [1, 1, R]}] * 4)),
    "rwkv7": ("RWKV7ForCausalLM", dict(
        hidden_size=R, head_dim=RWKV_DIM, intermediate_size=None, num_hidden_layers=LAYERS, vocab_size=V, norm_eps=1e-5,
        norm_first=True, decay_low_rank_dim=16, gate_low_rank_dim=16, a_low_rank_dim=16, v_low_rank_dim=None), model(
        w({"model.embeddings": [V, R], "model.norm": [R], "lm_head": [V, R], "model.layers.0.pre_norm": [R]},
          biased=["model.norm", "model.layers.0.pre_norm"]), "model.layers", *[{**w({
              "attn_norm": [R], "ffn_norm": [R], **{f"attn.{name}_proj": [R, R] for name in "rkvo"}, "attn.g_norm": [R],
              "ffn.key": [4 * R, R], "ffn.value": [R, 4 * R],
              **{f"attn.{name}_lora.lora.0": [rank, R] for name, rank in ranks}, **{
                  f"attn.{name}_lora.lora.2": [R, rank] for name, rank in ranks}},
              biased=["attn_norm", "ffn_norm", "attn.g_norm", *[f"attn.{name}_lora.lora.2" for name, _ in ranks if name != "g"]]),
              **{f"attn.x_{name}": [1, 1, R] for name in "rwkvag"}, "attn.k_k": [R], "attn.k_a": [R], "attn.r_k": [R // RWKV_DIM, RWKV_DIM],
              "ffn.x_k": [R]} for ranks in ([("w", 16), ("a", 16), ("g", 16)],
                                            [("w", 16), ("a", 16), ("v", 32), ("g", 16)])])),
    "arwkv7": ("RwkvHybridForCausalLM", dict(
        **{**LLAMA, "hidden_size": R}, head_size=RWKV_DIM, wkv_has_gate=True, wkv_version=7), model(
        w({"model.embed_tokens": [V, R], "model.norm": [R], "lm_head": [V, R]}), "model.layers", *[{**w({
            "input_layernorm": [R], "post_attention_layernorm": [R], **{f"mlp.{name}_proj": [FFN, R] for name in ("gate", "up")},
            "mlp.down_proj": [R, FFN], **{f"self_attn.time_mixer.{name}": [R, R] for name in ("receptance", "key", "value", "output")},
            "self_attn.time_mixer.ln_x": [R]}, biased=["self_attn.time_mixer.ln_x"]),
            **{f"self_attn.time_mixer.{name}": [1, 1, R] for name in (
                "x_r", "x_w", "x_k", "x_v", "x_a", "x_g", "w0", "a0", "v0", "k_k", "k_a")},
            "self_attn.time_mixer.r_k": [R // RWKV_DIM, RWKV_DIM],
            **{f"self_attn.time_mixer.{name}1": [R, rank] for name, rank in RANKS},
            **{f"self_attn.time_mixer.{name}2": [rank, R] for name, rank in RANKS}}] * LAYERS)),
}


def rwkv_vocabulary(folder):
    """A list of byte strings as RWKV has it: all bytes, and some words."""
    words = ["\t\t", " a", "\n ", "'s", "\n\n", "the", " the", "it's \"so\"", "\\n", "caf\u00e9", "\u4e2d\u6587", "\u00ad",
             b"\xe4\xb8", " model", " is", " data", "engine", " speaks", " tokens"]
    words = [chr(byte) if byte < 128 else bytes([byte]) for byte in range(256)] + words
    size = lambda word: len(word if isinstance(word, bytes) else word.encode())
    lines = [f"{index} {word!r} {size(word)}\n" for index, word in enumerate(words, 1)]
    (folder / "rwkv_vocab_v20230424.txt").write_text("".join(lines))


def plamo_vocabulary(folder):
    """Lines of pieces with scores and kinds as PLaMo 2 has them."""
    special = [("<|plamo:unk|>", "UNKNOWN"), ("<|plamo:bos|>", "CONTROL"), ("<|plamo:eos|>", "CONTROL"),
               ("<|plamo:pad|>", "CONTROL"), ("<|plamo:op|>", "NORMAL")]
    rows = [[piece, 0.0, kind, 0, 0, 0, 0] for piece, kind in special]
    rows += [[f"<0x{byte:02X}>", 0.0, "BYTE", 0, 0, 0, 0] for byte in range(256)]
    words = ["a", " model", " is", " data", "the", " engine", " speaks", " tokens", "\u4e2d\u6587", "e", "t"]
    rows += [[word, -1.5 - index / 4, "NORMAL", 0, 0, 0, 0] for index, word in enumerate(words)]
    (folder / "tokenizer.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    roles = {role: f"<|plamo:{role.removesuffix('_token')}|>" for role in ("bos_token", "eos_token", "pad_token", "unk_token")}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Plamo2Tokenizer", **roles}) + "\n")


def qwen_vocabulary(folder):
    """Ranks as Qwen has them: all bytes, and what the most frequent pairs of a text make."""
    parts = [bytes([byte]) for byte in "a model is data and the engine speaks tokens, the program speaks text \u4e2d".encode()]
    ranks = [bytes([byte]) for byte in range(256)]
    while len(ranks) < 290:
        pairs = [a + b for a, b in zip(parts, parts[1:])]
        best = max(dict.fromkeys(pairs), key=pairs.count)
        ranks.append(best)
        joined = []
        for part in parts:
            if joined and joined[-1] + part == best and joined[-1] != best:
                joined[-1] = best
            else:
                joined.append(part)
        parts = joined
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(ranks)]
    (folder / "qwen.tiktoken").write_text("".join(lines))


class QwenTokenizer:
    """What the converter asks of Qwen's own tokenizer, whose code is published with the weights."""

    def __init__(self, folder):
        with open(f"{folder}/qwen.tiktoken") as lines:
            ranks = [line.split() for line in lines]
        self.mergeable_ranks = {base64.b64decode(token): int(rank) for token, rank in ranks}
        controls = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{index}|>" for index in range(205))]
        self.special_tokens = {token: len(ranks) + index for index, token in enumerate(controls)}

    def get_vocab(self):
        return {**self.mergeable_ranks, **self.special_tokens}


VOCABULARIES = {"plamo2": plamo_vocabulary, "qwen": qwen_vocabulary, "rwkv6": rwkv_vocabulary}
