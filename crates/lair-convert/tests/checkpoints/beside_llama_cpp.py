"""Makes golden tensors of models whose code is no part of `transformers`, with llama.cpp's own converter.

    python beside_llama_cpp.py LLAMA_CPP [NAME ...]     LLAMA_CPP is a folder with llama.cpp's sources

Needs torch, transformers, gguf, safetensors and numpy. Names and shapes are those of the published model code. For each model it
writes a folder with `config.json`, `tensors.json` and `gguf.json`: of every tensor of the file that llama.cpp's converter makes of
such a checkpoint its shape and a hash (FNV-1a, 64 bits) of its bytes in F32, and the keys of the architecture. Weights follow the
rule of `make.py`.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

import later_models
import make
import other_models

H, HEADS, KV, FFN, LAYERS, V = 32, 4, 2, 64, 2, make.V
DIM = H // HEADS
LLAMA = dict(hidden_size=H, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=V,
             num_key_value_heads=KV, max_position_embeddings=128, rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu",
             tie_word_embeddings=False)


def llama_tensors(biases=(), norm_biases=False):
    """Llama's, with biases of some products, or of norms."""
    tensors = {"model.embed_tokens.weight": [V, H], "model.norm.weight": [H], "lm_head.weight": [V, H]}
    shapes = {"self_attn.q_proj": [H, H], "self_attn.k_proj": [KV * DIM, H], "self_attn.v_proj": [KV * DIM, H],
              "self_attn.o_proj": [H, H], "mlp.gate_proj": [FFN, H], "mlp.up_proj": [FFN, H], "mlp.down_proj": [H, FFN]}
    for layer in (f"model.layers.{index}." for index in range(LAYERS)):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{layer}{norm}.weight"] = [H]
            if norm_biases:
                tensors[f"{layer}{norm}.bias"] = [H]
        for name, shape in shapes.items():
            tensors[f"{layer}{name}.weight"] = shape
            if name.split(".")[1][0] in biases:
                tensors[f"{layer}{name}.bias"] = shape[:1]
    if norm_biases:
        tensors["model.norm.bias"] = [H]
    return tensors


def layers(outside, of_layer, prefix):
    inside = {f"{prefix}.{index}.{name}": shape for index in range(LAYERS) for name, shape in of_layer.items()}
    return {**outside, **inside}


