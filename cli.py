"""`python cli.py`: the same workflows at the command line: create, books, forecast, train, generate, export, serve, parameters.

Every option that sets a parameter is derived from config.py, its help from the catalogues. A command that changes something
holds the workspace's lock, so it is refused while a server works there. Ctrl+C during a training stops it and saves.
Messages are in the language of the console, or of --language / AZR_LANGUAGE.
"""

from __future__ import annotations

import contextlib
import inspect
import locale
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

import i18n
from config import (
    PRESETS,
    Config,
    ModelConfig,
    Parameter,
    SamplingConfig,
    SelfPlayConfig,
    TrainConfig,
    parameters,
)
from errors import AZRError, InvalidInput
from events import Evaluated, Event, IterationDone, Notice, RunStarted, SampleWritten, SelfPlayDone, StageBegun
from workspace import Workspace

if TYPE_CHECKING:
    import workflows

ROOT = Path(__file__).resolve().parent
SELF_PLAY_PREFIX = "self_play_"


def _language() -> str:
    wanted = os.environ.get("AZR_LANGUAGE") or locale.getlocale()[0] or os.environ.get("LANG", "")
    return i18n.negotiate(wanted[:2].lower(), None)


translate = i18n.translator(_language())
console = Console(highlight=False)
app = typer.Typer(no_args_is_help=True, add_completion=False, help=translate.gettext("cli.help"), rich_markup_mode=None)
books = typer.Typer(no_args_is_help=True, help=translate.gettext("cli.books"))
app.add_typer(books, name="books")

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", envvar="AZR_WORKSPACE", help=translate.gettext("cli.option.workspace"))
]


# ---- options out of config.py -------------------------------------------------------------------------------------------


def _option(parameter: Parameter, prefix: str) -> inspect.Parameter:
    kinds: dict[str, Any] = {"int": int, "float": float, "bool": bool, "text": str, "texts": list[str]}
    kind: Any = Literal[parameter.choices] if parameter.choices else kinds[parameter.kind]
    flag = "--" + (prefix + parameter.name).replace("_", "-")
    flags = f"{flag}/--no-{flag[2:]}" if parameter.kind == "bool" else flag
    help_text = translate.field((prefix.rstrip("_") + "." if prefix else "") + parameter.name, "help") or ""
    annotation = Annotated[Optional[kind], typer.Option(flags, help=_plain(parameter, help_text))]  # noqa: UP045
    return inspect.Parameter(
        prefix + parameter.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _plain(parameter: Parameter, help_text: str) -> str:
    default = "" if parameter.default is None or parameter.default == () else f" [{parameter.default}]"
    return f"{help_text}{default}"


def with_options(*configs: tuple[type[Config], str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each field of the configurations; the command receives those that were set."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        taken = {parameter.name for parameter in own}
        derived = [_option(p, prefix) for config, prefix in configs for p in parameters(config) if p.name not in taken]

        def run(**values: Any) -> None:
            chosen = {name: value for name, value in values.items() if name in taken or value not in (None, [])}
            with _told():
                command(**chosen)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = signature.replace(parameters=[*own, *derived])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *derived]}
        return run

    return decorate


def _train_config(options: dict[str, Any], *, endless: bool) -> TrainConfig:
    options |= {"iterations": None} if endless else {}
    nested = {
        name.removeprefix(SELF_PLAY_PREFIX): value
        for name, value in options.items()
        if name.startswith(SELF_PLAY_PREFIX)
    }
    own = {name: value for name, value in options.items() if not name.startswith(SELF_PLAY_PREFIX)}
    nested |= {"prompts": tuple(nested["prompts"])} if "prompts" in nested else {}
    return TrainConfig.model_validate(own | {"self_play": nested})


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell a person's mistakes in a sentence and leave with code 1; ours stay tracebacks."""
    try:
        yield
    except AZRError as error:
        _fail(translate.error(error))
    except ValidationError as refused:
        first = refused.errors()[0]
        own = first.get("ctx", {}).get("error")
        field = ".".join(str(part) for part in first["loc"])
        ctx = {key: value for key, value in first.get("ctx", {}).items() if isinstance(value, str | int | float)}
        plain = InvalidInput(field=field, reason=first["type"], value=str(first["input"]), **ctx)
        _fail(translate.error(own if isinstance(own, AZRError) else plain))


def _fail(sentence: str) -> None:
    Console(stderr=True, highlight=False).print(sentence, markup=False)
    raise typer.Exit(1)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Workspace]:
    """The workspace, locked for a change. Raises WorkspaceLocked."""
    workspace = Workspace(path)
    with workspace.lock(f"cli.py, PID {os.getpid()}"):
        workspace.prepare()
        yield workspace


# ---- commands ---------------------------------------------------------------------------------------------------------------


