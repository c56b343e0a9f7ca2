"""What was deleted within the last hour, over HTTP: list it, bring it back, or free its space on the disk at once."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Response

from web.answers import JSONAnswer
from web.api_books import described
from web.bodies import ERROR_ANSWERS
from web.services import ServicesDep, TranslatorDep

router = APIRouter(responses=ERROR_ANSWERS)


@router.get("/deleted_models", tags=["models"], summary="Deleted models that can be brought back")
def list_models(services: ServicesDep) -> Response:
    trash = services.deleted_models
    return JSONAnswer({"models": trash.all(), "kept_seconds": trash.kept_seconds})


@router.post("/deleted_models/{name}/restore", tags=["models"], summary="Bring a deleted model back")
def restore_model(name: str, services: ServicesDep) -> Response:
    """Undo a deletion, the newest of this name. If another model has the name by now, the old one becomes "name (2)"."""
    with services.changes:
        info = services.deleted_models.restore(services.workspace, name)
    return JSONAnswer(info, headers={"Location": f"/models/{quote(info.name)}"})


@router.delete("/deleted_models/{name}", status_code=204, tags=["models"], summary="Delete a model for good")
def empty_model(name: str, services: ServicesDep) -> Response:
    """Free the space of a deleted model before its hour is over."""
    services.deleted_models.empty(name)
    return Response(status_code=204)


@router.get("/deleted_books", tags=["books"], summary="Deleted books that can be brought back")
def list_books(services: ServicesDep) -> Response:
    trash = services.deleted_books
    return JSONAnswer({"books": trash.all(), "kept_seconds": trash.kept_seconds})


@router.post("/deleted_books/{name}/restore", tags=["books"], summary="Bring a deleted book back")
def restore_book(name: str, services: ServicesDep, translator: TranslatorDep) -> Response:
    """Undo a deletion, the newest of this name. If another book has the name by now, the old one becomes "name (2)"."""
    with services.changes:
        book = services.deleted_books.restore(services.workspace, name)
    return JSONAnswer(described(book, translator), headers={"Location": f"/books/{quote(book.name)}"})


@router.delete("/deleted_books/{name}", status_code=204, tags=["books"], summary="Delete a book for good")
def empty_book(name: str, services: ServicesDep) -> Response:
    """Free the space of a deleted book before its hour is over."""
    services.deleted_books.empty(name)
    return Response(status_code=204)
