"""Import a model over HTTP: a zip or a GGUF file, checked whole before anything of it is stored."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Response, UploadFile

import workflows
from web.answers import JSONAnswer
from web.bodies import ERROR_ANSWERS, FORM_BODY
from web.services import ServicesDep
from web.uploads import UploadRoute

router = APIRouter(tags=["models"], responses=ERROR_ANSWERS, route_class=UploadRoute)


@router.post(
    "/import_model",
    status_code=201,
    dependencies=[FORM_BODY],
    form_limits={"max_files": 1, "max_fields": 8, "max_part_size": 10_000},
    summary="Import a model made elsewhere, or here before",
)
def import_model(file: UploadFile, services: ServicesDep, name: Annotated[str | None, Form()] = None) -> Response:
    """Store a model from a zip of a Hugging Face folder (Llama or GPT-2), a checkpoint's zip or a GGUF file of ours.

    Without `name` it is called after its file. What does not fit is refused with what stands in the way, and leaves nothing.
    """
    info = workflows.import_model(services.workspace, file.file, file.filename or "", name or None)
    return JSONAnswer(info, status_code=201, headers={"Location": f"/models/{quote(info.name)}"})
