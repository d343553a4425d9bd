#!/usr/bin/env python3
"""Writes files with Lair and has llama.cpp load them: whether it does, and whether both give the same greedy tokens.

usage: files_in_llama_cpp.py LAIR FOLDER [--from F16.gguf [--imatrix FILE] [--types A,B,...]]
                             [--checkpoints FOLDER [--names A,B,...]] [--activations TYPE]
                             [--exact] [--json FILE] [--markdown FILE]

`--from` makes one file for each file type that Lair quantizes to; `--checkpoints` names the folder of tiny checkpoints
(`crates/lair-convert/tests/checkpoints`), of which it makes one file each with `lair convert`. Files are made in FOLDER, one
after the other, and removed again. `--activations f32` has Lair compute in single precision what it otherwise computes with
activations of 8 or 16 bits. `--exact` has both keep keys and values in F32, and llama.cpp attend without its flash attention: what
rounding hides otherwise is then compared, and the noise is how far llama.cpp's usual run is from that.

llama.cpp gets the token ids that Lair made of each prompt. Of models that give vectors both get the same ids, and the table has
the lowest cosine. Where the answers part, the table has the step, how far llama.cpp's
logit of its own token lies above that of Lair's, and how far Lair's of its token lies above that of llama.cpp's. Beside them
stands the noise: how much the gap between the two best logits moves (root mean square) when llama.cpp itself computes the
same tokens without flash attention and with keys and values in F32, and on how many answers it then agrees with itself. Every file is loaded in a process of its own, since
llama.cpp ends the process when something is wrong.

Exits with 1 if llama.cpp refuses a file (but for shapes that it takes for no published model: `SHAPES`), or if answers part where the gap is more than four times the noise.
Needs: pip install llama-cpp-python==0.3.36 numpy; for `--checkpoints` safetensors and torch, or a Python beside it that has
them (`--python`).
"""
import argparse, json, os, pathlib, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request

COUNT = 24
PROMPTS = ["The capital of France is", "Once upon a time, there was a", "def add(a, b):"]
# Gaps of more than so many times the noise are no rounding.
NEAR = 4
# Of models that give vectors: tokens of each text, and what a cosine has to be.
VECTOR_TOKENS = [1, 9, 24]
COSINE_MIN = 0.9999
# llama.cpp rounds activations to eight bits wherever weights are quantized; this is what that moves a gap at most for two
# programs that do it differently, measured on SmolLM2-135M.
NOISE_MIN = 0.02

# Tiny checkpoints of shapes that no published model has, which llama.cpp refuses: what it says, and why.
SHAPES = {
    "deepseek2": ("attention.q_lora_rank", "without compressed queries llama.cpp knows models of 26 or 27 layers alone"),
    **{name: ("diffusion", "no generation token by token") for name in ("dream", "llada", "llada-moe", "rnd1")},
    "plm": ("GGML_ASSERT(a->ne[0] == b->ne[0])", "llama.cpp 0.3.36 also stops at the file of its own converter"),
    "deepseek4": ("compression ratios", "llama.cpp knows keys of runs of 4 and of 128 positions alone"),
}


