"""Makes chosen_keys/NAME.npy: logits of tiny models whose indexers choose few of the keys, as llama.cpp computes them.

    python chosen_keys.py FOLDER NAME ...

FOLDER has `NAME.gguf`, made by `archs/generate.py` of the shared data; `NAME.tokens.json` is in the folder of the shared data that the
environment names as ARCHS. Each file is changed in place: its indexers choose as many units as CHOSEN says. Run with a Python that
has llama-cpp-python 0.3.36; keys and values are kept in F32, and there is no flash attention, but for `minimax-m3`, which chooses
keys only with it.

Written beside this script: `chosen_keys/NAME.npy`, float32, the logits of every eighth token, the eighth or FIRST the first of them.
"""

import json
import os
import pathlib
import sys

import llama_cpp
import numpy

CHOSEN = {"deepseek32": 24, "glm-dsa": 24, "dots3note": 24, "hy_v4": 24, "deepseek4": 5, "glm5-next": 24, "minimax-m3": 6, "qwen4exp": 24}
F32 = 0
STEP = 8
# The first token whose logits are kept. Where fewer than three tokens stand behind the last whole run of four, the reference reads
# some of a run that it has not chosen as well; what the published model code does is what it does where there are three.
FIRST = {"qwen4exp": 6}


def with_few_chosen(path, count):
    """A key is its text, the type of its value (u32), its value."""
    data = bytearray(path.read_bytes())
    key = b"attention.indexer.top_k"
    place = data.find(key) + len(key) + 4
    data[place : place + 4] = count.to_bytes(4, "little")
    path.write_bytes(data)


def logits(path, tokens, flash):
    parameters = llama_cpp.llama_model_default_params()
    parameters.use_mmap = False
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    context_parameters = llama_cpp.llama_context_default_params()
    context_parameters.n_ctx = context_parameters.n_batch = context_parameters.n_ubatch = 256
    context_parameters.type_k = context_parameters.type_v = F32
    context_parameters.flash_attn_type = int(flash)
    context = llama_cpp.llama_init_from_model(model, context_parameters)
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for place, token in enumerate(tokens):
        batch.token[place], batch.pos[place] = token, place
        batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, 1
    assert llama_cpp.llama_decode(context, batch) == 0
    width = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    rows = [numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, row), (width,)).copy() for row in range(len(tokens))]
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return numpy.stack(rows).astype(numpy.float32)


def main():
    folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
    output = pathlib.Path(__file__).with_name("chosen_keys")
    output.mkdir(exist_ok=True)
    llama_cpp.llama_backend_init()
    for name in names:
        archs = pathlib.Path(os.environ["ARCHS"])
        tokens = json.loads((archs / f"{name}.tokens.json").read_text())
        path = folder / f"{name}.gguf"
        with_few_chosen(path, CHOSEN[name])
        result = logits(path, tokens, name == "minimax-m3")
        every = numpy.load(archs / f"{name}.logits.npy")
        apart = ((result - every) ** 2).mean() / (every**2).mean()
        print(f"{name}: {apart:.1e} from the model that reads all keys")
        numpy.save(output / f"{name}.npy", result[FIRST.get(name, STEP - 1) :: STEP])


if __name__ == "__main__":
    main()
