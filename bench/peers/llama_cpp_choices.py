#!/usr/bin/env python3
"""Scores HellaSwag tasks with llama.cpp, to compare with `lair eval hellaswag`.

    bzcat hellaswag_val_full.txt.bz2 | ~/peers/llama_cpp/bin/python bench/peers/llama_cpp_choices.py MODEL.gguf [COUNT]

Six lines a task: the beginning, the index of the right ending, four endings. Each ending is tokenised with its beginning; its
log-probability is divided by its number of tokens, as llama-perplexity does. Needs llama-cpp-python with `logits_all`.
"""

import ctypes
import json
import sys

import llama_cpp
import numpy


def main():
    path, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 400
    lines = [line.strip() for line in sys.stdin]
    model = llama_cpp.Llama(path, n_ctx=1024, n_batch=1024, logits_all=True, n_threads=2, verbose=False)
    vocabulary = model.n_vocab()
    right = {"plain": 0, "by_token": 0, "by_byte": 0}
    for number in range(count):
        task = lines[6 * number : 6 * number + 6]
        scores = []
        for ending in task[2:]:
            context = model.tokenize(task[0].encode(), add_bos=True, special=False)
            whole = model.tokenize((task[0] + " " + ending).encode(), add_bos=True, special=False)
            common = 0
            while common < min(len(context), len(whole)) and context[common] == whole[common]:
                common += 1
            common = max(1, min(common, len(whole) - 1))
            model.reset()
            model.eval(whole)
            logits = llama_cpp.llama_get_logits(model._ctx.ctx)
            rows = numpy.ctypeslib.as_array(logits, shape=(len(whole), vocabulary)).astype(numpy.float64)
            rows = rows - rows.max(axis=1, keepdims=True)
            rows = rows - numpy.log(numpy.exp(rows).sum(axis=1, keepdims=True))
            total = sum(rows[place - 1, whole[place]] for place in range(common, len(whole)))
            scores.append((total, len(whole) - common, len(ending.encode())))
        answer = int(task[1])
        for name, score in (
            ("plain", [s[0] for s in scores]),
            ("by_token", [s[0] / s[1] for s in scores]),
            ("by_byte", [s[0] / s[2] for s in scores]),
        ):
            right[name] += int(max(range(4), key=lambda index: (score[index], -index)) == answer)
    print(json.dumps({"model": path, "tasks": count, **{name: value / count for name, value in right.items()}}))


if __name__ == "__main__":
    main()
