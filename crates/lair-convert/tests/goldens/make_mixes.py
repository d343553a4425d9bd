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
