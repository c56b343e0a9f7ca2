"""Tokens per second of everything that could write with a model, beside one another: stock `transformers`, CTranslate2, llama.cpp, our
own loop, our C code, and the product over HTTP.

    python -m benchmarks.generation
    python -m benchmarks.generation --preset small --arm transformers --arm http --repeats 5
    python -m benchmarks.generation --precision

The same random weights, sampled from the top 50 at temperature 1 until the context is full; one text, and 32 together. Each arm runs in a
process of its own with one thread and with two, and the faster counts. "limit" is what reading the weights once for each token would allow,
at the speed at which this machine reads memory (--precision measures what fewer bits of a weight cost, on a model trained for it).
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks import writers
from benchmarks.alone import alone
from benchmarks.precision import cost_table
from benchmarks.writers import BATCH, TOP_K, Figures, best_seconds, together, tokens_for
from config import PRESETS
from formats.lineage import TrainingSummary
from model import count_parameters
from store import model_store
from tests.server_process import ServerProcess, serving
from tokenizer import Tokenizer
from workspace import Workspace

EXAMPLE = Path(__file__).resolve().parent.parent / "books" / "example_book.txt"
THREADS = (1, 2)
ARMS = (
    "transformers",
    "ctranslate2",
    "llama.cpp f32",
    "llama.cpp f16",
    "llama.cpp q8_0",
    "our loop",
    "our C code",
    "http",
)
COLUMNS = (
    "preset",
    "arm",
    "threads",
    "tokens/s, one text",
    "times",
    f"tokens/s, {BATCH} texts",
    "times",
    "first token, ms",
    "start-up, s",
    "peak MB",
)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--preset", action="append", choices=sorted(PRESETS))
    options.add_argument("--arm", action="append", choices=ARMS)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--tokens", type=int, default=10_000, help="most tokens of each text")
    options.add_argument("--precision", action="store_true")
    chosen = options.parse_args()
    if chosen.precision:
        print(cost_table(EXAMPLE))
        return
    print(f"load before: {os.getloadavg()[0]:.1f}; reading memory: {read_bytes_per_second() / 1e9:.1f} GB/s")
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    for preset in chosen.preset or ("small", "medium", "large"):
        with tempfile.TemporaryDirectory() as folder:
            compare(preset, Path(folder), chosen.arm or ARMS, chosen.repeats, chosen.tokens)


def compare(preset: str, root: Path, arms: Sequence[str], repeats: int, tokens: int) -> None:
    prepare(preset, root)
    base: Figures | None = None
    for arm in arms:
        if arm == "ctranslate2" and importlib.util.find_spec("ctranslate2") is None:
            continue
        if arm == "http":  # the product chooses its threads
            threads, found = 0, measure(arm, preset, root, repeats, tokens, 0)
        else:
            threads, found = faster(partial(measure, arm, preset, root, repeats, tokens))
        base = base or found
        print(row(preset, arm, threads, found, base), flush=True)
    weights = (
        count_parameters(writers.shape_of(preset))
        - writers.shape_of(preset).vocab_size * writers.shape_of(preset).d_model
    )
    limits = (
        f"{name} {read_bytes_per_second() / (size * weights):,.0f}"
        for name, size in (("F32", 4), ("F16", 2), ("Q8_0", 34 / 32))
    )
    print(f"| {preset} | limit, one text: {', '.join(limits)} |" + " |" * (len(COLUMNS) - 2), flush=True)


def measure(arm: str, preset: str, root: Path, repeats: int, tokens: int, threads: int) -> Figures:
    kind, _, number = arm.partition(" ")
    folder = Workspace(root).model_folder(preset)
    if kind == "transformers":
        return alone(writers.transformers, folder, threads, repeats, tokens)
    if kind == "ctranslate2":
        return alone(writers.ctranslate2, folder, threads, repeats, tokens)
    if kind == "llama.cpp":
        return alone(writers.llama_cpp, root, preset, threads, repeats, tokens, number)
    if kind == "our":
        return alone(writers.our_loop, root, preset, threads, repeats, tokens, arm == "our C code")
    return over_http(preset, root, repeats, tokens)


def faster(work: Callable[[int], Figures]) -> tuple[int, Figures]:
    """Return the threads and figures with which one text is written fastest, with the best figure of any for a batch."""
    found = [(threads, work(threads)) for threads in THREADS]
    threads, best = max(found, key=lambda each: each[1].alone)
    batch = max((figures.batch or 0.0 for _, figures in found), default=0.0)
    return threads, Figures(best.alone, batch, best.first_seconds, best.load_seconds, best.peak_bytes)


def prepare(preset: str, root: Path) -> None:
    """Publish a model with random weights and a tokenizer of the example book."""
    workspace, shape = Workspace(root), writers.shape_of(preset)
    workspace.prepare()
    tokenizer = Tokenizer.fit([EXAMPLE.read_text(encoding="utf-8")], shape.vocab_size)
    model = writers.with_random_weights(preset, tokenizer.end_of_text)
    model_store.create(workspace, preset, shape, model, seed=0)
    model_store.set_tokenizer(workspace, preset, tokenizer)
    summary = TrainingSummary(1, 1.0, 1.0, ("random",), "2026-01-01T00:00:00+00:00", 1.0)
    model_store.publish(workspace, preset, shape, model.state_dict(), summary)


def over_http(preset: str, root: Path, repeats: int, tokens: int) -> Figures:
    new = min(tokens, tokens_for(writers.shape_of(preset)))
    body = {"model": preset, "prompt": "И", "temperature": 1.0, "top_k": TOP_K, "top_p": 1.0}
    with serving(root) as server:
        began_at = time.perf_counter()
        ask(server, body | {"max_new_tokens": 1})
        load_seconds = time.perf_counter() - began_at

        def write(rows: int) -> None:
            together([lambda: ask(server, body | {"max_new_tokens": new}, new)] * rows)

        return Figures(
            alone=new / best_seconds(lambda: write(1), repeats),
            batch=BATCH * new / best_seconds(lambda: write(BATCH), max(1, repeats - 1)),
            first_seconds=best_seconds(lambda: ask(server, body | {"max_new_tokens": 1}), repeats),
            load_seconds=load_seconds,
            peak_bytes=_peak_of(server.pid),
        )


def ask(server: ServerProcess, body: dict[str, object], least: int = 1) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    connection.request("POST", "/generate", json.dumps(body), {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer["tokens"] >= least, answer


def read_bytes_per_second(size: int = 1 << 29) -> float:
    """Return how many bytes of memory this machine sums up in a second, with all its cores."""
    torch.set_num_threads(os.cpu_count() or 1)
    numbers = torch.ones(size // 4)
    return size / best_seconds(lambda: torch.sum(numbers), 5)


def row(preset: str, arm: str, threads: int, found: Figures, base: Figures) -> str:
    batch, base_batch = found.batch or 0.0, base.batch or 1.0
    cells = [
        preset,
        arm,
        "by size" if arm == "http" else str(threads),
        f"{found.alone:,.0f}",
        f"{found.alone / base.alone:.1f}",
    ]
    cells += [f"{batch:,.0f}", f"{batch / base_batch:.1f}", f"{1000 * found.first_seconds:.1f}"]
    cells += [f"{found.load_seconds:.2f}", f"{found.peak_bytes / 1e6:,.0f}"]
    return "| " + " | ".join(cells) + " |"


def _peak_of(pid: int) -> int:
    """Return the most memory that a process has held; 0 where /proc does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
