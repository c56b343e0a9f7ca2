"""run.json: written atomically, read whatever stands in it, the last run found without a clock."""

from __future__ import annotations

import json
import math
import os
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workflows
from events import Notice, State
from i18n import MissingTranslation, translator
from runs import run_record
from tests.runs.conftest import ws
from tests.store.store_kit import NAME
from tests.web.web_client import expect, running
from web.answers import to_json
from web.api_training import status_json
from workspace import Workspace

pytestmark = pytest.mark.slow  # seconds of processor time

__all__ = ["ws"]

RECORD: dict[str, Any] = {
    "state": "done", "model": NAME, "books": ["Война и мир"], "iteration": 10, "iterations": 10, "loss": 4.5, "number": 1,
    "measured": None, "error": None, "config": None, "elapsed_seconds": 3.0,
}  # fmt: skip


def test_the_run_is_remembered(ws: Workspace) -> None:
    assert run_record.read_run(ws, NAME) is None and run_record.last_run_name(ws) is None
    run_record.write_run(ws, NAME, {"state": "running", "loss": math.nan, "books": ("Война и мир",)})
    assert run_record.read_run(ws, NAME) == {"state": "running", "loss": None, "books": ["Война и мир"]}
    assert run_record.last_run_name(ws) == NAME


def test_a_broken_run_file_is_no_run(ws: Workspace) -> None:
    run_record.write_run(ws, NAME, {})
    for content in (b"", b"\xff\xfe", b"[1]", b'{"state": "run', b"[" * 100_000):
        (ws.checkpoint_folder(NAME) / "run.json").write_bytes(content)
        assert run_record.read_run(ws, NAME) is None


# ---- the last run --------------------------------------------------------------------------------------------------------


def test_the_last_run_does_not_depend_on_the_clock(ws: Workspace) -> None:
    for name in ("b", "a", "c"):
        run_record.write_run(ws, name, {"number": run_record.next_number(ws)})
    ahead = 2**31
    os.utime(ws.checkpoint_folder("b") / "run.json", (ahead, ahead))  # written while the clock was years ahead
    assert run_record.last_run_name(ws) == "c"
    run_record.write_run(ws, "a", {"number": run_record.next_number(ws)})
    assert run_record.last_run_name(ws) == "a"


def test_runs_without_a_number_are_older_and_ordered_by_the_clock(ws: Workspace) -> None:
    for second, name in enumerate(("b", "a")):
        run_record.write_run(ws, name, {})
        os.utime(ws.checkpoint_folder(name) / "run.json", (1000 + second, 1000 + second))
    assert run_record.last_run_name(ws) == "a"
    run_record.write_run(ws, "b", {"number": run_record.next_number(ws)})
    assert run_record.last_run_name(ws) == "b"


@pytest.mark.parametrize("number", ["x", None, -1, 10**400, 1e300, [], True])
def test_a_number_that_nobody_gave_does_not_count(ws: Workspace, number: Any) -> None:
    run_record.write_run(ws, "a", {"number": 5})
    run_record.write_run(ws, "b", {"number": number})
    assert (run_record.last_run_name(ws), run_record.next_number(ws)) == ("a", 6)


# ---- records of any origin -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"state": "hibernating"}, "state"),
        ({"books": None}, "books"),
        ({"books": ["a", 5], "loss": "low"}, "books, loss"),
        ({"iteration": 10**400, "measured": [1]}, "iteration, measured"),
        ({"error": {"code": "unheard_of"}}, "error"),
        ({"error": {"code": "disk_full", "parameters": [1]}}, "error"),
        ({"sample": "\ud800"}, "sample"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_rest_is_shown(change: dict[str, Any], fields: str) -> None:
    status = run_record.status_of(NAME, RECORD | change)
    assert [notice.parameters["fields"] for notice in status.notices] == [fields]
    assert status.model == NAME
    assert status.state is (State.INTERRUPTED if "state" in change else State.DONE)
    assert status.elapsed_seconds == 3.0


def test_a_sound_record_needs_no_notice() -> None:
    assert run_record.status_of(NAME, RECORD).notices == ()
    later = run_record.status_of(NAME, RECORD | {"invented_later": [1]})
    assert later == run_record.status_of(NAME, RECORD)


def test_a_record_that_is_no_json_is_told() -> None:
    status = run_record.status_of(NAME, None)
    assert (status.state, status.notices[0].code) == (State.INTERRUPTED, "record_unreadable")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([10**400, -(10**30), "done", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["code", "parameters", "field", "x"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(workflows.TrainingStatus.__dataclass_fields__)), VALUES, max_size=6))
def test_any_record_becomes_a_status_that_can_be_sent(changes: dict[str, Any]) -> None:
    status = run_record.status_of(NAME, json.loads(json.dumps(RECORD | changes)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingTranslation)  # an error that lost its parameters is still shown
        for language in ("ru", "en"):
            json.loads(to_json(status_json(status, translator(language))))
    assert all(isinstance(notice, Notice) for notice in status.notices)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "7", "{", '{"state": 5}', '{"books": null}', '{"state": "zzz", "books": {"a": 1}}', '{"config": []}',
     '{"state": "done", "iteration": 1e400, "config": null, "error": []}', "[" * 100_000],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_server_starts_and_serves_its_pages_with_any_record(tmp_path: Any, content: str) -> None:
    workspace = Workspace(tmp_path)
    folder = workspace.checkpoints / "поэт"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(content, encoding="utf-8")
    with running(workspace) as client:
        status = expect(client.get("/training_status"), 200)
        assert (status["state"], status["model"]) == ("interrupted" if "done" not in content else "done", "поэт")
        for page in ("/", "/training", "/generation", "/library"):
            assert client.get(page).status_code == 200
