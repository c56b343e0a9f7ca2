"""Translations from the catalogues in `locales/`, and numbers, sizes and durations in a person's language.

Code and templates name keys (`error.name_taken`, `field.dropout.help`), never sentences; the sentences stand in
`locales/<language>/LC_MESSAGES/messages.po` and are compiled in memory, so no build step can be forgotten. A value in a
sentence is written `{name}` and shown by its name and type: `..._bytes` as a size, `..._seconds` as a duration, numbers with
the language's separators.

    >>> translator("en").gettext("error.name_taken", name="poet")
    'The name “poet” is already taken. Choose another one.'

A key that no catalogue holds is a `MissingTranslation` warning (an error, and a KeyError, under the tests) and shows itself.
"""

from __future__ import annotations

import ctypes
import gettext
import io
import math
import os
import re
import string
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from babel import Locale
from babel.dates import format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent

from errors import AZRError

LANGUAGES = ("en", "ru")
DEFAULT_LANGUAGE = "en"
LOCALES = Path(__file__).resolve().parent / "locales"
UNKNOWN = "—"
_GROUPS = {"self_play": "self_play."}  # fields whose name another configuration uses for something else
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_LONGEST_VALUE = 80
_MOST_DIGITS = 10**21
_NEVER_CUT = ("field", "path", "what", "supported", "reason")
_LIMITS = ("ge", "gt", "le", "lt")
_CHANGE = re.compile(r"(?:^|, )([\w.]+): (.*?) → (.*?)(?=, [\w.]+: |$)")
_WITHOUT_VALUES = ("code", "kernels", "compiled")  # a digest, a compiler's whole version, yes or no


class MissingTranslation(UserWarning, KeyError):
    """A key without a sentence, or a sentence without one of its values."""


def negotiate(cookie: str | None, accept_language: str | None) -> str:
    """Choose the language of a request: the one in the cookie, else the browser's first choice, else English.

    >>> negotiate(None, "de;q=0.9, ru-RU;q=0.8, en;q=0.5")
    'ru'
    """
    if cookie in LANGUAGES:
        return cookie
    wishes = [_wish(part) for part in (accept_language or "")[:500].split(",")]
    fitting = [wish for wish in wishes if wish[1] in LANGUAGES and wish[0] > 0]
    return max(fitting, key=lambda wish: wish[0], default=(0, DEFAULT_LANGUAGE))[1]


def console_language() -> str:
    """Choose the language of the console: AZR_LANGUAGE, else the display language of Windows, else the locale variables.

    start.py, which imports nothing of ours, repeats this rule.
    """
    if (wanted := os.environ.get("AZR_LANGUAGE", "")) in LANGUAGES:
        return wanted
    if sys.platform == "win32":
        return "ru" if ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF == 0x19 else DEFAULT_LANGUAGE
    values = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    first = next((value for value in values if value), "")
    return "ru" if first.lower().startswith("ru") else DEFAULT_LANGUAGE


def _wish(part: str) -> tuple[float, str]:
    tag, _, quality = part.strip().partition(";q=")
    try:
        weight = float(quality or 1)
    except ValueError:
        weight = 0.0
    return (weight if math.isfinite(weight) else 0.0, tag.strip().split("-")[0].lower())


