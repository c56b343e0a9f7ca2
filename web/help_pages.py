"""The Help pages, `/help/<document>`, and `GET /help_index`: what their search looks through, as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from errors import DocumentNotFound
from web import documents
from web.answers import JSONAnswer
from web.bodies import ERROR_ANSWERS
from web.services import ServicesDep, TranslatorDep, translator_of
from web.templating import render

Language = Literal["ru", "en"]
router = APIRouter(responses=ERROR_ANSWERS)


@dataclass(frozen=True)
class HelpPage:
    """One document among all. `document` is None where the folder with documents is missing."""

    groups: dict[str, tuple[documents.Document, ...]]
    document: documents.Document | None
    folder: str

    @property
    def next(self) -> documents.Document | None:
        """Return the document to read after this one."""
        ordered = [document for listed in self.groups.values() for document in listed]
        names = [document.name for document in ordered]
        at = names.index(self.document.name) + 1 if self.document else len(names)
        return ordered[at] if at < len(ordered) else None


@router.get("/help", include_in_schema=False)
def first(request: Request, services: ServicesDep) -> HTMLResponse:
    groups = documents.load_all(translator_of(request).language, services.docs)
    shown = next((listed[0] for listed in groups.values()), None)
    return render(request, "help", HelpPage(groups, shown, str(services.docs)))


@router.get("/help/{name}", include_in_schema=False)
def document(name: str, request: Request, services: ServicesDep, language: Language | None = None) -> HTMLResponse:
    """Show a document in the language of the pages, or in the one that is asked for."""
    own = translator_of(request).language
    if (found := documents.load(language or own, name, services.docs)) is None:
        raise DocumentNotFound(name=name)
    groups = documents.load_all(own, services.docs)
    return render(request, "help", HelpPage(groups, found, str(services.docs)))


@router.get("/help_index", tags=["help"], summary="The sections of all documents, for a search")
def help_index(services: ServicesDep, translator: TranslatorDep, language: Language | None = None) -> Response:
    """Return `{"language", "sections": [{"document", "title", "heading", "anchor", "text"}]}`, in the order of reading."""
    chosen = language or translator.language
    listed = [document for group in documents.load_all(chosen, services.docs).values() for document in group]
    sections: list[dict[str, Any]] = [
        {
            "document": document.name,
            "title": document.title,
            "heading": section.heading,
            "anchor": section.anchor,
            "text": section.text,
        }
        for document in listed
        for section in document.sections
    ]
    return JSONAnswer({"language": chosen, "sections": sections})
