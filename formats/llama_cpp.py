"""Run a GGUF file with llama.cpp, to see that another program reads the same tokens and writes the same text.

The runtime is PyPI's `xllamacpp`, which is optional: `is_installed` tells whether it is there. It answers some questions only through
its own server on a port of this machine; nothing goes further.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LONGEST_SECONDS = 600
_MARK = "azr: "  # begins our lines; llama.cpp prints its own
_ROOT = Path(__file__).resolve().parent.parent
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """One token that the runtime chose, with its logprob over the whole vocabulary.

    llama.cpp leaves tokens that end inside a letter out of its list of logprobs, so a text with one has none at all.
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
        tokens = [int(token) for token in answer["__verbose"]["tokens"]]
        whole = [token["id"] for token in reported] == tokens
        logprobs = [float(token["logprob"]) for token in reported] if whole else [None] * len(tokens)
        return [Written(token, logprob) for token, logprob in zip(tokens, logprobs, strict=True)]


# ---- in a process of its own -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What llama.cpp found in a file: the ids of texts, and what it wrote. Both are empty where it refused the file."""

    ids: list[list[int]]
    written: list[Written]


def ask(path: Path, context: int, texts: list[str], prompt: str, count: int) -> Answer | None:
    """Read texts and write after a prompt with a GGUF file; None where the runtime is not installed or does not start here."""
    if not is_installed():
        return None
    question = json.dumps({"path": str(path), "context": context, "texts": texts, "prompt": prompt, "count": count})
    command = [sys.executable, "-m", "formats.llama_cpp"]
    try:
        done = subprocess.run(
            command,
            input=question.encode("utf-8"),
            capture_output=True,
            cwd=_ROOT,
            check=False,
            timeout=LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Answer([], [])
    output, complaints = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr[-500:]))
    lines = [line for line in output.splitlines() if line.startswith(_MARK)]
    if not lines:
        _log.warning("llama.cpp does not start here (%s): %s", done.returncode, complaints)
        return None
    if len(lines) == 1:
        _log.warning("llama.cpp refused %s (%s): %s", path.name, done.returncode, complaints)
        return Answer([], [])
    values = json.loads(lines[1].removeprefix(_MARK))
    return Answer(values["ids"], [Written(*token) for token in values["written"]])


def _main() -> None:
    question = json.loads(sys.stdin.buffer.read())
    import xllamacpp  # noqa: F401  (may fail for want of a system library)

    _say("started")
    runtime = Runtime(Path(question["path"]), question["context"])
    ids = [runtime.token_ids(text) for text in question["texts"]]
    written = runtime.greedy(question["prompt"], question["count"])
    _say(json.dumps({"ids": ids, "written": [(token.id, token.logprob) for token in written]}))


def _say(text: str) -> None:
    sys.stdout.buffer.write(f"{_MARK}{text}\n".encode())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()
