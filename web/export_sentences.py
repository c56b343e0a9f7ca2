"""Say in a sentence what the test of an export found."""

from __future__ import annotations

from collections.abc import Sequence

import workflows
from i18n import Translator


def verdict_sentence(verdict: workflows.Verdict | None, translator: Translator) -> str:
    """Return what a test found, in a sentence; an empty one for a file that was not tested yet."""
    if verdict is None:
        return ""
    if not verdict.passed:
        return translator.gettext("export.failed", checks=_checks(verdict.failed, translator, verdict))
    done = ["weights"]
    done += ["tokens"] if verdict.tokens is not None else []
    done += ["text"] if verdict.text else []
    sentence = translator.gettext("export.passed", checks=_checks(done, translator, verdict))
    no_runtime = verdict.kind is not None and verdict.text is None
    return f"{sentence} {translator.gettext('export.no_runtime')}" if no_runtime else sentence


def _checks(checks: Sequence[str], translator: Translator, verdict: workflows.Verdict) -> str:
    return ", ".join(translator.gettext(f"export.check.{check}", tokens=verdict.tokens or 0) for check in checks)
