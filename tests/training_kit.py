"""Small real objects for the engine's tests: a page of Russian, a model of two layers, settings for a training of six iterations."""

from __future__ import annotations

import io
import random
from typing import Any

import torch

import workflows
from azr_trainer import TrainerState
from config import ModelConfig, SelfPlayConfig, TrainConfig
from corpus import library
from corpus.dataset import split
from learning.self_play import SelfPlay, SelfPlayState
from machine.processes import ALONE, Ranks
from model import Transformer
from selfplay.factory import make_environment
from selfplay.gate import Starter
from tokenizer import Tokenizer
from workspace import Workspace

BOOK, OTHER_BOOK, MODEL = "река", "лес", "поэт"
PEOPLE = ("старик", "рыбак", "мельник", "внук", "сосед", "кузнец", "пастух", "лесник")
DEEDS = (
    "чинил лодку",
    "нёс воду",
    "слушал ветер",
    "искал дорогу",
    "варил уху",
    "читал письмо",
    "ждал весны",
    "пел тихо",
)
PLACES = ("у реки", "за домом", "в лесу", "на холме", "под дождём", "у мельницы", "в поле", "возле моста")


def prose(lines: int, seed: int = 7) -> str:
    """Plain sentences, one a line: `lines` of them."""
    rng = random.Random(seed)
    return "".join(
        f"{rng.choice(PEOPLE).capitalize()} {rng.choice(DEEDS)} {rng.choice(PLACES)}.\n" for _ in range(lines)
    )


TEXT = prose(150)
OTHER_TEXT = prose(150, seed=8)
SHAPE = ModelConfig(vocab_size=300, d_model=32, num_layers=2, num_heads=2, d_ff=64, max_seq_len=32)
SELF_PLAY = SelfPlayConfig(every=2, num_prompts=6, max_new_tokens=8)
QUIET = SelfPlayConfig(enabled=False)
TRAINING = TrainConfig(
    iterations=6,
    batch_size=4,
    warmup_iterations=2,
    eval_every=3,
    checkpoint_every=1000,
    device="cpu",
    precision="float32",
    num_threads=1,
    sample_prompt="Старик",
    self_play=QUIET,
)


def changed(config: Any, **changes: Any) -> Any:
    """The configuration with other values, checked like any other."""
    return type(config)(**{name: getattr(config, name) for name in type(config).model_fields} | changes)


def finish(generator: Any) -> Any:
    """What a generator returns once it is run to its end."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def make_model(seed: int = 0, shape: ModelConfig = SHAPE) -> Transformer:
    model = Transformer(shape)
    model.initialise(seed)
    return model


def wild(model: Transformer, seed: int = 1, std: float = 0.3) -> Transformer:
    """Every matrix drawn anew, so that no layer is silent and no two tokens are alike."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0.0, std, generator=generator)
    return model.eval()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Equal to the last bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def play(
    tokenizer: Tokenizer, config: SelfPlayConfig = SELF_PLAY, environment: Any = None, ranks: Ranks = ALONE
) -> SelfPlay:
    environment = environment or make_environment(
        config, SHAPE, [split(TEXT, 0.1).train], {}, tokenizer.encode, tokenizer.decode, 0
    )
    return SelfPlay(environment, config, tokenizer, SHAPE, 0, ranks)


def ready_to_play(tokenizer: Tokenizer) -> TrainerState:
    """A state in which the model can write already, so that self-play is due from the first evaluation on."""
    return TrainerState(self_play=SelfPlayState(starter=Starter(first_val_loss=5.7, started=True)))


def fill(workspace: Workspace) -> None:
    workspace.prepare()
    workflows.create_model(workspace, MODEL, SHAPE)
    for name, text in ((BOOK, TEXT), (OTHER_BOOK, OTHER_TEXT)):
        library.add_book(workspace, f"{name}.txt", io.BytesIO(text.encode("utf-8")))


def plan(workspace: Workspace, books: tuple[str, ...] = (BOOK,), **changes: Any) -> workflows.TrainingPlan:
    return workflows.prepare_training(workspace, MODEL, books, changed(TRAINING, **changes))
