#!/usr/bin/env python3
"""Compares the first 32 greedy tokens of Lair and llama.cpp on the same prompts, token by token.

usage: compare_greedy.py LAIR_PROGRAM MODEL.gguf [MODEL.gguf ...]

Lair renders and tokenizes each prompt with the model's chat template; llama.cpp gets the very same token ids. Where the two
differ, the line shows how far llama.cpp's best and second-best logits lay apart there: a near-tie is decided by the
order of float sums. Exits with 1 if a model agrees on fewer than 9 of the 10 prompts.
Needs: pip install llama-cpp-python==0.3.36 numpy
"""
import json, subprocess, sys
from llama_cpp_reference import greedy

COUNT = 32
PROMPTS = [
    "Why is the sky blue?",
    "Write a haiku about the sea.",
    "Explain what a hash map is in two sentences.",
    "What is the capital of France?",
    "List three prime numbers greater than ten.",
    "Translate to French: Good morning, how are you?",
    "Write a Python function that adds two numbers.",
    "Who wrote the play Hamlet?",
    "Give me a recipe for pancakes.",
    "What are the planets of the solar system?",
]


def run_lair(program, model, prompt):
    command = [program, "run", model, prompt, "--json", "--temperature", "0", "--max-tokens", str(COUNT)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def compare(program, model):
    answers = [run_lair(program, model, prompt) for prompt in PROMPTS]
    references = greedy(model, [answer["prompt_token_ids"] for answer in answers], COUNT)
    equal = 0
    for prompt, answer, reference in zip(PROMPTS, answers, references):
        ours, theirs = answer["token_ids"], reference["tokens"]
        # An answer that ended by itself is shorter: what llama.cpp says after its end does not count.
        theirs = theirs[: len(ours)]
        place = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), None)
        equal += place is None
        if place is None:
            print(f"  same {len(ours):2} tokens   {prompt}")
        else:
            gap = reference["gaps"][place]
            second = "the second best" if gap["second"] == ours[place] else "another token"
            print(f"  differ at {place:2}      {prompt}  (logits {gap['gap']:.4f} apart; Lair took {second})")
    return equal


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    worst = len(PROMPTS)
    for model in sys.argv[2:]:
        print(model)
        equal = compare(sys.argv[1], model)
        print(f"  {equal} of {len(PROMPTS)} prompts agree on all tokens")
        worst = min(worst, equal)
    sys.exit(worst < 9)
