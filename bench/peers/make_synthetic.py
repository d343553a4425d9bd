#!/usr/bin/env python3
"""Makes a synthetic model of TinyLlama's shape (1.1 B parameters, random weights) to measure speed with.

usage: make_synthetic.py VOCAB.gguf OUT.gguf [TYPE]     TYPE: F16 (default), Q4_K_M, Q4_0, Q8_0, Q6_K ...

VOCAB.gguf is any vocabulary-only file with a SentencePiece vocabulary of about 32,000 pieces.
Needs: pip install llama-cpp-python==0.3.36 gguf==0.19.0 numpy
"""
import os, sys
import numpy as np
import gguf

LAYERS, HIDDEN, HEADS, KV_HEADS, WIDE = 22, 2048, 32, 4, 5632
HEAD = HIDDEN // HEADS
FILE_TYPES = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_S": 14,
              "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30}


def shapes(vocabulary_size):
    yield "token_embd.weight", (vocabulary_size, HIDDEN)
    yield "output_norm.weight", (HIDDEN,)
    yield "output.weight", (vocabulary_size, HIDDEN)
    for i in range(LAYERS):
        for name, shape in [("attn_norm", (HIDDEN,)), ("attn_q", (HIDDEN, HIDDEN)), ("attn_k", (KV_HEADS * HEAD, HIDDEN)),
                            ("attn_v", (KV_HEADS * HEAD, HIDDEN)), ("attn_output", (HIDDEN, HIDDEN)),
                            ("ffn_norm", (HIDDEN,)), ("ffn_gate", (WIDE, HIDDEN)), ("ffn_up", (WIDE, HIDDEN)),
                            ("ffn_down", (HIDDEN, WIDE))]:
            yield f"blk.{i}.{name}.weight", shape


def write_f16(vocab_path, out):
    vocab = gguf.GGUFReader(vocab_path)
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name("synthetic TinyLlama shape")
    writer.add_context_length(2048)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(1)
    tokens = vocab.fields["tokenizer.ggml.tokens"]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([bytes(tokens.parts[i]) for i in tokens.data])
    for key, add in [("scores", writer.add_token_scores), ("token_type", writer.add_token_types)]:
        field = vocab.fields[f"tokenizer.ggml.{key}"]
        add([field.parts[i][0].item() for i in field.data])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    random = np.random.default_rng(1)
    all_shapes = list(shapes(len(tokens.data)))
    for name, shape in all_shapes:
        dtype = np.dtype(np.float32 if len(shape) == 1 else np.float16)
        writer.add_tensor_info(name, shape, dtype, int(np.prod(shape)) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in all_shapes:
        if len(shape) == 1:
            writer.write_tensor_data(np.ones(shape, np.float32))
        else:
            writer.write_tensor_data((random.standard_normal(shape, np.float32) * np.float32(0.02)).astype(np.float16))
    writer.close()


def quantize(source, out, type_name):
    import llama_cpp as L
    L.llama_backend_init()
    params = L.llama_model_quantize_default_params()
    params.nthread = os.cpu_count()
    params.ftype = FILE_TYPES[type_name]
    assert L.llama_model_quantize(source.encode(), out.encode(), params) == 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    vocab, out = sys.argv[1:3]
    type_name = sys.argv[3] if len(sys.argv) > 3 else "F16"
    if type_name == "F16":
        write_f16(vocab, out)
    else:
        f16 = out + ".f16"
        write_f16(vocab, f16)
        quantize(f16, out, type_name)
        os.remove(f16)