def worker(model_path):
    """Greedy tokens of llama.cpp after each prompt, gaps where Lair's part, and the noise. One JSON object."""
    import ctypes
    import numpy as np
    import llama_cpp_reference as reference
    errors = []

    @ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    def log(level, text, data):
        if level >= 4:
            errors.append(text.decode(errors="replace").strip())
    reference.L.llama_log_set(log, ctypes.c_void_p(0))
    asked = json.load(sys.stdin)

    def encode(context, tokens):
        ids = (reference.L.llama_token * len(tokens))(*tokens)
        assert reference.L.llama_encode(context, reference.L.llama_batch_get_one(ids, len(tokens))) == 0

    def run(exact, forced=None):
        try:
            model, context = reference.load(model_path, 256, exact_attention=exact)
        except AssertionError:
            sys.exit(" ".join(errors) or "not loaded")
        if not context:
            sys.exit(" ".join(errors) or "no context")
        size = reference.L.llama_vocab_n_tokens(reference.L.llama_model_get_vocab(model))
        answers = []
        for index, prompt in enumerate(asked["prompts"]):
            reference.clear(context)
            # What an encoder read is not answered, but what a decoder begins with.
            begun = prompt
            if reference.L.llama_model_has_encoder(model):
                encode(context, prompt)
                begun = [reference.L.llama_model_decoder_start_token(model)]
            # Of CogVLM llama.cpp gives the first token's logits where only the last one's are asked for.
            reference.decode(context, begun, 0, all_logits=True)
            tokens, rows = [], []
            for step in range(COUNT):
                row = reference.logits_of(context, size)
                token = forced[index][step] if forced else int(row.argmax())
                tokens.append(token)
                rows.append(row)
                reference.decode(context, [token], len(begun) + step)
            answers.append((tokens, np.stack(rows)))
        reference.L.llama_free(context)
        reference.L.llama_model_free(model)
        return answers

    answers = run(asked["exact"])
    again = run(not asked["exact"], [tokens for tokens, _ in answers])
    moves, parts, self_same = [], [], 0
    for (tokens, rows), (_, others), ours in zip(answers, again, asked["ours"]):
        two = np.argsort(-rows, axis=1)[:, :2]
        at = np.arange(len(rows))
        gap = lambda rows: rows[at, two[:, 0]] - rows[at, two[:, 1]]
        moves.append(gap(rows) - gap(others))
        self_same += bool((others.argmax(axis=1) == tokens).all())
        place = next((step for step, (a, b) in enumerate(zip(ours, tokens)) if a != b), None)
        parts.append(None if place is None else {
            "step": place, "theirs": tokens[place], "gap": float(rows[place, tokens[place]] - rows[place, ours[place]])})
    noise = float(np.sqrt(np.mean(np.square(np.concatenate(moves)))))
    print(json.dumps({"parts": parts, "noise": noise, "self_same": self_same, "deviation": float(np.mean([rows.std() for _, rows in answers]))}))


def vectors_worker(model_path):
    """The vector that llama.cpp makes of each list of tokens, of length 1: by the file's pooling, else the mean."""
    import ctypes
    import numpy as np
    import llama_cpp_reference as reference
    L = reference.L
    model, _ = reference.load(model_path, 256)
    params = L.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.n_threads = params.n_threads_batch = 2
    params.embeddings, params.flash_attn_type = True, 0
    context = L.llama_init_from_model(model, params)
    if L.llama_pooling_type(context) == 0:
        L.llama_free(context)
        params.pooling_type = 1
        context = L.llama_init_from_model(model, params)
    vectors, size = [], L.llama_model_n_embd_out(model)
    run = L.llama_decode if L.llama_model_has_decoder(model) and not L.llama_model_has_encoder(model) else L.llama_encode
    for tokens in json.load(sys.stdin):
        ids = (L.llama_token * len(tokens))(*tokens)
        assert run(context, L.llama_batch_get_one(ids, len(tokens))) == 0
        vector = np.ctypeslib.as_array(L.llama_get_embeddings_seq(context, 0), shape=(size,)).astype(float)
        vectors.append((vector / np.linalg.norm(vector)).tolist())
    print(json.dumps(vectors))


def answer_of(request):
    """The vectors that a server which may still be starting answers with."""
    for _ in range(100):
        try:
            return json.load(urllib.request.urlopen(request, timeout=60))["data"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"Lair: {error.read().decode()[:200]}") from error
        except urllib.error.URLError:
            time.sleep(0.1)
    raise RuntimeError("Lair: the server does not answer")


