"""Take the few files of a model out of a zip or a folder, with nothing in it taken on trust.

Only files with a known name are unpacked, each under that name, into a folder of ours: no path of the archive is ever used. Sizes are
checked before and while unpacking, so a bomb stops early. Nothing is executed and no pickle is opened.
"""

from __future__ import annotations

import contextlib
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from errors import ModelRefused

MOST_ENTRIES = 10_000
MOST_TEXT_BYTES = 50_000_000  # of a JSON file
CHUNK_BYTES = 1 << 20
_MOST_RATIO, _RATIO_FROM_BYTES = 50, 64 << 20  # a larger file of a zip holds numbers, which hardly shrink

_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors", re.ASCII)
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
_TEXTS = frozenset({CONFIG, TOKENIZER})
GGUF = ".gguf"
_MOST_GGUF_RATIO = 4  # of its bytes to those of the zip
_STEP = re.compile(r"step-\d{8,}(-\d+)?", re.ASCII)
_STEP_FILES = frozenset({"model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"})
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


WeightsLimit = Callable[[str], int]  # the text of config.json -> the most bytes that a file of its weights can have


def unpack(archive: Path, target: Path, limit: WeightsLimit) -> None:
    """Unpack the model in a zip into `target`: config.json, ..., and a checkpoint as step-.../. Raises ModelRefused."""
    with _opened(archive) as (opened, names):
        _take(names, lambda name: cast(BinaryIO, opened.open(name)), target, limit)


def unpack_gguf(archive: Path, target: Path) -> Path | None:
    """Unpack the GGUF file of a zip for Ollama and return it; None where there is none, or a config.json. Raises ModelRefused."""
    with _opened(archive) as (opened, names):
        found = [name for name in names if name.endswith(GGUF)]
        if not found or any(name.split("/")[-1] == CONFIG for name in names):
            return None
        path = target / f"model{GGUF}"
        with opened.open(found[0]) as source:
            _copy(cast(BinaryIO, source), path, _MOST_GGUF_RATIO * archive.stat().st_size, found[0])
        return path


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tuple[zipfile.ZipFile, list[str]]]:
    """Yield a zip and the names of its files, once all its entries are known to be safe. Raises ModelRefused."""
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            for entry in entries:
                _require_safe(entry)
            yield opened, [entry.filename for entry in entries if not entry.is_dir()]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise ModelRefused(field="file", reason="damaged", found=archive.name) from error


def gather(folder: Path, target: Path, limit: WeightsLimit) -> None:
    """Copy the model in a folder into `target`, as `unpack` does. Raises ModelRefused and OSError."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    _take(list(files), lambda name: files[name].open("rb"), target, limit)


def _take(names: list[str], open_file: Callable[[str], BinaryIO], target: Path, limit: WeightsLimit) -> None:
    """Copy the files of the model; config.json comes first, because it says how large the others can be."""
    if len(names) > MOST_ENTRIES:
        raise ModelRefused(field="file", reason="too_large", found=str(len(names)))
    most_bytes = 0
    for name, place in sorted(_wanted(names).items(), key=lambda item: item[1] != CONFIG):
        with open_file(name) as source:
            _copy(source, target / place, most_bytes if place.endswith(".safetensors") else MOST_TEXT_BYTES, name)
        if place == CONFIG:
            most_bytes = limit((target / CONFIG).read_text(encoding="utf-8"))


def _require_safe(entry: zipfile.ZipInfo) -> None:
    """Refuse names that lead out of the archive, links, and encrypted files: an honest export has none of them."""
    parts = re.split(r"[/\\]", entry.filename)
    is_link = stat.S_ISLNK(entry.external_attr >> 16)
    leads_out = ".." in parts or parts[0] == "" or ":" in parts[0] or "\\" in entry.filename
    if leads_out or is_link or entry.flag_bits & 1:
        raise ModelRefused(field="file", reason="unsafe", found=entry.filename[:80])
    if entry.file_size > max(_RATIO_FROM_BYTES, _MOST_RATIO * entry.compress_size):
        raise ModelRefused(field="file", reason="too_large", found=entry.filename[:80])


def _wanted(names: list[str]) -> Mapping[str, str]:
    """Return the names to take, each with its place: the folder of the config.json that is nearest, and the newest checkpoint.

    >>> _wanted(["a/config.json", "a/model.safetensors", "a/notes.txt"])
    {'a/config.json': 'config.json', 'a/model.safetensors': 'model.safetensors'}
    """
    configs = sorted((name for name in names if name.split("/")[-1] == CONFIG), key=lambda name: name.count("/"))
    if not configs:
        pickled = next((name for name in names if name.endswith(_PICKLES)), None)
        raise ModelRefused(field="file", reason="pickle" if pickled else "not_a_model", found=(pickled or CONFIG)[:80])
    home = configs[0].rpartition("/")[0]
    inside = {name: name.rpartition("/")[2] for name in names if name.rpartition("/")[0] == home}
    wanted = {name: file for name, file in inside.items() if file in _TEXTS or _WEIGHTS.fullmatch(file)}
    if not any(_WEIGHTS.fullmatch(file) for file in wanted.values()):
        pickled = next((name for name in names if name.endswith(_PICKLES)), None)
        reason, found = ("pickle", pickled) if pickled else ("not_a_model", "model.safetensors")
        raise ModelRefused(field="file", reason=reason, found=str(found)[:80])
    return wanted | _checkpoint(names)


def _checkpoint(names: list[str]) -> dict[str, str]:
    """Return the newest whole checkpoint. Raises ModelRefused where there are only parts of one."""
    steps: dict[str, dict[str, str]] = {}
    for name in names:
        *_, step, file = ["", "", *name.split("/")]
        if _STEP.fullmatch(step) and file in _STEP_FILES:
            steps.setdefault(name.rpartition("/")[0], {})[name] = f"{step}/{file}"
    whole = [files for files in steps.values() if len(files) == len(_STEP_FILES)]
    if steps and not whole:
        folder, files = max(steps.items())
        missing = min(_STEP_FILES - {name.rpartition("/")[2] for name in files})
        raise ModelRefused(field="file", reason="damaged", found=f"{folder.rpartition('/')[2]}/{missing}")
    return max(whole, key=lambda files: sorted(files.values()), default={})


def _copy(source: BinaryIO, target: Path, limit_bytes: int, name: str) -> None:
    """Copy at most `limit_bytes`. Raises ModelRefused beyond them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    copied = 0
    with target.open("wb") as file:
        while chunk := source.read(CHUNK_BYTES):
            copied += len(chunk)
            if copied > limit_bytes:
                raise ModelRefused(field="file", reason="too_large", found=name[:80])
            file.write(chunk)
