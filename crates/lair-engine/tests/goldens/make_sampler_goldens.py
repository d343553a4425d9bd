"""Makes sampler.json: which tokens llama.cpp's filters leave of given logits, and with which probabilities.

Needs llama-cpp-python 0.3.36. Logits are given with few digits, so that they are the same numbers everywhere, and drawn
so that no two are equal: how equal ones are ordered is nobody's promise.
"""

import ctypes
import json
import math
import pathlib
import random

import llama_cpp as lc


def survivors(logits, history, samplers):
    count = len(logits)
    data = (lc.llama_token_data * count)()
    for token, logit in enumerate(logits):
        data[token] = lc.llama_token_data(id=token, logit=logit, p=0.0)
    candidates = lc.llama_token_data_array(data=data, size=count, selected=-1, sorted=False)
    for sampler in samplers:
        for token in history:
            lc.llama_sampler_accept(sampler, token)
        lc.llama_sampler_apply(sampler, ctypes.byref(candidates))
        lc.llama_sampler_free(sampler)
    left = [candidates.data[i] for i in range(candidates.size)]
    left = [(c.id, float(c.logit)) for c in left if c.logit > -math.inf]
    greatest = max(logit for _, logit in left)
    total = sum(math.exp(logit - greatest) for _, logit in left)
    left = sorted((token, math.exp(logit - greatest) / total) for token, logit in left)
    return [token for token, _ in left], [round(p, 7) for _, p in left]


def make(parameters, vocabulary_size):
    p = parameters
    samplers = [lc.llama_sampler_init_penalties(
        vocabulary_size,
        p.get("penalty_last_n", 64), p.get("repeat_penalty", 1.0),
        p.get("frequency_penalty", 0.0), p.get("presence_penalty", 0.0))]
    if "top_n_sigma" in p:
        samplers.append(lc.llama_sampler_init_top_n_sigma(p["top_n_sigma"]))
    if "top_k" in p:
        samplers.append(lc.llama_sampler_init_top_k(p["top_k"]))
    if "typical_p" in p:
        samplers.append(lc.llama_sampler_init_typical(p["typical_p"], 0))
    if "top_p" in p:
        samplers.append(lc.llama_sampler_init_top_p(p["top_p"], 0))
    if "min_p" in p:
        samplers.append(lc.llama_sampler_init_min_p(p["min_p"], 0))
    if "xtc_threshold" in p:
        samplers.append(lc.llama_sampler_init_xtc(1.0, p["xtc_threshold"], 0, 1))
    if "temperature" in p:
        samplers.append(lc.llama_sampler_init_temp(p["temperature"]))
    return samplers


def penalties(repeat, frequency, presence, last_n):
    return {"repeat_penalty": repeat, "frequency_penalty": frequency, "presence_penalty": presence,
            "penalty_last_n": last_n}


CASES = [
    {}, {"temperature": 0.5}, {"temperature": 1.7},
    {"top_k": 1}, {"top_k": 7}, {"top_k": 40}, {"top_k": 5000},
    {"top_p": 0.1}, {"top_p": 0.5}, {"top_p": 0.95}, {"top_p": 0.99},
    {"min_p": 0.02}, {"min_p": 0.3}, {"min_p": 1.0},
    {"typical_p": 0.2}, {"typical_p": 0.7}, {"typical_p": 0.95},
    {"top_n_sigma": 0.5}, {"top_n_sigma": 1.0}, {"top_n_sigma": 3.0},
    {"xtc_threshold": 0.02}, {"xtc_threshold": 0.1}, {"xtc_threshold": 0.3}, {"xtc_threshold": 0.6},
    penalties(1.3, 0.0, 0.0, 64), penalties(1.0, 0.4, 0.0, 64), penalties(1.0, 0.0, 0.9, 64),
    penalties(1.2, 0.3, 0.2, 8), penalties(0.8, -0.3, -0.2, 64), penalties(1.5, 0.5, 0.5, 0),
    {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8},
    {"top_k": 20, "typical_p": 0.9, "top_p": 0.8, "min_p": 0.1, "xtc_threshold": 0.08, "temperature": 1.3},
    {"top_n_sigma": 2.0, "top_k": 100, "top_p": 0.9, "temperature": 2.0, **penalties(1.1, 0.1, 0.1, 16)},
]


def main():
    generator = random.Random(20)
    vectors = []
    for count, spread in [(3, 1.0), (48, 2.0), (600, 1.5), (3000, 2.5)]:
        logits = set()
        while len(logits) < count:
            logits.add(round(generator.gauss(0.0, spread), 4))
        logits = list(logits)
        generator.shuffle(logits)
        best = sorted(range(count), key=lambda token: -logits[token])[:5]
        history = [generator.choice(best) if generator.random() < 0.5 else generator.randrange(count)
                   for _ in range(40)]
        vectors.append({"logits": logits, "history": history})
    cases = []
    for index, vector in enumerate(vectors):
        for parameters in CASES:
            samplers = make(parameters, len(vector["logits"]))
            tokens, probabilities = survivors(vector["logits"], vector["history"], samplers)
            # All tokens left is said by no list; the probabilities of the first ones tell the rest.
            if len(tokens) > 60:
                checksum = sum((i + 1) * token for i, token in enumerate(tokens)) % 1000003
                cases.append({"vector": index, "parameters": parameters, "count": len(tokens), "checksum": checksum,
                              "tokens": tokens[:20], "probabilities": probabilities[:20]})
            else:
                cases.append({"vector": index, "parameters": parameters, "count": len(tokens), "tokens": tokens,
                              "probabilities": probabilities})
    path = pathlib.Path(__file__).with_name("sampler.json")
    path.write_text(json.dumps({"vectors": vectors, "cases": cases}, separators=(",", ":")) + "\n")


main()
