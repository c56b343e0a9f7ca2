"""Generate with llama.cpp (PyPI's `xllamacpp`), which is several times as fast as stream.py on a processor.

It reads a GGUF file whose tokens are named by their numbers, so that what it writes are ids and nothing is lost inside a letter; prompts
are ids as well. Requests that come together are computed together, each in a slot of its own. The parameters mean what they mean in
sampling.py and are applied in the same order. When the context is full, its later half is read again, as in stream.py.

Particular: attention without "flash attention" and a cache in float32, because with llama.cpp's defaults logprobs differ in the third
digit. llama.cpp always opens a port on 127.0.0.1; nobody knows the key to it, and nothing is asked there. An engine that is freed before
its thread has begun to take requests would wait for that thread for ever, and all of Python with it; so a new one is asked something.

Not here: logprobs, penalties for what was generated (`serves`); where files come from (store/engines.py).
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config import ModelConfig, SamplingConfig
from engine.handover import Handover
from engine.stream import Extras, Token

SWITCH = "AZR_LLAMA_CPP"  # 0 in the environment turns it off
SLOTS_BYTES = 256 << 20  # for the keys and values of all slots
MOST_SLOTS = 32
MANY_THREADS_FROM = 512  # d_model
ANY_SEED = 2**32 - 1  # stands for "draw one" in llama.cpp
SAMPLERS = [
    "penalties",
    "top_k",
    "temperature",
    "top_p",
    "min_p",
]  # top-k before temperature: the same ids in less time


def is_available() -> bool:
    """Return whether the runtime is installed and not turned off. It is imported when the first model is loaded."""
    return os.environ.get(SWITCH) != "0" and importlib.util.find_spec("xllamacpp") is not None


def serves(extras: Extras) -> bool:
    """Return whether llama.cpp gives these extras the meaning that they have in stream.py."""
    return extras.alternatives is None and not extras.presence_penalty and not extras.frequency_penalty


def best_threads(config: ModelConfig) -> int:
    """Return with how many threads a single text is written fastest: several only pay where a token takes milliseconds."""
    return min(os.cpu_count() or 1, 4) if config.d_model >= MANY_THREADS_FROM else 1


def slots_within(bytes_of_context: int, budget_bytes: int = SLOTS_BYTES) -> int:
    """Return how many texts can be written at once."""
    return max(1, min(MOST_SLOTS, budget_bytes // bytes_of_context))


class LlamaCppFailed(RuntimeError):
    """llama.cpp refused a request that it should have served."""


class LlamaCpp:
    """One loaded file. `window` is the model's context, `digits` the length of a token's name in base 16."""

    def __init__(self, path: Path, window: int, slot_context: int, slots: int, threads: int, digits: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.kv_unified, params.n_gpu_layers = slot_context * slots, slots, False, 0
        params.n_batch = params.n_ubatch = max(512, slots)
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.warmup, params.verbosity, params.fit_params, params.cache_ram_mib = False, -1, False, 0
        params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [secrets.token_hex(16)]
        self.slots, self.writing = slots, 0  # `writing`: texts at the moment
        self._lock = threading.Lock()
        self._window, self._digits = window, digits
        params.endpoint_metrics = True
        self._server = xllamacpp.Server(params)
        self._server.handle_metrics()  # its thread answers, so it has begun

    def stream(self, prompt: list[int], sampling: SamplingConfig, end_of_text: int) -> Iterator[list[Token]]:
        """Yield the tokens after `prompt` (at least one id) in groups, up to `max_new_tokens` or end of text, which is the last one then.

        Raises LlamaCppFailed.
        """
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        self._count(1)
        try:
            yield from self._parts(prompt, sampling, end_of_text, seed)
        finally:
            self._count(-1)

    def _count(self, texts: int) -> None:
        with self._lock:
            self.writing += texts

    def _parts(self, prompt: list[int], sampling: SamplingConfig, end_of_text: int, seed: int) -> Iterator[list[Token]]:
        context, left = list(prompt[-self._window :]), sampling.max_new_tokens
        while left:
            room = min(left, self._window - len(context) + 1)
            written: list[int] = []
            for group in self._part(context, sampling, room, seed % ANY_SEED):
                yield [Token(end_of_text if token is None else token) for token in group]
                if group[-1] is None:
                    return
                written += (token for token in group if token is not None)
            if len(written) != room:
                raise LlamaCppFailed(f"wrote {len(written)} of {room} tokens")
            left, seed = left - room, seed + 1
            context = (context + written)[self._window // 2 :]

    def ask(self, question: dict[str, Any]) -> Any:
        """Return llama.cpp's whole answer to a question in its own words, for measurements."""
        return self._server.handle_completions(question)

    def _part(self, context: list[int], sampling: SamplingConfig, room: int, seed: int) -> Iterator[list[int | None]]:
        """Yield `room` tokens after the context in groups, or fewer and then None for an end of text."""
        request = _Request(self._digits)
        question = _question(context, sampling, room, seed)
        # not a daemon: Python would end it in the middle of llama.cpp's C++, which aborts
        threading.Thread(target=request.run, args=(self._server, question), name="llama.cpp").start()
        try:
            yield from request.found
        finally:
            request.stopped = True


class _Request:
    """One part of a text: written by llama.cpp, which calls `take` in the thread of `run`; read from `found` in another one.

    `found` are ids, and None for an end of text.
    """

    def __init__(self, digits: int) -> None:
        self.stopped = False
        self.found: Handover[int | None] = Handover()
        self._digits = digits

    def run(self, server: Any, question: dict[str, Any]) -> None:
        try:
            server.handle_completions(question, self.take)
            self.found.end()
        except Exception as error:
            self.found.end(error)

    def take(self, answer: dict[str, Any]) -> bool:
        """Pass on what was written. Returns whether llama.cpp shall stop."""
        if "choices" not in answer:
            self.found.end(LlamaCppFailed(str(answer)))
            return True
        (choice,) = answer["choices"]
        text, digits = choice["text"], self._digits
        for start in range(0, len(text), digits):
            self.found.give(int(text[start : start + digits], 16))
        if choice["finish_reason"] == "stop":
            self.found.give(None)
        return self.stopped


def _question(context: list[int], sampling: SamplingConfig, room: int, seed: int) -> dict[str, Any]:
    return {
        "prompt": context,
        "max_tokens": room,
        "stream": True,
        "cache_prompt": False,
        "seed": seed,
        "samplers": SAMPLERS if sampling.temperature else ["penalties", "top_k"],
        "temperature": sampling.temperature,
        "top_k": sampling.top_k if sampling.temperature else 1,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": len(context) + room,  # all of it
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
