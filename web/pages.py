"""The pages: create, training, generation; the API's own page, the change of language, and the page for errors.

The variables of a page are one frozen dataclass; `script_data()` is what its scripts need beyond the HTML. Pages change nothing:
every change goes through the JSON API.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

import workflows
from config import (
    MOOD_SETS,
    MOODS,
    PRESETS,
    ModelConfig,
    Parameter,
    SamplingConfig,
    SelfPlayConfig,
    TrainConfig,
    parameters,
)
from events import ACTIVE_STATES, TrainingStatus
from web.answers import precision_json
from web.first_page import FirstPage, samples_in
from web.page_parts import chosen_model, encodings, prompt_of, ticked_books, unknown_model
from web.services import LANGUAGE_COOKIE, Services, ServicesDep, translator_of
from web.templating import render

DRAWER = {  # groups of a training's parameters; what is in none of them is about learning
    "checks": ("eval_every", "sample_prompt", "val_fraction", "early_stopping_patience", "max_minutes"),
    "saving": ("checkpoint_every", "checkpoint_minutes", "keep_checkpoints", "disk_budget_bytes"),
    "machine": ("precision", "device", "devices", "num_threads"),
}
SLIDERS = {  # by setting of a text: least, most and step of its slider; what lies outside can be typed
    "max_new_tokens": (10, 1000, 10),
    "temperature": (0, 2, 0.05),
    "top_k": (0, 200, 1),
    "top_p": (0.05, 1, 0.01),
    "min_p": (0, 0.5, 0.01),
    "repetition_penalty": (1, 2, 0.01),
}
YEAR_SECONDS = 365 * 24 * 3600
router = APIRouter(include_in_schema=False)


# ---- what each page shows --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PresetCard:
    """A preset and its number of parameters."""

    name: str
    parameters: int


@dataclass(frozen=True)
class CreatePage:
    """The form for a new model."""

    presets: tuple[PresetCard, ...]
    default_preset: str
    parameters: tuple[Parameter, ...]
    books: tuple[workflows.BookInfo, ...]
    checked: frozenset[str]
    encodings: dict[str, str]
    book_endings: tuple[str, ...]
    upload_limit_bytes: int

    def script_data(self) -> dict[str, Any]:
        return {"presets": {name: config.model_dump() for name, config in PRESETS.items()}}


@dataclass(frozen=True)
class TrainingPage:
    """The settings of a training and its live view. `chosen` is the model in the form, `checked` are its books."""

    models: tuple[workflows.ModelInfo, ...]
    chosen: str | None
    unknown: str | None  # the model that the address names, where there is none of that name
    resumable: dict[str, int]  # by model, the iteration that a training would resume from; 0: from the beginning
    unfinished: frozenset[str]  # models whose last training ended early and would go on
    settings: dict[
        str, TrainConfig | None
    ]  # by model, those of its last run; with others, the resumed run is not the same
    books: tuple[workflows.BookInfo, ...]
    checked: frozenset[str]
    like: str | None  # the model whose last training the chosen one repeats, with its books and settings
    encodings: dict[str, str]  # canonical name -> name for people
    train: tuple[Parameter, ...]
    self_play: tuple[Parameter, ...]
    status: TrainingStatus
    book_endings: tuple[str, ...]  # of the files that can be uploaded
    upload_limit_bytes: int

    @property
    def is_active(self) -> bool:
        """Return whether the chosen model trains now."""
        return self.status.state in ACTIVE_STATES and self.status.model == self.chosen

    @property
    def run_first(self) -> bool:
        """Return whether the chosen model has a run to show: the dashboard comes before the settings then."""
        return self.chosen is not None and (self.resumable[self.chosen] > 0 or self.status.model == self.chosen)

    @property
    def groups(self) -> dict[str, list[Parameter]]:
        """Return the parameters of the drawer by groups; the length of the training stands outside it."""
        in_group = {name: group for group, names in DRAWER.items() for name in names}
        grouped: dict[str, list[Parameter]] = {group: [] for group in ("learning", *DRAWER)}
        for parameter in self.train:
            if parameter.name != "iterations":
                grouped[in_group.get(parameter.name, "learning")].append(parameter)
        return grouped | {"self_play": list(self.self_play)}

    def script_data(self) -> dict[str, Any]:
        return {"models": [self._facts(model) for model in self.models], "like": self.like}

    def _facts(self, model: workflows.ModelInfo) -> dict[str, Any]:
        settings = self.settings[model.name]
        return {
            "name": model.name,
            "trained": model.trained,
            "books": self._books_of(model),
            "published": model.iteration,
            "notes": model.notes,
            "iteration": self.resumable[model.name],
            "unfinished": model.name in self.unfinished,
            "shape": model.config.model_dump() if model.config else {},  # a damaged model has none
            "trainings": self._trainings(model),
            "settings": settings and settings.model_dump(mode="json"),
        }

    def _books_of(self, model: workflows.ModelInfo) -> tuple[str, ...]:
        """Return the books of the model's last training, or of the training that it repeats."""
        repeated = next((m for m in self.models if m.name == self.like), None) if model.name == self.chosen else None
        return tuple((repeated or model).last_books)

    def _trainings(self, model: workflows.ModelInfo) -> list[dict[str, Any]]:
        """Return where each training of the model began and what it read, the oldest first."""
        titles = {book.name: book.title for book in self.books}
        return [
            {
                "start": training.from_iteration,
                "books": training.books,
                "titles": [titles.get(name, name) for name in training.books],
            }
            for training in model.lineage
        ]


