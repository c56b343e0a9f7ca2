"""The house of docs/architecture.md: every file has a room, imports go downwards, and no two files import each other."""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_THE_PRODUCT = {"tests", "benchmarks", "docs", "books", "models", "checkpoints"}
DATA_FOLDERS = {"models", "books", "checkpoints"}
FACADE = {"errors", "config", "workspace", "i18n", "events", "workflows"}  # all that web and command line may import
NEITHER_TORCH_NOR_DISK = ("runs/digest.py", "runs/run_log.py", "runs/history.py", "runs/jobs.py")


@dataclass(frozen=True)
class Room:
    level: int
    name: str
    files: tuple[str, ...]  # of a wing, in the order in which they may import one another
    never: frozenset[str]


def rooms_of(table: str) -> dict[str, Room]:
    """The rows of the table of rooms, by name."""
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|(.*?)\|.*\|(.*?)\|$", table, re.MULTILINE)
    named = [(int(level), name, _quoted(files), _quoted(never)) for level, name, files, never in rows]
    return {name: Room(level, name, files, frozenset(never)) for level, name, files, never in named}


def _quoted(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([\w/]+)`", cell))


ROOMS = rooms_of((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))


def product_files() -> list[Path]:
    """Every Python file of the product, wherever it stands."""
    found = [path.relative_to(ROOT) for path in ROOT.rglob("*.py")]
    return sorted(path for path in found if not (path.parts[0] in NOT_THE_PRODUCT or path.parts[0].startswith(".")))


def imported(source: str) -> set[str]:
    """The modules that a source imports, by their dotted names, wherever in the file.

    "from a import b" -> {"a", "a.b"}
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(path: Path) -> str:
    return path.stem if len(path.parts) == 1 else path.parts[0]


def faults(path: Path, source: str) -> list[str]:
    """What is wrong with a file's place or its imports."""
    if (room := ROOMS.get(room_of(path))) is None:
        return ["no room"]
    names = imported(source)
    found = [f"{name} is never imported here" for name in sorted({name.split(".")[0] for name in names} & room.never)]
    found += [
        f"{other} is not below"
        for other in sorted({name.split(".")[0] for name in names} & set(ROOMS) - {room.name})
        if ROOMS[other].level >= room.level
    ]
    if len(path.parts) > 1 and path.name != "__init__.py":
        found += _faults_in_wing(room, path, names)
    return found


def _faults_in_wing(room: Room, path: Path, names: set[str]) -> list[str]:
    own = "/".join(path.with_suffix("").parts[1:])
    if own not in room.files:
        return [f"{own} is not in the table"]
    later = room.files[room.files.index(own) + 1 :]
    return [f"{other} comes later" for other in later if f"{room.name}.{other.replace('/', '.')}" in names]


@pytest.mark.parametrize("path", product_files(), ids=str)
def test_file_has_a_room_and_imports_only_downwards(path: Path) -> None:
    assert faults(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_table_lists_only_what_there_is() -> None:
    there = {str(path.with_suffix("")).replace("\\", "/") for path in product_files()}
    listed = {name for name, room in ROOMS.items() if not room.files}
    listed |= {f"{name}/{file}" for name, room in ROOMS.items() for file in room.files}
    assert listed - there == set()
    assert len(ROOMS) == 24


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("stray.py", "", "no room"),
        ("shed/tool.py", "", "no room"),
        ("model.py", "def f():\n    from azr_trainer import AZRTrainer\n", "azr_trainer is not below"),
        ("model.py", "if __name__ == '__main__':\n    import cli\n", "cli is not below"),
        ("learning/unknown.py", "", "unknown is not in the table"),
        ("learning/adamw.py", "from learning import muon\n", "muon comes later"),
        ("corpus/cleaning.py", "from corpus.readers.plain_text import read\n", "readers/plain_text comes later"),
        ("events.py", "import torch\n", "torch is never imported here"),
        ("selfplay/text.py", "from torch.nn import functional\n", "torch is never imported here"),
        ("learning/__init__.py", "import runs\n", "runs is not below"),
    ],
)
def test_check_sees(path: str, source: str, fault: str) -> None:
    assert fault in faults(Path(path), source)


@pytest.mark.parametrize(
    "path", [path for path in product_files() if room_of(path) in ("web", "console", "cli")], ids=str
)
def test_web_and_command_line_call_nothing_beneath_the_workflows(path: Path) -> None:
    names = {name.split(".")[0] for name in imported((ROOT / path).read_text(encoding="utf-8"))} & set(ROOMS)
    assert names - FACADE - {room_of(path), "server", "console"} == set()


@pytest.mark.parametrize("path", NEITHER_TORCH_NOR_DISK)
def test_record_of_a_run_is_read_without_torch(path: str) -> None:
    assert "torch" not in imported((ROOT / path).read_text(encoding="utf-8"))


def test_code_that_computes_is_known_to_a_checkpoint() -> None:
    """Everything that the trainer imports, directly or not, is in the digest or changes no number."""
    from runs.reproducibility import COMPUTING

    found, waiting = set(), {"azr_trainer"}
    while waiting:
        room = waiting.pop()
        found.add(room)
        files = [path for path in product_files() if room_of(path) == room]
        names = {name.split(".")[0] for path in files for name in imported((ROOT / path).read_text(encoding="utf-8"))}
        waiting |= names & set(ROOMS) - found
    changes_no_number = {"config", "errors", "events", "workspace"}  # settings are compared themselves
    assert found - changes_no_number == set(COMPUTING)


def test_no_module_is_called_like_a_data_folder() -> None:
    assert not DATA_FOLDERS & {path.stem for path in product_files() if len(path.parts) == 1}


def test_git_keeps_only_the_example_books() -> None:
    listed = subprocess.run(
        ["git", "ls-files", *DATA_FOLDERS], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    allowed = {
        "books/example_book.txt",
        "books/example_book_en.txt",
        *(f"{folder}/.gitkeep" for folder in DATA_FOLDERS),
    }
    assert set(listed.stdout.split()) <= allowed


def test_git_does_not_keep_what_the_program_writes_into_its_folder() -> None:
    written = [".lock", "cache/1.tokens", "models/poet/azr.json", "books/book.txt", "checkpoints/poet/metrics.jsonl"]
    asked = ["git", "check-ignore", "--no-index", *written]
    ignored = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    if ignored.returncode == 128:
        pytest.skip("not a git checkout")
    assert ignored.stdout.split() == written
