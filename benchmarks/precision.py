"""What fewer bits of a weight cost: the bits per byte that llama.cpp itself reaches on held-out text with each number type.

A small model is trained on the book for some minutes, and then asked at each of some hundred places for the logprobs of all its tokens.
"""

from __future__ import annotations

import io
import math
import tempfile
from pathlib import Path

import torch

import workflows
from config import PRESETS, TrainConfig
from corpus import library
from engine.llama_cpp import LlamaCpp
from engine.score import score
from formats.gguf import NUMBER_DIGITS, SPARE_CONTEXT, NumberType, engine_file
from store import model_store
from store.model_store import LoadedModel
from workspace import Workspace

ITERATIONS, PLACES, BEFORE = 200, 300, 64
NAME = "measured"


def cost_table(book: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        loaded, ids = _trained(workspace, book)
        ours = bits_per_byte(loaded, _our_logprobs(loaded, ids), ids)
        rows = [
            "| numbers | bits per byte | more than our float32 |",
            "|---|---|---|",
            f"| our loop, float32 | {ours:.5f} | |",
        ]
        for kind in NumberType:
            path = Path(folder) / f"{kind}.gguf"
            assert loaded.tokenizer is not None
            path.write_bytes(
                b"".join(engine_file(loaded.config, loaded.model.state_dict(), loaded.tokenizer, kind).chunks)
            )
            found = bits_per_byte(loaded, _their_logprobs(loaded, path, ids), ids)
            rows.append(f"| llama.cpp, {kind} | {found:.5f} | {found - ours:+.5f} |")
        return "\n".join(rows)


def _trained(workspace: Workspace, book: Path) -> tuple[LoadedModel, list[int]]:
    workspace.prepare()
    text = book.read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    with io.BytesIO(text[:cut].encode("utf-8")) as source:
        info = library.add_book(workspace, "book.txt", source)
    workflows.create_model(workspace, NAME, PRESETS["small"])
    config = TrainConfig(iterations=ITERATIONS, eval_every=100)
    plan = workflows.prepare_training(workspace, NAME, (info.name,), config)
    for _ in workflows.train(workspace, plan):
        pass
    loaded = model_store.load(workspace, NAME)
    assert loaded.tokenizer is not None
    return loaded, loaded.tokenizer.encode(text[cut:])[: PLACES + BEFORE]


def _our_logprobs(loaded: LoadedModel, ids: list[int]) -> list[float]:
    assert loaded.tokenizer is not None
    found = []
    for place in range(BEFORE, len(ids)):
        logprob = score(loaded.model, loaded.tokenizer, ids[place - BEFORE : place + 1], 0).tokens[-1].logprob
        assert logprob is not None
        found.append(logprob)
    return found


def _their_logprobs(loaded: LoadedModel, path: Path, ids: list[int]) -> list[float]:
    assert loaded.tokenizer is not None
    window = loaded.config.max_seq_len
    engine = LlamaCpp(path, window, window + SPARE_CONTEXT, 1, 1, NUMBER_DIGITS)
    found = []
    for place in range(BEFORE, len(ids)):
        question = {
            "prompt": ids[place - BEFORE : place],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": loaded.tokenizer.size,
        }
        answer = engine.ask(question)
        told = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        found.append(next(float(each["logprob"]) for each in told if each["id"] == ids[place]))
    return found


def bits_per_byte(loaded: LoadedModel, logprobs: list[float], ids: list[int]) -> float:
    assert loaded.tokenizer is not None
    size = sum(len(loaded.tokenizer.token_bytes(token)) for token in ids[BEFORE:])
    return float(-torch.tensor(logprobs, dtype=torch.float64).sum()) / math.log(2) / size
