#!/usr/bin/env python3
"""Measures one peer on one model, once, in a process of its own; `compare.py` starts it with the peer's interpreter.

usage: peer_worker.py ENGINE PLAN.json          ENGINE: llama.cpp, ik_llama.cpp

PLAN.json: {"model", "threads", "rows": [...], "start_prompt": [ids], "prompt": [ids], "decode": count, "depths": [...],
"streams": [...], "stream_prompt": length, "stream_answer": count, "states": folder}

The row `turns`, by itself, with "depth" in place of "depths", takes turns with other engines instead (`decode_in_turn.py`).
Prints one JSON object: what each row came to. Both engines run as their own benchmark programs run them at best: weights
repacked (llama.cpp's extra buffer types, ik_llama.cpp's run-time repack), flash attention, 16-bit keys and values, batches
of 512. Nothing is sampled: the token ids fed are fixed, and the first token counts as there when its logits are.
"""
import ctypes, json, os, sys, time

UBATCH = 512
WARM_UP_DECODES = 4


def status_kib(field):
    """A line of /proc/self/status in KiB: VmRSS is what is resident now, VmHWM the most that ever was."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))


class LlamaCpp:
    """llama.cpp through llama-cpp-python's low-level functions."""

    mixes_prompts = True

    def __init__(self):
        import llama_cpp
        self.api = llama_cpp
        self.library = llama_cpp.llama_cpp._lib
        self.version = f"llama-cpp-python {llama_cpp.__version__}"
        self.flags = "use_extra_bufts=1 (repack), use_mmap=1, flash_attn=1, kv f16, n_ubatch 512, kv_unified=0"

    def model_params(self):
        params = self.api.llama_model_default_params()
        params.n_gpu_layers = 0
        params.use_extra_bufts = True
        return params

    def set_flash_attention(self, params):
        params.flash_attn_type = 1
        params.kv_unified = False

    def clear(self, context):
        self.api.llama_memory_clear(self.api.llama_get_memory(context), False)

    def forget(self, context, first):
        self.api.llama_memory_seq_rm(self.api.llama_get_memory(context), 0, first, -1)


class IkLlamaCpp:
    """ik_llama.cpp through ik-llama-cpp-python's low-level functions."""

    # With tokens of several prompts in a batch its flash attention ends the process (`GGML_ASSERT(S > 0)`).
    mixes_prompts = False

    def __init__(self):
        from importlib.metadata import version
        import ik_llama_cpp._ctypes_api as api
        self.api = api
        self.library = api._lib
        self.version = f"ik-llama-cpp-python {version('ik-llama-cpp-python')}"
        self.flags = "repack_tensors=1 (-rtr), flash_attn=1, fused_up_gate=1, graph_reuse=1, kv f16, n_ubatch 512"

    def model_params(self):
        params = self.api.llama_model_default_params()
        params.n_gpu_layers = 0
        params.repack_tensors = True
        return params

    def set_flash_attention(self, params):
        params.flash_attn = True

    def clear(self, context):
        self.api.llama_kv_cache_clear(context)

    def forget(self, context, first):
        self.library.llama_kv_cache_seq_rm(ctypes.c_void_p(context), 0, first, -1)


ENGINES = {"llama.cpp": LlamaCpp, "ik_llama.cpp": IkLlamaCpp}


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def silent(_level, _text, _data):
    pass


class Peer:
    """A loaded model."""

    def __init__(self, engine, path, threads):
        self.engine, self.api, self.threads = engine, engine.api, threads
        self.model = self.api.llama_model_load_from_file(path.encode(), engine.model_params())
        if not self.model:
            sys.exit(f"{path} cannot be loaded")
        self.vocabulary_size = self.api.llama_vocab_n_tokens(self.api.llama_model_get_vocab(self.model))

    def context(self, length, sequences=1):
        params = self.api.llama_context_default_params()
        params.n_ctx = length
        params.n_batch = max(UBATCH, min(length, 4 * UBATCH))
        params.n_ubatch = UBATCH
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = self.threads
        self.engine.set_flash_attention(params)
        context = self.api.llama_init_from_model(self.model, params)
        if not context:
            sys.exit(f"no context of {length} tokens")
        return context

    def decode(self, context, rows):
        """Runs one batch: `rows` of (token, position, sequence, whether its logits are wanted)."""
        batch = self.api.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wants_logits) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = wants_logits
        code = self.api.llama_decode(context, batch)
        self.engine.library.llama_synchronize(ctypes.c_void_p(context))
        self.api.llama_batch_free(batch)
        if code:
            sys.exit(f"llama_decode of {len(rows)} tokens returned {code}")

    def prefill(self, context, tokens, first=0):
        """Runs a prompt in batches of `UBATCH`; logits of the last token only."""
        for begin in range(0, len(tokens), UBATCH):
            part = tokens[begin : begin + UBATCH]
            last = len(tokens) - begin - 1
            self.decode(context, [(token, first + begin + i, 0, i == last) for i, token in enumerate(part)])

    def decode_each(self, context, tokens, first):
        for i, token in enumerate(tokens):
            self.decode(context, [(token, first + i, 0, True)])

    def forget(self, context, first):
        """Takes the tokens from this place on out of the context."""
        self.engine.forget(context, first)

    def token(self, index):
        """Some token id of the ordinary part of the vocabulary."""
        return 300 + index * 7919 % (self.vocabulary_size - 1000)


