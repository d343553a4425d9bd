#!/usr/bin/env python3
"""Writes goldens.json: what llama.cpp gives for the word encoders.

usage: goldens.py FOLDER        needs llama-cpp-python (made with 0.3.36)

FOLDER holds embedder.gguf and reranker.gguf of `cargo run -p lair-testkit --example word_encoder -- FOLDER`. Vectors are of
length 1; scores are the classifier's own. llama.cpp's pairs have no separator at their end, so they are given as tokens
here, framed as BERT was trained: [CLS] query [SEP] document [SEP].
"""
import ctypes, json, pathlib, sys
import llama_cpp
import numpy as np
from llama_cpp import Llama

folder = pathlib.Path(sys.argv[1])
TEXTS = [
    "Hello world",
    "A cat sits on the mat.",
    "naïve café, ÜBER Straße 😀",
    "北京是中国的首都。",
    "x",
    "what [SEP] is not a separator",
    "The quick brown fox jumps over the lazy dog. " * 40,
]
PAIRS = [("what is a panda?", document) for document in ("hi", "it is a bear", "The giant panda is a bear of China.")]
options = dict(embedding=True, verbose=False, n_ctx=512, n_batch=512, n_ubatch=512)

embedder = Llama(str(folder / "embedder.gguf"), **options)
tokens = [embedder.tokenize(text.encode(), add_bos=True, special=False) for text in TEXTS]

def pooled(model, ids):
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for index, token in enumerate(ids):
        batch.token[index], batch.pos[index], batch.n_seq_id[index] = token, index, 1
        batch.seq_id[index][0], batch.logits[index] = 0, 1
    assert llama_cpp.llama_decode(model._ctx.ctx, batch) == 0
    width = 1 if model.metadata["bert.pooling_type"] == "4" else model.n_embd()
    values = np.ctypeslib.as_array(llama_cpp.llama_get_embeddings_seq(model._ctx.ctx, 0), (width,)).copy()
    llama_cpp.llama_batch_free(batch)
    return values

vectors = [pooled(embedder, ids) for ids in tokens]
vectors = [vector / np.linalg.norm(vector.astype(np.float64)) for vector in vectors]

reranker = Llama(str(folder / "reranker.gguf"), pooling_type=4, **options)
bare = lambda text: reranker.tokenize(text.encode(), add_bos=False, special=False)
strip = lambda ids: [token for token in ids if token not in (101, 102)]
pair = lambda query, document: [101, *strip(bare(query)), 102, *strip(bare(document)), 102]
scores = [float(pooled(reranker, pair(query, document))[0]) for query, document in PAIRS]

golden = {
    "texts": TEXTS,
    "token_counts": [len(ids) for ids in tokens],
    "vectors": [[round(float(value), 8) for value in vector] for vector in vectors],
    "pairs": PAIRS,
    "scores": [round(score, 8) for score in scores],
}
out = pathlib.Path(__file__).with_name("goldens.json")
lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in golden.items())
out.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
print(golden["token_counts"], golden["scores"])
