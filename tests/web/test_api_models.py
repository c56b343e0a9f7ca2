"""Models over HTTP: presets and sizes, estimates, the list, deletion, the download."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any, get_args
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

import config
import workflows
from tests.web.web_client import MODEL, TINY_MODEL, assert_error, expect, status_when, train
from web.schemas import Preset
from workspace import Workspace


def test_create_answers_with_the_model_and_its_address(client: TestClient) -> None:
    answer = client.post("/create_model", json={"name": "мой поэт", **TINY_MODEL, "seed": 5})
    body = expect(answer, 201)
    assert (body["name"], body["trained"], body["config"]["d_model"]) == ("мой поэт", False, 32)
    assert body["parameters"] > 20_000
    assert answer.headers["location"] == "/models/%D0%BC%D0%BE%D0%B9%20%D0%BF%D0%BE%D1%8D%D1%82"
    assert expect(client.get(answer.headers["location"]), 200)["name"] == "мой поэт"


def test_create_fills_from_the_preset_what_is_not_given(client: TestClient) -> None:
    body = expect(client.post("/create_model", json={"name": "a", "preset": "small", "num_layers": 1}), 201)
    assert body["config"] == {**config.PRESETS["small"].model_dump(), "num_layers": 1}


@pytest.mark.parametrize(("card", "preset"), [(False, "small"), (True, "medium")])
def test_create_without_a_preset_is_small_without_a_graphics_card(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, card: bool, preset: str
) -> None:
    monkeypatch.setattr(workflows, "has_graphics_card", lambda: card)
    bodies: list[dict[str, Any]] = [{}, {"preset": preset}]
    counts = [expect(client.post("/estimate", json=body), 200)["parameters"] for body in bodies]
    assert counts[0] == counts[1] > 0
    assert expect(client.get("/parameters"), 200)["default_preset"] == preset


def test_estimate_of_a_model_suggests_iterations_for_its_books(
    client: TestClient, make_model: Callable[[str], Any], make_book: Callable[[str], Any]
) -> None:
    make_model("a")
    make_book("книга")
    found = expect(client.post("/estimate", json={"model": "a", "books": ["книга"]}), 200)
    assert found["parameters"] == expect(client.post("/estimate", json=TINY_MODEL), 200)["parameters"]
    assert found["suggested_iterations"] > 0
    assert expect(client.post("/estimate", json={"model": "a"}), 200)["suggested_iterations"] is None
    assert_error(client.post("/estimate", json={"model": "никто"}), 404, "model_not_found")


def test_presets_of_the_request_are_those_of_the_configuration() -> None:
    assert set(get_args(Preset)) == set(config.PRESETS)


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"preset": "huge"}, "preset", "invalid_input"),
        ({"preset": None}, "preset", "invalid_input"),
        ({"preset": ["small"]}, "preset", "invalid_input"),
        ({"num_heads": 3}, "num_heads", "heads_do_not_divide"),
        ({"d_model": "32"}, "d_model", "invalid_input"),
        ({"d_model": 10**30}, "d_model", "invalid_input"),
        ({"vocab_size": 256}, "vocab_size", "invalid_input"),
        ({"colour": "red"}, "colour", "invalid_input"),
        ({"name": "a/b"}, "name", "invalid_name"),
        ({"name": "x" * 100_000}, "name", "invalid_input"),
        ({"name": None}, "name", "invalid_input"),
        ({"seed": -1}, "seed", "invalid_input"),
    ],
)
def test_create_names_the_field_that_is_wrong(
    client: TestClient, change: dict[str, Any], field: str, code: str
) -> None:
    answer = client.post("/create_model", json={"name": "a", **TINY_MODEL, **change})
    assert_error(answer, 422, code, field)
    assert expect(client.get("/models"), 200) == {"models": []}


def test_create_lists_every_wrong_field(client: TestClient) -> None:
    answer = client.post("/create_model", json={"name": 5, "d_ff": -1, "seed": "x"})
    error = assert_error(answer, 422)
    assert {detail["field"] for detail in error["details"]} == {"name", "d_ff", "seed"}
    assert error["message"] == error["details"][0]["message"]


def test_errors_come_in_the_language_of_the_request(client: TestClient) -> None:
    russian = client.get("/models/nobody", headers={"Accept-Language": "ru-RU,ru;q=0.9"})
    assert (
        assert_error(russian, 404, "model_not_found")["message"]
        == "Модели «nobody» нет. Проверьте имя в списке моделей."
    )
    client.cookies.set("azr_language", "en")
    remembered = client.get("/models/nobody", headers={"Accept-Language": "ru"})
    assert (
        assert_error(remembered)["message"]
        == "There is no model called “nobody”. Check the name in the list of models."
    )


def test_taken_name_is_a_conflict_whatever_its_case(client: TestClient, make_model: Callable[[str], Any]) -> None:
    make_model("Поэт")
    assert_error(client.post("/create_model", json={"name": "ПОЭТ", **TINY_MODEL}), 409, "name_taken", "name")


def test_models_are_listed_and_deleted(client: TestClient, make_model: Callable[[str], Any]) -> None:
    make_model("a")
    make_model("b")
    assert [model["name"] for model in expect(client.get("/models"), 200)["models"]] == ["a", "b"]
    answer = client.delete("/models/a")
    assert (answer.status_code, answer.content) == (204, b"")
    assert [model["name"] for model in expect(client.get("/models"), 200)["models"]] == ["b"]
    assert_error(client.delete("/models/a"), 404, "model_not_found")


def test_deleted_model_is_brought_back_within_the_hour(client: TestClient, trained: str) -> None:
    page = lambda: client.get("/library", headers={"Accept-Language": "en"}).text  # noqa: E731
    assert client.delete(f"/models/{quote(trained)}").status_code == 204
    (deleted,) = expect(client.get("/deleted_models"), 200)["models"]
    assert (deleted["name"], deleted["bytes"] > 0) == (trained, True)
    assert f"The model “{trained}” was deleted." in page()
    answer = client.post(f"/deleted_models/{quote(trained)}/restore")
    assert (expect(answer, 200)["iteration"], answer.headers["location"]) == (10, f"/models/{quote(trained)}")
    assert f"The model “{trained}” was deleted." not in page()
    assert_error(client.post(f"/deleted_models/{quote(trained)}/restore"), 404, "model_not_found")


def test_model_is_deleted_for_good_where_that_is_wished(client: TestClient, make_model: Callable[[str], Any]) -> None:
    make_model("a")
    make_model("b")
    assert client.delete("/models/a").status_code == client.delete("/deleted_models/a").status_code == 204
    assert client.delete("/models/b?forever=true").status_code == 204
    assert expect(client.get("/deleted_models"), 200)["models"] == []


def test_model_in_training_is_not_deleted(client: TestClient, trained: str) -> None:
    train(client, iterations=None)
    assert_error(client.delete(f"/models/{quote(trained.upper())}"), 409, "in_use")
    client.post("/stop_training")
    status_when(client, lambda status: status["state"] == "stopped")
    assert client.delete(f"/models/{quote(trained)}").status_code == 204


def test_estimate_counts_before_anything_exists(client: TestClient, make_book: Callable[[str], Any]) -> None:
    characters = make_book("книга")["characters"]
    alone = expect(client.post("/estimate", json=TINY_MODEL), 200)
    assert (alone["tokens"], alone["tokens_per_parameter"]) == (None, None)
    body = expect(client.post("/estimate", json={**TINY_MODEL, "books": ["книга"], "train": {"batch_size": 1}}), 200)
    assert body["parameters"] == alone["parameters"]
    assert 0 < body["tokens"] <= characters
    assert body["tokens_per_parameter"] == pytest.approx(body["tokens"] / body["parameters"], rel=0.01)
    assert expect(client.get("/models"), 200) == {"models": []}
    assert_error(client.post("/estimate", json={**TINY_MODEL, "books": ["nobody"]}), 404, "book_not_found")


def test_download_is_a_zip_under_the_models_own_name(client: TestClient, trained: str) -> None:
    answer = client.get("/download_model", params={"model": trained, "format": "hf"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quote(trained)}.zip"
    assert "content-length" not in answer.headers
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
            name.split("/")[-1] for name in archive.namelist()
        }


def test_download_of_gguf_says_its_length(client: TestClient, trained: str) -> None:
    answer = client.get("/download_model", params={"model": trained, "format": "gguf", "type": "q8_0"})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quote(trained)}-q8_0.gguf"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.content[:4] == b"GGUF"


def test_download_of_the_checkpoint_holds_the_newest_one(client: TestClient, trained: str) -> None:
    answer = client.get("/download_model", params={"model": trained, "format": "checkpoint"})
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = {name.split("/", 2)[-1] for name in archive.namelist()}
    assert {"config.json", "model.safetensors", "azr.json"} <= names
    assert sum(name.endswith("/manifest.json") for name in names) == 1


def test_export_is_tested_before_it_is_downloaded_and_says_so(client: TestClient, trained: str) -> None:
    wish = {"model": trained, "format": "gguf", "type": "f16"}
    answer = client.post("/check_export", json=wish, headers={"Accept-Language": "en"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
    assert events == ["stage", "stage", "stage", "stage", "done"]
    done = json.loads(answer.text.rsplit("data: ", 1)[1])
    assert done["passed"] and done["sentence"].startswith("Tested: weights, ")
    offered = expect(client.get(f"/models/{quote(trained)}/exports", headers={"Accept-Language": "en"}), 200)["exports"]
    files = {(offer["format"], file["type"]): file["tested"] for offer in offered for file in offer["files"]}
    assert files["gguf", "f16"] == files["ollama", "f16"] == done
    assert files["gguf", "f32"] is None
    page = client.get("/library", headers={"Accept-Language": "en"}).text
    assert page.count(done["sentence"]) == 2
    card = client.get("/download_model", params={"model": trained, "format": "card"}).text
    assert "| gguf f16 | yes |" in card


def test_export_that_fails_its_test_is_not_handed_out(
    client: TestClient, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.self_test._is_close", lambda *_: False)
    answer = client.get("/download_model", params={"model": trained, "format": "gguf"})
    assert "weights" in assert_error(answer, 500, "export_failed")["message"]
    page = client.get("/library", headers={"Accept-Language": "en"}).text
    assert page.count("data-failed") == 2  # of GGUF, and of Ollama's zip with the same file
    assert client.get("/download_model", params={"model": trained, "format": "card"}).status_code == 200


def test_unknown_export_is_refused_before_it_is_tested(client: TestClient, trained: str) -> None:
    for wish, field in (({"format": "exe"}, "format"), ({"format": "gguf", "type": "q9"}, "type")):
        assert_error(client.post("/check_export", json={"model": trained, **wish}), 415, "unsupported_format", field)
    nobody = client.post("/check_export", json={"model": "nobody", "format": "hf"})
    assert "event: error" in nobody.text and "model_not_found" in nobody.text


def test_download_of_the_card_is_markdown(client: TestClient, trained: str) -> None:
    answer = client.get("/download_model", params={"model": trained, "format": "card"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
    assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quote(trained)}.md"
    assert "## Trainings" in answer.text


def test_download_of_a_model_with_a_subfolder_is_a_zip(client: TestClient, trained: str, workspace: Workspace) -> None:
    (workspace.model_folder(trained) / "notes").mkdir()
    answer = client.get("/download_model", params={"model": trained})
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize(
    ("format", "ending"), [("hf", "zip"), ("checkpoint", "zip"), ("gguf", "gguf"), ("ollama", "zip")]
)
def test_model_that_was_downloaded_is_imported_under_a_free_name(
    client: TestClient, trained: str, format: str, ending: str
) -> None:
    content = client.get("/download_model", params={"model": trained, "format": format}).content
    answer = client.post("/import_model", files={"file": (f"{trained}.{ending}", content)})
    body = expect(answer, 201)
    assert (body["name"], body["trained"]) == (f"{trained} (2)", True)
    assert expect(client.get(answer.headers["location"]), 200)["lineage"] == body["lineage"]
    wish = {"model": body["name"], "prompt": "Все", "max_new_tokens": 3, "temperature": 0}
    texts = [
        expect(client.post("/generate", json=wish | {"model": name}), 200)["text"] for name in (trained, body["name"])
    ]
    assert texts[0] == texts[1] or format in ("gguf", "ollama")


def test_import_refuses_what_is_no_model_and_names_the_file(client: TestClient, trained: str) -> None:
    answer = client.post(
        "/import_model", files={"file": ("../стихи.md", b"no model")}, headers={"Accept-Language": "en"}
    )
    assert "“стихи” is not a model" in assert_error(answer, 422, "model_refused", "file")["message"]
    content = client.get("/download_model", params={"model": trained}).content
    taken = client.post("/import_model", files={"file": ("a.zip", content)}, data={"name": trained.upper()})
    assert_error(taken, 409, "name_taken", "name")
    assert [model["name"] for model in expect(client.get("/models"), 200)["models"]] == [trained]
    assert_error(client.post("/import_model", json={}), 415, "unsupported_format")


def test_model_is_renamed_with_its_checkpoints_and_keeps_its_notes(
    client: TestClient, trained: str, workspace: Workspace
) -> None:
    body = expect(client.patch(f"/models/{quote(trained)}", json={"notes": "до ужина"}), 200)
    assert (body["name"], body["notes"]) == (trained, "до ужина")
    answer = client.patch(f"/models/{quote(trained)}", json={"name": "Прозаик"})
    body = expect(answer, 200)
    assert (body["name"], body["notes"], body["iteration"] > 0) == ("Прозаик", "до ужина", True)
    assert_error(client.get(f"/models/{quote(trained)}"), 404, "model_not_found")
    assert expect(client.get(f"/training_history?model={quote('Прозаик')}"), 200)["iterations"]
    assert "# Прозаик" in client.get("/download_model", params={"model": "Прозаик", "format": "card"}).text
    with zipfile.ZipFile(io.BytesIO(client.get("/download_model", params={"model": "Прозаик"}).content)) as archive:
        assert "Прозаик/notes.txt" not in archive.namelist()
    assert workflows.last_run(workspace).model == "Прозаик"


def test_model_may_change_the_case_of_its_name_and_not_take_another_ones(
    client: TestClient, trained: str, make_model: Callable[[str], Any]
) -> None:
    make_model("другая")
    assert_error(client.patch(f"/models/{quote(trained)}", json={"name": "ДРУГАЯ"}), 409, "name_taken", "name")
    assert_error(client.patch(f"/models/{quote(trained)}", json={"name": "a/b"}), 422, "invalid_name", "name")
    assert_error(client.patch("/models/никто", json={"name": "x"}), 404, "model_not_found")
    assert (
        expect(client.patch(f"/models/{quote(trained)}", json={"name": trained.upper()}), 200)["name"]
        == trained.upper()
    )


def test_model_is_duplicated_with_its_newest_checkpoint(client: TestClient, trained: str, workspace: Workspace) -> None:
    answer = client.post(f"/models/{quote(trained)}/duplicate", json={})
    body = expect(answer, 201)
    assert (body["name"], body["trained"]) == (f"{trained} (2)", True)
    steps = [path.name for path in workspace.checkpoint_folder(body["name"]).glob("step-*")]
    assert len(steps) == 1
    assert workflows.last_run(workspace).model == trained, "and not its copy"
    assert client.delete(f"/models/{quote(trained)}").status_code == 204
    status = train(client, model=body["name"], iterations=2)
    assert status["job_id"]
    assert status_when(client, lambda status: status["state"] == "done")["iteration"] == 12
    assert_error(
        client.post(f"/models/{quote(body['name'])}/duplicate", json={"name": body["name"]}), 409, "name_taken"
    )


def test_model_in_training_is_neither_renamed_nor_duplicated(client: TestClient, trained: str) -> None:
    train(client, iterations=None)
    assert_error(client.patch(f"/models/{quote(trained)}", json={"name": "x"}), 409, "in_use")
    assert_error(client.post(f"/models/{quote(trained)}/duplicate", json={}), 409, "in_use")
    assert expect(client.patch(f"/models/{quote(trained)}", json={"notes": "идёт"}), 200)["notes"] == "идёт"
    client.post("/stop_training")
    status_when(client, lambda status: status["state"] == "stopped")


@pytest.mark.parametrize("content", ["{", None], ids=["damaged", "lost"])
def test_a_model_whose_record_is_damaged_can_be_seen_and_deleted(
    client: TestClient, make_model: Callable[[str], Any], workspace: Workspace, content: str | None
) -> None:
    make_model("a")
    record = workspace.model_folder("a") / "azr.json"
    record.unlink() if content is None else record.write_text(content, encoding="utf-8")
    (listed,) = expect(client.get("/models"), 200)["models"]
    assert (listed["damaged"], listed["config"], listed["parameters"]) == ("azr.json", None, None)
    for page in ("/library", "/training", "/generation", "/"):
        assert client.get(page).status_code == 200
    page = client.get("/library", headers={"Accept-Language": "en"}).text
    assert "Put back a copy of its folder, or delete the model" in page
    assert client.delete("/models/a").status_code == 204


def test_only_damage_that_training_mends_is_answered_with_that_advice(
    client: TestClient, trained: str, workspace: Workspace
) -> None:
    for file, mended in (("model.safetensors", True), ("tokenizer.json", False), ("azr.json", False)):
        path = workspace.model_folder(trained) / file
        whole = path.read_bytes()
        path.write_bytes(b"{")
        error = assert_error(client.post("/generate", json={"model": trained, "prompt": "x"}), 409, "model_damaged")
        page = client.get("/library", headers={"Accept-Language": "en"}).text
        assert ("Train it again" in error["message"], "Training it again restores" in page) == (mended, mended), file
        path.write_bytes(whole)


def test_download_refuses_unknown_models_and_formats(client: TestClient, trained: str) -> None:
    assert_error(client.get("/download_model?model=nobody"), 404, "model_not_found")
    assert_error(
        client.get("/download_model", params={"model": trained, "format": "exe"}), 415, "unsupported_format", "format"
    )
    wrong_type = client.get("/download_model", params={"model": trained, "format": "gguf", "type": "q9"})
    assert_error(wrong_type, 415, "unsupported_format", "type")
    assert_error(client.get("/download_model"), 422, "invalid_input", "model")


def test_parameters_describe_every_field_in_the_language_asked_for(client: TestClient) -> None:
    described = expect(client.get("/parameters", headers={"Accept-Language": "ru"}), 200)
    names = {group: [row["name"] for row in described[group]] for group in ("model", "train", "self_play", "sampling")}
    assert names["model"] == [name for name in config.ModelConfig.model_fields if name != "rope_theta"]
    assert names["self_play"] == list(config.SelfPlayConfig.model_fields)
    dropout = next(row for row in described["train"] if row["name"] == "dropout")
    assert (dropout["kind"], dropout["minimum"], dropout["maximum"], dropout["exclusive_maximum"]) == (
        "float",
        0,
        1,
        True,
    )
    assert all(row["label"] and row["help"] for group in names for row in described[group])
    assert any("а" <= letter <= "я" for letter in dropout["help"])
    assert described["presets"]["small"]["d_model"] == 128


def test_names_with_slashes_reach_no_route(client: TestClient) -> None:
    for path in ("/models/..%2F..%2Fetc", "/models/%2e%2e/x", "/books/a%5C..%5Cb", f"/models/{'x' * 5000}"):
        assert_error(client.get(path))


def test_trained_model_says_so(client: TestClient, trained: str) -> None:
    assert trained == MODEL
    body = expect(client.get(f"/models/{quote(trained)}"), 200)
    assert (body["trained"], body["books"], body["damaged"]) == (True, ["Анна Каренина"], None)
    (training,) = body["lineage"]
    assert (training["books"], training["from_iteration"]) == (["Анна Каренина"], 0)
    assert (training["val_loss"], training["iteration"]) == (body["val_loss"], body["iteration"])
    assert body["val_loss"] > 0


def test_download_of_a_plainly_named_model_is_named_for_every_program(client: TestClient) -> None:
    expect(client.post("/create_model", json={"name": "poet", **TINY_MODEL}), 201)
    answer = client.get("/download_model", params={"model": "poet", "format": "card"})
    assert answer.headers["content-disposition"] == 'attachment; filename="poet.md"'  # curl -OJ reads no other form
