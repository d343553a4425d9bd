"""Makes expert_table/deepseek4.npy: logits of a tiny DeepSeek V4 laid out as the published files, as llama.cpp computes them.

    python expert_table.py FOLDER

FOLDER has `deepseek4.gguf`, made by `archs/generate.py` of the shared data; `deepseek4.tokens.json` is in the folder of the shared
data that the environment names as ARCHS. A second file is written beside it, in which the first two layers choose experts by a
table of tokens, each token takes one expert, and the products of groups of heads stand one below the other. Run with a Python
that has llama-cpp-python 0.3.36 and gguf; keys and values are kept in F32, and there is no flash attention.

Written beside this script: `expert_table/deepseek4.npy`, float32, the logits of every eighth token.
"""

import json
import os
import pathlib
import sys

import gguf
import numpy

from chosen_keys import STEP, logits

LAYERS = 2
EXPERTS = 2


def table(layer, vocabulary_size):
    """The expert of each token: `expert_table.rs` has the same rule."""
    tokens = numpy.arange(vocabulary_size)
    return ((tokens * tokens // 3 + layer) % EXPERTS).astype(numpy.int32).reshape(vocabulary_size, 1)


def main():
    folder = pathlib.Path(sys.argv[1])
    reader = gguf.GGUFReader(folder / "deepseek4.gguf")
    path = folder / "deepseek4-table.gguf"
    writer = gguf.GGUFWriter(path, "deepseek4")
    changed = {"deepseek4.hash_layer_count": LAYERS, "deepseek4.expert_used_count": 1}
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = changed.get(field.name, field.contents())
        element = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, field.types[0], sub_type=element)
    by_table = {f"blk.{layer}.exp_probs_b.bias" for layer in range(LAYERS)}
    for tensor in reader.tensors:
        if tensor.name in by_table:
            continue
        data = numpy.array(tensor.data)
        if tensor.name.endswith("attn_output_a.weight"):
            data = data.reshape(-1, data.shape[-1])
        writer.add_tensor(tensor.name, data)
    for layer in range(LAYERS):
        vocabulary_size = int(reader.get_field("deepseek4.vocab_size").contents())
        writer.add_tensor(f"blk.{layer}.ffn_gate_tid2eid.weight", table(layer, vocabulary_size))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    archs = pathlib.Path(os.environ["ARCHS"])
    tokens = json.loads((archs / "deepseek4.tokens.json").read_text())
    result = logits(path, tokens, False)
    every = numpy.load(archs / "deepseek4.logits.npy")
    print(f"{((result - every) ** 2).mean() / (every**2).mean():.1e} from the model that chooses by scores")
    output = pathlib.Path(__file__).with_name("expert_table")
    output.mkdir(exist_ok=True)
    numpy.save(output / "deepseek4.npy", result[STEP - 1 :: STEP])


main()
