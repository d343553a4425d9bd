"""Makes the golden adapters beside this file: what PEFT computes with low-rank adapters on the tiny checkpoints.

Needs what `../checkpoints/make.py` needs, and peft. For each adapter it writes a folder with `adapter_config.json`,
`tensors.json` (names and shapes) and `logits.npy` (of the last two tokens, F32). Weights are not kept: they follow the
rule of `lair_testkit::tiny_models` from the tensor's name and the element's index.

    python make.py [NAME ...]
"""

import importlib.util
import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
import transformers as t
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
CHECKPOINTS = HERE.parent / "checkpoints"
spec = importlib.util.spec_from_file_location("checkpoints_make", CHECKPOINTS / "make.py")
rule = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rule)

ADAPTERS = {
    # Of the checkpoint `llama`: all projections.
    "llama": dict(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
    # Factors by the root of the rank, other ranks and alphas for some modules.
    "llama+patterns": dict(r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "k_proj", "down_proj"],
                           rank_pattern={"layers.0.self_attn.k_proj": 2, "down_proj": 8},
                           alpha_pattern={"layers.1.self_attn.q_proj": 3}),
    "qwen2": dict(r=2, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    # Weights of the module are `[inputs, outputs]`.
    "gpt2": dict(r=4, lora_alpha=8, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True),
    # Queries, keys and values of each head together.
    "gptneox": dict(r=4, lora_alpha=8, target_modules=["query_key_value", "dense_4h_to_h"]),
}


def make(name, arguments):
    base = name.split("+")[0]
    tokens = json.loads((CHECKPOINTS / base / "tokens.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "config.json").write_text((CHECKPOINTS / base / "config.json").read_text())
        shapes = json.loads((CHECKPOINTS / base / "tensors.json").read_text())
        weights = {key: rule.by_rule(key, shape) for key, shape in shapes.items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

        def load():
            cls = getattr(t, json.loads((folder / "config.json").read_text())["architectures"][0])
            return cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

        adapted = get_peft_model(load(), LoraConfig(task_type="CAUSAL_LM", **arguments))
        adapted.save_pretrained(folder / "adapter")
        path = folder / "adapter" / "adapter_model.safetensors"
        shapes = {key: list(value.shape) for key, value in sorted(load_file(path).items())}
        save_file({key: rule.by_rule(key, shape) for key, shape in shapes.items()}, path, metadata={"format": "pt"})
        model = PeftModel.from_pretrained(load(), folder / "adapter").eval()
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0, -2:]
            plain = load()(torch.tensor([tokens])).logits[0, -2:]
        out = HERE / name
        out.mkdir(exist_ok=True)
        config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = f"acme/{base}"
        (out / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        (out / "tensors.json").write_text(json.dumps(shapes).replace("], ", "],\n ") + "\n")
        np.save(out / "logits.npy", logits.float().numpy())
        print(name, "changes logits by", float((logits - plain).abs().max()))


if __name__ == "__main__":
    for name, arguments in ADAPTERS.items():
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            make(name, arguments)
