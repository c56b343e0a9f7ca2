"""The first page's samples: what a small model writes before, during and after its training on a public-domain book.

    python -m benchmarks.before_after --language ru --book anna_karenina.txt --title "Анна Каренина" --author "Лев Толстой" --prompt "Анна вошла"
    python -m benchmarks.before_after --language en --book tinyshakespeare.txt --title "Plays" --author "William Shakespeare"

Trains through `workflows` with the defaults, as the pages do, and writes the samples that the training page showed at the iterations
of STEPS into static/samples.json, beside the book they come from. Nothing is chosen or edited: one training, one seed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import workflows
from config import PRESETS, TrainConfig
from corpus import library
from events import Evaluated, SampleWritten
from i18n import LANGUAGES
from machine.memory import use_one_heap
from workspace import Workspace, write_atomic

SAMPLES = Path(__file__).resolve().parent.parent / "static" / "samples.json"
STEPS = (0, 100, 1000)
PRESET = "small"


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--language", choices=LANGUAGES, required=True, help="of the page that will show the samples")
    options.add_argument("--book", type=Path, required=True)
    options.add_argument("--title", required=True)
    options.add_argument("--author", required=True)
    options.add_argument("--prompt", help="the beginning of each text; by default the one that the pages use")
    options.add_argument("--num-threads", type=int)
    chosen = options.parse_args()
    use_one_heap()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Workspace(folder), chosen)
    known = json.loads(SAMPLES.read_text(encoding="utf-8")) if SAMPLES.exists() else {}
    known[chosen.language] = {"title": chosen.title, "author": chosen.author} | found
    write_atomic(SAMPLES, json.dumps(known, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def measure(workspace: Workspace, chosen: argparse.Namespace) -> dict[str, Any]:
    """Train a model on the book and return its samples, with the held-out loss at each."""
    workspace.prepare()
    with chosen.book.open("rb") as stream:
        book = library.add_book(workspace, chosen.book.name, stream)
    workflows.create_model(workspace, "first", PRESETS[PRESET])
    prompt = chosen.prompt or workflows.sample_prompt([book]) or TrainConfig().sample_prompt
    config = TrainConfig(iterations=STEPS[-1], sample_prompt=prompt, num_threads=chosen.num_threads)
    plan = workflows.prepare_training(workspace, "first", (book.name,), config)
    losses: dict[int, float] = {}
    texts: dict[int, str] = {}
    for event in workflows.train(workspace, plan):
        if isinstance(event, Evaluated):
            losses[event.iteration] = round(event.val_loss, 2)
            print(event.iteration, losses[event.iteration], flush=True)
        elif isinstance(event, SampleWritten):
            texts[event.iteration] = event.text
    steps = [{"iteration": step, "val_loss": losses[step], "text": texts[step]} for step in STEPS]
    return {"preset": PRESET, "prompt": prompt, "steps": steps}


if __name__ == "__main__":
    main()