def measure_prefill_and_decode(peer, plan):
    """Speed of the prompt, then of decoding from an empty context, as llama-bench's pp and tg."""
    prompt, count = plan["prompt"], plan["decode"]
    context = peer.context(1024)
    peer.prefill(context, prompt)
    peer.decode_each(context, [peer.token(i) for i in range(WARM_UP_DECODES)], len(prompt))
    peer.engine.clear(context)
    start = time.perf_counter()
    peer.prefill(context, prompt)
    middle = time.perf_counter()
    peer.engine.clear(context)
    peer.decode_each(context, [peer.token(0)], 0)
    tokens = [peer.token(i) for i in range(count)]
    begin = time.perf_counter()
    peer.decode_each(context, tokens, 1)
    end = time.perf_counter()
    peer.api.llama_free(context)
    return {"prefill": len(prompt) / (middle - start), "decode": count / (end - begin)}


def context_at_depth(peer, plan, depth):
    """A context of `depth` tokens. What those left in the cache is kept in a file between processes, because computing it takes
    far longer than a measurement."""
    context = peer.context(depth + 256)
    if depth == 0:
        return context
    library = peer.engine.library
    name = os.path.basename(plan["model"]) + f".{type(peer.engine).__name__}.{depth}"
    path = os.path.join(plan["states"], name).encode()
    handle = ctypes.c_void_p(context)
    library.llama_state_seq_load_file.restype = library.llama_state_seq_save_file.restype = ctypes.c_size_t
    if os.path.exists(path):
        tokens, count = (ctypes.c_int32 * depth)(), ctypes.c_size_t()
        if not library.llama_state_seq_load_file(handle, path, 0, tokens, ctypes.c_size_t(depth), ctypes.byref(count)):
            sys.exit(f"{path} holds no state for this context")
    else:
        tokens = [peer.token(i) for i in range(depth)]
        peer.prefill(context, tokens)
        if not library.llama_state_seq_save_file(handle, path, 0, (ctypes.c_int32 * depth)(*tokens), ctypes.c_size_t(depth)):
            sys.exit(f"{path} cannot be written")
    return context


def measure_depth(peer, plan, depth):
    """Decode speed after `depth` tokens."""
    context = context_at_depth(peer, plan, depth)
    peer.decode_each(context, [peer.token(i) for i in range(WARM_UP_DECODES)], depth)
    tokens = [peer.token(i) for i in range(plan["decode"])]
    start = time.perf_counter()
    peer.decode_each(context, tokens, depth + WARM_UP_DECODES)
    speed = len(tokens) / (time.perf_counter() - start)
    peer.api.llama_free(context)
    return speed


def take_turns(peer, plan):
    """Answers each line of `decode COUNT` with the seconds that so many tokens took; behind so many more than `depth` that they
    have no room the context begins again at that."""
    depth = plan["depth"]
    context, place, room = context_at_depth(peer, plan, depth), 0, 128
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = 0.0
        for _ in range(int(line.split()[1])):
            if place == room:
                place = 0
                peer.forget(context, depth)
            start = time.perf_counter()
            peer.decode(context, [(peer.token(place), depth + place, 0, True)])
            seconds += time.perf_counter() - start
            place += 1
        print(seconds, flush=True)


def measure_streams(peer, plan, streams):
    """Generated tokens a second in all, prompts included in the time: all prompts are there at once and run in full
    batches (one by one where the engine cannot mix them), then every step decodes one token of each stream. The first token
    of an answer comes from its prompt."""
    length, answer = plan["stream_prompt"], plan["stream_answer"]
    context = peer.context(-(-streams * (length + answer) // 256) * 256, streams)
    run_streams(peer, context, streams, length, 2)
    peer.engine.clear(context)
    start = time.perf_counter()
    run_streams(peer, context, streams, length, answer)
    speed = streams * answer / (time.perf_counter() - start)
    peer.api.llama_free(context)
    return speed


def run_streams(peer, context, streams, length, answer):
    rows = [(peer.token(s * length + i), i, s, i + 1 == length) for s in range(streams) for i in range(length)]
    size = UBATCH if peer.engine.mixes_prompts else length
    for begin in range(0, len(rows), size):
        peer.decode(context, rows[begin : begin + size])
    for step in range(answer - 1):
        peer.decode(context, [(peer.token(step + s), length + step, s, True) for s in range(streams)])


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ENGINES:
        sys.exit(__doc__)
    engine = ENGINES[sys.argv[1]]()
    with open(sys.argv[2]) as file:
        plan = json.load(file)
    if "threads" not in plan:
        print(json.dumps({"version": engine.version, "flags": engine.flags}))
        return
    engine.library.llama_log_set(silent, ctypes.c_void_p(0))
    before = status_kib("VmRSS")
    start = time.perf_counter()
    engine.api.llama_backend_init()
    peer = Peer(engine, plan["model"], plan["threads"])
    rows, result = plan["rows"], {}
    if "turns" in rows:
        return take_turns(peer, plan)
    if "start" in rows:
        context = peer.context(1024)
        peer.prefill(context, plan["start_prompt"])
        result["start"] = time.perf_counter() - start
        peer.api.llama_free(context)
    if {"prefill", "decode", "memory"} & set(rows):
        result.update(measure_prefill_and_decode(peer, plan))
        result["memory"] = (status_kib("VmHWM") - before) / 1024
    if "depth" in rows:
        for depth in plan["depths"]:
            result[f"depth {depth}"] = measure_depth(peer, plan, depth)
    if "streams" in rows:
        for streams in plan["streams"]:
            result[f"streams {streams}"] = measure_streams(peer, plan, streams)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
