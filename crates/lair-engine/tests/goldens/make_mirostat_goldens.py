"""Makes mirostat.json: what llama.cpp's Mirostat and its dynamic temperature leave of given logits, step after step.

Needs llama-cpp-python 0.3.36. Each case is a run over a few lists of logits: what is left of each with which probability, and
which token was drawn, for the next bound follows from it. Logits have few digits, and no two are equal.
"""

import ctypes
import json
import math
import pathlib
import random

import llama_cpp as lc

SIZES = [20, 300, 2000]
STEPS = 5


def logits_of(generator, size):
    values = set()
    while len(values) < size:
        values.add(round(generator.gauss(0.0, 3.0), 4))
    values = list(values)
    generator.shuffle(values)
    return values


def run(vectors, samplers):
    steps = []
    for logits in vectors:
        count = len(logits)
        data = (lc.llama_token_data * count)()
        for token, logit in enumerate(logits):
            data[token] = lc.llama_token_data(id=token, logit=logit, p=0.0)
        candidates = lc.llama_token_data_array(data=data, size=count, selected=-1, sorted=False)
        for sampler in samplers:
            lc.llama_sampler_apply(sampler, ctypes.byref(candidates))
        left = [(candidates.data[i].id, float(candidates.data[i].logit)) for i in range(candidates.size)]
        greatest = max(logit for _, logit in left)
        total = sum(math.exp(logit - greatest) for _, logit in left)
        first = sorted((token, math.exp(logit - greatest) / total) for token, logit in left)[:12]
        selected = candidates.data[candidates.selected].id if candidates.selected >= 0 else None
        steps.append({"count": len(left), "tokens": [token for token, _ in first],
                      "probabilities": [round(p, 6) for _, p in first], "selected": selected})
    for sampler in samplers:
        lc.llama_sampler_free(sampler)
    return steps


def main():
    generator = random.Random(31)
    cases, vectors = [], []
    for size in SIZES:
        lists = [logits_of(generator, size) for _ in range(STEPS)]
        vectors.append(lists)
        for tau, eta in [(5.0, 0.1), (3.0, 0.1), (1.0, 0.5), (2.0, 1.0), (0.2, 0.1), (6.0, 0.3)]:
            for temperature in [1.0, 0.7, 1.6]:
                for version in [1, 2]:
                    if version == 1:
                        last = lc.llama_sampler_init_mirostat(size, 7, tau, eta, 100)
                    else:
                        last = lc.llama_sampler_init_mirostat_v2(7, tau, eta)
                    samplers = [lc.llama_sampler_init_temp(temperature), last]
                    cases.append({"vectors": len(vectors) - 1, "mirostat": version, "tau": tau, "eta": eta,
                                  "temperature": temperature, "steps": run(lists, samplers)})
        for middle, spread, exponent in [(0.8, 0.5, 1.0), (1.0, 0.9, 2.0), (0.6, 0.7, 0.5), (1.5, 0.2, 3.0)]:
            for top_k in [0, 10]:
                samplers = [lc.llama_sampler_init_top_k(top_k)] if top_k else []
                samplers.append(lc.llama_sampler_init_temp_ext(middle, spread, exponent))
                cases.append({"vectors": len(vectors) - 1, "mirostat": 0, "temperature": middle, "range": spread,
                              "exponent": exponent, "top_k": top_k, "steps": run(lists, samplers)})
    path = pathlib.Path(__file__).with_name("mirostat.json")
    path.write_text(json.dumps({"vectors": vectors, "cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