MODELS = {
    "internlm2": ("InternLM2ForCausalLM", dict(**LLAMA, bias=False), layers(
        {"model.tok_embeddings.weight": [V, H], "model.norm.weight": [H], "output.weight": [V, H]},
        {"attention_norm.weight": [H], "attention.wqkv.weight": [(HEADS + 2 * KV) * DIM, H], "attention.wo.weight": [H, H],
         "ffn_norm.weight": [H], "feed_forward.w1.weight": [FFN, H], "feed_forward.w2.weight": [H, FFN],
         "feed_forward.w3.weight": [FFN, H]}, "model.layers")),
    "exaone": ("ExaoneForCausalLM", dict(
        hidden_size=H, intermediate_size=FFN, num_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV,
        vocab_size=V, max_position_embeddings=128, layer_norm_epsilon=1e-5, rope_theta=10000.0, head_dim=DIM,
        activation_function="silu"), layers(
        {"transformer.wte.weight": [V, H], "transformer.ln_f.weight": [H], "lm_head.weight": [V, H]},
        {"ln_1.weight": [H], "attn.attention.q_proj.weight": [H, H], "attn.attention.k_proj.weight": [KV * DIM, H],
         "attn.attention.v_proj.weight": [KV * DIM, H], "attn.attention.out_proj.weight": [H, H], "ln_2.weight": [H],
         "mlp.c_fc_0.weight": [FFN, H], "mlp.c_fc_1.weight": [FFN, H], "mlp.c_proj.weight": [H, FFN]}, "transformer.h")),
    "xverse": ("XverseForCausalLM", LLAMA, llama_tensors()),
    "orion": ("OrionForCausalLM", LLAMA, llama_tensors(norm_biases=True)),
    "pangu-embedded": ("PanguEmbeddedForCausalLM", dict(**LLAMA, bias=True), llama_tensors(biases="qkvo")),
    "minicpm": ("MiniCPMForCausalLM", dict(**LLAMA, scale_emb=12, scale_depth=1.4, dim_model_base=16), llama_tensors()),
    "chatglm": ("ChatGLMModel", dict(
        hidden_size=H, ffn_hidden_size=FFN, num_layers=LAYERS, num_attention_heads=HEADS, multi_query_attention=True,
        multi_query_group_num=KV, padded_vocab_size=V, vocab_size=V, seq_length=128, layernorm_epsilon=1e-5, kv_channels=DIM,
        rope_ratio=2.0), layers(
        {"transformer.embedding.word_embeddings.weight": [V, H], "transformer.encoder.final_layernorm.weight": [H],
         "transformer.output_layer.weight": [V, H], "transformer.rotary_pos_emb.inv_freq": [DIM // 4]},
        {"input_layernorm.weight": [H], "self_attention.query_key_value.weight": [(HEADS + 2 * KV) * DIM, H],
         "self_attention.query_key_value.bias": [(HEADS + 2 * KV) * DIM], "self_attention.dense.weight": [H, H],
         "post_attention_layernorm.weight": [H], "mlp.dense_h_to_4h.weight": [2 * FFN, H],
         "mlp.dense_4h_to_h.weight": [H, FFN]}, "transformer.encoder.layers")),
}

MODELS |= other_models.MODELS | later_models.MODELS

# Every model but those of `other_models.VOCABULARIES` gets the tiny tokenizer, whatever its own is. The first PLaMo's only size
# stands in the converter's code. Baichuan's converter names tensors in a circle that does not end, instead of once.
CONVERT = """
import sys
source, folder, out, name, has_own = sys.argv[1:]
sys.path[:0] = [source + "/gguf-py", source]
import transformers
import other_models
of_qwen = has_own == "yes" and name == "QWenLMHeadModel"
load = other_models.QwenTokenizer if of_qwen else transformers.PreTrainedTokenizerFast.from_pretrained
transformers.AutoTokenizer.from_pretrained = lambda path, **_: load(path)
import conversion.base as base, conversion
if name == "PlamoForCausalLM":
    import inspect, conversion.plamo as plamo
    code = inspect.getsource(plamo).replace("5120", "32").replace("8, 5, 128", "2, 2, 8").replace("head_count_kv(5)", "head_count_kv(2)")
    exec(compile(code, "plamo", "exec"), vars(plamo))
if name == "BaichuanForCausalLM":
    import conversion.baichuan as baichuan
    of_packed = baichuan.BaichuanModel.modify_tensors
    once = lambda self, data, tensor, layer: (of_packed if "W_pack" in tensor else base.TextModel.modify_tensors)(
        self, data, tensor, layer)
    baichuan.BaichuanModel.modify_tensors = once
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
if has_own == "no":
    conversion.get_model_class(name).set_vocab = base.TextModel._set_vocab_gpt2
sys.argv = ["convert", folder, "--outfile", out, "--outtype", "f32"]
import convert_hf_to_gguf
convert_hf_to_gguf.main()
"""


def fnv(data):
    """FNV-1a of a tensor's bytes."""
    state = 0xCBF29CE484222325
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return f"{state:016x}"


def hashes(data):
    """The hash of the elements; of those that are -1, 0 and 1 times one number the hash of these, and the number: it is a mean,
    whose last bit depends on the order of a sum."""
    scale = np.abs(data).max()
    if data.ndim == 2 and np.isin(np.abs(data), [0, scale]).all():
        return [fnv(np.sign(data).astype(np.float32).tobytes()), float(scale)]
    return [fnv(data.tobytes())]


def golden(source, name):
    folder = make.HERE / name
    if name in MODELS:
        cls, config, tensors = MODELS[name]
        folder.mkdir(exist_ok=True)
        config = {"architectures": [cls], "model_type": name, "bos_token_id": 0, "eos_token_id": 0, **config}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (folder / "tensors.json").write_text(json.dumps(tensors).replace("], ", "],\n ") + "\n")
    else:
        # One of `make.py`, which has outputs besides.
        cls = json.loads((folder / "config.json").read_text())["architectures"][0]
    with tempfile.TemporaryDirectory() as place:
        made = pathlib.Path(place) / "checkpoint"
        made.mkdir()
        if name in other_models.VOCABULARIES:
            other_models.VOCABULARIES[name](folder)
        make.whole(name, made)
        out = pathlib.Path(place) / "out.gguf"
        command = [sys.executable, "-c", CONVERT, str(source), str(made), str(out), cls,
                   "yes" if name in other_models.VOCABULARIES else "no"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=make.HERE)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1][:300])
        reader = gguf.GGUFReader(out)
        of_tensor = lambda tensor: [list(map(int, tensor.shape)), *hashes(np.ascontiguousarray(tensor.data))]
        architecture = reader.fields["general.architecture"].contents()
        is_of_model = lambda key: key.startswith((architecture + ".", "diffusion.")) or key == "tokenizer.ggml.mask_token_id"
        keys = {key: field.contents() for key, field in reader.fields.items() if is_of_model(key)}
        result = {"architecture": architecture, "keys": keys,
                  "tensors": {tensor.name: of_tensor(tensor) for tensor in sorted(reader.tensors, key=lambda t: t.name)}}
        if name in other_models.VOCABULARIES:
            result["tokenizer"] = {key: field.contents() for key, field in reader.fields.items()
                                   if key.startswith("tokenizer.ggml.")}
        (folder / "gguf.json").write_text(json.dumps(result).replace('"], "', '"],\n "') + "\n")
        print(name, architecture, len(result["tensors"]), "tensors")


if __name__ == "__main__":
    for name in sys.argv[2:] or MODELS:
        try:
            golden(pathlib.Path(sys.argv[1]), name)
        except Exception as error:  # One that cannot be converted must not stop the others.
            print(name, "FAILED", repr(error)[:400])
