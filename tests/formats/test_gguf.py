"""A GGUF file read back by the `gguf` library, run by llama.cpp, and loaded by stock `transformers`."""

from __future__ import annotations

import itertools
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from config import Architecture, ModelConfig
from formats import llama_cpp
from formats.gguf import CHAT_TEMPLATE, NumberType, write_gguf
from formats.huggingface import to_huggingface
from model import Transformer
from tests.training_kit import prose
from tokenizer import Tokenizer

TEXT = prose(200) + "Ёлка, don't! 1234567 «Что такое море?» — сказал он...\n\n\tАбв  где\r\nEnd. 日本語 🙂\n"
UNUSED = 5
# gpt2 has no tighter one than 5e-3: llama.cpp looks GELU up in a table of 16-bit numbers.
LOGPROB_TOLERANCE = {NumberType.F32: 1e-4, NumberType.F16: 0.02, NumberType.BF16: 0.1, NumberType.Q8_0: 0.3}
GELU_TOLERANCE = 5e-3
VALUE_TOLERANCE = {NumberType.F32: 0.0, NumberType.F16: 2**-11, NumberType.BF16: 2**-8, NumberType.Q8_0: 1 / 127}

both = pytest.mark.parametrize("architecture", ["llama", "gpt2"])
all_types = pytest.mark.parametrize("kind", list(NumberType))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.fit([TEXT], 400)


def restless_model(architecture: Architecture, tokenizer: Tokenizer, **sizes: int) -> Transformer:
    """A model in which every weight, bias and norm matters, and which writes whole letters."""
    shape = {"d_model": 64, "num_layers": 2, "num_heads": 4, "d_ff": 96, "max_seq_len": 64} | sizes
    model = Transformer(ModelConfig(architecture=architecture, vocab_size=tokenizer.size + UNUSED, **shape))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.2, generator=generator)
        for token in range(tokenizer.size + UNUSED):
            if token >= tokenizer.size or "\ufffd" in tokenizer.decode([token]):
                model.lm_head.weight[token] = 0.0
    return model.eval()


def written(folder: Path, model: Transformer, tokenizer: Tokenizer, kind: NumberType) -> Path:
    path = folder / "модель [1].gguf"
    write_gguf(path, "поэт", model.config, model.state_dict(), tokenizer, kind)
    return path


def our_greedy(model: Transformer, ids: list[int], count: int) -> list[llama_cpp.Written]:
    chosen = []
    for _ in range(count):
        with torch.no_grad():
            logprobs = model(torch.tensor([ids]))[0, -1].log_softmax(-1)
        token = int(logprobs.argmax())
        ids = [*ids, token]
        chosen.append(llama_cpp.Written(token, float(logprobs[token])))
    return chosen


@both
@all_types
def test_values_are_read_back_within_the_type(
    tmp_path: Path, tokenizer: Tokenizer, architecture: Architecture, kind: NumberType
) -> None:
    model = restless_model(architecture, tokenizer)
    reader = gguf.GGUFReader(written(tmp_path, model, tokenizer, kind))
    found = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    foreign = to_huggingface(model.config, model.state_dict())
    expected = {_gguf_name(name): _gguf_layout(name, tensor) for name, tensor in foreign.items()}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        limit = VALUE_TOLERANCE[kind] * float(np.abs(tensor).max())
        np.testing.assert_allclose(found[name].reshape(tensor.shape), tensor, rtol=0, atol=limit, err_msg=name)
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert types["blk.0.ffn_up.weight"] == kind.name
    assert types["output_norm.weight"] == "F32"


