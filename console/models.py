"""The commands `models ...`: list, import, rename, duplicate, export and delete models."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from console import output
from console.output import errors_as_sentences, say, words
from console.streams import ReaderGone
from console.workspaces import ROOT, WorkspaceOption, before_the_command, existing, opened_for_change, say_next
from errors import FileInTheWay, FileMissing, FileUnwritable, FolderUnusable
from workspace import explain, replace_atomic

if TYPE_CHECKING:
    import workflows

models = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="cli.models", callback=before_the_command)


@models.command("list", help="cli.models.list")
def list_models(workspace: WorkspaceOption = ROOT) -> None:
    import workflows

    with errors_as_sentences(workspace):
        found = workflows.list_models(existing(workspace))
    columns = [words().gettext(f"cli.column.{key}") for key in ("model", "parameters", "iterations", "books")]
    output.show_table(columns, [_model_row(info) for info in found])


def _model_row(info: workflows.ModelInfo) -> list[str]:
    number = words().number
    return [info.name, number(info.parameters), number(info.iteration), ", ".join(info.books)]


@models.command("import", help="cli.models.import")
def import_model(
    file: Annotated[Path, typer.Argument(help="cli.option.model_file")],
    workspace: WorkspaceOption = ROOT,
    name: Annotated[Optional[str], typer.Option(help="cli.option.new_name")] = None,  # noqa: UP045
) -> None:
    import workflows

    with errors_as_sentences(file):
        if not os.path.exists(file):  # noqa: PTH110
            raise FileMissing(path=str(file), reason="missing")
        with opened_for_change(workspace) as opened:
            info = workflows.import_model(opened, file.absolute(), file.absolute().name, name)
    say(words().gettext("cli.model_imported", name=info.name, parameters=info.parameters))
    say_next("cli.next.generate", "generate", info.name, "…", workspace=workspace)


@models.command("rename", help="cli.models.rename")
def rename_model(
    name: Annotated[str, typer.Argument(help="cli.option.model")],
    new_name: Annotated[str, typer.Argument(help="cli.option.new_name")],
    workspace: WorkspaceOption = ROOT,
) -> None:
    import workflows

    with errors_as_sentences(workspace), opened_for_change(workspace) as opened:
        info = workflows.edit_model(opened, name, new_name)
    say(words().gettext("cli.model_renamed", name=info.name))


@models.command("duplicate", help="cli.models.duplicate")
def duplicate_model(
    name: Annotated[str, typer.Argument(help="cli.option.model")],
    new_name: Annotated[Optional[str], typer.Argument(help="cli.option.new_name")] = None,  # noqa: UP045
    workspace: WorkspaceOption = ROOT,
) -> None:
    import workflows

    with errors_as_sentences(workspace), opened_for_change(workspace) as opened:
        info = workflows.duplicate_model(opened, name, new_name)
    say(words().gettext("cli.model_duplicated", name=info.name))


@models.command("delete", help="cli.models.delete")
def delete_model(
    name: Annotated[str, typer.Argument(help="cli.option.model")], workspace: WorkspaceOption = ROOT
) -> None:
    import workflows

    with errors_as_sentences(workspace), opened_for_change(workspace) as opened:
        workflows.delete_model(opened, name)
    say(words().gettext("cli.deleted", name=name.strip()))


@models.command("export", help="cli.export")
def export(
    model: Annotated[str, typer.Argument(help="cli.option.model")],
    workspace: WorkspaceOption = ROOT,
    format: Annotated[str, typer.Option(help="cli.option.format")] = "hf",
    kind: Annotated[str, typer.Option("--type", help="cli.option.type")] = "f16",
    wanted: Annotated[Optional[Path], typer.Option("--output", "-o", help="cli.option.output")] = None,  # noqa: UP045
    overwrite: Annotated[bool, typer.Option("--overwrite", help="cli.option.overwrite")] = False,
) -> None:
    import workflows

    with errors_as_sentences(wanted):
        testing = words().gettext("js.export_testing")
        with output.console().status(testing) if sys.stdout.isatty() else contextlib.nullcontext():
            exported = workflows.export_model(existing(workspace), model, format, kind)
        target = wanted or Path(exported.filename)
        target = target / exported.filename if os.path.isdir(target) else target  # noqa: PTH112
        if not target.resolve().parent.is_dir():
            raise FolderUnusable(path=str(target.resolve().parent), reason="missing")
        if os.path.isfile(target) and not overwrite:  # noqa: PTH113  (Path.is_file raises)
            raise FileInTheWay(path=str(target), field="output")
        export_to(target.resolve(), exported.chunks)
    say(str(target))


def export_to(target: Path, chunks: Iterator[bytes]) -> None:
    """Write a file, or into a device or pipe that stands there.

    Raises DiskFull, AccessDenied, FileUnwritable, and ReaderGone for a pipe that nobody reads any more.
    """
    try:
        if os.path.exists(target) and not target.is_file():  # noqa: PTH110
            _write(target, chunks)
        else:
            replace_atomic(target, lambda temporary: _write(temporary, chunks))
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        raise explain(error, target) or FileUnwritable(path=str(target), detail=error.strerror or "") from error


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
