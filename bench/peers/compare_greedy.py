#!/usr/bin/env python3
"""Compares the first 32 greedy tokens of Lair and llama.cpp on the same prompts, token by token.

usage: compare_greedy.py LAIR_PROGRAM MODEL.gguf [MODEL.gguf ...]

Lair renders and tokenizes each prompt with the model's chat template; llama.cpp gets the very same token ids. The prompts have
determined answers: what is compared is arithmetic, not how an open question happens to be taken.

A small model with 8-bit activations is chaotic: a difference in the last bit of a sum flips a rounding, and after thirty
layers logits differ by tenths, between two programs just as between llama.cpp's own settings. So the script measures how
much the gap between llama.cpp's best two logits moves when llama.cpp itself runs without flash attention and with F32 keys
and values. A place where Lair differs is a near-tie if the gap there is below twice that noise: then llama.cpp's own choice
is as uncertain. The script also counts on how many prompts llama.cpp agrees with itself. Exits with 1 if on any model
fewer than 9 of the 10 prompts agree or differ first at a near-tie.
Needs: pip install llama-cpp-python==0.3.36 numpy
"""
import json, subprocess, sys
from llama_cpp_reference import gap_noise, greedy

COUNT, NEEDED = 32, 9
PROMPTS = [
    "Count from 1 to 20.",
    "Say the alphabet.",
    "List the days of the week.",
    "List the months of the year.",
    "Repeat this sentence five times: The cat sat on the mat.",
    "What is the capital of France?",
    "Write the numbers from ten down to one.",
    "Copy this text: the quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "Write a Python function that adds two numbers.",
    "What are the planets of the solar system?",
]


def run_lair(program, model, prompt):
    command = [program, "run", model, prompt, "--json", "--temperature", "0", "--repeat-penalty", "1",
               "--max-tokens", str(COUNT)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def first_difference(ours, theirs):
    """Where two answers part; `None` if they do not. What comes after an answer's own end does not count."""
    return next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), None)


def compare(program, model):
    answers = [run_lair(program, model, prompt) for prompt in PROMPTS]
    ids = [answer["prompt_token_ids"] for answer in answers]
    references, others = greedy(model, ids, COUNT), greedy(model, ids, COUNT, exact_attention=True)
    near = 2 * gap_noise(model, ids, references)
    same = ties = self_same = 0
    for prompt, answer, reference, other in zip(PROMPTS, answers, references, others):
        ours = answer["token_ids"]
        place = first_difference(ours, reference["tokens"])
        self_same += first_difference(reference["tokens"][: len(ours)], other["tokens"]) is None
        if place is None:
            same += 1
            print(f"  same {len(ours):2} tokens  {prompt}")
            continue
        gap = reference["gaps"][place]
        is_tie = gap["gap"] < near
        ties += is_tie
        took = "the second best" if gap["second"] == ours[place] else "another token"
        kind = "near-tie" if is_tie else "DIFFERENT"
        print(f"  {kind} at {place:2}   {prompt}  (logits {gap['gap']:.3f} apart; Lair took {took})")
    print(f"  {same} of {len(PROMPTS)} prompts agree on all tokens, {ties} differ first at a near-tie (below {near:.3f});"
          f" llama.cpp agrees with itself on {self_same}")
    return same + ties


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    worst = len(PROMPTS)
    for model in sys.argv[2:]:
        print(model)
        worst = min(worst, compare(sys.argv[1], model))
    sys.exit(worst < NEEDED)
