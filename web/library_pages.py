"""The pages of the library: the models, the books, two models side by side, one book."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse

import workflows
from web.page_parts import encodings, is_usable, prompt_of, running_model
from web.services import Services, ServicesDep
from web.templating import render

BOOK_LANGUAGES = (
    "ru",
    "uk",
    "be",
    "en",
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "pl",
    "cs",
    "hu",
    "el",
    "tr",
    "he",
    "zh",
    "ja",
    "ko",
)  # offered
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class LibraryPage:
    """All models. `training` is the model that is being trained and cannot be deleted now."""

    models: tuple[workflows.ModelInfo, ...]
    reached: dict[str, int]  # by model, the newest saved iteration; the published best one may be older
    glimpses: dict[str, workflows.Glimpse]  # by model, a sentence that it wrote and the curve of its loss
    offers: dict[str, tuple[workflows.Offer, ...]]  # by model, what it can be downloaded as
    deleted: tuple[workflows.Deleted, ...]  # models that can be brought back
    imported: str | None  # the model that was imported just now
    books: tuple[workflows.BookInfo, ...]
    training: str | None
    model_limit_bytes: int = workflows.MODEL_LIMIT_BYTES

    @property
    def comparable(self) -> int:
        """Return how many models can be compared."""
        return sum(is_usable(model) for model in self.models)

    def books_of(self, model: workflows.ModelInfo) -> list[tuple[str, str | None]]:
        """Return the books that a model read with their titles; None for one that was deleted."""
        known = {book.name: book.title for book in self.books}
        return [(name, known.get(name)) for name in model.books]

    def titles(self, books: Iterable[str]) -> list[str]:
        """Return the titles of books by name; a book that was deleted is known by its name alone."""
        known = {book.name: book.title for book in self.books}
        return [known.get(name, name) for name in books]


@dataclass(frozen=True)
class BooksPage:
    """All books. `learned` are the models that read each of them, by its name."""

    books: tuple[workflows.BookInfo, ...]
    learned: dict[str, tuple[str, ...]]
    models: int
    deleted: tuple[workflows.Deleted, ...]  # books that can be brought back
    encodings: dict[str, str]
    languages: tuple[str, ...]  # codes to choose from
    book_endings: tuple[str, ...]
    upload_limit_bytes: int


@dataclass(frozen=True)
class ComparePage:
    """Two models side by side; `chosen` are their names, as far as there are two to compare."""

    models: tuple[workflows.ModelInfo, ...]  # that can be compared
    chosen: tuple[workflows.ModelInfo, ...]
    titles: dict[str, str]  # of books, by name
    books: tuple[workflows.BookInfo, ...]
    book: str | None  # to measure both with
    prompt: str

    def script_data(self) -> dict[str, Any]:
        return {"models": [model.name for model in self.chosen]}


@dataclass(frozen=True)
class BookPage:
    """One book. `trainings` are those that read it; `training` is the model that is being trained on it now."""

    book: workflows.BookInfo
    statistics: workflows.Statistics | None  # None for a damaged book
    beginning: str
    trainings: tuple[tuple[workflows.ModelInfo, workflows.TrainingSummary], ...]
    training: str | None
    languages: tuple[str, ...]  # codes to choose from, the book's own among them
    encodings: dict[str, str]


@router.get("/library")
def library(request: Request, services: ServicesDep, tab: str = "models", imported: str | None = None) -> HTMLResponse:
    """Show the models, or the books with `tab=books`."""
    if tab == "books":
        return _books_page(request, services)
    models = tuple(workflows.list_models(services.workspace))
    newest = {m.name: workflows.newest_iteration(services.workspace, m.name) for m in models}
    page = LibraryPage(
        models=models,
        reached={model.name: max(model.iteration, newest[model.name]) for model in models},
        glimpses={model.name: workflows.glimpse(services.workspace, model.name) for model in models},
        offers={model.name: workflows.offers(services.workspace, model) for model in models},
        deleted=tuple(services.deleted_models.all()),
        imported=next((model.name for model in models if model.name == imported), None),
        books=tuple(workflows.list_books(services.workspace)),
        training=running_model(services),
    )
    return render(request, "library", page)


def _books_page(request: Request, services: Services) -> HTMLResponse:
    books = tuple(workflows.list_books(services.workspace))
    models = workflows.list_models(services.workspace)
    page = BooksPage(
        books=books,
        learned={book.name: tuple(model.name for model in models if book.name in model.books) for book in books},
        models=len(models),
        deleted=tuple(services.deleted_books.all()),
        encodings=encodings(request),
        languages=tuple(dict.fromkeys(("", *BOOK_LANGUAGES, *(book.language for book in books)))),
        book_endings=workflows.book_endings(),
        upload_limit_bytes=services.upload_limit_bytes,
    )
    return render(request, "books", page)


@router.get("/compare")
def compare(
    request: Request, services: ServicesDep, model: Annotated[tuple[str, ...], Query(max_length=100)] = ()
) -> HTMLResponse:
    """Show two models side by side: those asked for, and the newest where fewer than two were."""
    models = tuple(filter(is_usable, workflows.list_models(services.workspace)))
    by_name = {each.name: each for each in models}
    wished = (by_name[name] for name in model if name in by_name)
    chosen = tuple({each.name: each for each in (*wished, *reversed(models))}.values())[:2]
    books = tuple(book for book in workflows.list_books(services.workspace) if not book.is_damaged)
    read = [name for each in chosen for name in each.last_books]
    page = ComparePage(
        models=models,
        chosen=chosen,
        titles={book.name: book.title for book in books},
        books=books,
        book=next((book.name for book in books if book.name in read), None),
        prompt=prompt_of(workflows.last_config(services.workspace, chosen[0].name)) if chosen else "",
    )
    return render(request, "compare", page)


@router.get("/library/{name}")
def book(name: str, request: Request, services: ServicesDep) -> HTMLResponse:
    """Show a book; its JSON is at /books/{name}."""
    found = workflows.get_book(services.workspace, name)
    page = BookPage(
        book=found,
        statistics=None if found.is_damaged else workflows.measured_book(services.workspace, found.name),
        beginning=found.preview if found.is_damaged else workflows.beginning_of(services.workspace, found.name),
        trainings=tuple(workflows.models_of_book(services.workspace, found.name)),
        training=running_model(services) if found.name in services.runner.status().books else None,
        languages=tuple(dict.fromkeys(("", *BOOK_LANGUAGES, found.language))),
        encodings=encodings(request),
    )
    return render(request, "book", page)
