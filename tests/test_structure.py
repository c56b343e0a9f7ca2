"""The house: who may import whom. A module imports only from strictly lower levels, or from its own folder."""

import ast
import subprocess
from pathlib import Path

import pytest

from circumstances import COMPUTING

ROOT = Path(__file__).resolve().parent.parent

LEVELS = {
    "errors": 0,
    "config": 1,
    "workspace": 1,
    "i18n": 1,
    "kernels": 1,
    "optimizers": 1,
    "capture": 1,
    "memory": 1,
    "loss_guard": 1,
    "events": 2,
    "model": 2,
    "tokenizer": 2,
    "devices": 2,
    "distributed": 2,
    "optim": 3,
    "bigram_start": 3,
    "launcher": 3,
    "generation": 3,
    "corpus": 3,
    "selfplay": 3,
    "export": 3,
    "learner": 4,
    "circumstances": 5,
    "policy_gradient": 4,
    "model_store": 4,
    "checkpoint_store": 4,
    "run_digest": 3,
    "run_log": 4,
    "run_history": 5,
    "azr_trainer": 5,
    "training_run": 6,
    "rehearsal": 6,
    "forecast": 7,
    "workflows": 8,
    "jobs": 8,
    "web": 9,
    "server": 10,
    "start": 10,
    "cli": 11,
}
NO_TORCH = {
    "errors",
    "config",
    "workspace",
    "i18n",
    "events",
    "tokenizer",
    "selfplay",
    "run_digest",
    "run_log",
    "run_history",
    "jobs",
    "web",
    "server",
    "start",
}
DATA_FOLDERS = {"models", "books", "checkpoints"}


def modules() -> list[Path]:
    files = list(ROOT.glob("*.py"))
    for room in ("corpus", "selfplay", "export", "kernels", "web"):
        files += (ROOT / room).glob("*.py")
    return sorted(files)


def room_of(path: Path) -> str:
    return path.stem if path.parent == ROOT else path.parent.name


def imported(source: str) -> set[str]:
    """What a module imports, also inside functions; what stands under `if __name__ == "__main__"` is an entry point of its own."""
    names: set[str] = set()
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def too_high(room: str, source: str) -> list[str]:
    return sorted(name for name in imported(source) if name in LEVELS and name != room and LEVELS[name] >= LEVELS[room])


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_module_imports_only_from_lower_levels(path):
    room = room_of(path)
    assert room in LEVELS, f"{room} has no level yet: give it one here and in docs/architecture.md"
    assert too_high(room, path.read_text(encoding="utf-8")) == []


def test_level_check_sees_an_upward_import():
    assert too_high("model", "def f():\n    from azr_trainer import AZRTrainer\n") == ["azr_trainer"]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_that_know_no_tensors_do_not_import_torch(path):
    if room_of(path) in NO_TORCH:
        assert "torch" not in imported(path.read_text(encoding="utf-8"))


def test_trainer_knows_neither_disk_nor_web():
    names = imported((ROOT / "azr_trainer.py").read_text(encoding="utf-8"))
    assert not names & {
        "workspace",
        "model_store",
        "checkpoint_store",
        "run_log",
        "web",
        "jobs",
        "threading",
        "pathlib",
        "os",
    }


def test_code_that_computes_is_known_to_a_checkpoint():
    """Everything that the trainer imports, directly or not, is in the digest or changes no number."""
    found, waiting = set(), {"azr_trainer", "bigram_start", "selfplay", "corpus"}
    while waiting:
        name = waiting.pop()
        found.add(name)
        files = sorted((ROOT / name).glob("*.py")) or [ROOT / f"{name}.py"]
        waiting |= {
            room for file in files for room in imported(file.read_text(encoding="utf-8")) if room in LEVELS
        } - found
    told = {
        "config",
        "errors",
        "events",
        "memory",
        "workspace",
    }  # settings are compared themselves; the others only tell and keep
    assert found - told == set(COMPUTING)


def test_no_module_is_called_like_a_data_folder():
    assert not DATA_FOLDERS & {path.stem for path in modules()}


def test_git_keeps_only_the_example_book():
    listed = subprocess.run(
        ["git", "ls-files", *DATA_FOLDERS], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    allowed = {"books/example_book.txt", *(f"{folder}/.gitkeep" for folder in DATA_FOLDERS)}
    assert set(listed.stdout.split()) <= allowed
