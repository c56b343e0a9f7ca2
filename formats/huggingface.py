"""The Hugging Face folder: our parameters under the names of `transformers`, and the JSON files that go with them.

The JSON is written here, not by `save_pretrained`: a `rope_theta` at the top level is read by transformers
4 and 5, whereas what version 5 writes version 4 cannot read. GPT-2 keeps its matrices transposed (Conv1D) and q, k and
v fused. A tokenizer may know fewer ids than the model has rows; the others stand in `suppress_tokens`, so stock
`generate` never picks one. `max_length` is the context: an answer ends where the model's positions end. `split_special_tokens` makes `transformers` read
a `<|endoftext|>` inside a text as ordinary characters, as our own tokenizer does.

Not here: writing files (model_store), the model card (card.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from config import ModelConfig, SamplingConfig
from model import NORM_EPS
from tokenizer import END_OF_TEXT, Tokenizer

_OUTER = {
    "llama": {"embed_tokens": "model.embed_tokens", "norm": "model.norm", "lm_head": "lm_head"},
    "gpt2": {
        "embed_tokens": "transformer.wte",
        "embed_positions": "transformer.wpe",
        "norm": "transformer.ln_f",
        "lm_head": "lm_head",
    },
}
_LAYER = {
    "llama": {
        "attention_norm": "input_layernorm",
        "attention.q_proj": "self_attn.q_proj",
        "attention.k_proj": "self_attn.k_proj",
        "attention.v_proj": "self_attn.v_proj",
        "attention.o_proj": "self_attn.o_proj",
        "feed_forward_norm": "post_attention_layernorm",
        "feed_forward.gate_proj": "mlp.gate_proj",
        "feed_forward.up_proj": "mlp.up_proj",
        "feed_forward.down_proj": "mlp.down_proj",
    },
    "gpt2": {
        "attention_norm": "ln_1",
        "attention.o_proj": "attn.c_proj",
        "feed_forward_norm": "ln_2",
        "feed_forward.up_proj": "mlp.c_fc",
        "feed_forward.down_proj": "mlp.c_proj",
    },
}
_LAYERS_AT = {"llama": "model.layers", "gpt2": "transformer.h"}
_QKV = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
_CONV1D = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")  # (in, out) where nn.Linear has (out, in)


# ---- weights ---------------------------------------------------------------------------------------------------------


def to_huggingface(config: ModelConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our `Transformer.state_dict()` under the names and in the layout of LlamaForCausalLM or GPT2LMHeadModel."""
    tensors = {}
    for theirs, ours in _sources(config):
        tensor = torch.cat([weights[name] for name in ours]) if len(ours) > 1 else weights[ours[0]]
        tensors[theirs] = tensor.t().contiguous() if theirs.endswith(_CONV1D) else tensor
    return tensors


def from_huggingface(config: ModelConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what `Transformer.load_state_dict` takes. Raises KeyError when a tensor is missing."""
    weights = {}
    for theirs, ours in _sources(config):
        tensor = tensors[theirs].t() if theirs.endswith(_CONV1D) else tensors[theirs]
        for name, part in zip(ours, tensor.chunk(len(ours)), strict=True):
            weights[name] = part.contiguous()
    return weights


def _sources(config: ModelConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each foreign parameter name with our parameters that it consists of: one, or q, k and v stacked."""
    kind = config.architecture
    biased = kind == "gpt2"
    for ours, theirs in _OUTER[kind].items():
        for leaf in ("weight", "bias") if biased and ours == "norm" else ("weight",):
            yield f"{theirs}.{leaf}", (f"{ours}.{leaf}",)
    for i in range(config.num_layers):
        for leaf in ("weight", "bias") if biased else ("weight",):
            for ours, theirs in _LAYER[kind].items():
                yield f"{_LAYERS_AT[kind]}.{i}.{theirs}.{leaf}", (f"layers.{i}.{ours}.{leaf}",)
            if kind == "gpt2":
                yield f"transformer.h.{i}.attn.c_attn.{leaf}", tuple(f"layers.{i}.{ours}.{leaf}" for ours in _QKV)


# ---- the JSON files --------------------------------------------------------------------------------------------------


def config_json(config: ModelConfig, tokenizer: Tokenizer | None) -> str:
    """Return config.json; without a tokenizer its special ids are null."""
    end_of_text = None if tokenizer is None else tokenizer.end_of_text
    common = {
        "vocab_size": config.vocab_size,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "pad_token_id": end_of_text,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": True,
    }
    return _json((_llama(config) if config.architecture == "llama" else _gpt2(config)) | common)


def _llama(config: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_seq_len,
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPS,
        "rope_theta": config.rope_theta,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
    }


def _gpt2(config: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": config.d_model,
        "n_inner": config.d_ff,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_positions": config.max_seq_len,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": NORM_EPS,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }


def generation_config_json(config: ModelConfig, tokenizer: Tokenizer | None) -> str:
    """Return generation_config.json: the defaults of SamplingConfig, within the context and the tokenizer's ids."""
    sampling = SamplingConfig()
    values: dict[str, Any] = {
        "do_sample": sampling.temperature > 0,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "repetition_penalty": sampling.repetition_penalty,
        "max_length": config.max_seq_len,
    }
    if tokenizer is not None:
        values |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.end_of_text)
        if tokenizer.size < config.vocab_size:
            values["suppress_tokens"] = list(range(tokenizer.size, config.vocab_size))
    return _json(values)


def tokenizer_config_json(config: ModelConfig) -> str:
    """Return tokenizer_config.json; tokenizer.json itself is `Tokenizer.to_json()`."""
    return _json(
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "pad_token": END_OF_TEXT,
            "model_max_length": config.max_seq_len,
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,
        }
    )


def _json(value: dict[str, Any]) -> str:
    """Return indented JSON with lists on one line, so that thousands of suppressed ids do not become thousands of lines."""
    lines = (f"  {json.dumps(key)}: {json.dumps(entry, ensure_ascii=False)}" for key, entry in value.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"
