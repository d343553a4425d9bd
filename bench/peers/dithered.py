#!/usr/bin/env python3
"""Makes weights that lie on no grid of a quantized model: each weight is moved by chance within its own quantization step.

    ~/peers/llama_cpp/bin/python bench/peers/dithered.py QUANTIZED.gguf F16.gguf OUT.gguf

F16.gguf is the same model with its tensors widened to F16 (`lair quantize QUANTIZED.gguf F16 F16.gguf --allow-requantize`). Widened
weights are poor material for measuring quantization: the type they came from gives them back without any loss. A weight that was rounded
to a step can have been anywhere within it, so a uniform offset of at most half a step makes weights as the original's could have been.
The seed is fixed. Needs the packages `gguf` and `numpy`.
"""

import shutil
import sys

import numpy
from gguf import GGMLQuantizationType, GGUFReader

# Weights that share a scale, and the steps that their range has.
STEPS = {GGMLQuantizationType.Q4_0: (32, 15), GGMLQuantizationType.Q4_1: (32, 15), GGMLQuantizationType.Q5_0: (32, 31),
         GGMLQuantizationType.Q5_1: (32, 31), GGMLQuantizationType.Q8_0: (32, 254), GGMLQuantizationType.Q2_K: (16, 3),
         GGMLQuantizationType.Q3_K: (16, 7), GGMLQuantizationType.Q4_K: (32, 15), GGMLQuantizationType.Q5_K: (32, 31),
         GGMLQuantizationType.Q6_K: (16, 63)}


def main():
    quantized, wide, out = sys.argv[1:4]
    shutil.copyfile(wide, out)
    types = {tensor.name: tensor.tensor_type for tensor in GGUFReader(quantized).tensors}
    random = numpy.random.default_rng(1)
    for tensor in GGUFReader(out, "r+").tensors:
        if tensor.tensor_type != GGMLQuantizationType.F16 or types[tensor.name] not in STEPS:
            print(tensor.name, types[tensor.name].name, "stays as it is")
            continue
        length, steps = STEPS[types[tensor.name]]
        # A few million weights at a time, so that large tensors fit into memory.
        for blocks in numpy.array_split(tensor.data.reshape(-1, length), max(1, tensor.data.size >> 22)):
            values = blocks.astype(numpy.float32)
            step = (values.max(axis=1) - values.min(axis=1)) / steps
            values += step[:, None] * random.uniform(-0.5, 0.5, values.shape).astype(numpy.float32)
            blocks[:] = values.astype(numpy.float16)
    print(out)


if __name__ == "__main__":
    main()
