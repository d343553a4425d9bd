#!/usr/bin/env python3
"""Makes the golden blocks that `tests/golden_blocks.rs` compares with.

    python make_goldens.py [--ggml-library PATH/TO/libggml-base.so]

Needs `gguf` 0.19 (`pip install gguf==0.19.0`), whose NumPy dequantizers are the reference. The four types it does not
read (Q8_1, Q8_K, Q1_0, Q2_0) are read by the few lines below, written from the layouts in ggml's `ggml-common.h`. With
`--ggml-library` everything, the quantized rows too, is compared with ggml's own C functions as well; the goldens were
made that way, with the library of llama-cpp-python 0.3.36.

Output, beside this script:

    blocks.json     one entry a type, see `main`
    blocks.bin      the blocks of all types, then their values (f32), little-endian
    quantized.bin   QUANTIZED_BLOCKS * 32 values (f32), then for each type of QUANTIZED_TYPES the row made of them

Not-a-number values are written as 0x7fc00000, whatever their bits were.
"""

import argparse
import ctypes
import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

BULK_BLOCKS = 1024
QUANTIZED_BLOCKS = 48
QUANTIZED_TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]

# Type: elements a block, bytes a block, where its half-precision fields are.
FORMATS = {
    "Q4_0": (32, 18, [0]), "Q4_1": (32, 20, [0, 2]), "Q5_0": (32, 22, [0]), "Q5_1": (32, 24, [0, 2]),
    "Q8_0": (32, 34, [0]), "Q8_1": (32, 36, [0, 2]),
    "Q2_K": (256, 84, [80, 82]), "Q3_K": (256, 110, [108]), "Q4_K": (256, 144, [0, 2]),
    "Q5_K": (256, 176, [0, 2]), "Q6_K": (256, 210, [208]), "Q8_K": (256, 292, []),
    "IQ2_XXS": (256, 66, [0]), "IQ2_XS": (256, 74, [0]), "IQ3_XXS": (256, 98, [0]), "IQ1_S": (256, 50, [0]),
    "IQ4_NL": (32, 18, [0]), "IQ3_S": (256, 110, [0]), "IQ2_S": (256, 82, [0]), "IQ4_XS": (256, 136, [0]),
    "IQ1_M": (256, 56, []), "BF16": (1, 2, []), "F16": (1, 2, [0]), "TQ1_0": (256, 54, [52]),
    "TQ2_0": (256, 66, [64]), "MXFP4": (32, 17, []), "NVFP4": (64, 36, []), "Q1_0": (128, 18, [0]),
    "Q2_0": (64, 18, [0]),
}

# Zero, minus zero, negative, largest, smallest subnormal, largest subnormal, infinity, not a number.
SPECIAL_HALVES = [0x0000, 0x8000, 0xBE00, 0x7BFF, 0x0001, 0x83FF, 0x7C00, 0x7E00]


def fnv1a(data: bytes) -> int:
    state = 0xCBF29CE484222325
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


