"""What remains of trainings: a model's runs, the log as CSV, and one HTML page to send. And how busy this computer is with one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.requests import Request
from starlette.responses import StreamingResponse

import workflows
from web.answers import JSONAnswer, attached, plain
from web.bodies import ERROR_ANSWERS
from web.run_report import run_report
from web.services import ServicesDep
from web.templating import render

router = APIRouter(tags=["training"], responses=ERROR_ANSWERS)


@router.get("/training_runs", summary="The runs of a model, with their held-out losses")
def training_runs(
    model: str, services: ServicesDep, points: Annotated[int, Query(ge=10, le=100_000)] = 1000
) -> Response:
    """Return the runs, the oldest first. Iterations are counted over all of them; a run that was stopped and resumed is one.

    Each has at most `points` checks, of which those at its first iteration came before it.
    """
    name = workflows.get_model(services.workspace, model).name
    return JSONAnswer({"runs": plain(workflows.past_runs(services.workspace, name, points))})


@router.get("/training_log", summary="The log of a model's trainings as CSV")
def training_log(model: str, services: ServicesDep) -> Response:
    """Return a row for each iteration, with empty places where nothing was measured."""
    name = workflows.get_model(services.workspace, model).name
    lines = workflows.csv_lines(services.workspace, name)
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=attached(f"{name}.csv"))


@router.get("/training_report", summary="A training as one HTML file")
def training_report(model: str, request: Request, services: ServicesDep) -> Response:
    """Return a page in the person's language that loads nothing and can be sent to anyone."""
    report = run_report(services.workspace, model)
    answer = render(request, "report", report)
    answer.headers.update(attached(f"{report.model.name}.html"))
    return answer


@router.get("/machine", summary="Processor and memory of this program")
def machine() -> Response:
    """Return one reading. The share of the processor between two of them is the difference of `cpu_seconds` over that of
    `at_seconds`, over `cpu_count`. Unknown values are null."""
    return JSONAnswer(workflows.machine_load())
