"""What a training and a request cost each other: iterations per second alone and while texts are written, and how long a first token takes.

    python -m benchmarks.beside --preset small --turns 12

Through the server, as a person works: a training on the example book, and one text after the other. Turns alternate; what is lost is the mean
of the pairs, with its standard error. "Computed" is the share of the time in which a text was being written: the training should lose no
more.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from benchmarks.first_experiment import EXAMPLE
from config import PRESETS
from tests.server_process import ServerProcess, serving
from workspace import Workspace

NAME, BOOK = "beside", "book"
TRAINING = {"model": NAME, "books": [BOOK], "iterations": None, "self_play": {"enabled": False}}


@dataclass(frozen=True)
class Turn:
    iterations_per_second: float
    first_seconds: tuple[float, ...] = ()
    computed: float = 0.0  # share of the time


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--preset", choices=sorted(PRESETS), default="small")
    options.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    options.add_argument("--turns", type=int, default=12, help="of each kind, at least two")
    options.add_argument("--pause", type=float, default=1.0, help="seconds from one text to the next")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(prepared(Path(folder))) as server:
        server.post("/create_model", {"name": NAME, "preset": chosen.preset})
        server.post("/train", TRAINING)
        while server.get("/training_status")["iteration"] < 20:
            time.sleep(0.2)
        pairs = []
        for _ in range(chosen.turns):
            alone = turn(server, chosen.seconds, lambda: time.sleep(0.1))
            pairs.append((alone, turn(server, chosen.seconds, lambda: write(server, chosen.pause))))
        server.post("/stop_training", {})
    print(table(chosen.preset, pairs))


def prepared(root: Path) -> Path:
    workspace = Workspace(root)
    workspace.prepare()
    (workspace.books / f"{BOOK}.txt").write_bytes(EXAMPLE.read_bytes())
    return root


def turn(server: ServerProcess, seconds: float, work: Callable[[], tuple[float, float] | None]) -> Turn:
    """Do the work again and again for some seconds; return how the training went on meanwhile."""
    began_at, before, told = time.perf_counter(), server.get("/training_status")["iteration"], []
    while time.perf_counter() - began_at < seconds:
        told.append(work())
    after, took = server.get("/training_status")["iteration"], time.perf_counter() - began_at
    texts = [each for each in told if each]
    return Turn((after - before) / took, tuple(first for first, _ in texts), sum(all_ for _, all_ in texts) / took)


def write(server: ServerProcess, pause: float) -> tuple[float, float]:
    """Let the model write; return the seconds up to the first token and to the end."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    body = json.dumps({"model": NAME, "version": "last", "prompt": "Мир", "max_new_tokens": 100, "stream": True})
    began_at = time.perf_counter()
    connection.request("POST", "/generate", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.readline()
    first = time.perf_counter() - began_at
    answer.read()
    whole = time.perf_counter() - began_at
    connection.close()
    time.sleep(pause)
    return first, whole


def table(preset: str, pairs: list[tuple[Turn, Turn]]) -> str:
    firsts = sorted(first for _, with_texts in pairs for first in with_texts.first_seconds)
    lost = [1 - with_texts.iterations_per_second / without.iterations_per_second for without, with_texts in pairs]
    cells = (
        preset,
        f"{mean(without.iterations_per_second for without, _ in pairs):.2f}",
        f"{mean(with_texts.iterations_per_second for _, with_texts in pairs):.2f}",
        f"{mean(lost):.1%} ± {stdev(lost) / len(lost) ** 0.5:.1%}",
        f"{mean(with_texts.computed for _, with_texts in pairs):.1%}",
        f"{1000 * firsts[len(firsts) // 2]:.0f}",
        f"{1000 * firsts[-1]:.0f}",
        str(len(firsts)),
    )
    head = "| preset | iterations/s alone | beside texts | lost | computed | first token, ms | slowest, ms | texts |"
    return "\n".join((head, "|---" * len(cells) + "|", "| " + " | ".join(cells) + " |"))


if __name__ == "__main__":
    main()
