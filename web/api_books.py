"""Books over HTTP: upload, list, edit, read as another encoding, delete."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Response, UploadFile

import workflows
from errors import BookDamaged
from i18n import Translator
from web.answers import JSONAnswer, error_json, plain
from web.bodies import ERROR_ANSWERS, FORM_BODY, JSON_BODY
from web.schemas import EditBook, PastedBook, ReadAs
from web.services import Services, ServicesDep, TranslatorDep, refuse_in_use
from web.uploads import UploadRoute

MOST_FILES = 1000  # in one upload
router = APIRouter(tags=["books"], responses=ERROR_ANSWERS, route_class=UploadRoute)


@router.post(
    "/upload_book",
    status_code=201,
    dependencies=[FORM_BODY],
    form_limits={"max_files": MOST_FILES, "max_fields": 8, "max_part_size": 10_000},
    summary="Add a book, or several",
)
def upload_book(
    file: list[UploadFile],
    services: ServicesDep,
    translator: TranslatorDep,
    name: Annotated[str | None, Form()] = None,
    encoding: Annotated[str | None, Form()] = None,
) -> Response:
    """Store the books of one or several files; a .zip archive becomes a book for each file in it that can be read.

    Without `name` a book is called after its file; without `encoding` the encoding is detected. `books` are those that were added,
    `refused` the files that were not, each with its error, and `skipped` counts files of an archive in other formats. If there is
    only one book, its own fields stand beside these. `same_as` names a book with the same text; `notices` are sentences about
    problems, `left_out_notice` is one about what was left out.
    """
    intake = workflows.add_files(
        services.workspace,
        [(each.filename or "", each.file) for each in file],
        name=name,
        encoding=encoding,
        limit_bytes=services.upload_limit_bytes,
    )
    books = [_added(book, services, translator) for book in intake.books]
    refused = [{"file": each.filename} | error_json(translator, each.error) for each in intake.refused]
    answer = {"books": books, "refused": refused, "skipped": intake.skipped}
    if len(books) > 1:
        return JSONAnswer(answer, status_code=201)
    return JSONAnswer(books[0] | answer, status_code=201, headers={"Location": f"/books/{quote(books[0]['name'])}"})


@router.post("/books", status_code=201, dependencies=[JSON_BODY], summary="Add a text that was pasted")
def paste_book(body: PastedBook, services: ServicesDep, translator: TranslatorDep) -> Response:
    """Store a text as a book; without a title it is called after its first line."""
    book = _added(workflows.add_text(services.workspace, body.title, body.text), services, translator)
    return JSONAnswer(book, status_code=201, headers={"Location": f"/books/{quote(book['name'])}"})


@router.get("/books", summary="All books")
def list_books(services: ServicesDep, translator: TranslatorDep) -> Response:
    return JSONAnswer({"books": [described(book, translator) for book in workflows.list_books(services.workspace)]})


@router.get("/books/{name}", summary="One book")
def get_book(name: str, services: ServicesDep, translator: TranslatorDep) -> Response:
    return JSONAnswer(described(workflows.get_book(services.workspace, name), translator))


@router.get("/books/{name}/statistics", summary="A book in figures, and the models that read it")
def get_statistics(name: str, services: ServicesDep) -> Response:
    """Paragraphs, sentences, dialogue and frequent words; of a long book, of its beginning, middle and end."""
    book = workflows.get_book(services.workspace, name)
    if book.is_damaged:
        raise BookDamaged(name=book.name)
    found = plain(workflows.measured_book(services.workspace, book.name))
    trainings = workflows.models_of_book(services.workspace, book.name)
    return JSONAnswer(found | {"models": list(dict.fromkeys(model.name for model, _ in trainings))})


@router.patch("/books/{name}", dependencies=[JSON_BODY], summary="Edit title, author or language of a book")
def edit_book(name: str, body: EditBook, services: ServicesDep, translator: TranslatorDep) -> Response:
    """Change title, author or language. A field that is missing or null stays as it is; an empty title becomes the book's name."""
    with services.changes:
        book = workflows.edit_book(
            services.workspace, name, title=body.title, author=body.author, language=body.language
        )
    return JSONAnswer(described(book, translator))


@router.get("/books/{name}/preview", summary="How a book would begin in another encoding")
def preview_book(name: str, encoding: Annotated[str, Query(max_length=40)], services: ServicesDep) -> Response:
    """Return the beginning of a book. `readable` is false if its first bytes are not text in this encoding."""
    preview, readable = workflows.preview_as(services.workspace, name, encoding)
    return JSONAnswer({"preview": preview, "encoding": encoding, "readable": readable})


@router.post("/books/{name}/encoding", dependencies=[JSON_BODY], summary="Read a book as another encoding")
def reread_book(name: str, body: ReadAs, services: ServicesDep, translator: TranslatorDep) -> Response:
    """Read the uploaded bytes again and replace the text."""
    with services.changes:
        refuse_in_use(services, book=name)
        book = workflows.reread_book(services.workspace, name, body.encoding)
    return JSONAnswer(described(book, translator))


@router.delete("/books/{name}", status_code=204, summary="Delete a book")
def delete_book(name: str, services: ServicesDep, forever: bool = False) -> Response:
    """Delete a book. It can be brought back for an hour while the server runs, unless `forever` is true."""
    with services.changes:
        refuse_in_use(services, book=name)
        if forever:
            workflows.delete_book(services.workspace, name)
        else:
            services.deleted_books.put(services.workspace, name)
    return Response(status_code=204)


def _added(book: workflows.BookInfo, services: Services, translator: Translator) -> dict[str, Any]:
    return described(book, translator) | {"same_as": workflows.same_text(services.workspace, book)}


def described(book: workflows.BookInfo, translator: Translator) -> dict[str, Any]:
    """Return a book as JSON, with a sample prompt in its language (or null), notices about its problems and what was left out."""
    notices = [translator.gettext(f"book.notice.{n.code}", **n.parameters) for n in workflows.book_notices(book)]
    shown: dict[str, Any] = plain(book)
    del shown["fingerprint"]  # long, and of no use elsewhere
    told = {"notices": notices, "left_out_notice": translator.left_out(book.left_out)}
    return shown | {"sample_prompt": workflows.sample_prompt([book])} | told
