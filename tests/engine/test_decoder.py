"""Decoding with the C code against the model itself, and where which of them serves."""

from __future__ import annotations

import pytest
import torch

from config import ModelConfig
from engine.decoder import Decoder, NativeDecoder, decoder
from kernels import native
from model import Transformer
from tests.training_kit import changed, wild

SHAPE = ModelConfig(vocab_size=300, d_model=64, num_layers=2, num_heads=2, d_ff=96, max_seq_len=64)
SIZE = 290  # no multiple of anything
here = pytest.mark.skipif(native.library() is None, reason="no C compiler, or a processor without AVX512-BF16")


def _model(shape: ModelConfig = SHAPE) -> Transformer:
    model = Transformer(shape)
    model.initialise(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(2))  # factors that matter
    return wild(model, std=0.15)


def _decoded(decoding: Decoder, lengths: list[int], steps: int = 20, room: int = 0) -> torch.Tensor:
    """The logits after prompts of these lengths and after each of the same further tokens, (steps + 1, B, SIZE)."""
    generator = torch.Generator().manual_seed(5)
    prompts = torch.randint(0, SIZE, (len(lengths), max(lengths)), generator=generator)
    decoding.grow(room or len(lengths))
    places = torch.tensor(lengths)
    found = [decoding.read(prompts, places - 1)]
    for _ in range(steps):
        found.append(decoding.step(torch.randint(0, SIZE, (len(lengths),), generator=generator), places))
        places = places + 1
    return torch.stack(found)


@here
@torch.no_grad()
@pytest.mark.parametrize(
    "lengths", [[7] * 8, [7] * 11, [1, 9, 4], [40] * 3], ids=["equal", "no multiple of eight", "ragged", "long"]
)
def test_c_code_decodes_like_the_model(lengths: list[int]) -> None:
    model = _model()
    exact = _decoded(Decoder(model, SIZE, torch.float32), lengths)
    found = _decoded(NativeDecoder(model, SIZE), lengths)
    scale = float(exact.std())
    assert float((found - exact).abs().mean()) < 0.001 * scale  # weights of float16
    assert float((found - exact).abs().max()) < 0.01 * scale
    assert float((found - exact.roll(1, dims=1)).abs().max()) > scale  # rows differ


@here
@torch.no_grad()
def test_c_code_refuses_more_rows_than_there_is_room_for() -> None:
    decoding = NativeDecoder(_model(), SIZE)
    decoding.grow(2)
    with pytest.raises(AssertionError, match="no room"):
        decoding.step(torch.tensor([5, 6, 7]), torch.tensor([0, 0, 0]))


@here
@torch.no_grad()
def test_c_code_decodes_a_row_alike_in_any_company_and_with_any_threads() -> None:
    model, threads = _model(), torch.get_num_threads()
    alone = _decoded(NativeDecoder(model, SIZE), [7])
    together = _decoded(NativeDecoder(model, SIZE), [7] * 12)[:, :1]
    assert alone.shape == together.shape
    torch.set_num_threads(3)
    try:
        again = _decoded(NativeDecoder(model, SIZE), [7] * 12)[:, :1]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together, again)


@here
@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, NativeDecoder),
        ({"architecture": "gpt2"}, Decoder),
        ({"d_ff": 90}, Decoder),
        ({"num_heads": 4}, Decoder),  # heads of 16 dimensions
    ],
    ids=str,
)
def test_decoder_is_the_c_code_where_it_fits(changes: dict[str, object], kind: type) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        decoding = decoder(_model(changed(SHAPE, **changes)), SIZE)
        decoding.grow(2)
        assert type(decoding) is kind
        assert decoding.step(torch.tensor([5, 6]), torch.tensor([0, 0])).isfinite().all()


@torch.no_grad()
def test_decoder_in_float32_is_the_model_itself() -> None:
    assert type(decoder(_model(), SIZE)) is Decoder
