"""Derive the options of commands from config.py, and print the parameters as a table for the READMEs.

Help texts are keys until `console.help` translates them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Optional

import typer

import i18n
from config import Config, ModelConfig, Parameter, SamplingConfig, SelfPlayConfig, TrainConfig, parameters
from console.output import errors_as_sentences

SELF_PLAY_PREFIX = "self_play_"
FIELD = "field:"  # before the name of a parameter, in place of its help text
_KINDS: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "text": str,
    "texts": list[str],
    "numbers": list[float],
}


def with_options(*configs: tuple[type[Config], str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each field of the configurations; the command receives those that were set."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        taken = {parameter.name for parameter in own}
        derived = [_option(p, prefix) for config, prefix in configs for p in parameters(config) if p.name not in taken]

        def run(**values: Any) -> None:
            chosen = {name: value for name, value in values.items() if name in taken or value not in (None, [])}
            with errors_as_sentences():
                command(**chosen)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = signature.replace(parameters=[*own, *derived])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *derived]}
        return run

    return decorate


def _option(parameter: Parameter, prefix: str) -> inspect.Parameter:
    kind: Any = Literal[parameter.choices] if parameter.choices else _KINDS[parameter.kind]
    flag = "--" + (prefix + parameter.name).replace("_", "-")
    flags = f"{flag}/--no-{flag[2:]}" if parameter.kind == "bool" else flag
    default = "" if parameter.default is None or parameter.default == () else f" [{parameter.default}]"
    named = (prefix.rstrip("_") + "." if prefix else "") + parameter.name
    annotation = Annotated[Optional[kind], typer.Option(flags, help=f"{FIELD}{named}{default}")]  # noqa: UP045
    return inspect.Parameter(
        prefix + parameter.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def field_help(text: str, translator: i18n.Translator) -> str:
    """Return the help of a derived option, with its default.

    >>> field_help("field:dropout [0.1]", i18n.translator("en"))[-6:]
    ' [0.1]'
    """
    name, space, default = text.removeprefix(FIELD).partition(" ")
    return (translator.field(name, "help") or "") + space + default


def train_config(options: dict[str, Any], *, endless: bool) -> TrainConfig:
    """Return the settings of a training from the options that were set. Raises ValidationError."""
    own: dict[str, Any] = {"iterations": None} if endless else {}
    self_play: dict[str, Any] = {}
    for name, value in options.items():
        if name.startswith(SELF_PLAY_PREFIX):
            self_play[name.removeprefix(SELF_PLAY_PREFIX)] = tuple(value) if isinstance(value, list) else value
        elif not (endless and name == "iterations"):
            own[name] = tuple(value) if isinstance(value, list) else value
    return TrainConfig.model_validate(own | {"self_play": self_play})


# ---- the table in the READMEs ----------------------------------------------------------------------------------------


def parameters_table(language: str) -> str:
    """Return all parameters as a Markdown table in one language, exactly as in the READMEs."""
    return "\n".join(_table_lines(i18n.translator(language)))


def _table_lines(t: i18n.Translator) -> Iterator[str]:
    columns = (t.gettext(f"cli.column.{key}") for key in ("name", "default", "bounds", "meaning"))
    yield "| " + " | ".join(columns) + " |"
    yield "|---|---|---|---|"
    configs = ((ModelConfig, ""), (TrainConfig, ""), (SelfPlayConfig, "self_play."), (SamplingConfig, ""))
    for config, prefix in configs:
        for parameter in parameters(config):
            default = "–" if parameter.default in (None, ()) else str(parameter.default)
            meaning = (t.field(prefix + parameter.name, "help") or "").replace("|", "\\|").replace("\n", " ")
            yield f"| `{prefix}{parameter.name}` | {default} | {_bounds(parameter)} | {meaning} |"


def _bounds(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(parameter.choices)
    least, most = parameter.minimum, parameter.maximum
    low = "" if least is None else f"{'>' if parameter.exclusive_minimum else '≥'} {least:g}"
    high = "" if most is None else f"{'<' if parameter.exclusive_maximum else '≤'} {most:g}"
    return ", ".join(part for part in (low, high) if part)