@dataclass(frozen=True)
class GenerationPage:
    """The playground. `chosen` is the model in the form, `asked` and `begun` are the model and the text that the address names."""

    models: tuple[workflows.ModelInfo, ...]
    chosen: str | None
    asked: str | None
    unknown: str | None
    begun: str | None
    checkpoints: dict[str, tuple[int, ...]]  # by model, the iterations that are kept
    prompts: dict[str, str]  # by model, the beginning that its sample texts had: in the language of its books
    sampling: tuple[Parameter, ...]
    precisions: (
        dict[str, workflows.Precision] | None
    )  # by model, what was measured; None where weights have one precision
    moods: tuple[str, ...] = tuple(MOODS)

    @property
    def text(self) -> str:
        return self.begun if self.begun is not None else self.prompts.get(self.chosen or "", "")

    def script_data(self) -> dict[str, Any]:
        return {
            "trained": {model.name: model.trained for model in self.models},
            "checkpoints": self.checkpoints,
            "prompts": self.prompts,
            "asked": self.asked,
            "begun": self.begun,
            "moods": {name: {key: getattr(mood, key) for key in MOOD_SETS} for name, mood in MOODS.items()},
            "sliders": SLIDERS,
            "precisions": {name: precision_json(found) for name, found in (self.precisions or {}).items()},
            "shapes": {m.name: (m.config.num_layers, m.config.num_heads) for m in self.models if m.config},
        }


@dataclass(frozen=True)
class DocsPage:
    openapi: str  # address of the OpenAPI document


# ---- routes ----------------------------------------------------------------------------------------------------------


@router.get("/")
def first(request: Request, services: ServicesDep) -> HTMLResponse:
    """Show the first page as long as there is no model, then the form for a new one."""
    if workflows.list_models(services.workspace):
        return create(request, services, book=None)
    language = translator_of(request).language
    page = FirstPage(
        samples=samples_in(language),
        example_title=workflows.example_title(language),
        example_names=workflows.example_names(),
        book_endings=workflows.book_endings(),
        upload_limit_bytes=services.upload_limit_bytes,
        encodings=encodings(request),
    )
    return render(request, "first", page)


@router.get("/create")
def create(request: Request, services: ServicesDep, book: Annotated[list[str] | None, Query()] = None) -> HTMLResponse:
    """Show the form for a new model; `book`, repeated, is ticked in it."""
    preset = workflows.default_preset()
    books = tuple(workflows.list_books(services.workspace))
    wished = frozenset(each.name for each in books if each.name in (book or ()))
    page = CreatePage(
        presets=_presets(),
        default_preset=preset,
        parameters=_sizes(PRESETS[preset]),
        books=books,
        checked=wished or ticked_books(books, None, TrainingStatus(), translator_of(request).language),
        encodings=encodings(request),
        book_endings=workflows.book_endings(),
        upload_limit_bytes=services.upload_limit_bytes,
    )
    return render(request, "create", page)


