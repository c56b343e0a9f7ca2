"""What several pages need: which model is meant, which books are ticked, what runs now."""

from __future__ import annotations

from starlette.requests import Request

import i18n
import workflows
from config import TrainConfig
from events import ACTIVE_STATES, TrainingStatus
from web.services import Services, translator_of


def chosen_model(
    models: tuple[workflows.ModelInfo, ...], wished: str | None, status: TrainingStatus
) -> workflows.ModelInfo | None:
    """Return the model asked for, else the one that trained last, else the newest."""
    by_name = {model.name: model for model in models}
    newest = max(models, key=lambda model: model.created_at, default=None)
    return by_name.get(wished or "") or by_name.get(status.model or "") or newest


def unknown_model(models: tuple[workflows.ModelInfo, ...], wished: str | None) -> str | None:
    """Return the name asked for when no model has it."""
    return wished if wished and wished not in {model.name for model in models} else None


def is_usable(model: workflows.ModelInfo) -> bool:
    return model.trained and not model.damaged and not model.denied


def prompt_of(last: TrainConfig | None) -> str:
    return (last or TrainConfig()).sample_prompt


def ticked_books(
    books: tuple[workflows.BookInfo, ...], model: workflows.ModelInfo | None, status: TrainingStatus, language: str
) -> frozenset[str]:
    """Return the books to tick: those of the model's last training, the only book there is, or the example in the person's language."""
    known = set(model.last_books) if model else set()
    if model and model.name == status.model:
        known |= set(status.books)
    checked = known & {book.name for book in books}
    alone = books[0] if len(books) == 1 else workflows.example_in(books, language)
    return frozenset(checked or ({alone.name} if alone else ()))


def running_model(services: Services) -> str | None:
    status = services.runner.status()
    return status.model if status.state in ACTIVE_STATES else None


def encodings(request: Request) -> dict[str, str]:
    translator = translator_of(request)
    return {name: _encoding_name(translator, name) for name in workflows.ENCODINGS}


def _encoding_name(translator: i18n.Translator, name: str) -> str:
    key = f"encoding.{name}"
    return translator.gettext(key) if key in translator.sentences else name
