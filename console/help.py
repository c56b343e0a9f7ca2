"""Translate a typer application into the console's language: help, headings and errors about wrong options."""

from __future__ import annotations

import re
from typing import Any

import typer
from pydantic import ValidationError

import i18n
from console.options import FIELD, field_help
from console.output import from_pydantic
from errors import AZRError, InvalidInput

UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer exports only this subclass

_FIXED = ("Usage", "Options", "Commands", "Arguments")
_EXTRAS = (("[required]", "required"), ("default: ", "default_is"), ("env var: ", "env_var"))


def translated(app: typer.Typer, translator: i18n.Translator) -> Any:
    """Return the application as a command, with every text in one language."""
    command = typer.main.get_command(app)
    _translate(command, translator)
    return command


def _translate(command: Any, translator: i18n.Translator) -> None:
    command.help = translator.gettext(command.help) if command.help else None
    command.short_help = command.help  # else the list of commands cuts it
    for parameter in command.params:
        if text := getattr(parameter, "help", None):
            is_field = text.startswith(FIELD)
            parameter.help = field_help(text, translator) if is_field else translator.gettext(text)
    command.context_class = _context_class(command.context_class, translator)
    for inner in getattr(command, "commands", {}).values():
        _translate(inner, translator)


def _context_class(base: Any, translator: i18n.Translator) -> Any:
    class Formatter(base.formatter_class):  # type: ignore[misc]
        def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
            super().write_usage(f"python {prog}", args, translator.gettext("cli.help.Usage") + ": ")

        def write_heading(self, heading: str) -> None:
            known = heading in _FIXED
            super().write_heading(translator.gettext(f"cli.help.{heading}") if known else heading)

        def write_dl(self, rows: Any, *arguments: Any, **named: Any) -> None:
            super().write_dl([(name, _extras(text, translator)) for name, text in rows], *arguments, **named)

    class Context(base):  # type: ignore[misc]
        formatter_class = Formatter

    return Context


def _extras(text: str, translator: i18n.Translator) -> str:
    if text == "Show this message and exit.":
        return translator.gettext("cli.help.help")
    for english, key in _EXTRAS:
        text = text.replace(english, translator.gettext(f"cli.help.{key}"))
    return text


def usage_error(error: Exception, translator: i18n.Translator) -> str:
    """Return the sentence for a command line that typer could not parse, and the command that shows the help."""
    return f"{_sentence(error, translator)}\n{translator.gettext('cli.usage.more', command=_command(error))}"


def _command(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"python {context.command_path if context else 'start.py cli'} --help"


def _sentence(error: Exception, translator: i18n.Translator) -> str:
    name = _parameter_name(error)
    match type(error).__name__:
        case "MissingParameter":
            return translator.gettext("cli.usage.missing", name=name)
        case "NoSuchOption":
            return translator.gettext("cli.usage.no_option", name=str(getattr(error, "option_name", "")))
        case "BadOptionUsage":
            key = "no_value" if " requires " in str(error) else "takes_no_value"
            return translator.gettext(f"cli.usage.{key}", name=str(getattr(error, "option_name", "")))
        case "BadParameter" if isinstance(error.__cause__, ValidationError):
            return translator.error(_wrong_value(error.__cause__, name))
    message = str(getattr(error, "message", error))
    if found := re.match(r"No such command '(.*?)'", message):
        return translator.gettext("cli.usage.no_command", name=found[1])
    if found := re.match(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", message):
        return translator.gettext("cli.usage.extra", values=found[1])
    return translator.gettext("cli.usage.other", message=message)


def _wrong_value(refused: ValidationError, name: str) -> AZRError:
    first = refused.errors()[0]
    if choices := re.search(r"is not one of (.*?)\.?$", first["msg"]):
        return InvalidInput(field=name, reason="literal_error", value=str(first["input"]), expected=choices[1])
    return from_pydantic(refused, name)


def _parameter_name(error: Exception) -> str:
    parameter = getattr(error, "param", None)
    if parameter is None:
        return ""
    return next((option for option in parameter.opts if option.startswith("--")), str(parameter.name))
