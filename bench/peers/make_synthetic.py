#!/usr/bin/env python3
"""Makes a synthetic model of a known shape (random weights) to measure speed with.

usage: make_synthetic.py SHAPE TYPE VOCAB.gguf OUT.gguf [--from F16.gguf | --blocks]

SHAPE: tinyllama-1.1b, qwen2.5-7b, qwen3-30b-a3b-8l (8 of its 48 layers), qwen3.5-0.8b, mamba2-1.3b.   TYPE: F16, Q4_K_M, Q4_0, Q8_0, Q6_K ... as llama.cpp names file types.
VOCAB.gguf: a file whose vocabulary is taken: about 32,000 SentencePiece pieces for TinyLlama, Qwen2's for the others.

Weights are N(0, 0.02), quantized by llama.cpp's own quantizer, which also chooses the type of each tensor. --from quantizes
an F16 file made before. --blocks (Q4_K_M and IQ4_XS) makes no F16 file at all: it quantizes one pool of random weights for
each block type and fills the tensors with pieces of the pool, which is as good for speed, and makes 7 B in a minute.

The context is 32768 tokens, whatever the shape's is, so that decoding at depth can be measured.
Needs: pip install llama-cpp-python==0.3.36 gguf==0.19.0 numpy
"""
import ctypes, os, pathlib, sys
from dataclasses import dataclass
import numpy as np
import gguf

CONTEXT_LENGTH = 32768
STANDARD_DEVIATION = 0.02
# llama.cpp's `llama_ftype`.
FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_S": 14,
              "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30}


