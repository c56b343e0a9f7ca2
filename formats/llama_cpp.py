"""Run a GGUF file with llama.cpp, to see that another program reads the same tokens and writes the same text.

The runtime is PyPI's `xllamacpp`, which is optional: `is_installed` tells whether it is there. It answers some questions only through
its own server on a port of this machine; nothing goes further.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Written:
    """One token that the runtime chose, with its logprob over the whole vocabulary.

    llama.cpp reports no logprob for a token that ends inside a letter.
    """

    id: int
    logprob: float | None


def is_installed() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


class Runtime:
    """One loaded GGUF file. Raises RuntimeError if llama.cpp refuses it."""

    def __init__(self, path: Path, context: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.n_gpu_layers = context, 1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        # Measured with an F32 file: logprobs differ from ours by 5e-6 with both of these, and by 7e-3 with the defaults.
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.warmup, params.verbosity = False, 0
        self._server = xllamacpp.Server(params)

    def token_ids(self, text: str) -> list[int]:
        """Return the ids of a text as llama.cpp reads it, with the mark of its beginning."""
        question = {"content": text, "add_special": True, "parse_special": False}
        address = urlsplit(self._server.listening_address).netloc
        connection = http.client.HTTPConnection(address, timeout=60)  # not urllib, which may ask a proxy
        try:
            connection.request("POST", "/tokenize", json.dumps(question), {"Content-Type": "application/json"})
            return [int(token) for token in json.loads(connection.getresponse().read())["tokens"]]
        finally:
            connection.close()

    def greedy(self, prompt: str, count: int) -> list[Written]:
        """Return the `count` likeliest tokens after a prompt, each chosen after those before it; fewer if the text ends."""
        question = {"prompt": prompt, "max_tokens": count, "temperature": 0, "logprobs": 1}
        question |= {"verbose": True, "return_tokens": True}  # the only place where all ids stand
        answer: Any = self._server.handle_completions(question)
        reported = answer["choices"][0]["logprobs"]["content"]
        chosen = []
        for token in answer["__verbose"]["tokens"]:
            known = bool(reported) and reported[0]["id"] == token
            chosen.append(Written(int(token), float(reported.pop(0)["logprob"]) if known else None))
        return chosen
