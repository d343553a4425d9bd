"""Makes `mixes.json`: which type llama.cpp's quantizer gives each tensor, for every file type and several shapes of models.

Run with a Python that has `llama_cpp`, `gguf` and `numpy`:

    python make_mixes.py

The models have the names, layers and heads of real ones, but tiny matrices: the quantizer looks at nothing else.
"""

import ctypes
import json
import pathlib
import tempfile

import gguf
import llama_cpp
import numpy

FILE_TYPES = {
    "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13,
    "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ2_XXS": 19, "IQ2_XS": 20, "Q2_K_S": 21,
    "IQ3_XS": 22, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ3_M": 27, "IQ2_S": 28, "IQ2_M": 29,
    "IQ4_XS": 30, "IQ1_M": 31, "TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38, "F16": 1, "BF16": 32, "F32": 0,
}
# Types that the quantizer refuses to make without importances.
NEED_IMPORTANCE = {"IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ1_S", "IQ1_M", "IQ3_XXS", "Q2_K_S", "IQ3_XS"}

# architecture, layers, heads, heads of keys and values, row length, experts, whether it has a head of its own
SHAPES = {
    "tinyllama": ("llama", 22, 32, 4, 256, 0, True),
    "qwen2": ("qwen2", 24, 14, 2, 256, 0, False),
    "smollm2": ("llama", 30, 9, 3, 576, 0, False),
    "mixtral": ("llama", 8, 8, 2, 256, 8, True),
    "llama-70b": ("llama", 80, 64, 8, 256, 0, True),
    "glm5-next": ("glm5-next", 2, 4, 4, 256, 4, True),
    "deepseek4": ("deepseek4", 2, 4, 1, 256, 4, True),
}
# Tensors that only some architectures have, in every layer.
OWN_TENSORS = {
    "glm5-next": {
        "hc_attn_fn": 2, "hc_ffn_fn": 2, "indexer.attn_q_b": 2, "indexer.attn_k": 2, "indexer.proj": 2, "indexer_compressor_gate": 2,
        "indexer_compressor_ape": 4, "ssm_conv1d_q": 2, "ssm_f_a": 2, "ssm_f_b": 2, "ssm_g_a": 2, "ssm_g_b": 2, "ssm_beta": 2,
        "attn_q_a": 2, "attn_q_b": 2, "attn_kv_a_mqa": 2, "attn_k_b": 2, "attn_v_b": 2, "ffn_down_shexp": 2},
    "deepseek4": {
        "hc_attn_fn": 2, "hc_ffn_fn": 2, "attn_q_a": 2, "attn_q_b": 2, "attn_kv": 2, "attn_output_a": 2, "attn_output_b": 2,
        "attn_compressor_kv": 2, "attn_compressor_gate": 2, "attn_compressor_ape": 4, "indexer.attn_q_b": 2, "indexer.proj": 2,
        "indexer_compressor_kv": 2, "indexer_compressor_gate": 2, "indexer_compressor_ape": 4, "ffn_down_shexp": 2},
}
# Keys without which their files are not opened.
LIMITS = {"swiglu_clamp_exp": [10.0, 10.0], "swiglu_clamp_shexp": [10.0, 10.0]}
STREAMS = {"hyper_connection.count": 4, "hyper_connection.sinkhorn_iterations": 20, "hyper_connection.epsilon": 1e-6,
           "attention.indexer.head_count": 2, "attention.indexer.key_length": 8, "attention.indexer.top_k": 8,
           "expert_feed_forward_length": 16, "expert_shared_count": 1, "expert_weights_scale": 1.0, "expert_weights_norm": True,
           "attention.q_lora_rank": 8, **LIMITS}
OWN_KEYS = {
    "glm5-next": {**STREAMS, "attention.key_length_mla": 8, "attention.value_length_mla": 8, "attention.kv_lora_rank": 8,
                  "ssm.conv_kernel": 4, "kda.head_dim": 8, "attention.indexer.kpool": 4, "rope.dimension_count": 0},
    "deepseek4": {**STREAMS, "attention.sliding_window": 16, "attention.output_group_count": 2, "attention.output_lora_rank": 8,
                  "attention.compress_rope_freq_base": 1e4, "hash_layer_count": 1, "attention.compress_ratios": [4, 4],
                  "expert_gating_func": 4},
}