@cache
def translator(language: str) -> Translator:
    """Return the translator for one of LANGUAGES, or the default one for any other language."""
    language = language if language in LANGUAGES else DEFAULT_LANGUAGE
    with (LOCALES / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        catalog = read_po(file, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    plain: dict[str, Any] = {}
    for message in catalog:
        if message.id:
            plain[message.id if isinstance(message.id, str) else message.id[0]] = message.string
    return Translator(language, gettext.GNUTranslations(compiled), plain)


@dataclass(frozen=True, eq=False)
class Translator:
    """Sentences and numbers in one language. `sentences` holds each key's text, plural ones as a tuple of forms."""

    language: str
    translations: gettext.GNUTranslations
    sentences: Mapping[str, str | tuple[str, ...]]

    # ---- sentences ---------------------------------------------------------------------------------------------------

    def gettext(self, key: str, /, **parameters: Any) -> str:
        """Return the sentence under `key` with its values filled in."""
        if key not in self.sentences:
            warnings.warn(MissingTranslation(f"{key} ({self.language})"), stacklevel=2)
            return key
        return self._fill(self.translations.gettext(key), parameters)

    def ngettext(self, key: str, n: int, /, **parameters: Any) -> str:
        """Return the plural form of `key` for the number n, which the sentence shows as {n}.

        >>> translator("ru").ngettext("count.books", 2)
        '2 книги'
        """
        if key not in self.sentences:
            warnings.warn(MissingTranslation(f"{key} ({self.language})"), stacklevel=2)
            return f"{n} {key}"
        return self._fill(self.translations.ngettext(key, key, n), {"n": n, **parameters})

    def messages(self, *prefixes: str) -> dict[str, str | tuple[str, ...]]:
        """Return all sentences whose keys start with one of the prefixes, for the scripts of a page."""
        return {key: text for key, text in self.sentences.items() if key.startswith(prefixes)}

    def field(self, name: str, part: str = "label") -> str | None:
        """Return the label or help of an input such as `self_play.max_new_tokens`; None if the catalogue has none."""
        group, _, rest = name.partition(".")
        own = rest.split(".")[0] if group in _GROUPS and rest else group
        candidates = (f"field.{_GROUPS.get(group, '')}{own}.{part}", f"field.{own}.{part}")
        key = next((key for key in candidates if key in self.sentences), None)
        return None if key is None else self.gettext(key)

    def error(self, error: AZRError | Mapping[str, Any]) -> str:
        """Return the sentence for an error, given as an object or as its code, parameters and field."""
        if isinstance(error, AZRError):
            code, parameters, field = error.code, error.parameters, error.field
        else:
            code, parameters, field = str(error["code"]), error.get("parameters") or {}, error.get("field")
        keys = (f"error.{code}.{parameters.get('reason')}", f"error.{code}")
        key = next((key for key in keys if key in self.sentences), keys[-1])
        encoding = f"encoding.{parameters.get('encoding')}"
        named = {"encoding": self.gettext(encoding)} if encoding in self.sentences else {}
        sizes = self._sizes(parameters) if field and field.endswith("_bytes") else {}
        return self.gettext(key, **{**parameters, **named, **sizes, "field": self._named(field)})

    def _sizes(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Return the limits of an input in bytes as it wants them, and as a size."""
        return {
            name: f"{self.number(value)} ({self.bytes(value)})"
            for name, value in parameters.items()
            if name in _LIMITS and isinstance(value, int | float)
        }

    def notice(self, code: str, parameters: Mapping[str, Any]) -> str:
        """Return the sentence of a notice; what has changed since a checkpoint is told in words, without digests."""
        told = {"reason": self._changes(str(parameters["reason"]))} if "reason" in parameters else {}
        return self.gettext(f"notice.{code}", **{**parameters, **told})

    def _changes(self, reason: str) -> str:
        """Tell differences (`runs.reproducibility.differences`) to a person."""
        return ", ".join(self._change(*found) for found in _CHANGE.findall(reason)) or reason

    def _change(self, name: str, then: str, now: str) -> str:
        key = f"circumstance.{name}"
        label = self.field(name) or name
        what = self.gettext(key) if key in self.sentences else label[:1].lower() + label[1:]
        if name in _WITHOUT_VALUES or {then, now} <= {"None", "True", "False"}:
            return what
        then, now = (UNKNOWN if value == "None" else value for value in (then, now))
        return f"{what} {then} → {now}"

    def left_out(self, parts: Iterable[Any]) -> str:
        """Return the sentence about what was left out of a book (`LeftOut` values); "" where there was nothing."""
        listed = ", ".join(self.gettext(f"book.left_out.{part.code}", count=part.count) for part in parts)
        return self.gettext("book.left_out", what=listed) if listed else ""

    def language_name(self, code: str) -> str:
        """Return the name of a language in this one, the code itself where it has none.

        >>> translator("ru").language_name("de"), translator("en").language_name("tlh-x")
        ('немецкий', 'tlh-x')
        """
        return str(Locale.parse(self.language).languages.get(code.replace("-", "_"), code))

    def _named(self, field: str | None) -> str:
        if field is None:
            return self.gettext("error.field_unknown")
        label = self.field(field)
        return f"{label} ({field})" if label else field

    def _fill(self, sentence: str, parameters: Mapping[str, Any]) -> str:
        """Fill in each `{name}`; the content of the values is never interpreted."""
        parts = []
        for text, name, _, _ in string.Formatter().parse(sentence):
            parts.append(text)
            if name is not None:
                parts.append(self._value(name, parameters))
        return "".join(parts)

    def _value(self, name: str, parameters: Mapping[str, Any]) -> str:
        if name not in parameters:
            warnings.warn(MissingTranslation(f"no value for {{{name}}}"), stacklevel=2)
            return UNKNOWN
        value = parameters[name]
        if value is None or isinstance(value, bool) or not isinstance(value, int | float):
            text = UNKNOWN if value is None else str(value)
            return text if len(text) <= _LONGEST_VALUE or name in _NEVER_CUT else text[:_LONGEST_VALUE] + "…"
        if name.endswith("bytes"):
            return self.bytes(value)
        return self.duration(value) if name.endswith("seconds") else self.number(value)

    # ---- numbers -----------------------------------------------------------------------------------------------------

    def number(self, value: float | None) -> str:
        """Format a number with separators and all its digits: 12,345,678 or 0.0005; one of more digits than a person reads as 1e+30."""
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return UNKNOWN
        if abs(value) >= _MOST_DIGITS or 0 < abs(value) < 1 / _MOST_DIGITS:
            return f"{Decimal(value):.0e}"
        return format_decimal(Decimal(repr(value)), locale=self.language, decimal_quantization=False)

    def decimal(self, value: float | None, digits: int = 2) -> str:
        """Format a number with a fixed number of decimals."""
        if value is None or not math.isfinite(value):
            return UNKNOWN
        pattern = "#,##0." + "0" * digits if digits else "#,##0"
        return format_decimal(value, format=pattern, locale=self.language)

    def percent(self, share: float | None) -> str:
        """Format a share as whole percent: 0.214 -> 21%."""
        return (
            UNKNOWN
            if share is None
            else format_percent(
                share, format="#,##0%" if self.language == "en" else "#,##0\u00a0%", locale=self.language
            )
        )

    def bytes(self, value: float | None) -> str:
        """Format a size in the most readable unit: 850 B, 1.2 GB."""
        if value is None or not math.isfinite(value):
            return UNKNOWN
        power = min(int(math.log10(max(abs(value), 1)) // 3), len(_BYTE_UNITS) - 1)
        scaled = value / 1000**power
        shown = self.decimal(scaled, 1 if power and scaled < 100 else 0)
        return f"{shown} {self.gettext('unit.' + _BYTE_UNITS[power])}"

    def duration(self, seconds: float | None) -> str:
        """Format a duration in at most two units: 42 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
        if seconds is None or not math.isfinite(seconds):
            return UNKNOWN
        whole = max(0, round(seconds))
        sizes = (("unit.d", 86400), ("unit.h", 3600), ("unit.min", 60), ("unit.s", 1))
        first = next((i for i, (_, size) in enumerate(sizes) if whole >= size), len(sizes) - 1)
        shown: list[str] = []
        for unit, size in sizes[first : first + 2]:
            count, whole = divmod(whole, size)
            if count or not shown:
                shown.append(f"{count} {self.gettext(unit)}")
        return " ".join(shown)

    def date(self, iso: str | None) -> str:
        """Format an ISO 8601 instant as date and time in the time zone of this machine."""
        try:
            moment = datetime.fromisoformat(iso or "").astimezone()
        except (ValueError, OverflowError):
            return UNKNOWN
        pattern = "d MMMM y, HH:mm" if self.language == "ru" else "MMM d, y, HH:mm"
        return format_datetime(moment, format=pattern, locale=self.language)
