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

import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from config import ModelConfig
from formats.lineage import KEY, Lineage, to_metadata
from model import NORM_EPS
from tokenizer import END_OF_TEXT, Tokenizer

CHAT_TEMPLATE = (  # each message is a paragraph; the model has learned no dialogue
    "{% for m in messages if m['content'] %}{% if not loop.first %}{{ '\\n\\n' }}{% endif %}{{ m['content'] }}{% endfor %}"
)


class NumberType(StrEnum):
    """How a matrix's numbers are stored."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"


NUMBER_DIGITS = 5
SPARE_CONTEXT = 32
LINEAGE = "azr.lineage"
ALIGNMENT = 32  # bytes; each tensor begins at a multiple
BYTES_OF_32 = {NumberType.F32: 128, NumberType.F16: 64, NumberType.BF16: 64, NumberType.Q8_0: 34}  # of 32 numbers
Q8_BLOCK = 32  # numbers that share a scale in Q8_0; a row that does not divide by it stays F16

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


@dataclass(frozen=True)
class GGUFFile:
    """A whole file, made while it is read: beside the weights, memory holds two copies of one tensor."""

    size: int  # bytes
    chunks: Iterator[bytes]


def gguf_file(
    name: str,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    kind: NumberType,
    lineage: Lineage = (),
    numbered: bool = False,
) -> GGUFFile:
    """Return `weights` (our names) as a GGUF file; the lineage stands in it for this program alone.

    With `numbered`, tokens are named by their ids in base 16 (NUMBER_DIGITS).
    """
    tensors = [
        _tensor(theirs, [weights[each] for each in ours], config, kind) for theirs, ours in tensor_sources(config)
    ]
    head = _head(name, config, tokenizer, kind, tensors, lineage, numbered)
    size = _padded(len(head)) + sum(_padded(tensor.size) for tensor in tensors)
    return GGUFFile(size, _chunks(head, tensors))


def tensor_bytes(config: ModelConfig, weights: Mapping[str, Tensor], kind: NumberType) -> dict[str, int]:
    """Return the size of each tensor in the file; only the shapes of `weights` are looked at."""
    return {
        theirs: _tensor(theirs, [weights[each] for each in ours], config, kind).size
        for theirs, ours in tensor_sources(config)
    }


def _head(
    name: str,
    config: ModelConfig,
    tokenizer: Tokenizer,
    kind: NumberType,
    tensors: list[_StoredTensor],
    lineage: Lineage,
    numbered: bool,
) -> bytes:
    import gguf
    from gguf.gguf_writer import WriterState

    head = io.BytesIO()
    writer = gguf.GGUFWriter(None, config.architecture)
    _describe_model(writer, name, config, kind)
    _describe_tokenizer(writer, config, tokenizer, numbered)
    writer.add_string(LINEAGE, to_metadata(lineage)[KEY])
    for tensor in tensors:
        type_number = gguf.GGMLQuantizationType[tensor.kind.name]
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.size, raw_dtype=type_number)
    writer.fout, writer.state = [cast(Any, head)], WriterState.EMPTY  # not a file: it may be read by a download
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    return head.getvalue()


def _chunks(head: bytes, tensors: list[_StoredTensor]) -> Iterator[bytes]:
    yield head + _padding(len(head))
    for tensor in tensors:
        yield tensor.data()
        if tensor.size % ALIGNMENT:
            yield _padding(tensor.size)


def write_gguf(
    path: Path, name: str, config: ModelConfig, weights: Mapping[str, Tensor], tokenizer: Tokenizer, kind: NumberType
) -> None:
    """Write `weights` (our names) to `path`."""
    with path.open("wb") as file:
        for chunk in gguf_file(name, config, weights, tokenizer, kind).chunks:
            file.write(chunk)


def engine_file(config: ModelConfig, weights: Mapping[str, Tensor], tokenizer: Tokenizer, kind: NumberType) -> GGUFFile:
    """Return the file for our own engine (engine/llama_cpp.py): numbered tokens, no ids that the tokenizer does not know, and some room
    behind the context, because llama.cpp writes no token at the last place of a context."""
    outer = {"embed_tokens.weight": tokenizer.size, "lm_head.weight": tokenizer.size}
    cut = {name: tensor[: outer.get(name)] for name, tensor in weights.items()}
    if (places := cut.get("embed_positions.weight")) is not None:
        cut["embed_positions.weight"] = torch.cat([places, places.new_zeros(SPARE_CONTEXT, places.shape[1])])
    sizes = {"vocab_size": tokenizer.size, "max_seq_len": config.max_seq_len + SPARE_CONTEXT}
    return gguf_file("engine", config.model_copy(update=sizes), cut, tokenizer, kind, numbered=True)


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


@dataclass(frozen=True)
class _StoredTensor:
    """One tensor of the file: our parameters that it consists of, and how its numbers are stored."""

    name: str
    parts: list[Tensor]
    shape: tuple[int, ...]
    heads: int
    kind: NumberType

    @property
    def size(self) -> int:
        return math.prod(self.shape) * BYTES_OF_32[self.kind] // 32

    def data(self) -> bytes:
        import gguf

        parts = [part.detach().float() for part in self.parts]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        tensor = _neighbours(tensor, self.heads) if is_permuted(self.name) else tensor
        return gguf.quants.quantize(tensor.contiguous().numpy(), gguf.GGMLQuantizationType[self.kind.name]).tobytes()


def _tensor(theirs: str, parts: list[Tensor], config: ModelConfig, kind: NumberType) -> _StoredTensor:
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return _StoredTensor(theirs, parts, shape, config.num_heads, _stored_type(theirs, shape, kind))


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


def _stored_type(theirs: str, shape: tuple[int, ...], kind: NumberType) -> NumberType:
    if len(shape) == 1 or theirs == "position_embd.weight":
        return NumberType.F32
    return NumberType.F16 if kind is NumberType.Q8_0 and shape[-1] % Q8_BLOCK else kind


def _padded(size: int) -> int:
    return size + len(_padding(size))


def _padding(size: int) -> bytes:
    return bytes(-size % ALIGNMENT)


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
        writer.add_rope_freq_base(config.rope_theta)
    else:
        writer.add_layer_norm_eps(NORM_EPS)


def _describe_tokenizer(writer: Any, config: ModelConfig, tokenizer: Tokenizer, numbered: bool) -> None:
    import gguf

    bpe = json.loads(tokenizer.to_json())["model"]
    unused = config.vocab_size - tokenizer.size
    tokens = [token for token, _ in sorted(bpe["vocab"].items(), key=lambda entry: int(entry[1]))]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]]
    kinds = [gguf.TokenType.CONTROL if token == END_OF_TEXT else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    if numbered:
        tokens, merges = [f"{number:0{NUMBER_DIGITS}x}" for number in range(tokenizer.size)], ["0 0"]
    writer.add_token_list(tokens + [f"[unused{number}]" for number in range(unused)])
    writer.add_token_types(kinds + [gguf.TokenType.UNUSED] * unused)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokenizer.end_of_text)
    writer.add_eos_token_id(tokenizer.end_of_text)
    writer.add_pad_token_id(tokenizer.end_of_text)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
