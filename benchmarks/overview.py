"""Count what the project consists of and what its three sizes need: the tables of docs/en/overview.md.

python -m benchmarks.overview
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

import workflows
from config import PRESETS, ModelConfig, SamplingConfig, SelfPlayConfig, TrainConfig, parameters
from web.app import create_app
from workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
BESIDE = {"tests", "benchmarks", "docs", "static", "templates", "locales", "books", "models", "checkpoints"}
SETTINGS = (ModelConfig, TrainConfig, SelfPlayConfig, SamplingConfig)


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    print("| what | how many |\n|---|---|")
    for name, count in counts().items():
        print(f"| {name} | {count:,} |")
    print("\n| size | parameters | memory of a training |\n|---|---|---|")
    for name, preset in PRESETS.items():
        needed = workflows.estimate(preset, TrainConfig(), None)
        print(f"| {name} | {needed.parameters / 1e6:.1f}M | {needed.training_bytes / 1e9:.1f} GB |")


def counts() -> dict[str, int]:
    """Return the figures of the project by the names they have in the document."""
    product = [path for path in ROOT.rglob("*.py") if not _outside(path, BESIDE)]
    tests = list((ROOT / "tests").rglob("*.py"))
    return {
        "Python files of the program": len(product),
        "lines in them": _lines(product),
        "C files": len(list((ROOT / "kernels" / "c").glob("*.[ch]"))),
        "lines of scripts, styles and templates": _lines(
            path for folder in ("static/js", "static/css", "templates") for path in (ROOT / folder).rglob("*.*")
        ),
        "test functions": sum(len(re.findall(r"^ *def test_", _text(path), re.MULTILINE)) for path in tests),
        "lines of tests": _lines(tests),
        "documents in each language": len(list((ROOT / "docs" / "ru").glob("*.md"))),
        "calls of the API": _calls(),
        "settings": sum(len(parameters(kind)) for kind in SETTINGS),
    }


def _outside(path: Path, folders: set[str]) -> bool:
    parts = path.relative_to(ROOT).parts
    return any(part.startswith(".") for part in parts) or parts[0] in folders


def _lines(paths: Iterable[Path]) -> int:
    return sum(_text(path).count("\n") for path in paths)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _calls() -> int:
    with tempfile.TemporaryDirectory() as folder:
        described = create_app(Workspace(Path(folder))).openapi()["paths"]
    return sum(len(methods) for methods in described.values())


if __name__ == "__main__":
    main()