@dataclass
class Shape:
    name: str
    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int | None  # None: as many tokens as the vocabulary file has.
    rope_theta: float
    norm_epsilon: float
    qkv_bias: bool
    head_dim: int | None = None  # None: the hidden size by the heads.
    experts: tuple[int, int, int] | None = None  # How many, how many a token takes, and their width.
    recurrent: tuple[int, int, int, int, int] | None = None  # Taps, width of all heads, of the state, heads, groups.
    tied: bool = False
    rotary: int | None = None  # Elements of a head that are turned; None: all.
    interval: int | None = None  # Every so-many-th layer has attention, the others are recurrent; None: none or all.

    def tensors(self, vocabulary_size):
        """Name and shape of every tensor, the slowest axis first."""
        head_dim = self.head_dim or (self.hidden // self.heads if self.heads else 0)
        q, kv = self.heads * head_dim, self.kv_heads * head_dim
        yield "token_embd.weight", (vocabulary_size, self.hidden)
        yield "output_norm.weight", (self.hidden,)
        if not self.tied:
            yield "output.weight", (vocabulary_size, self.hidden)
        for i in range(self.layers):
            if self.architecture == "mamba2":
                yield from self.mamba2(f"blk.{i}.")
                continue
            if self.architecture == "qwen35":
                yield from self.qwen35(f"blk.{i}.", i, head_dim)
                continue
            for name, shape in [("attn_norm", (self.hidden,)), ("attn_q", (q, self.hidden)),
                                ("attn_k", (kv, self.hidden)), ("attn_v", (kv, self.hidden)),
                                ("attn_output", (self.hidden, q)), ("ffn_norm", (self.hidden,))]:
                yield f"blk.{i}.{name}.weight", shape
            yield from self.network(f"blk.{i}.", head_dim)
            if self.qkv_bias:
                for name, size in [("attn_q", self.hidden), ("attn_k", kv), ("attn_v", kv)]:
                    yield f"blk.{i}.{name}.bias", (size,)

    def mamba2(self, prefix):
        taps, inner, state, heads, groups = self.recurrent
        channels = inner + 2 * groups * state
        for name, shape in [("attn_norm.weight", (self.hidden,)), ("ssm_in.weight", (inner + channels + heads, self.hidden)),
                            ("ssm_conv1d.weight", (channels, taps)), ("ssm_conv1d.bias", (channels,)),
                            ("ssm_dt.bias", (heads,)), ("ssm_a", (heads, 1)), ("ssm_d", (heads, 1)),
                            ("ssm_norm.weight", (groups, inner // groups)), ("ssm_out.weight", (self.hidden, inner))]:
            yield prefix + name, shape

    def qwen35(self, prefix, layer, head_dim):
        taps, inner, state, heads, groups = self.recurrent
        q, kv, keys = self.heads * head_dim, self.kv_heads * head_dim, groups * state
        yield f"{prefix}attn_norm.weight", (self.hidden,)
        if (layer + 1) % self.interval == 0:
            # Each head's gate lies beside its queries.
            mixer = [("attn_q.weight", (2 * q, self.hidden)), ("attn_k.weight", (kv, self.hidden)),
                     ("attn_v.weight", (kv, self.hidden)), ("attn_output.weight", (self.hidden, q)),
                     ("attn_q_norm.weight", (head_dim,)), ("attn_k_norm.weight", (head_dim,))]
        else:
            mixer = [("attn_qkv.weight", (2 * keys + inner, self.hidden)), ("attn_gate.weight", (inner, self.hidden)),
                     ("ssm_alpha.weight", (heads, self.hidden)), ("ssm_beta.weight", (heads, self.hidden)),
                     ("ssm_conv1d.weight", (2 * keys + inner, taps)), ("ssm_dt.bias", (heads,)), ("ssm_a", (heads,)),
                     ("ssm_norm.weight", (inner // heads,)), ("ssm_out.weight", (self.hidden, inner))]
        for name, shape in mixer:
            yield prefix + name, shape
        yield f"{prefix}post_attention_norm.weight", (self.hidden,)
        yield from self.network(prefix, head_dim)

    def network(self, prefix, head_dim):
        if not self.experts:
            for name, shape in [("gate", (self.ffn, self.hidden)), ("up", (self.ffn, self.hidden)),
                                ("down", (self.hidden, self.ffn))]:
                yield f"{prefix}ffn_{name}.weight", shape
            return
        # Qwen 3's layers normalise queries and keys.
        count, _used, width = self.experts
        for name, shape in [("attn_q_norm", (head_dim,)), ("attn_k_norm", (head_dim,)),
                            ("ffn_gate_inp", (count, self.hidden)), ("ffn_gate_exps", (count, width, self.hidden)),
                            ("ffn_up_exps", (count, width, self.hidden)),
                            ("ffn_down_exps", (count, self.hidden, width))]:
            yield f"{prefix}{name}.weight", shape


SHAPES = {
    "tinyllama-1.1b": Shape("TinyLlama", "llama", 22, 2048, 32, 4, 5632, None, 1e4, 1e-5, False),
    "qwen2.5-7b": Shape("Qwen2.5-7B", "qwen2", 28, 3584, 28, 4, 18944, 152064, 1e6, 1e-6, True),
    "qwen3-30b-a3b-8l": Shape("Qwen3-30B-A3B", "qwen3moe", 8, 2048, 32, 4, 6144, 151936, 1e6, 1e-6, False, 128, (128, 8, 768)),
    "qwen3.5-0.8b": Shape("Qwen3.5-0.8B", "qwen35", 24, 1024, 8, 2, 3584, 248320, 1e7, 1e-6, False, 256, None,
                          (4, 2048, 128, 16, 16), True, 64, 4),
    "mamba2-1.3b": Shape("Mamba2-1.3B", "mamba2", 48, 2048, 0, 0, 0, 50288, 1e4, 1e-5, False, None, None,
                         (4, 4096, 128, 64, 1), True),
}


def writer_of(shape, vocab_path, out, file_type):
    """A writer with all metadata, and the size of the vocabulary."""
    writer = gguf.GGUFWriter(out, shape.architecture)
    writer.add_name(f"synthetic {shape.name} shape")
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    if shape.heads:
        writer.add_rope_dimension_count(shape.rotary or shape.head_dim or shape.hidden // shape.heads)
    if shape.recurrent:
        taps, inner, state, heads, groups = shape.recurrent
        writer.add_ssm_conv_kernel(taps)
        writer.add_ssm_inner_size(inner)
        writer.add_ssm_state_size(state)
        writer.add_ssm_time_step_rank(heads)
        writer.add_ssm_group_count(groups)
    if shape.architecture == "qwen35":
        writer.add_rope_dimension_sections([11, 11, 10, 0])
        writer.add_full_attention_interval(shape.interval)
    if shape.head_dim:
        writer.add_key_length(shape.head_dim)
        writer.add_value_length(shape.head_dim)
    if shape.experts:
        writer.add_expert_count(shape.experts[0])
        writer.add_expert_used_count(shape.experts[1])
        writer.add_expert_feed_forward_length(shape.experts[2])
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_file_type(FILE_TYPES[file_type])
    writer.add_quantization_version(2)
    fields = {name: field for name, field in gguf.GGUFReader(vocab_path).fields.items()
              if name.startswith("tokenizer.ggml.")}
    tokens = fields.pop("tokenizer.ggml.tokens").contents()
    types = fields.pop("tokenizer.ggml.token_type").contents()
    missing = max(0, (shape.vocabulary or 0) - len(tokens))
    writer.add_token_list(tokens + [f"[PAD{len(tokens) + i}]" for i in range(missing)])
    writer.add_token_types(types + [int(gguf.TokenType.UNUSED)] * missing)
    for name, field in fields.items():
        item_type = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], item_type)
    return writer, len(tokens) + missing


def write(writer, tensors, vector_of, matrix_of, type_of):
    """Writes all tensors one after another, so that only one lies in memory. `matrix_of` gives raw bytes of a type."""
    for name, shape in tensors:
        kind = kind_of(name, shape, type_of)
        writer.add_tensor_info(name, byte_shape(shape, kind), np.dtype(np.uint8), size_bytes(shape, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in tensors:
        kind = kind_of(name, shape, type_of)
        data = matrix_of(shape, kind) if is_matrix(name, shape) else vector_of(name, shape).view(np.uint8)
        writer.write_tensor_data(data)
    writer.close()


def kind_of(name, shape, type_of):
    """Vectors, routers and what convolutions and recurrences are made of stay numbers, as llama.cpp keeps them."""
    return type_of(name) if is_matrix(name, shape) else gguf.GGMLQuantizationType.F32


def is_matrix(name, shape):
    is_kept = any(part in name for part in ("ffn_gate_inp", "ssm_conv1d", "ssm_norm")) or not name.endswith(".weight")
    return len(shape) > 1 and not is_kept


def byte_shape(shape, kind):
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    return (*shape[:-1], shape[-1] // block * block_bytes)


def size_bytes(shape, kind):
    return int(np.prod(byte_shape(shape, kind)))


def random_vector(random):
    """Norms are 1, biases, routers and convolutions small, factors of decays negative."""
    def make(name, shape):
        if name.endswith(".ssm_a"):
            return np.full(shape, -0.7, np.float32)
        if name.endswith(".bias") or "ffn_gate_inp" in name or "ssm_conv1d" in name:
            return random.standard_normal(shape, np.float32) * np.float32(STANDARD_DEVIATION)
        return np.ones(shape, np.float32)
    return make


def write_f16(shape, vocab_path, out):
    writer, vocabulary_size = writer_of(shape, vocab_path, out, "F16")
    random = np.random.default_rng(1)

    def matrix(dimensions, _kind):
        weights = random.standard_normal(dimensions, np.float32) * np.float32(STANDARD_DEVIATION)
        return weights.astype(np.float16).view(np.uint8)

    write(writer, list(shape.tensors(vocabulary_size)), random_vector(random), matrix,
          lambda _name: gguf.GGMLQuantizationType.F16)


def write_blocks(shape, file_type, vocab_path, out):
    """A file whose matrices are filled from pools of quantized blocks."""
    writer, vocabulary_size = writer_of(shape, vocab_path, out, file_type)
    random = np.random.default_rng(1)
    pools = {}

    def matrix(dimensions, kind):
        if kind not in pools:
            pools[kind] = quantized_pool(random, kind)
        return fill_from(pools[kind], random, size_bytes(dimensions, kind))

    write(writer, list(shape.tensors(vocabulary_size)), random_vector(random), matrix,
          # A table that is the head too has the type of a head.
          lambda name: MIXES[file_type]("output.weight" if shape.tied and name == "token_embd.weight" else name,
                                        shape.layers))


def q4_k_m_type(name, layers):
    """Which matrices llama.cpp keeps in 6 bits in a Q4_K_M file (`llama_tensor_get_type` of llama-quant.cpp, models below
    70 B): the output matrix, and the values' and the narrowing matrix in the first eighth of the layers, the last eighth
    and every third layer between."""
    if name == "output.weight":
        return gguf.GGMLQuantizationType.Q6_K
    if name.startswith("blk."):
        layer = int(name.split(".")[1])
        more_bits = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
        if more_bits and ("attn_v.weight" in name or "ffn_down" in name):
            return gguf.GGMLQuantizationType.Q6_K
    return gguf.GGMLQuantizationType.Q4_K


def iq4_xs_type(name, layers):
    """The same for an IQ4_XS file of a model with four or more queries for each key: 6 bits for the output matrix, 5 for the
    values' matrix, and for the narrowing one in the first eighth of the layers."""
    if name == "output.weight":
        return gguf.GGMLQuantizationType.Q6_K
    if "attn_v.weight" in name or ("ffn_down" in name and int(name.split(".")[1]) < layers // 8):
        return gguf.GGMLQuantizationType.Q5_K
    return gguf.GGMLQuantizationType.IQ4_XS


MIXES = {"Q4_K_M": q4_k_m_type, "IQ4_XS": iq4_xs_type}


def quantized_pool(random, kind, weights=1 << 22):
    """The bytes of so many normally distributed weights, quantized by ggml."""
    import llama_cpp
    library = ctypes.CDLL(str(next(pathlib.Path(llama_cpp.__file__).parent.glob("lib/libggml-base.so"))))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    source = random.standard_normal(weights, np.float32) * np.float32(STANDARD_DEVIATION)
    row = 4096
    out = np.empty(size_bytes((weights,), kind), np.uint8)
    written = library.ggml_quantize_chunk(ctypes.c_int(kind), source.ctypes.data_as(ctypes.c_void_p),
                                          out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(0),
                                          ctypes.c_int64(weights // row), ctypes.c_int64(row), None)
    assert written == out.size, f"ggml wrote {written} bytes for {out.size}"
    block_bytes = gguf.GGML_QUANT_SIZES[kind][1]
    return out.reshape(-1, block_bytes)


def fill_from(pool, random, wanted_bytes):
    """That many bytes of whole blocks: runs of the pool, each beginning at a random block."""
    count = wanted_bytes // pool.shape[1]
    out = np.empty((count, pool.shape[1]), np.uint8)
    run = 4096
    for first in range(0, count, run):
        size = min(run, count - first)
        begin = int(random.integers(0, len(pool) - size + 1))
        out[first : first + size] = pool[begin : begin + size]
    return out


def quantize(source, out, type_name):
    import llama_cpp as L
    L.llama_backend_init()
    params = L.llama_model_quantize_default_params()
    params.nthread = os.cpu_count()
    params.ftype = FILE_TYPES[type_name]
    assert L.llama_model_quantize(source.encode(), out.encode(), params) == 0


def main(arguments):
    if len(arguments) < 4 or arguments[0] not in SHAPES or arguments[1] not in FILE_TYPES:
        sys.exit(__doc__)
    shape, (type_name, vocab, out), options = SHAPES[arguments[0]], arguments[1:4], arguments[4:]
    if options == ["--blocks"] and type_name in MIXES:
        write_blocks(shape, type_name, vocab, out)
    elif options[:1] == ["--from"] and len(options) == 2:
        quantize(options[1], out, type_name)
    elif options:
        sys.exit(__doc__)
    elif type_name == "F16":
        write_f16(shape, vocab, out)
    else:
        f16 = out + ".f16"
        write_f16(shape, vocab, f16)
        quantize(f16, out, type_name)
        os.remove(f16)


if __name__ == "__main__":
    main(sys.argv[1:])