@app.command(help=translate.gettext("cli.create"))
@with_options((ModelConfig, ""))
def create(
    name: str,
    workspace: WorkspaceOption = ROOT,
    preset: Annotated[
        Optional[Literal["small", "medium", "large"]],  # noqa: UP045
        typer.Option(help=translate.gettext("cli.option.preset")),
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
    **sizes: Any,
) -> None:
    import workflows

    config = ModelConfig.model_validate(PRESETS[preset or workflows.default_preset()].model_dump() | sizes)
    with _open(workspace) as opened:
        info = workflows.create_model(opened, name, config, seed)
    console.print(translate.gettext("cli.created", name=info.name, parameters=info.parameters), markup=False)


@books.command("add", help=translate.gettext("cli.books.add"))
def add_book(
    file: Path,
    workspace: WorkspaceOption = ROOT,
    name: Annotated[Optional[str], typer.Option()] = None,  # noqa: UP045
    encoding: Annotated[Optional[str], typer.Option()] = None,  # noqa: UP045
) -> None:
    import workflows

    with _told(), _open(workspace) as opened, file.open("rb") as stream:
        book = workflows.add_book(opened, file.name, stream, name=name, encoding=encoding, limit_bytes=sys.maxsize)
    console.print(f"{book.name}: {book.encoding}, {translate.number(book.characters)}", markup=False)


@books.command("list", help=translate.gettext("cli.books.list"))
def list_books(workspace: WorkspaceOption = ROOT) -> None:
    import workflows

    table = Table("", *(translate.gettext(f"cli.column.{key}") for key in ("title", "encoding", "characters")))
    with _told():
        for book in workflows.list_books(Workspace(workspace)):
            table.add_row(book.name, book.title, book.encoding, translate.number(book.characters))
    console.print(table)


@books.command("delete", help=translate.gettext("cli.books.delete"))
def delete_book(name: str, workspace: WorkspaceOption = ROOT) -> None:
    import workflows

    with _told(), _open(workspace) as opened:
        workflows.delete_book(opened, name)


@app.command(help=translate.gettext("cli.forecast"))
@with_options((TrainConfig, ""), (SelfPlayConfig, SELF_PLAY_PREFIX))
def forecast(
    model: str,
    book: Annotated[list[str], typer.Option("--book", help=translate.gettext("cli.option.book"))],
    workspace: WorkspaceOption = ROOT,
    endless: Annotated[bool, typer.Option("--endless", help=translate.gettext("cli.option.endless"))] = False,
    **options: Any,
) -> None:
    import workflows

    opened = Workspace(workspace)
    plan = workflows.prepare_training(opened, model, tuple(book), _train_config(options, endless=endless))
    with console.status(translate.gettext("js.forecast_measuring")):
        told = workflows.forecast(opened, plan, workflows.pace(opened, plan))
    for line in _forecast_lines(told):
        console.print(line, markup=False)


def _forecast_lines(told: workflows.Forecast) -> Iterator[str]:
    epoch = translate.duration(told.epoch_seconds)
    if told.total_seconds is None:
        yield translate.gettext("js.forecast_endless", epoch=epoch)
    else:
        yield translate.gettext("js.forecast_total", time=translate.duration(told.total_seconds))
    yield translate.gettext("js.forecast_speed", speed=translate.decimal(told.tokens_per_second, 0), epoch=epoch)
    if told.epochs is not None:
        yield translate.gettext("js.forecast_epochs", epochs=translate.decimal(told.epochs, 1))
    needed, ratio = translate.bytes(told.training_bytes), translate.decimal(told.tokens_per_parameter, 2)
    yield translate.gettext("js.forecast_memory", needed=needed, ratio=ratio)


@app.command(help=translate.gettext("cli.train"))
@with_options((TrainConfig, ""), (SelfPlayConfig, SELF_PLAY_PREFIX))
def train(
    model: str,
    book: Annotated[list[str], typer.Option("--book", help=translate.gettext("cli.option.book"))],
    workspace: WorkspaceOption = ROOT,
    endless: Annotated[bool, typer.Option("--endless", help=translate.gettext("cli.option.endless"))] = False,
    **options: Any,
) -> None:
    """Also what each process of a torchrun started by hand runs."""
    import workflows

    wanted = _train_config(options, endless=endless)
    workflows.use_one_heap()
    with workflows.joined() as ranks:
        if ranks.world_size > 1:
            wanted = wanted.model_copy(update={"devices": ranks.world_size})
        if not ranks.is_main:
            workflows.follow(
                workflows.work(Workspace(workspace), workflows.TrainingPlan(model, tuple(book), wanted), ranks)
            )
            return
        with _open(workspace) as opened:
            plan = workflows.prepare_training(opened, model, tuple(book), wanted)
            _show(workflows.train(opened, plan, ranks), anywhere=ranks.world_size == 1)


def _show(run: Iterator[Event], *, anywhere: bool) -> None:
    """Consume a training under a progress bar. The first Ctrl+C stops and saves, `anywhere` or at the end of an iteration."""
    stopping: list[int] = []
    signal.signal(signal.SIGINT, lambda *_: stopping.append(1))
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=None)
        for event in run:
            _advance(progress, task, event)
            if stopping and (anywhere or isinstance(event, IterationDone)):
                run.close()  # type: ignore[attr-defined]
                progress.console.print(translate.gettext("state.stopped"), markup=False)
                return


