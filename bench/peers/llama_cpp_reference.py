#!/usr/bin/env python3
"""What llama.cpp says: greedy tokens, perplexity and speed of a GGUF file, through the llama-cpp-python package.

usage: llama_cpp_reference.py greedy MODEL PROMPTS.json COUNT     greedy tokens after each prompt's token ids
       llama_cpp_reference.py perplexity MODEL TEXT [BYTES]       context 512, the second half of each chunk counts
       llama_cpp_reference.py speed MODEL [THREADS]               prefill of 512 tokens, decode of 128, best of 3

Prints one JSON object. Needs: pip install llama-cpp-python==0.3.36 numpy
"""
import ctypes, json, math, sys, time
import numpy as np
import llama_cpp as L


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def silent(level, text, data):
    pass


L.llama_log_set(silent, ctypes.c_void_p(0))
L.llama_backend_init()


def load(path, context_length=512, threads=2, exact_attention=False):
    """A model and its context. With `exact_attention`: no flash attention, keys and values in F32."""
    model_params = L.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model = L.llama_model_load_from_file(path.encode(), model_params)
    assert model, f"llama.cpp cannot load {path}"
    params = L.llama_context_default_params()
    params.n_ctx = context_length
    params.n_batch = params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = threads
    if exact_attention:
        params.flash_attn_type = 0
        params.type_k = params.type_v = 0
    context = L.llama_init_from_model(model, params)
    return model, context


def clear(context):
    L.llama_memory_clear(L.llama_get_memory(context), True)


def decode(context, tokens, first_position, all_logits=False):
    """Runs tokens of one sequence; the logits of the last, or of all."""
    batch = L.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i] = token
        batch.pos[i] = first_position + i
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = 0
        batch.logits[i] = all_logits or i + 1 == len(tokens)
    assert L.llama_decode(context, batch) == 0
    L.llama_batch_free(batch)


def logits_of(context, vocabulary_size, index=-1):
    return np.ctypeslib.as_array(L.llama_get_logits_ith(context, index), shape=(vocabulary_size,)).copy()


def tokenize(model, text, special=False):
    vocab = L.llama_model_get_vocab(model)
    data = text.encode() if isinstance(text, str) else text
    out = (L.llama_token * (len(data) + 8))()
    count = L.llama_tokenize(vocab, data, len(data), out, len(out), L.llama_vocab_get_add_bos(vocab), special)
    return list(out[:count])


def greedy(path, prompts, count, exact_attention=False):
    model, context = load(path, 2048, exact_attention=exact_attention)
    size = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    results = []
    for tokens in prompts:
        clear(context)
        tokens = list(tokens)
        decode(context, tokens, 0)
        out, gaps = [], []
        for i in range(count):
            logits = logits_of(context, size)
            best, second = np.argsort(-logits)[:2]
            out.append(int(best))
            gaps.append({"gap": float(logits[best] - logits[second]), "second": int(second)})
            decode(context, [int(best)], len(tokens) + i)
        results.append({"tokens": out, "gaps": gaps})
    L.llama_free(context)
    L.llama_model_free(model)
    return results


def gap_noise(path, prompts, references):
    """How much the gap between the best two logits moves when llama.cpp computes the same tokens with exact attention
    (no flash attention, F32 keys and values): root mean square over all positions of all answers."""
    model, context = load(path, 2048, exact_attention=True)
    size = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    moves = []
    for prompt, reference in zip(prompts, references):
        clear(context)
        decode(context, list(prompt), 0)
        for i, (token, gap) in enumerate(zip(reference["tokens"], reference["gaps"])):
            logits = logits_of(context, size)
            moves.append(float(logits[token] - logits[gap["second"]]) - gap["gap"])
            decode(context, [token], len(prompt) + i)
    return float(np.sqrt(np.mean(np.square(moves))))


def perplexity(path, text, size_bytes=None, context_length=512):
    """As llama-perplexity does it: chunks of the context's length, the first half of each only as context."""
    model, context = load(path, context_length)
    vocab = L.llama_model_get_vocab(model)
    size = L.llama_vocab_n_tokens(vocab)
    data = open(text, "rb").read()
    if size_bytes:
        data = data[:size_bytes].decode("utf-8", "ignore").encode()
    tokens = tokenize(model, data)
    add_bos = L.llama_vocab_get_add_bos(vocab)
    total, counted = 0.0, 0
    chunks = len(tokens) // context_length
    for chunk in range(chunks):
        part = tokens[chunk * context_length : (chunk + 1) * context_length]
        if add_bos:
            part = [L.llama_vocab_bos(vocab)] + part[1:]
        clear(context)
        decode(context, part, 0, all_logits=True)
        for i in range(context_length // 2, context_length - 1):
            logits = logits_of(context, size, i).astype(np.float64)
            peak = logits.max()
            total -= logits[part[i + 1]] - peak - math.log(np.exp(logits - peak).sum())
            counted += 1
    return {"perplexity": math.exp(total / counted), "tokens": len(tokens), "chunks": chunks, "counted": counted}


def speed(path, threads=2):
    model, context = load(path, 1024, threads)
    size = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    prompt = [(i * 7919) % (size - 1) + 1 for i in range(512)]
    decode(context, prompt[:16], 0)
    prefill, rate = [], []
    for _ in range(3):
        clear(context)
        start = time.perf_counter()
        decode(context, prompt, 0)
        L.llama_synchronize(context)
        prefill.append(512 / (time.perf_counter() - start))
        clear(context)
        decode(context, [1], 0)
        start = time.perf_counter()
        for i in range(128):
            decode(context, [(i * 31) % (size - 1) + 1], 1 + i)
            L.llama_synchronize(context)
        rate.append(128 / (time.perf_counter() - start))
    return {"prefill_tokens_per_second": prefill, "decode_tokens_per_second": rate, "threads": threads}


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    command, model = sys.argv[1:3]
    if command == "greedy":
        result = greedy(model, json.load(open(sys.argv[3])), int(sys.argv[4]))
    elif command == "perplexity":
        result = perplexity(model, sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else None)
    elif command == "speed":
        result = speed(model, int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    else:
        sys.exit(__doc__)
    print(json.dumps(result))
