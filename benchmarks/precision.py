"""What fewer bits of a weight cost: the bits per byte that each way of writing reaches on held-out text.

A small model is trained on the book for a minute or two, and then asked at some hundred places how likely the next token is.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import workflows
from config import PRESETS, SelfPlayConfig, TrainConfig
from corpus import library
from engine.decoder import exact_decoder, fast_decoder
from engine.llama_cpp import LlamaCpp
from exchange.precision import bits_per_byte, decoded_logprobs, llama_cpp_logprobs
from formats.gguf import NUMBER_DIGITS, SPARE_CONTEXT, NumberType, engine_file
from store import model_store
from store.model_store import LoadedModel
from tokenizer import Tokenizer
from workspace import Workspace

ITERATIONS, PLACES = 200, 1000
NAME = "measured"


def cost_table(book: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        loaded, tokenizer, ids = _trained(workspace, book)
        found = {
            name: bits_per_byte(each, ids, tokenizer) for name, each in _ways(Path(folder), loaded, tokenizer, ids)
        }
        exact = found.pop("our loop, float32")
        rows = [f"| {name} | {bits:.5f} | {bits - exact:+.5f} |" for name, bits in found.items()]
        head = [
            "| numbers | bits per byte | more than our float32 |",
            "|---|---|---|",
            f"| our loop, float32 | {exact:.5f} | |",
        ]
        return "\n".join([*head, *rows])


def _ways(
    folder: Path, loaded: LoadedModel, tokenizer: Tokenizer, ids: list[int]
) -> Iterator[tuple[str, Iterable[float]]]:
    """Yield the names of all that writes here, and the logprobs that it gives."""
    size, window = tokenizer.size, loaded.config.max_seq_len
    yield "our loop, float32", decoded_logprobs(exact_decoder(loaded.model, size), ids)
    if (native := fast_decoder(loaded.model, size)) is not None:
        yield "our C code, f16", decoded_logprobs(native, ids)
    for kind in NumberType:
        path = folder / f"{kind}.gguf"
        path.write_bytes(b"".join(engine_file(loaded.config, loaded.model.state_dict(), tokenizer, kind).chunks))
        engine = LlamaCpp(path, window, window + SPARE_CONTEXT, 1, 1, NUMBER_DIGITS)
        yield f"llama.cpp, {kind}", llama_cpp_logprobs(engine, ids, window, size)


def _trained(workspace: Workspace, book: Path) -> tuple[LoadedModel, Tokenizer, list[int]]:
    workspace.prepare()
    text = book.read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    with io.BytesIO(text[:cut].encode("utf-8")) as source:
        info = library.add_book(workspace, "book.txt", source)
    workflows.create_model(workspace, NAME, PRESETS["small"])
    config = TrainConfig(iterations=ITERATIONS, eval_every=100, self_play=SelfPlayConfig(enabled=False))
    plan = workflows.prepare_training(workspace, NAME, (info.name,), config)
    for _ in workflows.train(workspace, plan):
        pass
    loaded = model_store.load(workspace, NAME)
    tokenizer = loaded.tokenizer
    assert tokenizer is not None
    return loaded, tokenizer, [tokenizer.end_of_text, *tokenizer.encode(text[cut:])][: PLACES + 1]
