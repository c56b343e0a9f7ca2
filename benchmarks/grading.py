"""Whether what a model writes is grammatical, judged sentence by sentence by a reader who does not know who wrote it.

    python -m benchmarks.grading sheet --workspace DIR --model NAME --out sheet.txt --key key.json
    python -m benchmarks.grading count --key key.json marked.txt [marked-by-another.txt]

`sheet` lets the model write with several sampling settings, mixes its sentences with real ones from the held-out end of the
book, and writes them one to a line, numbered, in a random order. The reader puts + before each sentence whose every word is real
and whose grammar is right (sense does not matter), and - before each other one. `count` prints, for each setting and for the
book, the share of words that stand in sentences marked +, and how often two readers agree.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import workflows
from config import SamplingConfig, TrainConfig
from corpus import library
from corpus.dataset import split
from workspace import Workspace

PROMPT = "Искусственный интеллект"
SETTINGS: dict[str, dict[str, float]] = {
    "temperature 0.8, top_p 0.95, penalty 1.1": {"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.1},
    "temperature 0.7, top_p 0.9, penalty 1.1": {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1},
    "temperature 0.7, top_p 0.9 (defaults)": {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.0},
    "temperature 0.6, top_p 0.9, penalty 1.1": {"temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.1},
    "temperature 1, nothing cut": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0},
}
BOOK = "the book itself"
SENTENCE_END = re.compile(r"(?<=[.!?…»])\s+(?=[«—–А-ЯЁA-Z])|\n+")
MARKED = re.compile(r"\s*([+-])\s*(\d+)\b")


@dataclass(frozen=True)
class Sentence:
    arm: str
    text: str

    @property
    def words(self) -> int:
        return len(self.text.split())


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    actions = options.add_subparsers(dest="action", required=True)
    sheet = actions.add_parser("sheet")
    sheet.add_argument("--workspace", type=Path, required=True)
    sheet.add_argument("--model", required=True)
    sheet.add_argument("--texts", type=int, default=8, help="for each setting, seeds 0, 1, 2 ...")
    sheet.add_argument("--tokens", type=int, default=120)
    sheet.add_argument("--out", type=Path, required=True)
    count_ = actions.add_parser("count")
    count_.add_argument("marked", type=Path, nargs="+")
    for action in (sheet, count_):
        action.add_argument("--key", type=Path, required=True)
    chosen = options.parse_args()
    if chosen.action == "sheet":
        write_sheet(chosen)
    else:
        key = [Sentence(**values) for values in json.loads(chosen.key.read_text(encoding="utf-8"))]
        count(key, [marks(path) for path in chosen.marked])


# ---- the sheet -------------------------------------------------------------------------------------------------------


def write_sheet(chosen: argparse.Namespace) -> None:
    workspace, cache = Workspace(chosen.workspace), workflows.ModelCache()
    found: list[Sentence] = []
    for arm, values in SETTINGS.items():
        for seed in range(chosen.texts):
            sampling = SamplingConfig.model_validate({"max_new_tokens": chosen.tokens, "seed": seed} | values)
            pieces = workflows.generate(workspace, chosen.model, PROMPT, sampling, cache=cache)
            text = PROMPT + "".join(piece.text for piece in pieces)
            found += [Sentence(arm, part) for part in sentences(text)[:-1]]  # the last one is cut off by the limit
    rng = random.Random(0)
    found += [
        Sentence(BOOK, text) for text in rng.sample(held_out(workspace, chosen.model), len(found) // len(SETTINGS))
    ]
    rng.shuffle(found)
    lines = [f"{number}. {sentence.text}" for number, sentence in enumerate(found, 1)]
    chosen.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    chosen.key.write_text(json.dumps([asdict(s) for s in found], ensure_ascii=False), encoding="utf-8")


def held_out(workspace: Workspace, model: str) -> list[str]:
    """Return sentences from the held-out part of the model's first book."""
    (book, *_) = workflows.get_model(workspace, model).books
    return sentences(split(library.read_text(workspace, book), TrainConfig().val_fraction).val[:])


def sentences(text: str) -> list[str]:
    """
    >>> sentences("Он ушёл. — Куда? — спросила она.")
    ['Он ушёл.', '— Куда?', '— спросила она.']
    """
    return [part.strip() for part in SENTENCE_END.split(text) if part.strip()]


# ---- the count -------------------------------------------------------------------------------------------------------


def marks(path: Path) -> dict[int, bool]:
    """Read a marked sheet: the number of each sentence -> whether it was marked +."""
    found = filter(None, map(MARKED.match, path.read_text(encoding="utf-8").splitlines()))
    return {int(match[2]): match[1] == "+" for match in found}


def count(key: list[Sentence], readers: list[dict[int, bool]]) -> None:
    for number, reader in enumerate(readers, 1):
        missing = set(range(1, len(key) + 1)) - set(reader)
        assert not missing, f"reader {number} left out {sorted(missing)}"
    print("| written with | sentences | words |" + "".join(f" reader {n} |" for n in range(1, len(readers) + 1)))
    print("|---|---|---|" + "---|" * len(readers))
    for arm in dict.fromkeys([*SETTINGS, BOOK]):
        of_arm = {number: s for number, s in enumerate(key, 1) if s.arm == arm}
        words = sum(s.words for s in of_arm.values())
        shares = [sum(s.words for number, s in of_arm.items() if reader[number]) / words for reader in readers]
        print(f"| {arm} | {len(of_arm)} | {words} |" + "".join(f" {share:.0%} |" for share in shares))
    if len(readers) == 2:
        agreed = sum(readers[0][n] == readers[1][n] for n in readers[0]) / len(key)
        print(f"\nThe two readers agree on {agreed:.0%} of the sentences.")


if __name__ == "__main__":
    main()
