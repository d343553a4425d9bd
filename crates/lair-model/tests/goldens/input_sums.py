"""Makes input_sums.json: what llama.cpp multiplies each matrix of tiny models with, added up as llama-imatrix does.

    python input_sums.py FOLDER NAME ... > input_sums.json

FOLDER has `NAME.gguf`, made by `archs/generate.py` of the shared data; `NAME.tokens.json` is in the folder of the shared data that the
environment names as ARCHS. Models with experts are changed so that a token takes only one of its two. Run with a Python that
has llama-cpp-python 0.3.36.

For each matrix of a layer a pair: rows of each expert; of each expert's sums of squares the total, the first, the third and the last.
The structure below is `ggml_tensor` of that version; 29 and 30 are the numbers of its two matrix products.
"""

import ctypes
import json
import os
import pathlib
import sys

import llama_cpp
import numpy

MUL_MAT, MUL_MAT_ID, F32 = 29, 30, 0


class Tensor(ctypes.Structure):
    pass


Tensor._fields_ = [
    ("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("ne", ctypes.c_int64 * 4), ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int), ("op_params", ctypes.c_int32 * 16), ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(Tensor) * 10), ("view_src", ctypes.c_void_p), ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p), ("name", ctypes.c_char * 64), ("extra", ctypes.c_void_p), ("padding", ctypes.c_char * 8),
]


def values(tensor, kind):
    """A tensor's numbers in the order [3, 2, 1, 0] of its dimensions, whatever its strides."""
    shape, strides = list(tensor.ne)[::-1], list(tensor.nb)[::-1]
    length = sum((n - 1) * s for n, s in zip(shape, strides)) + kind().itemsize
    memory = (ctypes.c_char * length).from_address(tensor.data)
    return numpy.ndarray(shape, kind, buffer=memory, strides=strides).copy()


class Sums:
    def __init__(self):
        self.sums, self.counts = {}, {}

    def add(self, name, expert_count, expert, rows):
        columns = rows.shape[-1]
        sums = self.sums.setdefault(name, numpy.zeros((expert_count, columns)))
        counts = self.counts.setdefault(name, numpy.zeros(expert_count, dtype=int))
        rows = rows.reshape(-1, columns).astype(numpy.float64)
        sums[expert] += (rows * rows).sum(axis=0)
        counts[expert] += len(rows)

    def see(self, tensor, ask, _):
        tensor = ctypes.cast(tensor, ctypes.POINTER(Tensor)).contents
        if tensor.op not in (MUL_MAT, MUL_MAT_ID):
            return False if ask else True
        weight, source = tensor.src[0].contents, tensor.src[1].contents
        name = weight.name.decode()
        if not name.startswith("blk.") or source.type != F32:
            return False if ask else True
        if ask:
            return True
        rows = values(source, numpy.float32)
        if tensor.op == MUL_MAT:
            self.add(name, 1, 0, rows)
            return True
        chosen = values(tensor.src[2].contents, numpy.int32)[0, 0]  # [tokens, used]
        rows = rows[0]  # [tokens, used or 1, columns]
        for place in range(chosen.shape[1]):
            for expert in range(weight.ne[2]):
                of_expert = chosen[:, place] == expert
                self.add(name, weight.ne[2], expert, rows[of_expert, place % rows.shape[1]])
        return True


def with_one_expert(path):
    """The file, changed in place: tokens take one expert. A key is its text, the type of its value (u32), its value."""
    data = bytearray(path.read_bytes())
    place = data.find(b"expert_used_count")
    if place >= 0:
        place += len(b"expert_used_count") + 4
        data[place : place + 4] = (1).to_bytes(4, "little")
        path.write_bytes(data)
    return path


def observed(path, tokens):
    sums = Sums()
    parameters = llama_cpp.llama_model_default_params()
    parameters.use_mmap = False
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    context_parameters = llama_cpp.llama_context_default_params()
    context_parameters.n_ctx = context_parameters.n_batch = context_parameters.n_ubatch = 256
    context_parameters.type_k = context_parameters.type_v = F32
    context_parameters.flash_attn_type = 0
    callback = llama_cpp.ggml_backend_sched_eval_callback(sums.see)
    context_parameters.cb_eval = callback
    context = llama_cpp.llama_init_from_model(model, context_parameters)
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for place, token in enumerate(tokens):
        batch.token[place], batch.pos[place] = token, place
        batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, 1
    assert llama_cpp.llama_decode(context, batch) == 0
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return sums


def main():
    folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
    llama_cpp.llama_backend_init()
    result = {}
    for name in names:
        tokens = json.loads((pathlib.Path(os.environ["ARCHS"]) / f"{name}.tokens.json").read_text())
        sums = observed(with_one_expert(folder / f"{name}.gguf"), tokens)
        result[name] = {
            tensor: [
                sums.counts[tensor].tolist(),
                [[float(f"{x:.7g}") for x in (row.sum(), row[0], row[2], row[-1])] for row in matrix],
            ]
            for tensor, matrix in sorted(sums.sums.items())
        }
    lines = []
    for name, tensors in result.items():
        body = ",\n".join(f"{json.dumps(tensor)}: {json.dumps(entry, separators=(',', ':'))}" for tensor, entry in tensors.items())
        lines.append(f"{json.dumps(name)}: {{\n{body}\n}}")
    print("{\n" + ",\n".join(lines) + "\n}")


main()