def tensors(shape):
    architecture, layers, _, _, row, experts, has_head = shape
    found = [("token_embd.weight", [row, 4]), ("output_norm.weight", [row])]
    if has_head:
        found.append(("output.weight", [row, 4]))
    for layer in range(layers):
        prefix = f"blk.{layer}."
        found.append((prefix + "attn_norm.weight", [row]))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            found.append((prefix + name + ".weight", [row, 2]))
            if architecture == "qwen2" and name != "attn_output":
                found.append((prefix + name + ".bias", [2]))
        found.append((prefix + "ffn_norm.weight", [row]))
        if experts:
            found.append((prefix + "ffn_gate_inp.weight", [row, experts]))
            for name in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
                found.append((prefix + name + ".weight", [row, 2, experts]))
        else:
            for name in ("ffn_gate", "ffn_up", "ffn_down"):
                found.append((prefix + name + ".weight", [row, 2]))
        found += [(f"{prefix}{name}.weight", [row, rows]) for name, rows in OWN_TENSORS.get(architecture, {}).items()]
    return found


def write_model(path, shape):
    architecture, layers, heads, kv_heads, row, experts, _ = shape
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(row)
    writer.add_feed_forward_length(row)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    for key, value in OWN_KEYS.get(architecture, {}).items():
        kinds = ((bool, writer.add_bool), (int, writer.add_uint32), (float, writer.add_float32), (list, writer.add_array))
        next(add for kind, add in kinds if isinstance(value, kind))(f"{architecture}.{key}", value)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(4)
    random = numpy.random.default_rng(1)
    for name, lengths in tensors(shape):
        values = random.normal(0.0, 0.02, list(reversed(lengths))).astype(numpy.float32)
        writer.add_tensor(name, values if len(lengths) == 1 else values.astype(numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class ImatrixData(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


def quantize(source, target, number, shape, with_importance):
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = number
    parameters.nthread = 1
    keep = []
    if with_importance:
        entries = []
        for name, lengths in tensors(shape):
            count = lengths[0] * (lengths[2] if len(lengths) > 2 else 1)
            data = (ctypes.c_float * count)(*([1.0] * count))
            keep.append(data)
            entries.append(ImatrixData(name.encode(), ctypes.cast(data, ctypes.POINTER(ctypes.c_float)), count))
        entries.append(ImatrixData(None, None, 0))
        array = (ImatrixData * len(entries))(*entries)
        keep.append(array)
        parameters.imatrix = ctypes.cast(array, type(parameters.imatrix))
    done = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    if done != 0:
        return None
    reader = gguf.GGUFReader(target)
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    # Tensors of one kind together, so that equal types stand in runs.
    kind = lambda name: name.split(".", 2)[2] if name.startswith("blk.") else name
    return [types[name] for name, _ in sorted(tensors(shape), key=lambda entry: kind(entry[0]))]


@llama_cpp.llama_log_callback
def silent(level, text, data):
    pass


llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
result = {}
with tempfile.TemporaryDirectory() as folder:
    for name, shape in SHAPES.items():
        source, target = pathlib.Path(folder) / "in.gguf", pathlib.Path(folder) / "out.gguf"
        write_model(source, shape)
        mixes = {}
        for file_type, number in FILE_TYPES.items():
            for with_importance in (False, True):
                if not with_importance and file_type in NEED_IMPORTANCE:
                    continue
                types = quantize(source, target, number, shape, with_importance)
                if types is None:
                    print("refused", name, file_type, with_importance)
                    continue
                # Runs of equal types: `3*Q4_K`.
                runs, last = [], None
                for one in types:
                    if one == last:
                        runs[-1][0] += 1
                    else:
                        runs.append([1, one])
                    last = one
                key = file_type + (" with importance" if with_importance else "")
                mixes[key] = " ".join(f"{count}*{one}" if count > 1 else one for count, one in runs)
        architecture, layers, heads, kv_heads, _, experts, _ = shape
        result[name] = {
            "architecture": architecture, "block_count": layers, "head_count": heads, "head_count_kv": kv_heads,
            "expert_count": experts, "tensors": tensors(shape), "mixes": mixes,
        }
path = pathlib.Path(__file__).parent / "mixes.json"
path.write_text(json.dumps(result, separators=(",", ":")) + "\n")
print(path, path.stat().st_size)
