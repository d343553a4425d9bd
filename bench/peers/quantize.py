"""Quantizes one model with Lair and with llama.cpp, and compares time, memory, size, types and perplexity.

    python quantize.py LAIR MODEL.gguf TYPE [--text FILE] [--threads N] [--allow-requantize]

Run with a Python that has `llama_cpp` and `gguf`. MODEL is a file in F16, BF16 or F32. Both write to a folder of their own
that is removed again. They take turns, each in a new process; a time is the least of the rounds after the first, so that both
read the model from memory. Peak memory is the most that was resident, mapped files included. `disk_bytes_per_second` is
how fast this machine writes a file of the result's size and syncs it.
"""

import argparse
import ctypes
import json
import multiprocessing
import os
import pathlib
import resource
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


def llama_worker(model, out, file_type, threads, again):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = FILE_TYPES[file_type]
    parameters.nthread = threads
    parameters.allow_requantize = again
    started = time.perf_counter()
    assert llama_cpp.llama_model_quantize(str(model).encode(), str(out).encode(), ctypes.byref(parameters)) == 0
    seconds = time.perf_counter() - started
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def with_llama(*arguments):
    """Seconds, and bytes of peak memory beyond what Python had."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(llama_worker, arguments)


def with_lair(lair, model, out, file_type, threads, again):
    """Seconds, and bytes of peak memory."""
    command = [lair, "quantize", str(model), file_type, str(out), "--threads", str(threads), "--force", "--quiet"]
    started = time.perf_counter()
    process = subprocess.Popen(command + (["--allow-requantize"] if again else []), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    assert status == 0, f"lair quantize ended with {status}"
    return seconds, usage.ru_maxrss * 1024


def disk_speed(folder, size):
    block = os.urandom(1 << 22)
    path = pathlib.Path(folder) / "disk"
    started = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(max(1, size // len(block))):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    written = path.stat().st_size
    path.unlink()
    return written / seconds


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
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--allow-requantize", action="store_true")
    parser.add_argument("--prompt", default="Once upon a time")
    args = parser.parse_args()
    result = {"model": args.model.name, "type": args.file_type, "threads": args.threads}
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = pathlib.Path(folder) / "theirs.gguf", pathlib.Path(folder) / "ours.gguf"
        rounds = {"llama": [], "lair": []}
        shared = (args.model, args.file_type, args.threads, args.allow_requantize)
        for _ in range(args.rounds + 1):
            rounds["llama"].append(with_llama(shared[0], theirs, *shared[1:]))
            rounds["lair"].append(with_lair(args.lair, shared[0], ours, *shared[1:]))
        for name, measured in rounds.items():
            result[f"{name}_seconds"] = min(seconds for seconds, _ in measured[1:])
            result[f"{name}_peak_bytes"] = max(peak for _, peak in measured)
        result["times_as_fast"] = result["llama_seconds"] / result["lair_seconds"]
        result["disk_bytes_per_second"] = disk_speed(folder, ours.stat().st_size)
        written = ours.stat().st_size / result["lair_seconds"]
        result["percent_of_disk"] = 100 * written / result["disk_bytes_per_second"]
        result["read_bytes_per_second"] = args.model.stat().st_size / result["lair_seconds"]
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


if __name__ == "__main__":
    main()
