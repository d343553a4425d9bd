"""Makes the golden merges beside this file: what mergekit computes of tiny models.

Needs what `../checkpoints/make.py` needs, and mergekit. The models are the checkpoint `llama` with other weights: those of
the model `b` follow the rule of `lair_testkit::tiny_models` from the name `b:` and the tensor's. For each configuration
(`NAME.yaml`) it writes `NAME.json`: of each tensor the shape, the sum of its numbers and of their sizes, and eight numbers.

    python make.py [NAME ...]
"""

import importlib.util
import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
CHECKPOINTS = HERE.parent / "checkpoints"
spec = importlib.util.spec_from_file_location("checkpoints_make", CHECKPOINTS / "make.py")
rule = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rule)


def model(folder, name):
    folder.mkdir()
    shutil.copy(CHECKPOINTS / "llama" / "config.json", folder)
    shapes = json.loads((CHECKPOINTS / "llama" / "tensors.json").read_text())
    weights = {key: rule.by_rule(f"{name}:{key}", shape) for key, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def with_places(value, root):
    """Names of models as folders."""
    if isinstance(value, dict):
        return {key: str(root / inner) if key in ("model", "base_model") else with_places(inner, root)
                for key, inner in value.items()}
    return [with_places(inner, root) for inner in value] if isinstance(value, list) else value


def make(path, root):
    config = with_places(yaml.safe_load(path.read_text()), root)
    out = root / f"out-{path.stem}"
    run_merge(MergeConfiguration.model_validate(config), str(out), MergeOptions(copy_tokenizer=False, cuda=False))
    tensors = {}
    for file in sorted(out.glob("*.safetensors")):
        for key, value in load_file(file).items():
            numbers = value.double().numpy().reshape(-1)
            places = [numbers.size * index // 8 for index in range(8)]
            tensors[key] = dict(shape=list(value.shape), sum=float(numbers.sum()), sizes=float(np.abs(numbers).sum()),
                                numbers=[float(numbers[place]) for place in places])
    layers = json.loads((out / "config.json").read_text())["num_hidden_layers"]
    path.with_suffix(".json").write_text(json.dumps(dict(layers=layers, tensors=tensors), indent=0) + "\n")
    print(path.stem, len(tensors), "tensors,", layers, "layers")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as root:
        root = pathlib.Path(root)
        for name in "abc":
            model(root / name, name)
        for path in sorted(HERE.glob("*.yaml")):
            if len(sys.argv) < 2 or path.stem in sys.argv[1:]:
                make(path, root)
