"""Makes the golden outputs beside this file: what `transformers` computes on tiny checkpoints of many architectures.

Needs torch, transformers, tokenizers, safetensors and numpy. For each architecture it writes a folder with `config.json`,
`tensors.json` (names and shapes), `tokens.json` and `logits.npy` (of the last two tokens, F32). Weights are not kept:
they follow the rule of `lair_testkit::tiny_models` from the tensor's name and the element's index.

    python make.py [NAME ...]
    python make.py --real FOLDER    writes tokens and logits of a real checkpoint into its folder
    python make.py --folders FOLDER [NAME ...]  writes tiny checkpoints whole: configuration, weights and tokenizer
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
import transformers as t
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import further

# This version of torch scatters by wide indices alone.
scatter = torch.Tensor.scatter
torch.Tensor.scatter = lambda self, dim, index, *rest: scatter(self, dim, index.long(), *rest)
HERE = pathlib.Path(__file__).parent
V = 320
COMMON = dict(vocab_size=V, bos_token_id=0, eos_token_id=0)
LLAMA = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=128, **COMMON,
)
FOUR = {**LLAMA, "num_hidden_layers": 4}
BERT = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=128,
            vocab_size=V)
LLAMA_WIDTHS = {key: value for key, value in LLAMA.items() if key != "num_hidden_layers"}
DELTA = dict(linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8,
             layer_types=["linear_attention"] * 3 + ["full_attention"])
STATES = dict(mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8, mamba_n_groups=1, mamba_expand=2, mamba_chunk_size=16)
EXPERTS = dict(num_experts_per_tok=2, moe_intermediate_size=16)
GRANITE = dict(attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.5, logits_scaling=2.0)
MLA = dict(kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=12, n_routed_experts=4, n_shared_experts=1,
           first_k_dense_replace=1, **{**LLAMA, "num_key_value_heads": 4})
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
PLAIN = dict(rope_type="default", rope_theta=10000.0)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)
SECTIONS = dict(rope_type="default", rope_theta=10000.0, mrope_section=[1, 1, 2])
QUARTER = dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25, mrope_section=[1, 1, 0])
VISION3 = dict(depth=1, hidden_size=16, intermediate_size=32, num_heads=2, out_hidden_size=32, patch_size=4,
               deepstack_visual_indexes=[0], num_position_embeddings=16)
LONG = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[1.5, 2.0, 3.0, 4.0],
            original_max_position_embeddings=16)
MODELS = {
    "llama": ("Llama", dict(LLAMA)),
    "llama-bias": ("Llama", dict(**LLAMA, attention_bias=True, tie_word_embeddings=True)),
    "llama3": ("Llama", dict(**LLAMA, rope_parameters=LLAMA3)),
    "mistral": ("Mistral", dict(LLAMA)),
    "mixtral": ("Mixtral", dict(**LLAMA, num_local_experts=4, num_experts_per_tok=2)),
    "qwen2": ("Qwen2", dict(LLAMA)),
    "qwen2-yarn": ("Qwen2", dict(**LLAMA, rope_parameters=YARN)),
    "qwen3": ("Qwen3", dict(**LLAMA, head_dim=16)),
    "qwen2moe": ("Qwen2Moe", dict(**LLAMA, **EXPERTS, num_experts=4, shared_expert_intermediate_size=48)),
    "qwen3moe": ("Qwen3Moe", dict(**LLAMA, **EXPERTS, num_experts=4, head_dim=8, norm_topk_prob=True)),
    "gpt2": ("GPT2", dict(n_embd=32, n_layer=2, n_head=4, n_positions=128, **COMMON)),
    "starcoder": ("GPTBigCode", dict(n_embd=32, n_layer=2, n_head=4, n_positions=128, **COMMON)),
    "phi2": ("Phi", dict(hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                         max_position_embeddings=128, partial_rotary_factor=0.5, **COMMON)),
    "phi3": ("Phi3", dict(**LLAMA, pad_token_id=0, original_max_position_embeddings=128)),
    "phi3-long": ("Phi3", dict(**LLAMA, pad_token_id=0, original_max_position_embeddings=16, rope_parameters=LONG)),
    "gemma": ("Gemma", dict(**LLAMA, head_dim=16)),
    "gemma2": ("Gemma2", dict(**FOUR, head_dim=16, query_pre_attn_scalar=16, sliding_window=16)),
    "gemma3": ("Gemma3", dict(**{**LLAMA, "num_hidden_layers": 6}, head_dim=16, query_pre_attn_scalar=16,
                              sliding_window=16)),
    "smollm3": ("SmolLM3", dict(**FOUR, pad_token_id=0)),
    "granite": ("Granite", dict(**LLAMA, **GRANITE)),
    "granitemoe": ("GraniteMoe", dict(**LLAMA, **GRANITE, num_local_experts=4, num_experts_per_tok=2)),
    "olmo2": ("Olmo2", dict(**LLAMA, pad_token_id=0)),
    "olmo3": ("Olmo3", dict(**FOUR, pad_token_id=0, sliding_window=16)),
    "olmoe": ("Olmoe", dict(**{**LLAMA, "num_key_value_heads": 4}, num_experts=4, num_experts_per_tok=2, pad_token_id=0)),
    "starcoder2": ("Starcoder2", dict(LLAMA)),
    "gptneox": ("GPTNeoX", dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                                max_position_embeddings=128, rotary_pct=0.5, **COMMON)),
    "cohere": ("Cohere", dict(**LLAMA, pad_token_id=0, logit_scale=0.25)),
    "cohere2": ("Cohere2", dict(**FOUR, pad_token_id=0, logit_scale=0.25, sliding_window=16)),
    "seed-oss": ("SeedOss", dict(**LLAMA, head_dim=16)),
    "arcee": ("Arcee", dict(LLAMA)),
    "bloom": ("Bloom", dict(hidden_size=32, n_layer=2, n_head=4, **COMMON)),
    "nemotron": ("Nemotron", dict(LLAMA)),
    "glm4": ("Glm4", dict(**LLAMA, head_dim=8, pad_token_id=0)),
    "ernie4_5": ("Ernie4_5", dict(**LLAMA, head_dim=8, pad_token_id=0)),
    "exaone4": ("Exaone4", dict(**FOUR, pad_token_id=0, sliding_window=None, layer_types=["full_attention"] * 4)),
    "hunyuan": ("HunYuanDenseV1", dict(**LLAMA, head_dim=8, pad_token_id=0)),
    "dots1": ("Dots1", dict(**{**LLAMA, "num_key_value_heads": 4}, **EXPERTS, n_routed_experts=4, n_shared_experts=1,
                            first_k_dense_replace=1, n_group=1, topk_group=1, pad_token_id=0)),
    "ernie4_5moe": ("Ernie4_5_Moe", dict(**FOUR, moe_intermediate_size=16, moe_num_experts=4, moe_k=2, pad_token_id=0,
                                         moe_num_shared_experts=2, moe_layer_start_index=1, moe_layer_end_index=3)),
    "minimax-m2": ("MiniMaxM2", dict(**LLAMA, head_dim=8, num_local_experts=4, num_experts_per_tok=2, rotary_dim=4)),
    "qwen2vl": ("Qwen2VL", dict(text_config=dict(**LLAMA, rope_parameters=SECTIONS), vision_config=dict(
        depth=1, embed_dim=16, hidden_size=32, num_heads=2, mlp_ratio=2, patch_size=4))),
    "qwen3vl": ("Qwen3VL", dict(text_config=dict(**LLAMA, head_dim=8, rope_parameters=SECTIONS), vision_config=VISION3)),
    "qwen3vlmoe": ("Qwen3VLMoe", dict(text_config=dict(**LLAMA, **EXPERTS, head_dim=8, num_experts=4, rope_parameters=SECTIONS),
                                      vision_config=VISION3)),
    "glm4moe": ("Glm4Moe", dict(**LLAMA, **EXPERTS, head_dim=8, n_routed_experts=4, n_shared_experts=1,
                                first_k_dense_replace=1, n_group=1, topk_group=1, partial_rotary_factor=0.5,
                                pad_token_id=0)),
    "deepseek2": ("DeepseekV2", dict(**MLA, **EXPERTS, q_lora_rank=None, topk_method="greedy",
                                     scoring_func="softmax")),
    "deepseek2-compressed": ("DeepseekV2", dict(**MLA, **EXPERTS, q_lora_rank=24, topk_method="greedy",
                                                scoring_func="softmax")),
    "deepseek3": ("DeepseekV3", dict(**MLA, **EXPERTS, q_lora_rank=24, n_group=2, topk_group=1, routed_scaling_factor=2.5,
                                     scoring_func="sigmoid")),
    # Gates are those of the class, which its configuration does not have to say.
    "deepseek3-yarn": ("DeepseekV3", dict(**MLA, **EXPERTS, q_lora_rank=24, n_group=1, topk_group=1,
                                          rope_parameters=dict(**YARN, mscale=1.0, mscale_all_dim=1.0))),
    "afmoe": ("Afmoe", dict(**FOUR, **EXPERTS, head_dim=8, num_experts=4, num_shared_experts=1, num_dense_layers=1,
                            global_attn_every_n_layers=4, sliding_window=16, mup_enabled=True, route_scale=2.0)),
    "exaone-moe": ("ExaoneMoe", dict(**FOUR, **EXPERTS, head_dim=8, num_experts=4, num_shared_experts=1,
                                     first_k_dense_replace=1, n_group=1, topk_group=1, sliding_window=16,
                                     sliding_window_pattern=4, pad_token_id=0)),
    "mellum": ("Mellum", dict(**FOUR, **EXPERTS, head_dim=8, num_experts=4, sliding_window=16, pad_token_id=0,
                              layer_types=["sliding_attention"] * 3 + ["full_attention"],
                              rope_parameters=dict.fromkeys(["full_attention", "sliding_attention"], PLAIN))),
    "olmo": ("Olmo", dict(**LLAMA, pad_token_id=0)),
    "gpt-oss": ("GptOss", dict(**FOUR, head_dim=16, num_local_experts=4, num_experts_per_tok=2, sliding_window=16,
                               pad_token_id=0, rope_parameters={**YARN, "truncate": True})),
    "lfm2": ("Lfm2", dict(**FOUR, conv_L_cache=3, layer_types=["conv", "full_attention", "conv", "conv"],
                          block_auto_adjust_ff_dim=True, block_multiple_of=16, pad_token_id=0)),
    "lfm2moe": ("Lfm2Moe", dict(**FOUR, **EXPERTS, conv_L_cache=3, layer_types=["conv", "full_attention"] * 2,
                                num_dense_layers=1, num_experts=4, routed_scaling_factor=2.0, pad_token_id=0)),
    "glm": ("Glm", dict(**LLAMA, head_dim=8, pad_token_id=0, partial_rotary_factor=0.5)),
    "mamba": ("Mamba", dict(hidden_size=32, num_hidden_layers=2, state_size=8, time_step_rank=4, pad_token_id=0, **COMMON)),
    "falcon-mamba": ("FalconMamba", dict(hidden_size=32, num_hidden_layers=2, state_size=8, time_step_rank=4,
                                         pad_token_id=0, layer_norm_epsilon=1e-6, **COMMON)),
    "mamba2": ("Mamba2", dict(hidden_size=32, num_hidden_layers=2, state_size=8, head_dim=16, num_heads=4, n_groups=1,
                              pad_token_id=0, chunk_size=16, **COMMON)),
    "jamba": ("Jamba", dict(**FOUR, num_experts=4, num_experts_per_tok=2, attn_layer_period=4, attn_layer_offset=2,
                            expert_layer_period=2, expert_layer_offset=1, mamba_d_state=8, mamba_dt_rank=4,
                            use_mamba_kernels=False, pad_token_id=0)),
    "stablelm": ("StableLm", dict(**LLAMA, partial_rotary_factor=0.5, use_qkv_bias=True)),
    "stablelm-parallel": ("StableLm", dict(**LLAMA, partial_rotary_factor=0.5, use_parallel_residual=True,
                                           qk_layernorm=True)),
    "mpt": ("Mpt", dict(d_model=32, n_heads=4, n_layers=2, max_seq_len=128, **COMMON)),
    "falcon": ("Falcon", dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, multi_query=True,
                              new_decoder_architecture=False, bias=False, **COMMON)),
    "falcon-new": ("Falcon", dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_kv_heads=2,
                                  new_decoder_architecture=True, bias=False, **COMMON)),
    "qwen3next": ("Qwen3Next", dict(**FOUR, **EXPERTS, **DELTA, head_dim=16, num_experts=4,
                                    shared_expert_intermediate_size=16, pad_token_id=0)),
    "qwen35": ("Qwen3_5", dict(**FOUR, **DELTA, head_dim=16, pad_token_id=0, rope_parameters=QUARTER)),
    "qwen35moe": ("Qwen3_5Moe", dict(**FOUR, **EXPERTS, **DELTA, head_dim=16, num_experts=4,
                                     shared_expert_intermediate_size=16, pad_token_id=0, rope_parameters=QUARTER)),
    "granitehybrid": ("GraniteMoeHybrid", dict(**FOUR, **GRANITE, **STATES, num_local_experts=4, num_experts_per_tok=2,
                                               shared_intermediate_size=32, pad_token_id=0,
                                               layer_types=["mamba", "mamba", "attention", "mamba"])),
    "granitehybrid-dense": ("GraniteMoeHybrid", dict(**FOUR, **GRANITE, **STATES, num_local_experts=0,
                                                     num_experts_per_tok=0, shared_intermediate_size=64, pad_token_id=0,
                                                     layer_types=["mamba", "mamba", "attention", "mamba"])),
    "granite4": ("GraniteMoeHybrid", dict(**LLAMA, **GRANITE, **STATES, num_local_experts=0, num_experts_per_tok=0,
                                          shared_intermediate_size=64, position_embedding_type="rope", pad_token_id=0,
                                          layer_types=["attention"] * 2)),
    "bamba": ("Bamba", dict(**FOUR, **STATES, attn_layer_indices=[2], pad_token_id=0)),
    "nemotron_h": ("NemotronH", dict(**LLAMA_WIDTHS, head_dim=8, hybrid_override_pattern="M-*M", mamba_num_heads=4,
                                     mamba_head_dim=16, ssm_state_size=8, n_groups=2, pad_token_id=0, chunk_size=16)),
    "nemotron_h-moe": ("NemotronH", dict(**LLAMA_WIDTHS, head_dim=8, hybrid_override_pattern="ME*M", mamba_num_heads=4,
                                         mamba_head_dim=16, ssm_state_size=8, n_groups=2, pad_token_id=0, chunk_size=16,
                                         n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
                                         moe_shared_expert_intermediate_size=24, routed_scaling_factor=2.0)),
    "llama-linear": ("Llama", dict(**LLAMA, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0))),
    "llama-yarn": ("Llama", dict(**LLAMA, rope_parameters=YARN)),
    "jais2": ("Jais2", dict(**LLAMA, head_dim=8)),
    "hunyuan-moe": ("HunYuanMoEV1", dict(**LLAMA, head_dim=8, num_experts=4, moe_topk=[2, 2], num_shared_expert=[1, 1],
                                         moe_intermediate_size=[64, 64], pad_token_id=0)),
    "hy_v3": ("HYV3", dict(**FOUR, **EXPERTS, head_dim=8, num_experts=4, num_shared_experts=1, pad_token_id=0)),
    "bert": ("BertModel", dict(**BERT, pad_token_id=0)),
    "xlm-roberta": ("XLMRobertaModel", dict(**BERT, pad_token_id=1, type_vocab_size=1)),
    "modern-bert": ("ModernBertModel", dict(**{**BERT, "num_hidden_layers": 4}, pad_token_id=0, local_attention=16)),
    "nomic-bert": ("NomicBertModel", dict(**BERT, pad_token_id=0)),
    "eurobert": ("EuroBertModel", dict(**LLAMA, pad_token_id=0)),
    "gemma4": ("Gemma4", dict(**{**LLAMA, "num_hidden_layers": 6}, head_dim=8, global_head_dim=16, sliding_window=16,
                              hidden_size_per_layer_input=8, vocab_size_per_layer_input=V, num_kv_shared_layers=3,
                              pad_token_id=0, final_logit_softcapping=30.0, use_double_wide_mlp=True,
                              layer_types=(["sliding_attention"] * 2 + ["full_attention"]) * 2)),
    "minicpm3": ("MiniCPM3", dict(**{**LLAMA, "num_key_value_heads": 4}, q_lora_rank=16, kv_lora_rank=16,
                                  qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8, scale_emb=12, scale_depth=1.4,
                                  dim_model_base=256)),
    "gemma-embedding": ("Gemma3TextModel", dict(**{**LLAMA, "num_hidden_layers": 6}, head_dim=16,
                                                query_pre_attn_scalar=16, use_bidirectional_attention=True)),
}


# Classes for text alone whose configuration has another name.
TEXT_CONFIGS = {"Gemma3": "Gemma3Text", "Qwen3_5": "Qwen3_5Text", "Qwen3_5Moe": "Qwen3_5MoeText",
                "Gemma4": "Gemma4Text"}


def by_rule(name, shape):
    """The rule of `lair_testkit::tiny_models::value`, for all elements of a tensor."""
    start = np.uint64(0xCBF29CE484222325)
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        for byte in name.encode():
            start = (start ^ np.uint64(byte)) * np.uint64(0x100000001B3)
        start ^= golden * np.uint64(20251)
        count = int(np.prod(shape, dtype=np.int64))
        bits = start + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * golden
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    sums = sum((bits >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48))
    values = (sums.astype(np.int64) - 131070).astype(np.float32) * (np.float32(0.1) / np.float32(37837.227))
    if "norm" in name and name.endswith(".weight"):
        values = np.float32(1.0) + values
    return torch.from_numpy(values.reshape(shape))


def tokenizer(folder):
    """Byte pairs split as Qwen 2 splits them, with every byte and a few words."""
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(vocab_size=V - 8, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=["<|endoftext|>", "<|im_start|>"], show_progress=False)
    made.train_from_iterator(["a model is data and the engine speaks tokens, the program speaks text"] * 4, trainer)
    fast = t.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    fast.chat_template = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}{% endfor %}"
    fast.save_pretrained(folder)


TEXT = "The engine speaks tokens, and a caf\u00e9 speaks  text: un\u00f6konomisch?"
LINES = ["a model is data and the engine speaks tokens, the program speaks text", "The caf\u00e9 is open: 1234!"] * 4


def save_with_ids(fast, folder):
    """The tokenizer in the folder, and what it makes of a text."""
    fast.save_pretrained(folder)
    (folder / "ids.json").write_text(json.dumps({"text": TEXT, "ids": fast(TEXT).input_ids}) + "\n")


def word_pieces(folder):
    """Pieces of words as BERT has them, without upper case and accents."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=V, special_tokens=special, show_progress=False)
    made.train_from_iterator(LINES, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    save_with_ids(t.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
                                            sep_token="[SEP]", mask_token="[MASK]"), folder)


