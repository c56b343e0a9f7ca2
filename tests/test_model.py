"""The transformer against stock `transformers`, against itself with a cache, and what is promised about its size and start.

Parity is measured with weights of std 0.5 at torch's default tolerance; the control, q and k rows in the interleaved order of
the original Llama, must fail the very same comparison (with std 0.02 and a tolerance of 1e-2 it passes).
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from config import PRESETS, Architecture, ModelConfig
from formats import huggingface
from model import KVCache, Transformer, count_parameters

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES: tuple[Architecture, ...] = ("llama", "gpt2")
both = pytest.mark.parametrize("architecture", ARCHITECTURES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads and wait long for them on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(architecture: Architecture) -> ModelConfig:
    return ModelConfig(
        architecture=architecture, vocab_size=300, d_model=32, num_layers=2, num_heads=4, d_ff=80, max_seq_len=24
    )


def wild_model(architecture: Architecture) -> Transformer:
    """A model whose every weight, norms and biases too, is drawn with std 0.5."""
    model = Transformer(tiny(architecture))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return model.eval()


def some_tokens(rows: int = 3, length: int = 24) -> Tensor:
    return torch.randint(300, (rows, length), generator=torch.Generator().manual_seed(2))


def stock_logits(config: ModelConfig, tensors: dict[str, Tensor], tokens: Tensor) -> Tensor:
    fields = json.loads(huggingface.config_json(config, None))
    llama = config.architecture == "llama"
    stock = LlamaForCausalLM(LlamaConfig(**fields)) if llama else GPT2LMHeadModel(GPT2Config(**fields))
    stock.load_state_dict(tensors)
    with torch.no_grad():
        return stock.eval()(tokens).logits


def interleaved(rows: Tensor, num_heads: int) -> Tensor:
    """Rows of q_proj or k_proj in the order that turns neighbours instead of halves: the wrong one for transformers."""
    return rows.unflatten(0, (num_heads, 2, -1)).transpose(1, 2).flatten(0, 2).contiguous()


# ---- parity ----------------------------------------------------------------------------------------------------------


@both
@torch.no_grad()
def test_logits_equal_those_of_transformers(architecture: Architecture) -> None:
    model, tokens = wild_model(architecture), some_tokens()
    tensors = huggingface.to_huggingface(model.config, model.state_dict())
    torch.testing.assert_close(model(tokens), stock_logits(model.config, tensors, tokens))


@torch.no_grad()
def test_parity_sees_a_wrong_rotary_layout() -> None:
    model, tokens = wild_model("llama"), some_tokens()
    tensors = huggingface.to_huggingface(model.config, model.state_dict())
    for name in tensors:
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            tensors[name] = interleaved(tensors[name], model.config.num_heads)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(model(tokens), stock_logits(model.config, tensors, tokens))


@torch.no_grad()
def test_parity_sees_untransposed_matrices() -> None:
    model, tokens = wild_model("gpt2"), some_tokens()
    tensors = huggingface.to_huggingface(model.config, model.state_dict())
    square = "transformer.h.0.attn.c_proj.weight"
    tensors[square] = tensors[square].t().contiguous()
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(model(tokens), stock_logits(model.config, tensors, tokens))


# ---- causality and cache ---------------------------------------------------------------------------------------------


@both
@torch.no_grad()
def test_a_later_token_changes_nothing_before_it(architecture: Architecture) -> None:
    model, tokens = wild_model(architecture), some_tokens()
    changed = tokens.clone()
    changed[:, 10] = (changed[:, 10] + 1) % 300
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.isclose(before[:, 10:], after[:, 10:]).all(-1).any()


@both
@torch.no_grad()
def test_cached_decoding_equals_uncached(architecture: Architecture) -> None:
    """A prompt at once, two tokens together, then one by one: positions (T,)."""
    model, tokens = wild_model(architecture), some_tokens()
    cache = KVCache(model.config, 3, device=torch.device("cpu"), dtype=torch.float32)
    pieces = [model(tokens[:, :9], cache), model(tokens[:, 9:11], cache, torch.arange(9, 11))]
    pieces += [model(tokens[:, at : at + 1], cache, torch.tensor([at])) for at in range(11, 24)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(tokens))


@both
@torch.no_grad()
def test_rows_of_unequal_length_decode_as_if_alone(architecture: Architecture) -> None:
    """Prompts of 4, 9 and 6 tokens, padded, go on at positions (B, 1) of their own."""
    model, tokens, starts = wild_model(architecture), some_tokens(), torch.tensor([4, 9, 6])
    cache = KVCache(model.config, 3, device=torch.device("cpu"), dtype=torch.float32)
    padded = torch.where(torch.arange(9) < starts[:, None], tokens[:, :9], 7)
    model(padded, cache)
    rows, whole = torch.arange(3), model(tokens)
    for step in range(12):
        at = starts + step
        logits = model(tokens[rows, at][:, None], cache, at[:, None])
        torch.testing.assert_close(logits[:, 0], whole[rows, at])


@torch.no_grad()
def test_the_cache_comparison_sees_a_wrong_position() -> None:
    model, tokens = wild_model("llama"), some_tokens()
    cache = KVCache(model.config, 3, device=torch.device("cpu"), dtype=torch.float32)
    model(tokens[:, :9], cache)
    wrong = model(tokens[:, 9:10], cache, torch.tensor([10]))
    assert not torch.allclose(wrong[:, 0], model(tokens)[:, 9], rtol=1e-2)


# ---- start -----------------------------------------------------------------------------------------------------------


@both
def test_first_loss_is_ln_of_vocab_size(architecture: Architecture) -> None:
    model = Transformer(tiny(architecture))
    model.initialise(0)
    tokens = some_tokens()
    assert model.loss(tokens[:, :-1], tokens[:, 1:]).item() == pytest.approx(math.log(300), abs=1e-5)
    assert wild_model(architecture).loss(tokens[:, :-1], tokens[:, 1:]).item() > 6.5  # the control: ln(300) is 5.70


@both
def test_initialise_depends_on_its_seed_alone(architecture: Architecture) -> None:
    torch.manual_seed(1)
    first = Transformer(tiny(architecture))
    first.initialise(7)
    torch.manual_seed(2)
    torch.rand(100)
    second, other = Transformer(tiny(architecture)), Transformer(tiny(architecture))
    second.initialise(7)
    other.initialise(8)
    for name, parameter in first.state_dict().items():
        assert torch.equal(parameter, second.state_dict()[name]), name
    assert not torch.equal(first.embed_tokens.weight, other.embed_tokens.weight)


@both
def test_initialise_leaves_the_global_generator_alone(architecture: Architecture) -> None:
    model = Transformer(tiny(architecture))
    before = torch.get_rng_state()
    model.initialise(7)
    assert torch.equal(before, torch.get_rng_state())


# ---- size ------------------------------------------------------------------------------------------------------------


@both
def test_count_parameters_equals_the_real_count(architecture: Architecture) -> None:
    model = Transformer(tiny(architecture))
    assert count_parameters(model.config) == sum(parameter.numel() for parameter in model.parameters())


def test_a_llama_has_as_many_parameters_as_counted_by_hand() -> None:
    embeddings, attention, feed_forward, norms = 2 * 300 * 32, 4 * 32 * 32, 3 * 32 * 80, 2 * 32
    assert count_parameters(tiny("llama")) == embeddings + 2 * (attention + feed_forward + norms) + 32


@pytest.mark.parametrize(
    ("preset", "fewest", "most"), [("small", 2e6, 5e6), ("medium", 10e6, 30e6), ("large", 50e6, 200e6)]
)
def test_presets_have_the_promised_sizes(preset: str, fewest: float, most: float) -> None:
    assert fewest <= count_parameters(PRESETS[preset]) <= most


@both
def test_an_absurd_size_is_counted_at_once(architecture: Architecture) -> None:
    """200 billion parameters and more; an allocation of them would end the test process."""
    config = ModelConfig(
        architecture=architecture, vocab_size=200_000, d_model=16_384, num_layers=256, num_heads=256, d_ff=65_536
    )
    started_at = time.perf_counter()
    assert count_parameters(config) > 200e9
    assert time.perf_counter() - started_at < 2


@pytest.mark.slow
def test_counting_loads_no_compiler() -> None:
    """What torch needs for arithmetic on its meta device takes 80 MB and seconds: too much for a form's estimate."""
    code = (
        "import sys, torch; from config import PRESETS; from model import count_parameters; before = set(sys.modules); "
    )
    code += "count_parameters(PRESETS['medium']); print(len(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) < 50