def compare_vectors(args, model):
    """A row of the table for a model that gives vectors: the lowest cosine of Lair's and llama.cpp's."""
    tokens = [[(index * 7 + 3) % 300 + 5 for index in range(count)] for count in VECTOR_TOKENS]
    asked = json.dumps(tokens)
    done = subprocess.run([sys.executable, __file__, "--vectors", str(model)], input=asked, capture_output=True, text=True)
    if done.returncode:
        return {"bytes": model.stat().st_size, "loads": False, "said": done.stderr.strip()[-300:]}
    with tempfile.TemporaryDirectory() as home, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        known = dict(env={**os.environ, "HOME": home, "OLLAMA_MODELS": f"{home}/models"}, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL)
        subprocess.run([args.lair, "import", str(model), "tiny"], check=True, **known)
        server = subprocess.Popen([args.lair, "serve", "--port", str(port), "--no-page", "--offline"], **known)
        try:
            body = json.dumps({"model": "tiny", "input": tokens}).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/embeddings", body)
            data = answer_of(request)
        finally:
            server.terminate()
            server.wait()
    ours = [row["embedding"] for row in sorted(data, key=lambda row: row["index"])]
    cosines = [sum(a * b for a, b in zip(*pair)) for pair in zip(ours, json.loads(done.stdout))]
    return {"bytes": model.stat().st_size, "loads": None, "cosine": min(cosines), "far": min(cosines) < COSINE_MIN,
            "said": f"gives vectors: lowest cosine {min(cosines):.7f}"}