def random_bytes(name: str, count: int) -> np.ndarray:
    """Splitmix64 seeded with the FNV-1a hash of the name, eight bytes an output, little-endian."""
    steps = np.arange(1, (count + 7) // 8 + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        state = np.uint64(fnv1a(name.encode())) + steps * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return state.view(np.uint8)[:count].copy()


def special_blocks(name: str) -> np.ndarray:
    """All bits clear, all set, then random ones whose scales are of every unusual kind."""
    _, block_bytes, halves = FORMATS[name]
    blocks = random_bytes(name + " special", (len(SPECIAL_HALVES) + 4) * block_bytes).reshape(-1, block_bytes)
    blocks[0] = 0
    blocks[1] = 0xFF
    for number, half in enumerate(SPECIAL_HALVES):
        block = blocks[2 + number]
        for start in halves:
            block[start : start + 2] = half & 0xFF, half >> 8
        if name == "IQ1_M":  # Four bits of the scale are at the top of each of four words.
            for i in range(4):
                block[49 + 2 * i] = block[49 + 2 * i] & 0x0F | (half >> (4 * i) & 15) << 4
        if name == "Q8_K":
            block[:4] = np.frombuffer(np.float32(np.array(half, np.uint16).view(np.float16)).tobytes(), np.uint8)
        if name == "MXFP4":
            block[0] = [0, 1, 2, 3, 127, 128, 254, 255][number]
        if name == "NVFP4":
            block[:4] = np.array([0, 1, 7, 8, 0x0F, 0x7E, 0x7F, 0x80, 0x81, 0xFF], np.uint8)[number % 7 :][:4]
    for block in blocks[len(SPECIAL_HALVES) + 2 :]:
        for start in halves:  # The last two are ordinary.
            block[start + 1] = 0x2C | block[start + 1] & 0x83
    return blocks


def dequantize(name: str, blocks: np.ndarray) -> np.ndarray:
    def half(start: int) -> np.ndarray:
        return blocks[:, start : start + 2].copy().view(np.float16).astype(np.float32)

    match name:
        case "Q8_1":
            return half(0) * blocks[:, 4:].view(np.int8).astype(np.float32)
        case "Q8_K":
            return blocks[:, :4].copy().view(np.float32) * blocks[:, 4:260].view(np.int8).astype(np.float32)
        case "Q1_0":
            bits = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little")
            return np.where(bits == 1, half(0), -half(0))
        case "Q2_0":
            pairs = blocks[:, 2:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
            return (pairs.astype(np.float32) - 1).reshape(len(blocks), 64) * half(0)
        case _:
            return gguf.quants.dequantize(blocks, Type[name])


def canonical(values: np.ndarray) -> np.ndarray:
    values = np.ascontiguousarray(values, np.float32).copy()
    values[np.isnan(values)] = np.float32("nan")
    return values


def c_name(name: str) -> str:
    return name[:-1].lower() + "K" if name.endswith("_K") else name.lower()


def compare_with_ggml(library: ctypes.CDLL, name: str, blocks: np.ndarray, values: np.ndarray) -> None:
    if name == "Q8_1" or FORMATS[name][0] == 1:
        return  # ggml exports no such function.
    function = getattr(library, f"dequantize_row_{c_name(name)}")
    found = np.zeros_like(values)
    blocks = np.ascontiguousarray(blocks)
    function(ctypes.c_void_p(blocks.ctypes.data), ctypes.c_void_p(found.ctypes.data), ctypes.c_int64(found.size))
    assert np.array_equal(canonical(found).view(np.uint32), values.view(np.uint32)), f"{name}: ggml disagrees"


def values_to_quantize() -> np.ndarray:
    """Rows of several sizes, and the awkward ones: zeros, all equal, one spike, ties, a wide range."""
    words = random_bytes("values", QUANTIZED_BLOCKS * 32 * 4).view(np.uint32)
    values = ((words >> 8).astype(np.float32) / np.float32(2**24) - np.float32(0.5)).reshape(QUANTIZED_BLOCKS, 32)
    values *= np.float32(10.0) ** np.arange(-3, 3, dtype=np.float32)[np.arange(QUANTIZED_BLOCKS) % 6, None]
    values[0] = 0
    values[1] = 0.25
    values[2] = -3
    values[3] = 0
    values[3, 17] = -100
    values[4] = np.arange(-16, 16) * 0.5
    values[5] = np.arange(32) - 15.5
    values[6] = np.tile([1, -1], 16)
    values[7] = np.float32(2.0) ** np.arange(-20, 12)
    return values.astype(np.float32)


def quantize(library: ctypes.CDLL | None, name: str, values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        row = gguf.quants.quantize(values, Type[name])
    if library is not None:
        found = np.zeros_like(row)
        function = getattr(library, f"quantize_row_{c_name(name)}_ref")
        function(ctypes.c_void_p(values.ctypes.data), ctypes.c_void_p(found.ctypes.data), ctypes.c_int64(values.size))
        assert np.array_equal(found, row), f"{name}: ggml quantizes blocks {np.where(found != row)[0]} differently"
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ggml-library")
    path = parser.parse_args().ggml_library
    library = ctypes.CDLL(path) if path else None
    folder = Path(__file__).parent
    np.seterr(all="ignore")

    entries, binary = [], bytearray()
    for name, (block_length, block_bytes, _) in FORMATS.items():
        blocks = special_blocks(name)
        values = canonical(dequantize(name, blocks))
        bulk = random_bytes(name, BULK_BLOCKS * block_bytes).reshape(BULK_BLOCKS, block_bytes)
        bulk_values = canonical(dequantize(name, bulk))
        assert values.size == len(blocks) * block_length
        if library is not None:
            compare_with_ggml(library, name, blocks, values)
            compare_with_ggml(library, name, bulk, bulk_values)
        entries.append({
            "type": name,
            "block_count": len(blocks),
            "start": len(binary),  # Of the blocks in `blocks.bin`; the values follow them.
            "bulk_block_count": BULK_BLOCKS,
            # Of the values of `random_bytes(type)` as one row.
            "bulk_fnv1a": f"{fnv1a(bulk_values.tobytes()):016x}",
        })
        binary += blocks.tobytes() + values.tobytes()
    (folder / "blocks.json").write_text("[\n" + ",\n".join("  " + json.dumps(entry) for entry in entries) + "\n]\n")
    (folder / "blocks.bin").write_bytes(binary)

    values = values_to_quantize()
    rows = [quantize(library, name, values).tobytes() for name in QUANTIZED_TYPES]
    (folder / "quantized.bin").write_bytes(values.tobytes() + b"".join(rows))


if __name__ == "__main__":
    main()
