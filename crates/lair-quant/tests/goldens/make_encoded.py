"""Makes `encoded.bin`: values, importances, and the blocks that ggml's quantizers make of them.

Run with a Python that has `llama_cpp` and `numpy`:

    python make_encoded.py

Layout, little-endian: `ROWS * ROW` f32 values, `ROW` f32 importances, then for each of TYPES, in order, the blocks without
importances (only if the type can do without) and the blocks with them.
"""

import ctypes
import pathlib

import llama_cpp
import numpy

ROWS, ROW = 4, 1024
# name, number of the type, whether blocks are made without importances too
TYPES = [
    ("Q4_0", 2, True), ("Q4_1", 3, True), ("Q5_0", 6, True), ("Q5_1", 7, True), ("Q8_0", 8, True),
    ("Q2_K", 10, True), ("Q3_K", 11, True), ("Q4_K", 12, True), ("Q5_K", 13, True), ("Q6_K", 14, True),
    ("IQ2_XXS", 16, False), ("IQ2_XS", 17, False), ("IQ3_XXS", 18, True), ("IQ1_S", 19, False), ("IQ4_NL", 20, True),
    ("IQ3_S", 21, True), ("IQ2_S", 22, False), ("IQ4_XS", 23, True), ("IQ1_M", 29, False), ("BF16", 30, True),
    ("TQ1_0", 34, True), ("TQ2_0", 35, True), ("MXFP4", 39, True), ("NVFP4", 40, True), ("Q1_0", 41, True),
    ("Q2_0", 42, True),
]

library = ctypes.CDLL(str(pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
floats = ctypes.POINTER(ctypes.c_float)
library.ggml_quantize_chunk.argtypes = [
    ctypes.c_int, floats, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, floats
]
library.ggml_quantize_chunk.restype = ctypes.c_size_t
library.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
library.ggml_row_size.restype = ctypes.c_size_t


def values():
    """Rows as models have them: normal ones of different widths, with outliers, a shift, zeros, and a heavy tail."""
    random = numpy.random.default_rng(7)
    rows = random.normal(0.0, 0.02, (ROWS, ROW))
    rows[1] += numpy.repeat(random.normal(0.0, 0.01, ROW // 32), 32)
    rows[1, ::97] *= 8.0
    rows[2] = random.laplace(0.0, 0.05, ROW)
    rows[2, 256:288] = 0.0
    rows[2, 300:316] = 0.25
    rows[3] = random.standard_t(3.0, ROW) * 0.1
    rows[3, 512:768] *= 0.01
    importance = random.gamma(0.7, 1.0, ROW) + 1e-3
    return rows.astype("<f4"), importance.astype("<f4")


def encode(number, rows, importance):
    blocks = ctypes.create_string_buffer(ROWS * library.ggml_row_size(number, ROW))
    weights = None if importance is None else importance.ctypes.data_as(floats)
    written = library.ggml_quantize_chunk(number, rows.ctypes.data_as(floats), blocks, 0, ROWS, ROW, weights)
    assert written == len(blocks)
    return blocks.raw


rows, importance = values()
out = rows.tobytes() + importance.tobytes()
for _, number, is_plain in TYPES:
    out += encode(number, rows, None) if is_plain else b""
    out += encode(number, rows, importance)
target = pathlib.Path(__file__).parent / "encoded.bin"
target.write_bytes(out)
print(target, len(out))
