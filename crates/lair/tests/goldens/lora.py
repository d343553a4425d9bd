#!/usr/bin/env python3
"""Makes lora.json: greedy tokens of stories260K with the low-rank adapter of tests/lora.rs, by llama.cpp.

    python3 lora.py stories260K-f32.gguf > lora.json

Needs llama-cpp-python 0.3.36, gguf and numpy. Weights, keys and values are F32 on both sides, so that tokens can be equal.
"""

import json
import sys
import tempfile

import gguf
import llama_cpp
import numpy

RANK, ALPHA, COUNT = 4, 16.0, 48
ENDS = ("attn_q.weight", "attn_v.weight", "ffn_down.weight")


def values(name, count):
    seed = 3
    for byte in name.encode():
        seed = (seed * 31 + byte) % 2**32
    bits = ((seed ^ numpy.arange(count, dtype=numpy.uint64)) * 2654435761) % 2**32
    bits = ((bits << 13) | (bits >> 19)) % 2**32
    bits = (bits * 2246822519) % 2**32
    return (((bits >> 8).astype(numpy.float32) / numpy.float32(2**24)) - numpy.float32(0.5)) / numpy.float32(4.6)


def main():
    base = sys.argv[1]
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        writer = gguf.GGUFWriter(file.name, "llama")
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", ALPHA)
        for tensor in gguf.GGUFReader(base).tensors:
            if tensor.name.endswith(ENDS):
                columns, rows = (int(length) for length in tensor.shape)
                for part, shape in (("a", (RANK, columns)), ("b", (rows, RANK))):
                    name = f"{tensor.name}.lora_{part}"
                    writer.add_tensor(name, values(name, shape[0] * shape[1]).reshape(shape))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        result = {}
        for scale in (1.0, 0.75, -1.0):
            model = llama_cpp.Llama(
                base, n_ctx=256, n_threads=1, flash_attn=False, type_k=0, type_v=0, verbose=False,
                lora_path=file.name, lora_scale=scale,
            )
            tokens = []
            for token in model.generate(model.tokenize(b"Once upon a time", add_bos=True), temp=0.0, top_k=1):
                tokens.append(int(token))
                if len(tokens) == COUNT:
                    break
            result[str(scale)] = tokens
    print(json.dumps(result))


if __name__ == "__main__":
    main()
