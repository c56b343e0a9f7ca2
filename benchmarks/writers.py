"""The programs that `benchmarks.generation` compares, each with the same weights, sampling and number of tokens.

Each function runs in a process of its own (alone.py): it loads, which is timed, and then writes once alone and in batches. `Figures` hold
the best of some repetitions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.alone import peak_bytes
from config import PRESETS, ModelConfig, SamplingConfig
from engine.batch import Batch
from engine.decoder import exact_decoder, fast_decoder
from engine.llama_cpp import LlamaCpp, slots_within
from engine.native_batch import NativeBatch
from engine.stream import Token, stream
from formats.gguf import NUMBER_DIGITS, SPARE_CONTEXT, NumberType, engine_file
from model import Transformer
from store import model_store
from workspace import Workspace

BATCH, PROMPT_TOKENS, TOP_K = 32, 8, 50
NEVER = -1  # an end of text that no model writes


@dataclass(frozen=True)
class Figures:
    """Tokens per second alone and in a batch, seconds to the first token and until it is loaded, and the process's peak of memory."""

    alone: float
    batch: float | None
    first_seconds: float
    load_seconds: float
    peak_bytes: int


def tokens_for(shape: ModelConfig) -> int:
    """Return how many tokens fill the context after the prompt."""
    return shape.max_seq_len - PROMPT_TOKENS


def sampling_for(shape: ModelConfig) -> SamplingConfig:
    return SamplingConfig(temperature=1.0, top_k=TOP_K, top_p=1.0, max_new_tokens=tokens_for(shape))


def shape_of(preset: str) -> ModelConfig:
    return ModelConfig.model_validate(PRESETS[preset].model_dump())


def with_random_weights(preset: str, end_of_text: int) -> Transformer:
    """Return a model whose every matrix is drawn, and which writes an end of text hardly ever."""
    model = Transformer(shape_of(preset))
    model.initialise(0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0.0, 0.05, generator=generator)
        model.lm_head.weight[end_of_text] = 0.0
    return model.eval()


def prompts() -> list[list[int]]:
    return [list(range(1 + row, 1 + row + PROMPT_TOKENS)) for row in range(BATCH)]


def transformers(folder: Path, threads: int, repeats: int, tokens: int) -> Figures:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    quiet: Any = logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    torch.set_num_threads(threads)
    began_at = time.perf_counter()
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    load_seconds = time.perf_counter() - began_at
    new = min(tokens, model.config.max_position_embeddings - PROMPT_TOKENS)
    settings = {"do_sample": True, "temperature": 1.0, "top_k": TOP_K, "top_p": 1.0, "repetition_penalty": 1.0}

    def write(rows: int, tokens: int) -> None:
        ids = torch.tensor(prompts()[:rows])
        with torch.inference_mode():
            written: Any = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                pad_token_id=0,
                **settings,
            )
        assert written.shape == (rows, PROMPT_TOKENS + tokens)

    return _figures(write, new, load_seconds, repeats)


def ctranslate2(folder: Path, threads: int, repeats: int, tokens: int) -> Figures:
    import tempfile

    import ctranslate2 as library

    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "converted"
        library.converters.TransformersConverter(str(folder)).convert(str(target))
        began_at = time.perf_counter()
        generator = library.Generator(str(target), device="cpu", compute_type="float32", intra_threads=threads)
        load_seconds = time.perf_counter() - began_at
        tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
    import tokenizers

    engine = tokenizers.Tokenizer.from_str(tokenizer_json)
    starts = [[engine.id_to_token(token) for token in prompt] for prompt in prompts()]
    new = min(tokens, _context_of(folder) - PROMPT_TOKENS)

    def write(rows: int, tokens: int) -> None:
        generator.generate_batch(
            starts[:rows],
            max_length=tokens,
            min_length=tokens,
            sampling_topk=TOP_K,
            sampling_temperature=1.0,
            include_prompt_in_result=False,
        )

    return _figures(write, new, load_seconds, repeats)


def _context_of(folder: Path) -> int:
    from workspace import read_json

    return int(read_json(folder / "config.json")["max_position_embeddings"])


def our_loop(root: Path, name: str, threads: int, repeats: int, tokens: int, native: bool) -> Figures:
    """engine/stream.py for one text and engine/batch.py for many, or engine/native_batch.py."""
    torch.set_num_threads(threads)
    began_at = time.perf_counter()
    loaded = model_store.load(Workspace(root), name)
    load_seconds = time.perf_counter() - began_at
    model, sampling = loaded.model, sampling_for(loaded.config)
    size = loaded.tokenizer.size if loaded.tokenizer else loaded.config.vocab_size
    batch = _native(model, size, threads) if native else Batch(exact_decoder(model, size), NEVER, threads)

    def write(rows: int, tokens: int) -> None:
        settings = sampling.model_copy(update={"max_new_tokens": tokens})
        if rows == 1 and not native:
            assert sum(1 for _ in stream(model, prompts()[0], settings, size, NEVER)) == tokens
        else:
            together([partial(_read_all, batch.stream(prompt, settings), tokens) for prompt in prompts()[:rows]])

    return _figures(write, min(tokens, tokens_for(loaded.config)), load_seconds, repeats)


def _native(model: Transformer, size: int, threads: int) -> Batch:
    decoder = fast_decoder(model, size)
    if decoder is None:
        raise SystemExit("The C code does not serve this machine or model.")
    return NativeBatch(decoder, size, NEVER, threads)


def _read_all(text: Iterable[list[Token]], tokens: int) -> None:
    assert sum(len(group) for group in text) == tokens


def llama_cpp(root: Path, name: str, threads: int, repeats: int, tokens: int, kind: str) -> Figures:
    """engine/llama_cpp.py, without HTTP; a batch is so many requests at once."""
    loaded = model_store.load(Workspace(root), name)
    assert loaded.tokenizer is not None
    config, path = loaded.config, root / f"{name}-{kind}.gguf"
    if not path.is_file():
        chunks = engine_file(config, loaded.model.state_dict(), loaded.tokenizer, NumberType(kind)).chunks
        path.write_bytes(b"".join(chunks))
    began_at = time.perf_counter()
    context = config.max_seq_len + SPARE_CONTEXT
    slots = slots_within(2 * 4 * config.num_layers * config.d_model * config.max_seq_len)
    engine = LlamaCpp(path, config.max_seq_len, context, slots, threads, NUMBER_DIGITS)
    load_seconds = time.perf_counter() - began_at
    sampling = sampling_for(config)

    def write_one(prompt: Sequence[int], tokens: int) -> None:
        settings = sampling.model_copy(update={"max_new_tokens": tokens})
        _read_all(engine.stream(list(prompt), settings, NEVER), tokens)

    def write(rows: int, tokens: int) -> None:
        together([partial(write_one, prompt, tokens) for prompt in prompts()[:rows]])

    return _figures(write, min(tokens, tokens_for(config)), load_seconds, repeats)


def together(works: Sequence[Callable[[], object]]) -> None:
    """Do all works at once, each in a thread."""
    if len(works) == 1:
        works[0]()
        return
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _figures(write: Callable[[int, int], None], new: int, load_seconds: float, repeats: int) -> Figures:
    write(1, 4)  # warm
    return Figures(
        alone=new / best_seconds(lambda: write(1, new), repeats),
        batch=BATCH * new / best_seconds(lambda: write(BATCH, new), max(1, repeats - 1)),
        first_seconds=best_seconds(lambda: write(1, 1), repeats),
        load_seconds=load_seconds,
        peak_bytes=peak_bytes(),
    )


def best_seconds(work: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        began_at = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began_at)
    return min(seconds)
