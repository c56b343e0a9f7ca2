"""List what must stay unchanged for a resumed training to equal an uninterrupted one bit for bit."""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path
from typing import Any

import torch

from config import Decides, ModelConfig, SelfPlayConfig, TrainConfig, names_of
from kernels import native
from learning.learner import pays_to_compile
from machine.devices import choose_device, choose_num_threads, choose_precision, describe
from machine.processes import Ranks

ROOT = Path(__file__).resolve().parent.parent
COMPUTING = (  # the modules and folders on which the numbers of a training depend
    "azr_trainer", "corpus", "engine", "kernels", "learning", "machine", "model", "selfplay", "tokenizer",
)  # fmt: skip
SOURCES = {".py", ".c", ".h"}


def circumstances(model: ModelConfig, config: TrainConfig, ranks: Ranks) -> dict[str, Any]:
    """Return versions, machine and settings by name; automatic settings with the value chosen on this machine."""
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    settings = config.model_dump(mode="json", include=set(names_of(TrainConfig, Decides.NUMBERS)))
    played = config.self_play.model_dump(mode="json", include=set(names_of(SelfPlayConfig, Decides.NUMBERS)))
    self_play = {f"self_play.{key}": str(value) for key, value in played.items()}
    return {
        "torch": torch.__version__,
        "code": code(),
        "machine": platform.machine(),
        "device": describe(device),
        "precision": str(precision).removeprefix("torch."),
        "kernels": native.description() if device.type == "cpu" and precision == torch.bfloat16 else "torch",
        "compiled": pays_to_compile(model, config, device),
        "num_threads": choose_num_threads(config.num_threads, ranks.local_world_size),
        "devices": ranks.world_size,
        **settings,
        **self_play,
    }


def differences(now: dict[str, Any], then: dict[str, Any]) -> str:
    """Describe each difference as name, earlier and present value; an empty text if there is none.

    >>> differences({"torch": "2", "seed": 1}, {"torch": "1", "seed": 1})
    'torch: 1 → 2'
    """
    return ", ".join(f"{name}: {then.get(name)} → {value}" for name, value in now.items() if then.get(name) != value)


@functools.cache
def code() -> str:
    """Return the first digits of a digest of the modules in COMPUTING; line ends do not matter."""
    digest = hashlib.sha256()
    for name in COMPUTING:
        for file in sorted(path for path in (ROOT / name).rglob("*") if path.suffix in SOURCES) or [
            ROOT / f"{name}.py"
        ]:
            digest.update(file.read_text(encoding="utf-8").encode())
    return digest.hexdigest()[:8]