def unigram(folder):
    """A unigram model as XLM-RoBERTa has it."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(LINES, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    save_with_ids(t.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", pad_token="<pad>", eos_token="</s>",
                                            unk_token="<unk>", cls_token="<s>", sep_token="</s>", mask_token="<mask>"), folder)


# Tokenizers that only encoders have lie beside their golden outputs.
TOKENIZERS = {"bert": word_pieces, "xlm-roberta": unigram}


def classes(family):
    """The class of a family's model and that of its configuration."""
    config = getattr(t, TEXT_CONFIGS.get(family, family.removesuffix("Model")) + "Config")
    name = {"GPT2": "GPT2LMHeadModel"}.get(family, family + "ForCausalLM")
    name = family if family.endswith("Model") else family + "ForConditionalGeneration" if "VL" in family else name
    return getattr(t, name), config


def make(name, cls, config, arguments):
    tokens = [(index * 7 + 3) % V for index in range(24)]
    with tempfile.TemporaryDirectory() as folder:
        is_encoder = cls.__name__.endswith("Model") and cls.__name__ != "GPT2LMHeadModel"
        cls(config(**arguments)).float().save_pretrained(folder)
        path = pathlib.Path(folder) / "model.safetensors"
        stored = {key: value for key, value in load_file(path).items() if not key.endswith(further.COMPUTED)}
        # Whole numbers are facts of the model, and kept.
        whole = {key: further.experts_of_tokens(key, value).contiguous() for key, value in stored.items()
                 if not value.is_floating_point()}
        weights = {key: whole.get(key, by_rule(key, value.shape)) for key, value in stored.items()}
        save_file(weights, path, metadata={"format": "pt"})
        model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        # What a decoder behind an encoder reads is what the encoder has read.
        both = {"decoder_input_ids": torch.tensor([tokens])} if model.config.is_encoder_decoder and not is_encoder else {}
        with torch.no_grad():
            made = model(torch.tensor([tokens]), **both)
            logits = (made.last_hidden_state if is_encoder else made.logits)[0, -2:]
        logits = further.OUTPUTS.get(name, lambda logits: logits)(logits)
        out = HERE / name
        out.mkdir(exist_ok=True)
        (out / "config.json").write_text((pathlib.Path(folder) / "config.json").read_text())
        shapes = {key: list(value.shape) for key, value in sorted(weights.items()) if key not in whole}
        if whole:
            (out / "whole.json").write_text(json.dumps({key: value.tolist() for key, value in sorted(whole.items())}) + "\n")
        (out / "tensors.json").write_text(json.dumps(shapes).replace("], ", "],\n ") + "\n")
        (out / "tokens.json").write_text(json.dumps(tokens) + "\n")
        np.save(out / "logits.npy", logits.float().numpy())
        if name in TOKENIZERS:
            TOKENIZERS[name](out)
        if name in ("gpt2", "llama", "phi2"):
            torch.save(model.state_dict(), out / "pytorch_model.bin")
        if name == "gpt2":
            (HERE / "gpt2-old").mkdir(exist_ok=True)
            torch.save(model.state_dict(), HERE / "gpt2-old" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
        print(name, "largest logit", float(logits.abs().max()), "deviation", float(logits.std()))


def real(folder):
    model = t.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokens = t.AutoTokenizer.from_pretrained(folder)("The capital of France is Paris. Why is the sky blue?").input_ids
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    (pathlib.Path(folder) / "tokens.json").write_text(json.dumps(tokens) + "\n")
    np.save(pathlib.Path(folder) / "logits.npy", logits.float().numpy())


def whole(name, folder):
    folder = pathlib.Path(folder)
    own = [path for start in ("tokenizer*", "rwkv_vocab*", "qwen.tiktoken") for path in (HERE / name).glob(start)]
    for path in [HERE / name / "config.json", *(own or (HERE / "tokenizer").iterdir())]:
        (folder / path.name).write_bytes(path.read_bytes())
    shapes = json.loads((HERE / name / "tensors.json").read_text())
    weights = {key: by_rule(key, shape).contiguous() for key, shape in shapes.items()}
    if (HERE / name / "whole.json").is_file():
        whole = json.loads((HERE / name / "whole.json").read_text())
        weights |= {key: torch.tensor(numbers) for key, numbers in whole.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--real"]:
        real(sys.argv[2])
        sys.exit()
    if sys.argv[1:2] == ["--folders"]:
        for name in sys.argv[3:]:
            place = pathlib.Path(sys.argv[2]) / name
            place.mkdir()
            whole(name, place)
        sys.exit()
    tokenizer(HERE / "tokenizer")
    for name, known in {**MODELS, **further.MODELS}.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        try:
            found = [getattr(t, known[0]), getattr(t, known[1])] if name in further.MODELS else classes(known[0])
            make(name, *found, known[-1])
        except Exception as error:  # One that this version of transformers lacks must not stop the others.
            print(name, "FAILED", repr(error)[:200])