@router.get("/training")
def training(
    request: Request,
    services: ServicesDep,
    model: str | None = None,
    like: str | None = None,
    book: Annotated[list[str] | None, Query()] = None,
) -> HTMLResponse:
    """Show the training of a model. `book`, repeated, is ticked; with `like` the form has that model's last books and settings."""
    status = services.runner.status()
    models = tuple(workflows.list_models(services.workspace))
    books = tuple(workflows.list_books(services.workspace))
    wished = frozenset(each.name for each in books if each.name in (book or ()))
    chosen = chosen_model(models, model, status)
    settings = {model.name: workflows.last_config(services.workspace, model.name) for model in models}
    repeated = next((m for m in models if m.name == like), None)
    if chosen and repeated:
        settings[chosen.name] = settings[repeated.name]
    page = TrainingPage(
        models=models,
        chosen=chosen.name if chosen else None,
        unknown=unknown_model(models, model),
        resumable={m.name: workflows.newest_iteration(services.workspace, m.name) for m in models},
        unfinished=frozenset(m.name for m in models if workflows.is_unfinished(services.workspace, m.name)),
        settings=settings,
        books=books,
        checked=wished or ticked_books(books, repeated or chosen, status, translator_of(request).language),
        like=repeated.name if repeated else None,
        encodings=encodings(request),
        train=tuple(p for p in parameters(TrainConfig) if p.kind != "numbers"),  # the books' weights stand at the books
        self_play=tuple(parameters(SelfPlayConfig)),
        status=status,
        book_endings=workflows.book_endings(),
        upload_limit_bytes=services.upload_limit_bytes,
    )
    return render(request, "training", page)


@router.get("/generation")
def generation(
    request: Request, services: ServicesDep, model: str | None = None, prompt: str | None = None
) -> HTMLResponse:
    models = tuple(workflows.list_models(services.workspace))
    chosen = chosen_model(models, model, services.runner.status())
    if chosen and not chosen.trained and model is None:
        chosen = next((m for m in models if m.trained), chosen)
    page = GenerationPage(
        models=models,
        chosen=chosen.name if chosen else None,
        asked=model if unknown_model(models, model) is None else None,
        unknown=unknown_model(models, model),
        begun=prompt,
        checkpoints={m.name: workflows.kept_checkpoints(services.workspace, m.name) for m in models},
        prompts={m.name: prompt_of(workflows.last_config(services.workspace, m.name)) for m in models},
        sampling=tuple(parameters(SamplingConfig)),
        precisions=_precisions(services, models) if workflows.has_llama_cpp() else None,
    )
    return render(request, "generation", page)


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    return render(request, "docs", DocsPage(openapi=request.app.openapi_url or "/openapi.json"))


@router.get("/language/{language}")
def language(language: Literal["ru", "en"], next: str = "/") -> Response:
    """Set the language cookie and redirect to `next` if that is a page of this site, else to the first page."""
    inside = next.startswith("/") and not next.startswith("//") and "\\" not in next and next.isprintable()
    response = RedirectResponse(next if inside else "/", 303)
    response.set_cookie(LANGUAGE_COOKIE, language, max_age=YEAR_SECONDS, samesite="lax", httponly=True)
    return response


# ---- what goes into them ---------------------------------------------------------------------------------------------


@cache
def _presets() -> tuple[PresetCard, ...]:
    counted = ((name, workflows.estimate(config, TrainConfig(), None)) for name, config in PRESETS.items())
    return tuple(PresetCard(name, estimate.parameters) for name, estimate in counted)


def _sizes(preset: ModelConfig) -> tuple[Parameter, ...]:
    """Return the sizes of a model as inputs that hold the values of a preset."""
    return tuple(dataclasses.replace(p, default=getattr(preset, p.name)) for p in parameters(ModelConfig))


def _precisions(services: Services, models: tuple[workflows.ModelInfo, ...]) -> dict[str, workflows.Precision]:
    known = ((m.name, workflows.known_precision(services.workspace, m.name)) for m in models if m.trained)
    return {name: found for name, found in known if found}
