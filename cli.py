"""`python start.py cli`: the same workflows at the command line: create, books, models, forecast, train, generate, export, serve.

A command that changes something holds the workspace's lock, so it is refused while a server works there. Every option that
sets a parameter is derived from config.py (console/options.py). Texts are keys here; they become sentences when a command
runs, in the language of --language, AZR_LANGUAGE or the console. A mistake is a sentence on standard error and exit code 1,
a wrong call exit code 2.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

import i18n
from config import PRESETS, SEED_LIMIT, ModelConfig, SamplingConfig, SelfPlayConfig, TrainConfig
from console import output
from console.help import UsageError, translated, usage_error
from console.options import SELF_PLAY_PREFIX, parameters_table, train_config, with_options
from console.output import Failed, errors_as_sentences, say, words
from console.progress import forecast_lines, show
from console.streams import READER_GONE, ReaderGone, guarded_output
from errors import FileInTheWay, FileMissing, FileUnwritable, FolderUnusable, InvalidInput, OutputUnwritable
from workspace import Workspace, explain, replace_atomic

if TYPE_CHECKING:
    import workflows

ROOT = Path(__file__).resolve().parent
REFUSED, INTERRUPTED = 2, 130

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="cli.help")
books = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="cli.books")
models = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="cli.models")
app.add_typer(models, name="models")
app.add_typer(books, name="books")

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", envvar="AZR_WORKSPACE", show_default=False, help="cli.option.workspace")
]
BookOption = Annotated[list[str], typer.Option("--book", help="cli.option.book")]
EndlessOption = Annotated[bool, typer.Option("--endless", help="cli.option.endless")]


@app.callback()
def _every_command(
    language: Annotated[Optional[str], typer.Option(envvar="AZR_LANGUAGE", help="cli.option.language")] = None,  # noqa: UP045
) -> None:
    """Declare --language for the help; `main` reads it before anything is printed."""


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Workspace]:
    """Yield the workspace, locked for a change. Raises WorkspaceLocked."""
    workspace = Workspace(path)
    with workspace.lock(f"cli.py, PID {os.getpid()}"):
        workspace.prepare()
        yield workspace


def _existing(path: Path) -> Workspace:
    """Return the workspace for reading. Raises FolderUnusable if its folder is missing."""
    if not os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises for a name that is too long)
        raise FolderUnusable(path=str(path), reason="file" if os.path.exists(path) else "missing")  # noqa: PTH110
    return Workspace(path)


def _next(key: str, *command: str, workspace: Path) -> None:
    output.say_next(key, *command, workspace=workspace, default=ROOT)


# ---- models ----------------------------------------------------------------------------------------------------------


@app.command(help="cli.create")
@with_options((ModelConfig, ""))
def create(
    name: Annotated[str, typer.Argument(help="cli.option.new_model")],
    workspace: WorkspaceOption = ROOT,
    preset: Annotated[
        Optional[Literal["small", "medium", "large"]],  # noqa: UP045
        typer.Option(help="cli.option.preset"),
    ] = None,
    seed: Annotated[int, typer.Option(help="cli.option.seed")] = 0,
    **sizes: Any,
) -> None:
    import workflows

    _require_seed(seed)
    config = ModelConfig.model_validate(PRESETS[preset or workflows.default_preset()].model_dump() | sizes)
    with _open(workspace) as opened:
        info = workflows.create_model(opened, name, config, seed)
        known = workflows.list_books(opened)
    say(words().gettext("cli.created", name=info.name, parameters=info.parameters))
    if known:
        newest = max(known, key=lambda book: book.added_at)
        _next("cli.next.train", "train", info.name, "--book", newest.name, workspace=workspace)
    else:
        _next("cli.next.add_book", "books", "add", "book.txt", workspace=workspace)


def _require_seed(seed: int) -> None:
    if seed < 0:
        raise InvalidInput(field="seed", reason="greater_than_equal", value=str(seed), ge=0)
    if seed > SEED_LIMIT:
        raise InvalidInput(field="seed", reason="less_than_equal", value=str(seed), le=SEED_LIMIT)


@models.command("list", help="cli.models.list")
def list_models(workspace: WorkspaceOption = ROOT) -> None:
    import workflows

    with errors_as_sentences(workspace):
        found = workflows.list_models(_existing(workspace))
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
        with _open(workspace) as opened:
            info = workflows.import_model(opened, file.absolute(), file.absolute().name, name)
    say(words().gettext("cli.model_imported", name=info.name, parameters=info.parameters))
    _next("cli.next.generate", "generate", info.name, "…", workspace=workspace)


@models.command("rename", help="cli.models.rename")
def rename_model(
    name: Annotated[str, typer.Argument(help="cli.option.model")],
    new_name: Annotated[str, typer.Argument(help="cli.option.new_name")],
    workspace: WorkspaceOption = ROOT,
) -> None:
    import workflows

    with errors_as_sentences(workspace), _open(workspace) as opened:
        info = workflows.edit_model(opened, name, new_name)
    say(words().gettext("cli.model_renamed", name=info.name))


@models.command("duplicate", help="cli.models.duplicate")
def duplicate_model(
    name: Annotated[str, typer.Argument(help="cli.option.model")],
    new_name: Annotated[Optional[str], typer.Argument(help="cli.option.new_name")] = None,  # noqa: UP045
    workspace: WorkspaceOption = ROOT,
) -> None:
    import workflows

    with errors_as_sentences(workspace), _open(workspace) as opened:
        info = workflows.duplicate_model(opened, name, new_name)
    say(words().gettext("cli.model_duplicated", name=info.name))


@models.command("delete", help="cli.models.delete")
def delete_model(
    name: Annotated[str, typer.Argument(help="cli.option.model")], workspace: WorkspaceOption = ROOT
) -> None:
    import workflows

    with errors_as_sentences(workspace), _open(workspace) as opened:
        workflows.delete_model(opened, name)
    say(words().gettext("cli.deleted", name=name.strip()))


# ---- books -----------------------------------------------------------------------------------------------------------


@books.command("add", help="cli.books.add")
def add_books(
    files: Annotated[list[Path], typer.Argument(help="cli.option.file")],
    workspace: WorkspaceOption = ROOT,
    name: Annotated[Optional[str], typer.Option(help="cli.option.book_name")] = None,  # noqa: UP045
    encoding: Annotated[Optional[str], typer.Option(help="cli.option.encoding")] = None,  # noqa: UP045
) -> None:
    """Add books one after another; a file that cannot be read does not keep the others out, and the exit code tells of it."""
    import workflows

    with errors_as_sentences(files[0]):
        wanted = _files_in(files, Workspace(workspace))
        if name is not None and len(wanted) > 1:
            raise InvalidInput(field="name", reason="several_books", count=len(wanted))
    added: list[workflows.BookInfo] = []
    is_complete = True
    with _open(workspace) as opened:
        for path in wanted:
            try:
                with errors_as_sentences(path, about=path.name if len(wanted) > 1 else ""):
                    intake = _taken_in(opened, path, name, encoding)
            except Failed:
                is_complete = False
                continue
            added += intake.books
            is_complete = is_complete and not intake.refused
        found = workflows.list_models(opened)
    if added and found:
        _next("cli.next.train", "train", found[-1].name, "--book", added[-1].name, workspace=workspace)
    elif added:
        _next("cli.next.create", "create", "poet", workspace=workspace)
    if not is_complete:
        raise Failed


def _files_in(paths: list[Path], workspace: Workspace) -> list[Path]:
    """Return files as they are and, for a folder, those in it that can be read, except hidden ones and the workspace's own.

    Raises FileMissing.
    """
    import workflows

    found: list[Path] = []
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112
            found.append(path)
            continue
        for each in sorted(path.rglob("*")):
            is_hidden = any(part.startswith(".") for part in each.relative_to(path).parts)
            if not is_hidden and each.suffix.lower() in workflows.book_endings() and not workspace.holds(each):
                found.append(each)
    if not found:
        raise FileMissing(path=str(paths[0]), reason="no_books")
    return found


def _taken_in(opened: Workspace, path: Path, name: str | None, encoding: str | None) -> workflows.Intake:
    """Add the books of one file and say what became of them."""
    import workflows

    if not os.path.isfile(path):  # noqa: PTH113
        raise FileMissing(path=str(path), reason="missing")
    with path.open("rb") as stream:
        intake = workflows.add_files(
            opened, [(path.name, stream)], name=name, encoding=encoding, limit_bytes=sys.maxsize
        )
    for book in intake.books:
        read_as = book.encoding or book.format.upper()
        say(words().gettext("cli.book_added", name=book.name, characters=book.characters, encoding=read_as))
        for notice in workflows.book_notices(book):
            say(words().gettext(f"book.notice.{notice.code}", **notice.parameters))
        if left_out := words().left_out(book.left_out):
            say(left_out)
    for refused in intake.refused:
        output.warn(f"{refused.filename}: {words().error(refused.error)}")
    return intake


@books.command("list", help="cli.books.list")
def list_books(workspace: WorkspaceOption = ROOT) -> None:
    import workflows

    with errors_as_sentences(workspace):
        found = workflows.list_books(_existing(workspace))
    columns = [words().gettext(f"cli.column.{key}") for key in ("book", "title", "encoding", "characters")]
    output.show_table(
        columns, [[book.name, book.title, book.encoding, words().number(book.characters)] for book in found]
    )


@books.command("delete", help="cli.books.delete")
def delete_book(
    name: Annotated[str, typer.Argument(help="cli.option.existing_book")], workspace: WorkspaceOption = ROOT
) -> None:
    import workflows

    with errors_as_sentences(workspace), _open(workspace) as opened:
        workflows.delete_book(opened, name)
    say(words().gettext("cli.deleted", name=name.strip()))


# ---- training --------------------------------------------------------------------------------------------------------


@app.command(help="cli.forecast")
@with_options((TrainConfig, ""), (SelfPlayConfig, SELF_PLAY_PREFIX))
def forecast(
    model: Annotated[str, typer.Argument(help="cli.option.model")],
    book: BookOption,
    workspace: WorkspaceOption = ROOT,
    endless: EndlessOption = False,
    **options: Any,
) -> None:
    import workflows

    opened = _existing(workspace)
    plan = workflows.prepare_training(opened, model, tuple(book), train_config(options, endless=endless))
    measuring = words().gettext("js.forecast_measuring")
    with output.console().status(measuring) if sys.stdout.isatty() else contextlib.nullcontext():
        found = workflows.forecast(opened, plan, workflows.pace(opened, plan))
    for line in forecast_lines(found):
        say(line)


@app.command(help="cli.train")
@with_options((TrainConfig, ""), (SelfPlayConfig, SELF_PLAY_PREFIX))
def train(
    model: Annotated[str, typer.Argument(help="cli.option.model")],
    book: BookOption,
    workspace: WorkspaceOption = ROOT,
    endless: EndlessOption = False,
    **options: Any,
) -> None:
    """Train in this process. A torchrun started by hand runs this in each of its processes."""
    import workflows

    wanted = train_config(options, endless=endless)
    workflows.use_one_heap()
    with workflows.joined() as ranks:
        if ranks.world_size > 1:
            wanted = wanted.model_copy(update={"devices": ranks.world_size})
        if not ranks.is_main:
            plan = workflows.TrainingPlan(model, tuple(book), wanted)
            workflows.follow(workflows.work(Workspace(workspace), plan, ranks))
            return
        with _open(workspace) as opened:
            plan = workflows.prepare_training(opened, model, tuple(book), wanted)
            finished = show(workflows.train(opened, plan, ranks), anywhere=ranks.world_size == 1)
    if not finished:
        say(words().gettext("cli.stopped"))
    _next("cli.next.generate", "generate", plan.model, wanted.sample_prompt, workspace=workspace)


# ---- using a model ---------------------------------------------------------------------------------------------------


@app.command(help="cli.generate")
@with_options((SamplingConfig, ""))
def generate(
    model: Annotated[str, typer.Argument(help="cli.option.model")],
    prompt: Annotated[str, typer.Argument(help="cli.option.prompt")],
    workspace: WorkspaceOption = ROOT,
    version: Annotated[Literal["best", "last"], typer.Option(help="cli.option.version")] = "best",
    **options: Any,
) -> None:
    import workflows

    _require_text(prompt)
    options |= {"stop": tuple(options["stop"])} if "stop" in options else {}
    sampling = SamplingConfig.model_validate(options)
    cache, engines = workflows.ModelCache(), workflows.Engines()
    pieces = workflows.generate(
        _existing(workspace), model, prompt, sampling, cache=cache, engines=engines, version=version
    )
    print(prompt, end="", flush=True)
    for piece in pieces:
        print(piece.text, end="", flush=True)
    print()


@models.command("export", help="cli.export")
@app.command(help="cli.export")
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
            exported = workflows.export_model(_existing(workspace), model, format, kind)
        target = wanted or Path(exported.filename)
        target = target / exported.filename if os.path.isdir(target) else target  # noqa: PTH112
        if not target.resolve().parent.is_dir():
            raise FolderUnusable(path=str(target.resolve().parent), reason="missing")
        if os.path.isfile(target) and not overwrite:  # noqa: PTH113  (Path.is_file raises)
            raise FileInTheWay(path=str(target), field="output")
        _export_to(target.resolve(), exported.chunks)
    say(str(target))


def _export_to(target: Path, chunks: Iterator[bytes]) -> None:
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


@app.command(help="cli.serve", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(context: typer.Context) -> None:
    import server

    raise typer.Exit(server.main(context.args))


@app.command("parameters", help="cli.parameters")
def show_parameters() -> None:
    say(parameters_table(words().language))


def _require_text(prompt: str) -> None:
    """Raise InvalidInput for arguments that are not UTF-8: Python passes their bytes on as surrogates."""
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(field="prompt", reason="string_unicode") from None


# ---- the process -----------------------------------------------------------------------------------------------------


def main() -> int:
    """Run a command and return the exit code."""
    output.prepare_streams()
    try:
        with guarded_output():
            return _run()
    except ReaderGone:
        return READER_GONE
    except OutputUnwritable as error:
        output.warn(words().error(error))
        return output.FAILED


def _run() -> int:
    arguments, language = _language_of(sys.argv[1:])
    if language is not None:
        os.environ["AZR_LANGUAGE"] = language  # also for the processes that a training starts
    if language not in (None, *i18n.LANGUAGES):
        output.warn(words().gettext("cli.usage.language", value=str(language), known=", ".join(i18n.LANGUAGES)))
        return REFUSED
    command = translated(app, words())
    try:
        return command.main(args=arguments, prog_name="start.py cli", standalone_mode=False) or 0
    except Failed:
        return output.FAILED
    except typer.Abort:
        return INTERRUPTED
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            say(str(error))
            return 0
        output.warn(usage_error(error, words()))
        return REFUSED


def _language_of(arguments: list[str]) -> tuple[list[str], str | None]:
    """Return the arguments without --language, which may be anywhere among them, and its value.

    >>> _language_of(["parameters", "--language", "ru"])
    (['parameters'], 'ru')
    """
    rest: list[str] = []
    language, waiting = None, iter(arguments)
    for argument in waiting:
        if argument == "--":
            return [*rest, argument, *waiting], language
        if argument == "--language":
            language = next(waiting, "")
        elif argument.startswith("--language="):
            language = argument.partition("=")[2]
        else:
            rest.append(argument)
    return rest, language


def _process() -> int:
    """Run `main`; under torchrun, exit without the usual shutdown of Python (machine/processes.py)."""
    if "WORLD_SIZE" not in os.environ:
        return main()
    import workflows

    with workflows.ending_at_once():
        raise SystemExit(main())


if __name__ == "__main__":
    sys.exit(_process())
