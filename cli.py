"""`python start.py cli`: the same workflows at the command line: create, books, forecast, train, generate, serve.

The commands for models are in console/models.py.

A command that changes something holds the workspace's lock, so it is refused while a server works there. Every option that
sets a parameter is derived from config.py (console/options.py). Texts are keys here; they become sentences when a command
runs, in the language of --language, AZR_LANGUAGE or the console. A mistake is a sentence on standard error and exit code 1,
a wrong call exit code 2.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

import i18n
from config import PRESETS, SEED_LIMIT, ModelConfig, SamplingConfig, SelfPlayConfig, TrainConfig
from console import output
from console.help import UsageError, translated, usage_error
from console.models import export, models
from console.options import SELF_PLAY_PREFIX, parameters_table, train_config, with_options
from console.output import Failed, errors_as_sentences, say, words
from console.progress import forecast_lines, show
from console.streams import READER_GONE, ReaderGone, guarded_output
from console.workspaces import (
    ROOT,
    EarlyWorkspace,
    WorkspaceOption,
    before_the_command,
    existing,
    existing_with_examples,
    opened_for_change,
    say_next,
    with_examples,
)
from errors import FileMissing, InvalidInput, OutputUnwritable
from workspace import Workspace

if TYPE_CHECKING:
    import workflows

REFUSED, INTERRUPTED = 2, 130

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="cli.help")
books = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="cli.books", callback=before_the_command)
app.add_typer(models, name="models")
app.add_typer(books, name="books")

BookOption = Annotated[list[str], typer.Option("--book", help="cli.option.book")]
EndlessOption = Annotated[bool, typer.Option("--endless", help="cli.option.endless")]


@app.callback()
def _every_command(
    language: Annotated[Optional[str], typer.Option(envvar="AZR_LANGUAGE", help="cli.option.language")] = None,  # noqa: UP045
    workspace: EarlyWorkspace = None,
) -> None:
    """Declare --language for the help; `main` reads it before anything is printed."""
    before_the_command(workspace)


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
    with opened_for_change(workspace) as opened:
        info = workflows.create_model(opened, name, config, seed)
        known = workflows.list_books(opened)
    say(words().gettext("cli.created", name=info.name, parameters=info.parameters))
    if known:
        newest = max(known, key=lambda book: book.added_at)
        say_next("cli.next.train", "train", info.name, "--book", newest.name, workspace=workspace)
    else:
        say_next("cli.next.add_book", "books", "add", "book.txt", workspace=workspace)


def _require_seed(seed: int) -> None:
    if seed < 0:
        raise InvalidInput(field="seed", reason="greater_than_equal", value=str(seed), ge=0)
    if seed > SEED_LIMIT:
        raise InvalidInput(field="seed", reason="less_than_equal", value=str(seed), le=SEED_LIMIT)


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
    with opened_for_change(workspace) as opened:
        with_examples(opened)
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
        say_next("cli.next.train", "train", found[-1].name, "--book", added[-1].name, workspace=workspace)
    elif added:
        say_next("cli.next.create", "create", "poet", workspace=workspace)
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
        found = workflows.list_books(existing_with_examples(workspace))
    columns = [words().gettext(f"cli.column.{key}") for key in ("book", "title", "encoding", "characters")]
    output.show_table(
        columns, [[book.name, book.title, book.encoding, words().number(book.characters)] for book in found]
    )


@books.command("delete", help="cli.books.delete")
def delete_book(
    name: Annotated[str, typer.Argument(help="cli.option.existing_book")], workspace: WorkspaceOption = ROOT
) -> None:
    import workflows

    with errors_as_sentences(workspace), opened_for_change(workspace) as opened:
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

    opened = existing_with_examples(workspace)
    plan = workflows.prepare_training(opened, model, tuple(book), train_config(options, endless=endless))
    measuring = words().gettext("js.forecast_measuring")
    with output.console().status(measuring) if sys.stdout.isatty() else contextlib.nullcontext():
        found = workflows.forecast(opened, plan, workflows.pace(opened, plan))
    for line in forecast_lines(found, plan.config.max_minutes):
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
        with opened_for_change(workspace) as opened:
            plan = workflows.prepare_training(with_examples(opened), model, tuple(book), wanted)
            finished = show(workflows.train(opened, plan, ranks), plan.config, anywhere=ranks.world_size == 1)
    if not finished:
        say(words().gettext("cli.stopped"))
    say_next("cli.next.generate", "generate", plan.model, wanted.sample_prompt, workspace=workspace)


# ---- using a model ---------------------------------------------------------------------------------------------------


@app.command(help="cli.generate")
@with_options((SamplingConfig, ""))
def generate(
    model: Annotated[str, typer.Argument(help="cli.option.model")],
    prompt: Annotated[str, typer.Argument(help="cli.option.prompt")],
    workspace: WorkspaceOption = ROOT,
    version: Annotated[str, typer.Option(help="cli.option.version")] = "best",
    **options: Any,
) -> None:
    import workflows

    _require_text(prompt)
    if (wanted := workflows.version_of(version)) is None:
        raise InvalidInput(field="version", reason="no_version", value=version)
    options |= {"stop": tuple(options["stop"])} if "stop" in options else {}
    sampling = SamplingConfig.model_validate(options)
    cache, engines = workflows.ModelCache(), workflows.Engines()
    pieces = workflows.generate(
        existing(workspace), model, prompt, sampling, cache=cache, engines=engines, version=wanted
    )
    print(prompt, end="", flush=True)
    with contextlib.closing(pieces):  # the process waits for its threads
        for piece in pieces:
            print(piece.text, end="", flush=True)
    print()


app.command(help="cli.export")(export)


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