def lair_answers(args, model):
    answers = []
    for prompt in PROMPTS:
        command = [args.lair, "run", str(model), prompt, "--raw", "--json", "--temperature", "0", "--repeat-penalty", "1",
                   "--no-speculate", "--kv-type", "f32" if args.exact else "f16", "--max-tokens", str(COUNT), "--logprobs", "20",
                   "--context-length", "128"]
        done = subprocess.run(command + (["--activations", args.activations] if args.activations else []),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError("Lair: " + done.stderr.strip()[:200])
        answers.append(json.loads(done.stdout))
    return answers


def compare(args, model):
    """A row of the table."""
    row = {"bytes": model.stat().st_size}
    answers = lair_answers(args, model)
    asked = {"prompts": [answer["prompt_token_ids"] for answer in answers], "ours": [a["token_ids"] for a in answers],
             "exact": args.exact}
    command = [sys.executable, __file__, "--worker", str(model)]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        # What llama.cpp says before it stops; behind that stand only addresses.
        said = next((line for line in lines if "GGML_ASSERT" in line or "error" in line.lower()), lines[-1] if lines else "")
        return {**row, "loads": False, "said": said[:300] or f"ended with {done.returncode}"}
    found = json.loads(done.stdout)
    parts = []
    for index, (answer, part) in enumerate(zip(answers, found["parts"])):
        if part is None:
            continue
        at = answer["logprobs"][part["step"]]
        theirs = next((top["logprob"] for top in at["top"] if top["token_id"] == part["theirs"]), None)
        parts.append({"prompt": index, "step": part["step"], "llama_cpp_gap": part["gap"],
                      "lair_gap": None if theirs is None else at["logprob"] - theirs})
    lengths = [len(answer["token_ids"]) for answer in answers]
    row |= {"loads": True, "tokens": lengths, "parts": parts, "noise": found["noise"], "deviation": found["deviation"],
            "self_same": found["self_same"]}
    bound = NEAR * max(found["noise"], NOISE_MIN * min(1, found["deviation"]))
    row["far"] = [part for part in parts if part["llama_cpp_gap"] > bound]
    return row


def file_types(lair):
    listed = subprocess.run([lair, "quantize", "--types"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listed.splitlines() if not line.startswith("COPY")]


def quantized(args):
    """Every file type, and the file."""
    for name in args.types or file_types(args.lair):
        out = args.folder / f"{name}.gguf"
        command = [args.lair, "quantize", str(args.source), name, str(out), "--force", "--quiet"]
        yield name, out, command + (["--imatrix", str(args.imatrix)] if args.imatrix else [])


def converted(args):
    """Every tiny checkpoint, and the file."""
    names = args.names or sorted(path.parent.name for path in args.checkpoints.glob("*/tensors.json"))
    with tempfile.TemporaryDirectory() as folder:
        make = [args.python, str(args.checkpoints / "make.py"), "--folders", folder, *names]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        for index, name in enumerate(names):
            out = args.folder / f"{name}.gguf"
            # A model is called as its folder, and llama.cpp looks for Phi 3's published vocabulary in one that is called so.
            unnamed = pathlib.Path(folder, name).rename(f"{folder}/tiny{index}")
            yield name, out, [args.lair, "convert", str(unnamed), str(out)]


def rows_of(args, files):
    for name, out, command in files:
        out.unlink(missing_ok=True)
        done = subprocess.run(command, capture_output=True, text=True)
        try:
            if done.returncode:
                raise RuntimeError("Lair: " + done.stderr.strip()[:200])
            try:
                row = compare(args, out)
            except RuntimeError as error:
                # Encoders answer nothing; whatever else Lair cannot do is a failure.
                if "gives vectors" not in str(error):
                    raise
                row = compare_vectors(args, out)
        except RuntimeError as error:
            row = {"loads": False, "said": str(error)}
        out.unlink(missing_ok=True)
        said, why = SHAPES.get(name, (None, None))
        if row["loads"] is False and said and said in row["said"]:
            row = {**row, "loads": None, "said": why}
        print(json.dumps({"file": name, **row}), flush=True)
        yield {"file": name, **row}


def table(title, rows):
    lines = [f"## {title}", "", "| file | MB | loads | answers alike | llama.cpp and itself | where they part: step, llama.cpp's gap, Lair's gap "
             "| noise |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        if not row["loads"]:
            word = "**no**" if row["loads"] is False else "yes" if "cosine" in row else "not compared"
            lines.append(f"| `{row['file']}` | {row.get('bytes', 0) / 1e6:.1f} | {word} | | | {row['said']} | |")
            continue
        gap = lambda number: "over all 20" if number is None else f"{number:.4f}"
        places = [f"{part['step'] + 1}, {gap(part['llama_cpp_gap'])}, {gap(part['lair_gap'])}" for part in row["parts"]]
        same = len(row["tokens"]) - len(row["parts"])
        lines.append(f"| `{row['file']}` | {row['bytes'] / 1e6:.1f} | yes | {same} of {len(row['tokens'])} "
                     f"| {row['self_same']} of {len(row['tokens'])} | {'; '.join(places)} | {row['noise']:.4f} |")
    loaded = [row for row in rows if row["loads"]]
    alike = sum(len(row["tokens"]) - len(row["parts"]) for row in loaded)
    far = sum(len(row["far"]) for row in loaded)
    compared = sum(row["loads"] is not None for row in rows)
    cosines = [row["cosine"] for row in rows if "cosine" in row]
    lines += ["", f"llama.cpp loads {len(loaded)} of {compared} files. {alike} of {sum(len(row['tokens']) for row in loaded)} "
              f"answers are alike to the last token; {far} part where the gap is no rounding."]
    if cosines:
        lines += ["", f"{len(cosines)} give vectors, whose lowest cosine is {min(cosines):.7f}."]
    lines.append("")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lair")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--from", dest="source", type=pathlib.Path)
    parser.add_argument("--imatrix", type=pathlib.Path)
    parser.add_argument("--types", type=lambda text: text.split(","))
    parser.add_argument("--checkpoints", type=pathlib.Path)
    parser.add_argument("--names", type=lambda text: text.split(","))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--activations")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    result, lines = {}, []
    for title, wanted, files in (("Quantized", args.source, quantized), ("Converted", args.checkpoints, converted)):
        if wanted:
            result[title] = list(rows_of(args, files(args)))
            lines += table(title, result[title])
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text("\n".join(lines))
    print("\n".join(lines))
    rows = [row for rows in result.values() for row in rows]
    sys.exit(any(row["loads"] is False or row.get("far") for row in rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2])
    elif sys.argv[1:2] == ["--vectors"]:
        vectors_worker(sys.argv[2])
    else:
        main()
