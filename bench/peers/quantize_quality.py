#!/usr/bin/env python3
"""Quantizes one model with Lair and with llama.cpp and says how good the two files are: perplexity and divergence.

    python quantize_quality.py LAIR F16.gguf TEXT [--types A,B,...] [--imatrix FILE] [--chunks N] [--folder FOLDER]
                               [--json FILE] [--markdown FILE]

Run with a Python that has `llama_cpp` and `gguf`. Both files come from the same weights and the same importances (with `--imatrix`
every type is made twice, without and with them; types that need importances are made with them alone), and both are measured by the
same program: `lair kl` against the predictions of F16.gguf for the chunks of TEXT. Files are made in FOLDER, one after the other,
and removed again; FOLDER needs room for the predictions (two bytes for each token of the vocabulary and of the text's half).

Exits with 1 where Lair's perplexity is over 0.5 % or its divergence over 2 % above llama.cpp's.
"""
import argparse, ctypes, json, multiprocessing, pathlib, subprocess, sys, tempfile

import gguf, numpy

TYPES = "Q4_K_M,Q4_0,Q5_K_M,Q6_K,Q3_K_M,Q2_K,IQ4_XS"
NEEDS_IMPORTANCE = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "Q2_K_S"}
PERPLEXITY_PERCENT, DIVERGENCE_PERCENT = 0.5, 2.0


def importances(path):
    """Mean squares by tensor, from a matrix in GGUF."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    found = {}
    for name, sums in tensors.items():
        if name.endswith(".in_sum2"):
            counts = numpy.array(tensors[name.removesuffix(".in_sum2") + ".counts"].data, dtype=numpy.float32).reshape(-1, 1)
            means = numpy.array(sums.data, dtype=numpy.float32).reshape(len(counts), -1) / numpy.maximum(counts, 1)
            means[counts[:, 0] == 0] = 1
            found[name.removesuffix(".in_sum2")] = numpy.ascontiguousarray(means.reshape(-1))
    return found


def llama_worker(model, out, file_type, matrix):
    import llama_cpp
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))

    class Entry(ctypes.Structure):
        _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(gguf.LlamaFileType, f"MOSTLY_{file_type}").value
    if matrix:
        found = importances(matrix)
        pointer = lambda values: values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entries = [Entry(name.encode(), pointer(values), values.size) for name, values in found.items()]
        # The list ends with an entry without a name.
        listed = (Entry * (len(entries) + 1))(*entries, Entry(None, None, 0))
        parameters.imatrix = ctypes.cast(listed, type(parameters.imatrix))
    done = llama_cpp.llama_model_quantize(str(model).encode(), str(out).encode(), ctypes.byref(parameters))
    assert done == 0, f"llama_model_quantize gave {done}"


def with_llama(*arguments):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(llama_worker, arguments)


def call(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()[-400:]}")
    return done.stdout


def with_lair(args, out, file_type, matrix):
    importance = ["--imatrix", matrix] if matrix else []
    call([args.lair, "quantize", args.model, file_type, out, "--force", "--quiet", *importance])


def measured(args, out, base):
    found = json.loads(call([args.lair, "kl", out, "--base", base, "--json"]))
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(out).tensors}
    found = {"bytes": out.stat().st_size, "types": types, **found}
    out.unlink()
    return found


def rows(args, folder):
    base = folder / "base"
    call([args.lair, "kl", args.model, "--write-base", base, "--text", args.text, "--chunks", args.chunks, "--force"])
    for file_type in args.types.split(","):
        for matrix in [None, args.imatrix] if args.imatrix else [None]:
            if matrix is None and file_type in NEEDS_IMPORTANCE:
                continue
            out = folder / "quantized.gguf"
            with_llama(args.model, out, file_type, matrix)
            theirs = measured(args, out, base)
            with_lair(args, out, file_type, matrix)
            ours = measured(args, out, base)
            row = {"type": file_type, "importances": matrix is not None, "lair": ours, "llama_cpp": theirs}
            row["equal_types"] = ours.pop("types") == theirs.pop("types")
            row["perplexity_percent"] = 100 * (ours["perplexity"] / theirs["perplexity"] - 1)
            row["divergence_percent"] = 100 * (ours["divergence"] / theirs["divergence"] - 1)
            print(json.dumps(row), flush=True)
            yield row
    base.unlink()


def table(found):
    lines = ["| type | importances | MB | perplexity, llama.cpp | Lair | Lair's, % | divergence, llama.cpp | Lair | Lair's, % "
             "| same likeliest, % | types |", "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
    for row in found:
        theirs, ours = row["llama_cpp"], row["lair"]
        both = lambda side: f"{side['divergence']:.5f} ± {side['divergence_standard_error']:.5f}"
        lines.append(
            f"| {row['type']} | {'yes' if row['importances'] else 'no'} | {ours['bytes'] / 1e6:.1f} | {theirs['perplexity']:.4f} "
            f"| {ours['perplexity']:.4f} | {row['perplexity_percent']:+.2f} | {both(theirs)} | {both(ours)} "
            f"| **{row['divergence_percent']:+.1f}** | {100 * theirs['same_likeliest']:.1f}, {100 * ours['same_likeliest']:.1f} "
            f"| {'equal' if row['equal_types'] else 'differ'} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lair")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--imatrix", type=pathlib.Path)
    parser.add_argument("--chunks", type=int, default=24)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        found = list(rows(args, pathlib.Path(folder)))
    lines = table(found)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    sys.exit(any(row["perplexity_percent"] > PERPLEXITY_PERCENT or row["divergence_percent"] > DIVERGENCE_PERCENT for row in found))


if __name__ == "__main__":
    main()
