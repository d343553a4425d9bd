#!/usr/bin/env python3
"""Compares prefill and decode speed of Lair and llama.cpp: same file, same tokens, same threads, in turn.

usage: compare_speed.py LAIR_PROGRAM TEXT THREADS ROUNDS MODEL.gguf [MODEL.gguf ...]

Both compute a prompt of 512 tokens from TEXT and then 128 tokens after it. Rounds alternate between the two, so that a
noisy machine hurts both; the medians and their ratio are printed. Lair's figures come from `lair run --json` and contain
sampling; llama.cpp runs inside this process, its decode loop contains no sampling.
Needs: pip install llama-cpp-python==0.3.36 numpy
"""
import json, statistics, subprocess, sys, time
import llama_cpp as L
from llama_cpp_reference import clear, decode, load

PROMPT, ANSWER = 512, 128


def prompt_of(program, model, text):
    """A beginning of the text that is 512 tokens long for this model, or a little longer."""
    length = 4 * PROMPT
    while True:
        answer = run_lair(program, model, text[:length], 1, 1)
        if answer["usage"]["prompt_tokens"] >= PROMPT:
            return text[:length]
        length += PROMPT


def run_lair(program, model, prompt, threads, count):
    command = [program, "run", model, prompt, "--raw", "--json", "--temperature", "0", "--max-tokens", str(count),
               "--threads", str(threads)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def run_peer(context, prompt, answer):
    clear(context)
    start = time.perf_counter()
    decode(context, prompt, 0)
    L.llama_synchronize(context)
    middle = time.perf_counter()
    for i, token in enumerate(answer):
        decode(context, [token], len(prompt) + i)
    L.llama_synchronize(context)
    return len(prompt) / (middle - start), len(answer) / (time.perf_counter() - middle)


def compare(program, text, threads, rounds, model):
    prompt = prompt_of(program, model, text)
    _, context = load(model, 2048, threads)
    L.llama_set_n_threads(context, threads, threads)
    ours, theirs = [], []
    for _ in range(rounds):
        answer = run_lair(program, model, prompt, threads, ANSWER)
        ours.append((answer["prefill_tokens_per_second"], answer["decode_tokens_per_second"]))
        theirs.append(run_peer(context, answer["prompt_token_ids"][:512], answer["token_ids"]))
    print(f"{model}, {threads} threads, {rounds} rounds")
    for index, name in enumerate(["prefill", "decode"]):
        a, b = (statistics.median(run[index] for run in runs) for runs in (ours, theirs))
        spread = lambda runs: f"{min(r[index] for r in runs):.1f} to {max(r[index] for r in runs):.1f}"
        print(f"  {name:8} Lair {a:7.1f} tokens/s ({spread(ours)})   llama.cpp {b:7.1f} ({spread(theirs)})   ratio {a / b:.2f}")


if __name__ == "__main__":
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    program, text, threads, rounds = sys.argv[1], open(sys.argv[2]).read(), int(sys.argv[3]), int(sys.argv[4])
    for model in sys.argv[5:]:
        compare(program, text, threads, rounds, model)