def _advance(progress: Progress, task: TaskID, event: Event) -> None:
    match event:
        case StageBegun():
            progress.update(task, description=translate.gettext(f"stage.{event.stage}"))
        case RunStarted():
            progress.update(task, completed=event.iteration, total=event.iterations)
        case IterationDone():
            progress.update(task, completed=event.iteration, description=f"loss {event.loss:.3f}")
        case Evaluated():
            line = f"{event.iteration:>7}  val_loss {event.val_loss:.4f}  bits_per_byte {event.bits_per_byte:.4f}"
            progress.console.print(line + ("  *" if event.is_best else ""), markup=False)
        case SelfPlayDone():
            parts = ", ".join(f"{name} {value:.3f}" for name, value in event.reward_breakdown.items())
            line = f"{event.iteration:>7}  reward {event.reward:.3f} ({parts})  kl {event.kl:.3f}"
            progress.console.print(line, markup=False)
        case SampleWritten():
            progress.console.print(f"         {event.prompt}{event.text}", markup=False, style="dim")
        case Notice():
            progress.console.print(translate.gettext(f"notice.{event.code}", **event.parameters), markup=False)


@app.command(help=translate.gettext("cli.generate"))
@with_options((SamplingConfig, ""))
def generate(
    model: str,
    prompt: str,
    workspace: WorkspaceOption = ROOT,
    version: Annotated[Literal["best", "last"], typer.Option()] = "best",
    **options: Any,
) -> None:
    import workflows

    options |= {"stop": tuple(options["stop"])} if "stop" in options else {}
    sampling = SamplingConfig.model_validate(options)
    pieces = workflows.generate(
        Workspace(workspace), model, prompt, sampling, cache=workflows.ModelCache(), version=version
    )
    print(prompt, end="", flush=True)
    for piece in pieces:
        print(piece.text, end="", flush=True)
    print()


@app.command(help=translate.gettext("cli.export"))
def export(
    model: str,
    workspace: WorkspaceOption = ROOT,
    format: Annotated[str, typer.Option()] = "hf",
    output: Annotated[Optional[Path], typer.Option("--output", "-o")] = None,  # noqa: UP045
) -> None:
    import workflows
    from workspace import replace_atomic

    with _told():
        exported = workflows.export_model(Workspace(workspace), model, format)
        target = output or Path(exported.filename)
        replace_atomic(target.resolve(), lambda temporary: _write(temporary, exported.chunks))
    console.print(str(target), markup=False)


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)


@app.command(
    help=translate.gettext("cli.serve"), context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def serve(context: typer.Context) -> None:
    import server

    raise typer.Exit(server.main(context.args))


@app.command("parameters", help=translate.gettext("cli.parameters"))
def show_parameters(language: Annotated[str, typer.Option()] = "en") -> None:
    print(parameters_table(language))


def parameters_table(language: str) -> str:
    """Every parameter as a Markdown table, in one language; the READMEs hold exactly this."""
    t = i18n.translator(language)
    configs = ((ModelConfig, ""), (TrainConfig, ""), (SelfPlayConfig, "self_play."), (SamplingConfig, ""))
    lines = [
        "| " + " | ".join(t.gettext(f"cli.column.{key}") for key in ("name", "default", "bounds", "meaning")) + " |"
    ]
    lines.append("|---|---|---|---|")
    for config, prefix in configs:
        lines += [_row(t, p, prefix) for p in parameters(config)]
    return "\n".join(lines)


def _row(t: i18n.Translator, parameter: Parameter, prefix: str) -> str:
    if parameter.choices:
        bounds = ", ".join(parameter.choices)
    else:
        low = (
            "" if parameter.minimum is None else f"{'>' if parameter.exclusive_minimum else '≥'} {parameter.minimum:g}"
        )
        high = (
            "" if parameter.maximum is None else f"{'<' if parameter.exclusive_maximum else '≤'} {parameter.maximum:g}"
        )
        bounds = ", ".join(part for part in (low, high) if part)
    default = "–" if parameter.default in (None, ()) else str(parameter.default)
    meaning = (t.field(prefix + parameter.name, "help") or "").replace("|", "\\|").replace("\n", " ")
    return f"| `{prefix}{parameter.name}` | {default} | {bounds} | {meaning} |"


def main() -> None:
    """Run a command; a rank of torchrun ends without taking Python down (machine/processes.py)."""
    if "WORLD_SIZE" not in os.environ:
        app()
        return
    import workflows

    with workflows.ending_at_once():
        app()


if __name__ == "__main__":
    main()
