"""Loads a checkpoint that `lair convert MODEL.gguf FOLDER --to safetensors` wrote and compares it with golden outputs.

    python back.py FOLDER NAME       NAME is a folder beside this file, or one with `tokens.json` and `logits.npy`

Prints the largest difference of a logit; ends with 1 if it is above 1e-3, or if the tokenizer cannot be loaded.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers as t

folder = sys.argv[1]
golden = pathlib.Path(sys.argv[2])
golden = golden if golden.is_dir() else pathlib.Path(__file__).parent / sys.argv[2]
model = t.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
tokens = json.loads((golden / "tokens.json").read_text())
expected = np.load(golden / "logits.npy")
with torch.no_grad():
    found = model(torch.tensor([tokens])).logits[0, -expected.shape[0]:].numpy()
difference = float(np.abs(found - expected).max())
ids = t.AutoTokenizer.from_pretrained(folder)("a model is data").input_ids
print(sys.argv[2], "largest difference", difference, "token ids", ids)
sys.exit(difference > 1e-3)
