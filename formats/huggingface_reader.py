"""Read a Hugging Face folder that fits our transformer: any stock Llama or GPT-2 with our norms, activations and positions.

What our transformer can hold exactly is converted: key-value heads that several query heads share are repeated, a head that is tied to
the embeddings is copied. What it would compute differently is refused, with the setting that stands in the way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from config import ROPE_THETA, ModelConfig
from errors import ModelRefused
from formats.gguf_reader import sized
from formats.huggingface import from_huggingface, to_huggingface
from model import NORM_EPS, Transformer

_SIZES = {
    "llama": {
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "d_ff": "intermediate_size",
        "max_seq_len": "max_position_embeddings",
    },
    "gpt2": {
        "vocab_size": "vocab_size",
        "d_model": "n_embd",
        "num_layers": "n_layer",
        "num_heads": "n_head",
        "d_ff": "n_inner",
        "max_seq_len": "n_positions",
    },
}
# Settings that change what is computed: what ours is, and what transformers takes where the file says nothing.
_REQUIRED: dict[str, dict[str, tuple[tuple[Any, ...], Any]]] = {
    "llama": {
        "hidden_act": (("silu", "swish"), "silu"),
        "attention_bias": ((False,), False),
        "mlp_bias": ((False,), False),
        "rope_scaling": ((None,), None),
    },
    "gpt2": {
        "activation_function": (("gelu_new", "gelu_pytorch_tanh"), "gelu_new"),
        "scale_attn_weights": ((True,), True),
        "scale_attn_by_inverse_layer_idx": ((False,), False),
        "add_cross_attention": ((False,), False),
    },
}
_EPS = {"llama": ("rms_norm_eps", 1e-6), "gpt2": ("layer_norm_epsilon", 1e-5)}
_TIED = {"llama": False, "gpt2": True}  # where the file says nothing
_NOT_WEIGHTS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")  # tables that old files hold
_HEAD, _EMBEDDING = "lm_head.weight", {"llama": "model.embed_tokens.weight", "gpt2": "transformer.wte.weight"}


def read_config_json(values: Mapping[str, Any]) -> ModelConfig:
    """Return our sizes of a config.json. Raises ModelRefused with the setting that our transformer does not have."""
    kind = values.get("model_type")
    if kind not in _SIZES:
        raise ModelRefused(field="file", reason="architecture", found=str(kind)[:40])
    if "auto_map" in values:
        raise ModelRefused(field="file", reason="code", found="auto_map")
    for setting, (ours, default) in _REQUIRED[kind].items():
        if values.get(setting, default) not in ours:
            raise _unlike(setting, values[setting])
    _require_number(*_EPS[kind], values, NORM_EPS)
    sizes = {ours: values.get(theirs) for ours, theirs in _SIZES[kind].items()}
    if kind == "gpt2" and sizes["d_ff"] is None and isinstance(sizes["d_model"], int):
        sizes["d_ff"] = 4 * sizes["d_model"]
    if kind == "gpt2":
        return sized(kind, sizes)
    config = sized(kind, sizes | {"rope_theta": _rope_theta(values)})
    _require_heads(values, config)
    return config


def _rope_theta(values: Mapping[str, Any]) -> float:
    """Return the base of the rotary positions, rounded to the 32 bits in which a GGUF file keeps it."""
    rope = values.get("rope_parameters") or {}  # of transformers 5; version 4 keeps rope_theta at the top level
    if not isinstance(rope, Mapping) or rope.get("rope_type", "default") != "default":
        raise _unlike("rope_parameters", rope)
    theta = (dict(values) | dict(rope)).get("rope_theta", ROPE_THETA)
    if type(theta) not in (int, float) or not 1 <= theta <= 1e12:
        raise _unlike("rope_theta", theta)
    return float(np.float32(theta))


def _require_heads(values: Mapping[str, Any], config: ModelConfig) -> None:
    if values.get("head_dim") not in (None, config.head_dim):
        raise _unlike("head_dim", values["head_dim"])
    if config.num_heads % _kv_heads(values, config):
        raise _unlike("num_key_value_heads", values["num_key_value_heads"])


def _require_number(setting: str, default: float, values: Mapping[str, Any], ours: float) -> None:
    value = values.get(setting, default)
    if not isinstance(value, int | float) or not math.isclose(value, ours, rel_tol=1e-6):
        raise _unlike(setting, value)


def _unlike(setting: str, value: Any) -> ModelRefused:
    return ModelRefused(field="file", reason="setting", found=f"{setting} = {str(value)[:60]}")


def _kv_heads(values: Mapping[str, Any], config: ModelConfig) -> int:
    heads = values.get("num_key_value_heads")
    if heads is None:
        return config.num_heads
    if type(heads) is not int or not 1 <= heads <= config.num_heads:
        raise _unlike("num_key_value_heads", heads)
    return heads


def read_weights(config: ModelConfig, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our parameters of a folder's tensors, float32; `values` is its config.json.

    Raises ModelRefused for a missing or strange name, another shape, or numbers that are not floating-point.
    """
    kind = config.architecture
    found = {_full_name(kind, name): tensor for name, tensor in tensors.items() if not name.endswith(_NOT_WEIGHTS)}
    if values.get("tie_word_embeddings", _TIED[kind]) and _EMBEDDING[kind] in found:
        found[_HEAD] = found[_EMBEDDING[kind]].clone()
    with torch.device("meta"):
        expected = to_huggingface(config, Transformer(config).state_dict())
    if strange := sorted(expected.keys() ^ found.keys()):
        raise ModelRefused(field="file", reason="names", found=", ".join(strange[:3]))
    shared = config.num_heads // _kv_heads(values, config)
    for name, wanted in expected.items():
        if found[name].dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ModelRefused(field="file", reason="numbers", found=f"{name}: {found[name].dtype}")
        repeats = shared if name.endswith(("k_proj.weight", "v_proj.weight")) else 1
        shape = found[name].shape
        if not shape or (shape[0] * repeats, *shape[1:]) != tuple(wanted.shape):
            raise ModelRefused(field="file", reason="shape", found=f"{name} {list(shape)}")
        found[name] = _repeated(found[name].float(), repeats, config.head_dim)
    return from_huggingface(config, found)


def _full_name(kind: str, name: str) -> str:
    """Return the name with the prefix that a bare GPT2Model is stored without."""
    bare = kind == "gpt2" and name.split(".")[0] in ("wte", "wpe", "h", "ln_f")
    return f"transformer.{name}" if bare else name


def _repeated(tensor: Tensor, times: int, head_dim: int) -> Tensor:
    """Repeat each head's rows, (heads x head_dim, C) -> (heads x times x head_dim, C)."""
    if times == 1:
        return tensor
    return tensor.reshape(-1, head_dim, tensor.shape[-1]).repeat_interleave(times, 0).flatten(0, 1)
