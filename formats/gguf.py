"""Write a model as one GGUF file, which llama.cpp, Ollama, LM Studio and others open.

The file is written with PyPI's `gguf`, not by llama.cpp's own converter, which knows tokenizers by the hash of what they do to a test
text and refuses every new one. The tokenizer is declared as Llama-3's ("llama-bpe"), whose pattern ours is. Each text starts after
`<|endoftext|>`, as in training, so that stands as the mark of a beginning as well. Ids beyond the tokenizer's are named `[unused…]`
and marked unused. The chat template is the content and nothing else: the model learned no dialogue.

llama.cpp turns neighbouring numbers of a head where we turn its halves, so the rows of q and k are permuted, here and only here.
Matrices have the chosen number type; vectors and learned positions stay float32, as llama.cpp keeps them.

Not here: reading GGUF (gguf_reader), the Modelfile for Ollama (ollama).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from config import ModelConfig
from model import NORM_EPS, ROPE_THETA
from tokenizer import END_OF_TEXT, Tokenizer

CHAT_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
Q8_BLOCK = 32  # numbers that share a scale in Q8_0; a row that does not divide by it stays F16


class NumberType(StrEnum):
    """How a matrix's numbers are stored."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"


_OUTER = {
    "embed_tokens": "token_embd",
    "embed_positions": "position_embd",
    "norm": "output_norm",
    "lm_head": "output",
}
_LAYER = {
    "attention_norm": "attn_norm",
    "attention.q_proj": "attn_q",
    "attention.k_proj": "attn_k",
    "attention.v_proj": "attn_v",
    "attention.o_proj": "attn_output",
    "feed_forward_norm": "ffn_norm",
    "feed_forward.gate_proj": "ffn_gate",
    "feed_forward.up_proj": "ffn_up",
    "feed_forward.down_proj": "ffn_down",
}
_QKV = ("attention.q_proj", "attention.k_proj", "attention.v_proj")


def write_gguf(
    path: Path, name: str, config: ModelConfig, weights: Mapping[str, Tensor], tokenizer: Tokenizer, kind: NumberType
) -> None:
    """Write `weights` (our names) to `path`, one tensor after the other: beside the weights, memory holds two copies of one tensor."""
    import gguf

    sources = list(tensor_sources(config))
    with contextlib.closing(gguf.GGUFWriter(path, config.architecture)) as writer:
        _describe_model(writer, name, config, kind)
        _describe_tokenizer(writer, config, tokenizer)
        for theirs, ours in sources:
            shape = _stacked_shape([weights[each] for each in ours])
            stored = gguf.GGMLQuantizationType[_stored_type(theirs, shape, kind).name]
            size = gguf.quants.quant_shape_to_byte_shape(shape, stored)
            writer.add_tensor_info(theirs, shape, np.dtype(np.float32), int(np.prod(size)), raw_dtype=stored)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        assert writer.fout is not None
        file = writer.fout[0]
        writer.write_padding(file, file.tell())
        for theirs, ours in sources:  # written here: numpy's tofile, which the library uses, hides that a disk is full
            values = stack(theirs, [weights[each] for each in ours], config)
            stored = gguf.GGMLQuantizationType[_stored_type(theirs, tuple(values.shape), kind).name]
            data = gguf.quants.quantize(values.numpy(), stored)
            file.write(np.ascontiguousarray(data).data)
            writer.write_padding(file, data.nbytes)


# ---- tensors ---------------------------------------------------------------------------------------------------------


def tensor_sources(config: ModelConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each tensor's name in the file with our parameters it consists of: one, or q, k and v stacked (gpt2)."""
    gpt2 = config.architecture == "gpt2"
    for ours, theirs in _OUTER.items():
        if ours == "embed_positions" and not gpt2:
            continue
        for leaf in ("weight", "bias") if gpt2 and ours == "norm" else ("weight",):
            yield f"{theirs}.{leaf}", (f"{ours}.{leaf}",)
    for i in range(config.num_layers):
        for leaf in ("weight", "bias") if gpt2 else ("weight",):
            for ours, theirs in _LAYER.items():
                if gpt2 and (ours in _QKV or ours == "feed_forward.gate_proj"):
                    continue
                yield f"blk.{i}.{theirs}.{leaf}", (f"layers.{i}.{ours}.{leaf}",)
            if gpt2:
                yield f"blk.{i}.attn_qkv.{leaf}", tuple(f"layers.{i}.{ours}.{leaf}" for ours in _QKV)


def stack(theirs: str, parts: list[Tensor], config: ModelConfig) -> Tensor:
    """Return our parameters in the layout of the file, float32."""
    tensor = torch.cat([part.detach().float() for part in parts]) if len(parts) > 1 else parts[0].detach().float()
    return _neighbours(tensor, config.num_heads) if is_permuted(theirs) else tensor


def is_permuted(theirs: str) -> bool:
    return theirs.endswith((".attn_q.weight", ".attn_k.weight"))


def _neighbours(tensor: Tensor, heads: int) -> Tensor:
    """Permute the rows of each head from halves (0 1 2 | 3 4 5) to neighbours (0 3 1 4 2 5)."""
    rows = tensor.shape[0] // heads
    return tensor.reshape(heads, 2, rows // 2, -1).transpose(1, 2).reshape(tensor.shape)


def halves(tensor: Tensor, heads: int) -> Tensor:
    """Permute the rows of each head back, from neighbours to halves."""
    rows = tensor.shape[0] // heads
    return tensor.reshape(heads, rows // 2, 2, -1).transpose(1, 2).reshape(tensor.shape)


def _stacked_shape(parts: list[Tensor]) -> tuple[int, ...]:
    return (sum(part.shape[0] for part in parts), *parts[0].shape[1:])


def _stored_type(theirs: str, shape: tuple[int, ...], kind: NumberType) -> NumberType:
    if len(shape) == 1 or theirs == "position_embd.weight":
        return NumberType.F32
    return NumberType.F16 if kind is NumberType.Q8_0 and shape[-1] % Q8_BLOCK else kind


# ---- what stands before the tensors ----------------------------------------------------------------------------------


def _describe_model(writer: Any, name: str, config: ModelConfig, kind: NumberType) -> None:
    import gguf

    mostly = {NumberType.F32: "ALL_F32"}.get(kind, f"MOSTLY_{kind.name}")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[mostly])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_seq_len)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_head_count(config.num_heads)
    if config.architecture == "llama":
        writer.add_head_count_kv(config.num_heads)
        writer.add_layer_norm_rms_eps(NORM_EPS)
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_rope_freq_base(ROPE_THETA)
    else:
        writer.add_layer_norm_eps(NORM_EPS)


def _describe_tokenizer(writer: Any, config: ModelConfig, tokenizer: Tokenizer) -> None:
    import gguf

    bpe = json.loads(tokenizer.to_json())["model"]
    unused = config.vocab_size - tokenizer.size
    tokens = [token for token, _ in sorted(bpe["vocab"].items(), key=lambda entry: int(entry[1]))]
    kinds = [gguf.TokenType.CONTROL if token == END_OF_TEXT else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens + [f"[unused{number}]" for number in range(unused)])
    writer.add_token_types(kinds + [gguf.TokenType.UNUSED] * unused)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]])
    writer.add_bos_token_id(tokenizer.end_of_text)
    writer.add_eos_token_id(tokenizer.end_of_text)
    writer.add_pad_token_id(tokenizer.end_of_text)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