def test_a_row_that_does_not_fill_blocks_stays_f16(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = restless_model("llama", tokenizer, d_ff=80)
    reader = gguf.GGUFReader(written(tmp_path, model, tokenizer, NumberType.Q8_0))
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert types["blk.0.ffn_down.weight"] == "F16"
    assert types["blk.0.ffn_up.weight"] == "Q8_0"


def test_the_file_describes_model_and_tokenizer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = restless_model("llama", tokenizer)
    reader = gguf.GGUFReader(written(tmp_path, model, tokenizer, NumberType.F16))
    value = {name: field.contents() for name, field in reader.fields.items()}
    assert value["general.architecture"] == "llama"
    assert value["general.name"] == "поэт"
    assert value["llama.context_length"] == 64
    assert value["llama.attention.head_count_kv"] == 4
    assert value["tokenizer.ggml.model"] == "gpt2"
    assert value["tokenizer.ggml.pre"] == "llama-bpe"
    assert value["tokenizer.chat_template"] == CHAT_TEMPLATE
    assert value["tokenizer.ggml.eos_token_id"] == value["tokenizer.ggml.bos_token_id"] == tokenizer.end_of_text
    assert len(value["tokenizer.ggml.tokens"]) == model.config.vocab_size
    assert value["tokenizer.ggml.token_type"][-UNUSED:] == [gguf.TokenType.UNUSED] * UNUSED


def test_llama_cpp_reads_a_chat_with_the_template_of_the_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pytest.importorskip("xllamacpp")
    runtime = llama_cpp.Runtime(written(tmp_path, restless_model("llama", tokenizer), tokenizer, NumberType.F32), 64)
    said = [("user", "Старик"), ("assistant", ""), ("assistant", "чинил"), ("user", "лодку")]
    messages = [{"role": role, "content": content} for role, content in said]
    answer = runtime._server.handle_chat_completions({"messages": messages, "max_tokens": 1, "verbose": True})
    assert answer["__verbose"]["prompt"].endswith("Старик\n\nчинил\n\nлодку")


@both
@all_types
def test_llama_cpp_reads_the_same_tokens_and_writes_the_same_text(
    tmp_path: Path, tokenizer: Tokenizer, architecture: Architecture, kind: NumberType
) -> None:
    pytest.importorskip("xllamacpp")
    model = restless_model(architecture, tokenizer)
    runtime = llama_cpp.Runtime(written(tmp_path, model, tokenizer, kind), context=64)
    assert runtime.token_ids(TEXT) == [tokenizer.end_of_text, *tokenizer.encode(TEXT)]
    prompt = "Старик чинил лодку"
    theirs = runtime.greedy(prompt, 16)
    ours = our_greedy(model, [tokenizer.end_of_text, *tokenizer.encode(prompt)], 16)
    if kind is NumberType.F32:
        assert [token.id for token in theirs] == [token.id for token in ours]
        assert len({token.id for token in ours}) > 3, "the text must not be one token over and over"
    tolerance = LOGPROB_TOLERANCE[kind] + (GELU_TOLERANCE if architecture == "gpt2" else 0)
    for a, b in itertools.takewhile(lambda pair: pair[0].id == pair[1].id, zip(theirs, ours, strict=True)):
        assert a.logprob == pytest.approx(b.logprob, abs=tolerance)
    assert theirs[0].id == ours[0].id


def test_transformers_loads_the_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = restless_model("llama", tokenizer)
    path = written(tmp_path, model, tokenizer, NumberType.F32)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name)
    tokens: Tensor = torch.randint(tokenizer.size, (2, 64), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(stock(tokens).logits, model(tokens), rtol=1e-5, atol=5e-5)


# ---- the expected names and layout, written by hand ------------------------------------------------------------------

_NAMES = {
    "model.embed_tokens": "token_embd", "transformer.wte": "token_embd", "transformer.wpe": "position_embd",
    "model.norm": "output_norm", "transformer.ln_f": "output_norm", "lm_head": "output",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "ln_1": "attn_norm", "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip


def _gguf_name(name: str) -> str:
    stem, leaf = name.rsplit(".", 1)
    if stem in _NAMES:
        return f"{_NAMES[stem]}.{leaf}"
    _, _, layer, module = stem.split(".", 3)
    return f"blk.{layer}.{_NAMES[module]}.{leaf}"


def _gguf_layout(name: str, tensor: Tensor) -> np.ndarray:
    """The layout of the file: rotary halves become neighbours (row 1 of a head was its row 8), GPT-2's matrices are (out, in)."""
    if name.endswith(("q_proj.weight", "k_proj.weight")):
        head = 16
        order = [start + place for start in range(0, 64, head) for pair in range(8) for place in (pair, pair + 8)]
        tensor = tensor[order]
    if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        tensor = tensor.t()
    return tensor.detach().numpy()
