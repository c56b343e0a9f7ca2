"""The library's cards and the comparison of two models: drawings, what they read and wrote, one text for both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from starlette.testclient import TestClient

from tests.web.page_tree import Node, parse
from tests.web.web_client import BOOK_NAME, assert_error, expect
from web.drawings import CLOTHS, cover, sparkline


def load(client: TestClient, address: str) -> Node:
    answer = client.get(address, headers={"Accept": "text/html", "Accept-Language": "ru"})
    assert answer.status_code == 200, address
    return parse(answer.text)


def test_cover_follows_from_the_name_alone() -> None:
    assert cover("Поэт") == cover("Поэт")
    names = [f"модель {number}" for number in range(60)]
    assert len({cover(name) for name in names}) > 40
    assert all(any(cloth in cover(name) for name in names) for cloth, _ in CLOTHS)


@pytest.mark.parametrize("name", ["<b>&", "«а»", "…", "1"])
def test_cover_of_any_name_is_sound_svg(name: str) -> None:
    assert ElementTree.fromstring(cover(name)).tag == "{http://www.w3.org/2000/svg}svg"


def test_sparkline_stays_in_its_box() -> None:
    assert sparkline([3.0, 1.0, 2.0]) == "0.0,2.0 60.0,30.0 120.0,16.0"
    assert sparkline([1.0]) == "0.0,2.0"


def test_cover_is_an_address_of_its_own(client: TestClient, make_model: Callable[[str], Any]) -> None:
    make_model("поэт")
    answer = client.get(f"/models/{quote('поэт')}/cover.svg")
    assert (answer.headers["content-type"], answer.text) == ("image/svg+xml", cover("поэт"))
    assert_error(client.get("/models/никто/cover.svg"), 404, "model_not_found")


def test_card_shows_a_sentence_the_curve_and_the_books(client: TestClient, trained: str) -> None:
    card = load(client, "/library").one(f"[data-model={trained}]")
    sample = client.get(f"/training_history?model={trained}").json()["samples"][-1]
    assert card.one(".model-words").text.rstrip("…") in " ".join((sample["prompt"] + sample["text"]).split())
    assert len(card.one(".sparkline polyline")["points"].split()) == 10
    assert [link["href"] for link in card.all(".model-books a")] == [f"/library/{quote(BOOK_NAME)}"]
    assert client.delete(f"/books/{quote(BOOK_NAME)}").status_code == 204
    card = load(client, "/library").one(f"[data-model={trained}]")
    assert (card.one(".model-books").text, card.all(".model-books a")) == (BOOK_NAME, [])


def test_models_are_compared_side_by_side(client: TestClient, trained: str, make_model: Callable[[str], Any]) -> None:
    assert load(client, "/compare").one(".empty a")["href"] == "/training"
    assert not load(client, "/library").all("#compare-form")
    make_model("другая")
    assert load(client, "/compare").all(".empty"), "a model that cannot write yet is not compared"
    expect(client.post(f"/models/{quote(trained)}/duplicate", json={"name": "копия"}), 201)
    assert load(client, "/library").one("#compare-form")["action"] == "/compare"
    page = load(client, f"/compare?model={quote('копия')}&model={quote('никто')}")
    assert [option["value"] for option in page.all("#choose option[selected]")] == ["копия", trained]
    assert not page.all(".is-different")
    assert page.one("nav.tabs a[aria-current]")["href"] == "/library"
    assert page.one("#f-book option[selected]")["value"] == BOOK_NAME


def test_model_is_measured_on_a_book_that_it_need_not_know(
    client: TestClient, trained: str, make_model: Callable[[str], Any], make_book: Callable[..., Any]
) -> None:
    make_book("чужая", "Мельник слушал, как шумит вода, и ждал первых подвод. " * 200)
    wish = {"model": trained, "book": BOOK_NAME}
    known = expect(client.post("/measure", json=wish), 200)
    other = expect(client.post("/measure", json=wish | {"book": "чужая"}), 200)
    assert 0 < known["bits_per_byte"] < other["bits_per_byte"]
    assert known == expect(client.post("/measure", json=wish), 200)
    assert_error(client.post("/measure", json=wish | {"book": "нет"}), 404, "book_not_found")
    assert_error(client.post("/measure", json=wish | {"model": "нет"}), 404, "model_not_found")
    make_model("новая")
    assert_error(client.post("/measure", json=wish | {"model": "новая"}), 409, "no_tokenizer")


def test_book_in_figures_names_the_models_that_read_it(client: TestClient, trained: str) -> None:
    found = expect(client.get(f"/books/{quote(BOOK_NAME)}/statistics"), 200)
    assert (found["models"], found["is_whole"], found["frequent"][0][1]) == ([trained], True, 120)
    assert_error(client.get("/books/нет/statistics"), 404, "book_not_found")


def test_library_shows_the_model_that_was_imported_now(client: TestClient, make_model: Callable[[str], Any]) -> None:
    make_model("поэт")
    assert load(client, f"/library?imported={quote('поэт')}").one(".imported a")["href"] == "#model-поэт"
    assert not load(client, f"/library?imported={quote('никто')}").all(".imported")


def test_each_half_of_the_library_leads_to_the_other(client: TestClient, trained: str) -> None:
    for address, current in (("/library", "Модели 1"), ("/library?tab=books", "Книги 1")):
        page = load(client, address)
        assert [link["href"] for link in page.all(".subtabs a")] == ["/library", "/library?tab=books"]
        assert page.one(".subtabs [aria-current]").text == current
        assert page.one("nav.tabs a[aria-current]")["href"] == "/library"
