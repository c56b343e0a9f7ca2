"""The runs of a model, what remains of a training as files, how busy the computer is, and a training that repeats another one."""

from __future__ import annotations

import io
import json
import re
import zipfile

import pytest
import safetensors.torch
from starlette.testclient import TestClient

from tests.web.page_tree import parse
from tests.web.web_client import BOOK_NAME, assert_error, create, expect
from web.run_report import picked


def test_log_is_a_table_with_a_row_for_each_iteration(client: TestClient, trained: str) -> None:
    answer = client.get(f"/training_log?model={trained}")
    heading, *rows = answer.text.splitlines()
    assert answer.headers["content-type"].startswith("text/csv")
    assert heading.startswith("iteration,loss,learning_rate")
    assert [row.split(",")[0] for row in rows] == [str(n) for n in range(11)]  # and the check before the first


def test_runs_tell_their_iterations_and_checks(client: TestClient, trained: str) -> None:
    (run,) = expect(client.get(f"/training_runs?model={trained}"), 200)["runs"]
    assert (run["number"], run["from_iteration"], run["to_iteration"]) == (1, 0, 10)
    assert run["evaluations"]["iteration"][-1] == 10 and run["evaluations"]["val_loss"][-1] > 0


@pytest.mark.parametrize(("language", "word"), [("ru", "Книги"), ("en", "Books")])
def test_report_is_one_file_that_loads_nothing(client: TestClient, trained: str, language: str, word: str) -> None:
    client.cookies.set("azr_language", language)
    answer = client.get(f"/training_report?model={trained}")
    assert answer.headers["content-disposition"].startswith("attachment")
    page = parse(answer.text)
    assert page.one("h1").text == trained
    assert BOOK_NAME in page.text and word in page.text
    assert page.one("svg path.two")["d"].startswith("M")
    assert page.all("blockquote")
    assert not page.all("script") and not page.all("link") and not page.all("img")
    assert not re.search(r"https?://|url\(", answer.text)


def test_report_says_yes_and_no_in_words(client: TestClient, trained: str) -> None:
    rows = parse(client.get(f"/training_report?model={trained}").text).all("tr")
    assert "Start from token pairs yes" in [row.text.strip() for row in rows]


def test_report_of_an_imported_model_does_not_claim_to_be_from_scratch(client: TestClient, trained: str) -> None:
    assert "trained from scratch" in client.get(f"/training_report?model={trained}").text
    ours = client.get("/download_model", params={"model": trained, "format": "hf"}).content
    expect(client.post("/import_model", files={"file": ("чужая.zip", _as_if_made_elsewhere(ours))}), 201)
    report = client.get("/training_report?model=чужая").text
    assert "made elsewhere" in report and "from scratch" not in report


def _as_if_made_elsewhere(exported: bytes) -> bytes:
    """The zip of a model without what this program notes about its trainings."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(exported)) as before, zipfile.ZipFile(made, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name.endswith(".safetensors"):
                content = safetensors.torch.save(safetensors.torch.load(content), {"format": "pt"})
            if not name.endswith("azr.json"):
                after.writestr(name, content)
    return made.getvalue()


def test_report_leaves_notes_at_home(client: TestClient, trained: str) -> None:
    expect(client.patch(f"/models/{trained}", json={"notes": "только для меня"}), 200)
    assert "только для меня" not in client.get(f"/training_report?model={trained}").text


def test_files_of_an_untrained_model_are_empty_and_of_an_unknown_one_refused(client: TestClient) -> None:
    create(client, "новичок")
    assert len(client.get("/training_log?model=новичок").text.splitlines()) == 1
    assert "новичок" in client.get("/training_report?model=новичок").text
    assert expect(client.get("/training_runs?model=новичок"), 200) == {"runs": []}
    for address in ("/training_log", "/training_report", "/training_runs"):
        assert_error(client.get(f"{address}?model=призрак"), 404, "model_not_found")


def test_machine_reports_processor_time_that_only_grows(client: TestClient) -> None:
    first, second = (expect(client.get("/machine"), 200) for _ in range(2))
    assert second["at_seconds"] > first["at_seconds"]
    assert second["cpu_seconds"] >= first["cpu_seconds"] > 0
    assert first["cpu_count"] >= 1
    assert first["memory_bytes"] is None or first["memory_bytes"] > 10_000_000


def test_picked_values_include_both_ends() -> None:
    assert picked([1, 2, 3, 4, 5], 3) == [1, 3, 5]
    assert picked([1, 2], 3) == [1, 2]


def test_repeated_training_has_the_settings_and_books_of_the_other_one(client: TestClient, trained: str) -> None:
    create(client, "второй")
    page = parse(client.get(f"/training?model=второй&like={trained}").text)
    data = json.loads(str(page.one("#page-data").children[0]))
    second = next(model for model in data["models"] if model["name"] == "второй")
    assert (data["like"], second["books"], second["iteration"]) == (trained, [BOOK_NAME], 0)
    assert second["settings"]["iterations"] == 10
    assert [box["value"] for box in page.one("#books").all("[name=books][checked]")] == [BOOK_NAME]
