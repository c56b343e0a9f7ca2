"""Models over HTTP: create, list, look at, estimate, delete, download; and the description of every parameter."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Response
from fastapi.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

import workflows
from config import PRESETS, Config, ModelConfig, SamplingConfig, SelfPlayConfig, TrainConfig, parameters
from i18n import Translator
from web.answers import JSONAnswer, attached, plain
from web.bodies import ERROR_ANSWERS, JSON_BODY
from web.drawings import cover
from web.schemas import CreateModel, DuplicateModel, EditModel, EstimateShape, SuggestModel, narrowed
from web.services import ServicesDep, TranslatorDep, refuse_in_use
from web.training_queue import follow_rename

router = APIRouter(tags=["models"], responses=ERROR_ANSWERS)


@router.post("/create_model", status_code=201, dependencies=[JSON_BODY], summary="Create a model from scratch")
def create_model(body: CreateModel, services: ServicesDep) -> Response:
    """Create a model with a preset's sizes; sizes that are given replace those of the preset."""
    info = workflows.create_model(services.workspace, body.name, narrowed(body, ModelConfig), seed=body.seed)
    return JSONAnswer(info, status_code=201, headers={"Location": f"/models/{quote(info.name)}"})


@router.post("/estimate", dependencies=[JSON_BODY], summary="Parameters and memory of a model before it exists")
def estimate(body: EstimateShape, services: ServicesDep) -> Response:
    """Count parameters and memory; nothing is allocated.

    With `books` also tokens per parameter and a suggested number of iterations; with `model` for that model's sizes.
    """
    characters = (
        [workflows.get_book(services.workspace, name).characters for name in body.books] if body.books else None
    )
    shape = workflows.read_config(services.workspace, body.model) if body.model else narrowed(body, ModelConfig)
    return JSONAnswer(workflows.estimate(shape, body.train, characters))


@router.post(
    "/suggest_model", dependencies=[JSON_BODY], summary="What can be trained here, in the time and memory there is"
)
def suggest_model(body: SuggestModel, services: ServicesDep) -> Response:
    """Say for each preset how long a training on these books takes on this machine and how often it reads them.

    With `minutes` each is as long as they allow, `in_time` where that is enough; `best` is the largest that fits and is done in
    time. The first request measures for some seconds: 409 while a training runs, 503 with Retry-After when many wait.
    """
    workspace, books = services.workspace, body.books
    shapes = PRESETS | ({} if body.own is None else {"own": body.own})
    with services.forecasts.place():
        found = workflows.outlooks(
            workspace,
            books,
            shapes,
            lambda shape: services.forecasts.pace_of_new(workspace, shape, books, services.runner),
            seconds=None if body.minutes is None else body.minutes * 60,
            memory_bytes=body.memory_bytes,
        )
    presets = {name: each for name, each in found.items() if name in PRESETS}
    prompt = workflows.sample_prompt([workflows.get_book(workspace, name) for name in books])
    return JSONAnswer({"outlooks": found, "best": workflows.best_of(presets), "sample_prompt": prompt})


@router.get("/models", summary="All models")
def list_models(services: ServicesDep) -> Response:
    return JSONAnswer({"models": workflows.list_models(services.workspace)})


@router.get("/models/{name}", summary="One model")
def get_model(name: str, services: ServicesDep) -> Response:
    """Return a model; `checkpoints` are the iterations that are kept and can write as a `version`, the oldest first."""
    info = workflows.get_model(services.workspace, name)
    return JSONAnswer(plain(info) | {"checkpoints": workflows.kept_checkpoints(services.workspace, info.name)})


@router.patch("/models/{name}", dependencies=[JSON_BODY], summary="Rename a model, or write notes on it")
def edit_model(name: str, body: EditModel, services: ServicesDep) -> Response:
    """Change name or notes. A field that is missing or null stays as it is; the notes are never exported."""
    with services.changes:
        if body.name is not None:
            refuse_in_use(services, model=name)
        info = workflows.edit_model(services.workspace, name, body.name, body.notes)
        follow_rename(services, name, info.name)
        if body.name is not None and services.runner.status().model == name:  # the last training was this model's
            services.runner.restore(workflows.last_run(services.workspace))
    return JSONAnswer(info, headers={"Location": f"/models/{quote(info.name)}"})


@router.post("/models/{name}/duplicate", status_code=201, dependencies=[JSON_BODY], summary="Copy a model")
def duplicate_model(name: str, body: DuplicateModel, services: ServicesDep) -> Response:
    """Copy a model with its newest checkpoint, so that two trainings can go on from one place."""
    with services.changes:
        refuse_in_use(services, model=name)
        info = workflows.duplicate_model(services.workspace, name, body.name)
    return JSONAnswer(info, status_code=201, headers={"Location": f"/models/{quote(info.name)}"})


@router.get("/models/{name}/cover.svg", summary="The cover of a model")
def get_cover(name: str, services: ServicesDep) -> Response:
    """A drawing that follows from the name alone."""
    return Response(cover(workflows.get_model(services.workspace, name).name), media_type="image/svg+xml")


@router.delete("/models/{name}", status_code=204, summary="Delete a model and its checkpoints")
def delete_model(name: str, services: ServicesDep, forever: bool = False) -> Response:
    """Delete a model. It can be brought back for an hour while the server runs, unless `forever` is true."""
    with services.changes:
        refuse_in_use(services, model=name)
        if forever:
            workflows.delete_model(services.workspace, name)
        else:
            services.deleted_models.put(services.workspace, name)
    return Response(status_code=204)


@router.get("/download_model", summary="Download a model in a format of other programs")
def download_model(
    model: str,
    services: ServicesDep,
    format: str = Query("hf", max_length=40),
    kind: str = Query(workflows.DEFAULT_TYPE, alias="type", max_length=40),
) -> Response:
    """Stream a model: `hf` is a zip of a Hugging Face folder, `gguf` one file for llama.cpp, `ollama` a zip of that and a Modelfile,
    `checkpoint` a zip to go on training elsewhere, `card` the model card. `type` (f32, f16, bf16, q8_0) is how `gguf` and `ollama`
    store numbers.
    """
    export = workflows.export_model(services.workspace, model, format, kind)
    headers = attached(export.filename)
    if export.size is not None:
        headers["Content-Length"] = str(export.size)
    return StreamingResponse(_chunks(export.chunks), media_type=export.media_type, headers=headers)


@router.get("/parameters", summary="Every parameter: type, bounds, default, unit, label and help")
def get_parameters(translator: TranslatorDep) -> Response:
    """Labels and help are in the language that the request asks for."""
    configs: dict[str, type[Config]] = {"model": ModelConfig, "train": TrainConfig, "sampling": SamplingConfig}
    described = {group: _described(config, translator) for group, config in configs.items()}
    described["self_play"] = _described(SelfPlayConfig, translator, "self_play.")
    return JSONAnswer(described | {"presets": PRESETS, "default_preset": workflows.default_preset()})


def _described(config: type[Config], translator: Translator, prefix: str = "") -> list[dict[str, Any]]:
    rows = []
    for parameter in parameters(config):
        name = prefix + parameter.name
        texts = {"label": translator.field(name), "help": translator.field(name, "help")}
        rows.append(dataclasses.asdict(parameter) | texts)
    return rows


async def _chunks(chunks: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the chunks, each made in a thread; the export is closed when the client disconnects."""
    try:
        while (chunk := await run_in_threadpool(next, chunks, None)) is not None:
            yield chunk
    finally:
        if isinstance(chunks, Generator):
            chunks.close()
