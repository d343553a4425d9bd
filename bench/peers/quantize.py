"""Quantizes one model with Lair and with llama.cpp, and compares time, size, types and perplexity.

    python quantize.py LAIR MODEL.gguf TYPE [--text FILE] [--threads N] [--allow-requantize]

Run with a Python that has `llama_cpp` and `gguf`. MODEL is a file in F16, BF16 or F32. Both write to a folder of their own
that is removed again. The times are of the second of two runs, so that both read the model from memory.
"""

import argparse
import ctypes
import json
import pathlib
import subprocess
import tempfile
import time

import gguf
import llama_cpp

FILE_TYPES = {
    "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13,
    "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ3_S": 26, "IQ4_XS": 30,
}


@llama_cpp.llama_log_callback
def silent(level, text, data):
    pass


llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))


def with_llama(model, out, file_type, threads, again):
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = FILE_TYPES[file_type]
    parameters.nthread = threads
    parameters.allow_requantize = again
    started = time.perf_counter()
    assert llama_cpp.llama_model_quantize(str(model).encode(), str(out).encode(), ctypes.byref(parameters)) == 0
    return time.perf_counter() - started


def with_lair(lair, model, out, file_type, threads, again):
    command = [lair, "quantize", str(model), file_type, str(out), "--threads", str(threads), "--force", "--json"]
    started = time.perf_counter()
    subprocess.run(command + (["--allow-requantize"] if again else []), check=True, capture_output=True)
    return time.perf_counter() - started


def greedy(path, prompt, count):
    llm = llama_cpp.Llama(str(path), n_ctx=256, n_threads=2, verbose=False, logits_all=False)
    tokens = llm.tokenize(prompt.encode())
    found = []
    for token in llm.generate(tokens, temp=0.0, top_k=1):
        found.append(token)
        if len(found) == count:
            break
    return llm.detokenize(found).decode(errors="replace")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lair")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("file_type")
    parser.add_argument("--text", type=pathlib.Path)
    parser.add_argument("--bytes", type=int, default=60_000, help="of the text")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--allow-requantize", action="store_true")
    parser.add_argument("--prompt", default="Once upon a time")
    args = parser.parse_args()
    result = {"model": args.model.name, "type": args.file_type, "threads": args.threads}
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = pathlib.Path(folder) / "theirs.gguf", pathlib.Path(folder) / "ours.gguf"
        for _ in range(2):
            result["llama_seconds"] = with_llama(args.model, theirs, args.file_type, args.threads, args.allow_requantize)
            result["lair_seconds"] = with_lair(
                args.lair, args.model, ours, args.file_type, args.threads, args.allow_requantize)
        result["times_as_fast"] = result["llama_seconds"] / result["lair_seconds"]
        types = [{t.name: t.tensor_type.name for t in gguf.GGUFReader(path).tensors} for path in (theirs, ours)]
        result["equal_types"] = types[0] == types[1]
        result["llama_bytes"], result["lair_bytes"] = theirs.stat().st_size, ours.stat().st_size
        # Lair's file in llama.cpp and in Lair: the same greedy text.
        run = [args.lair, "run", str(ours), args.prompt, "--raw", "--temperature", "0", "--max-tokens", "24"]
        answer = subprocess.run(run, capture_output=True, text=True)
        result["lair_text"] = answer.stdout.strip() or answer.stderr.strip()[:200]
        result["llama_text"] = greedy(ours, args.prompt, 24).strip()
        if args.text:
            for name, path in (("llama", theirs), ("lair", ours)):
                command = [args.lair, "perplexity", str(args.text), "--model", str(path), "--bytes", str(args.bytes), "--json"]
                found = subprocess.run(command, capture_output=True, text=True)
                result[f"{name}_perplexity"] = json.loads(found.stdout) if found.returncode == 0 else found.stderr[:300]
    print(json.dumps(result, indent=1))


main()
