"""The pages as a browser gets them: five tabs in two languages, every parameter with label and help, nothing from elsewhere."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

import config
import workflows
from corpus.readers.formats import READERS
from i18n import LANGUAGES, translator
from tests.web.page_tree import Node, parse
from tests.web.web_client import assert_error, train, wait_until_over
from web.templating import STATIC
from workspace import Workspace

PAGES = {"create": "/", "training": "/training", "generation": "/generation", "library": "/library", "help": "/help"}
TABS = {
    "ru": ["Создать модель", "Обучение", "Генерация", "Мои модели", "Помощь"],
    "en": ["Create a model", "Training", "Generation", "My models", "Help"],
}
TAGLINE = "Absolute Zero Reasoner: самообучающаяся AI через Self-Play"
CONTROLS = ("input", "select", "textarea")
in_each_language = pytest.mark.parametrize("language", LANGUAGES)
on_each_page = pytest.mark.parametrize("name", [*PAGES, "form", "docs", "error"])


def load(client: TestClient, address: str, language: str = "ru") -> Node:
    answer = client.get(address, headers={"Accept": "text/html", "Accept-Language": language})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return parse(answer.text)


def address_of(name: str) -> str:
    return {**PAGES, "form": "/create", "docs": "/docs", "error": "/no-such-page"}[name]


@pytest.fixture
def furnished(make_model: Callable[[str], Any], make_book: Callable[[str], Any]) -> None:
    """A model and a book, so that no page is empty."""
    make_model("поэт")
    make_book("Анна Каренина")


# ---- every page ------------------------------------------------------------------------------------------------------


@in_each_language
@on_each_page
def test_frame_has_language_title_tabs_and_landmarks(client: TestClient, name: str, language: str) -> None:
    page = load(client, address_of(name), language)
    assert page.one("html")["lang"] == language
    assert page.one("title").text.endswith("AZR Model Trainer")
    tabs = page.all(".tabs a")
    assert [tab.text for tab in tabs] == TABS[language]
    assert [tab["href"] for tab in tabs] == list(PAGES.values())
    tab_of = {"form": "create"}.get(name, name)
    assert [tab.text for tab in page.all(".tabs [aria-current=page]")] == [
        text for text, tab in zip(TABS[language], PAGES, strict=True) if tab == tab_of
    ]
    assert page.one("a.skip")["href"] == "#" + page.one("main")["id"]
    assert len(page.all("h1")) == 1
    assert page.all("header.masthead")
    assert page.all("footer")


def test_head_carries_the_products_words(client: TestClient) -> None:
    masthead = load(client, "/", "ru").one(".masthead")
    assert masthead.one(".brand-name").text == "AZR Model Trainer"
    assert masthead.one(".tagline").text == TAGLINE


@in_each_language
@on_each_page
@pytest.mark.usefixtures("furnished")
def test_nothing_inline_and_nothing_from_elsewhere(client: TestClient, name: str, language: str) -> None:
    page = load(client, address_of(name), language)
    for node in page.walk():
        assert not [a for a in node.attributes if a == "style" or a.startswith("on")], node
        assert node.tag != "style"
        for attribute in ("href", "src", "action"):
            address = node.attributes.get(attribute, "/")
            assert address.startswith(("/", "#")), address
            assert not address.startswith("//"), address
    inline = [script for script in page.all("script") if "src" not in script.attributes]
    assert {script["type"] for script in inline} == {"application/json"}
    for script in inline:
        json.loads("".join(str(child) for child in script.children))


@on_each_page
@pytest.mark.usefixtures("furnished")
def test_static_files_exist_and_carry_their_version(client: TestClient, name: str) -> None:
    page = load(client, address_of(name))
    addresses = [node["src"] for node in page.all("script[src]")] + [node["href"] for node in page.all("link")]
    assert len(addresses) > 5
    for address in addresses:
        assert re.fullmatch(r"/static/[\w./-]+\?v=[0-9a-f]{12}", address), address
        assert client.get(address).status_code == 200, address


@in_each_language
@on_each_page
@pytest.mark.usefixtures("furnished")
def test_every_control_is_labelled_and_every_reference_leads_somewhere(
    client: TestClient, name: str, language: str
) -> None:
    page = load(client, address_of(name), language)
    ids = [node["id"] for node in page.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    labels = {label.attributes.get("for") for label in page.all("label") if label.text}
    for control in (node for tag in CONTROLS for node in page.all(tag)):
        wrapped = any(ancestor.tag == "label" and ancestor.text for ancestor in control.up())
        assert control.attributes.get("id") in labels or wrapped or control.attributes.get("aria-label"), (
            control.attributes
        )
    for node in page.walk():
        for attribute in ("aria-describedby", "aria-labelledby", "for"):
            assert set(node.attributes.get(attribute, "").split()) <= set(ids), node.attributes
    for button in page.all("button"):
        assert button.text or button.attributes.get("aria-label") or button.attributes.get("id") == "copy", (
            button.attributes
        )


def test_browsers_without_a_wish_get_english(client: TestClient) -> None:
    assert parse(client.get("/").text).one("html")["lang"] == "en"


# ---- the change of language ------------------------------------------------------------------------------------------


def test_language_is_remembered_and_leads_back(client: TestClient) -> None:
    answer = client.get("/language/ru?next=/training%3Fmodel%3Dx", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/training?model=x")
    assert load(client, "/", "en").one("html")["lang"] == "ru"


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "evil"]
)
def test_language_leads_nowhere_else(client: TestClient, elsewhere: str) -> None:
    answer = client.get("/language/ru", params={"next": elsewhere}, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_unknown_language_is_refused(client: TestClient) -> None:
    assert client.get("/language/xx", follow_redirects=False).status_code == 422


@pytest.mark.usefixtures("furnished")
def test_language_links_keep_the_address(client: TestClient) -> None:
    link = load(client, "/training?model=поэт").one(".languages a[lang=en]")
    answer = client.get(link["href"], follow_redirects=False)
    assert client.get(answer.headers["location"]).url.params["model"] == "поэт"


# ---- create ----------------------------------------------------------------------------------------------------------


def _in_the_form(kind: type[config.Config]) -> list[config.Parameter]:
    """All but the weights of books, which stand at the books."""
    return [parameter for parameter in config.parameters(kind) if parameter.name != "book_weights"]


def assert_form_shows(
    page: Node, kind: type[config.Config], language: str, group: str = "", values: config.Config | None = None
) -> None:
    """Each parameter has its control with bounds and default, or one of `values` instead, its label and its help."""
    t = translator(language)
    for parameter in _in_the_form(kind):
        if values is not None:
            parameter = dataclasses.replace(parameter, default=getattr(values, parameter.name))
        name = group + parameter.name
        control = page.one(f"[name={name}]")
        assert control["data-kind"] == parameter.kind
        shown = control.attributes.get("value")
        if parameter.kind == "int":
            assert float(control["min"]) == parameter.minimum
            assert (None if shown is None else float(shown)) == parameter.default
        if parameter.kind == "float":  # in the language's own notation: 0.002 or 0,002
            assert shown == (None if parameter.default is None else t.number(parameter.default))
        if parameter.kind == "choice":
            assert [o["value"] for o in control.all("option")] == list(parameter.choices)
        label = next(label for label in page.all("label") if label.attributes.get("for") == control["id"])
        assert label.text.startswith(str(t.field(name)))
        help_ = page.one(f"#{control['id']}-help")
        assert help_.text == " ".join(str(t.field(name, "help")).split())
        assert "popover" in help_.attributes and page.one(f"[popovertarget={help_['id']}]")["aria-label"]
        assert control["aria-describedby"] == f"{control['id']}-help {control['id']}-error"


@in_each_language
def test_create_shows_every_size_with_help(client: TestClient, language: str) -> None:
    form = load(client, "/create", language).one("#create-form")
    preset = config.PRESETS[workflows.default_preset()]
    assert_form_shows(form, config.ModelConfig, language, values=preset)


@in_each_language
def test_create_offers_presets_with_their_parameters(client: TestClient, language: str) -> None:
    cards = load(client, "/create", language).all(".preset")
    assert [card.one("input")["value"] for card in cards] == list(config.PRESETS)
    assert [card.one("input")["value"] for card in cards if "checked" in card.one("input").attributes] == [
        workflows.default_preset()
    ]
    point = "," if language == "ru" else "."
    for card, low, high in zip(cards, (2, 10, 50), (5, 30, 200), strict=True):
        millions = re.search(rf"(\d+{re.escape(point)}\d)", card.one(".preset-count").text)
        assert millions, card.text
        assert low <= float(millions[1].replace(",", ".")) <= high


@in_each_language
def test_first_page_shows_the_promise_and_two_buttons(client: TestClient, language: str) -> None:
    page = load(client, "/", language)
    assert page.one("h1").text == translator(language).gettext("page.first.heading").replace("\u00a0", " ")
    assert page.one("#try-example").text == translator(language).gettext("page.first.example")
    assert page.one("#take-own").text == translator(language).gettext("page.first.own")
    assert page.one("#upload-file")["type"] == "file"
    assert "/create" in [link["href"] for link in page.all(".first-links a")]


@in_each_language
def test_first_page_shows_what_one_training_wrote_at_three_iterations(client: TestClient, language: str) -> None:
    texts = [sample.text for sample in load(client, "/", language).all(".first-sample blockquote")]
    found = json.loads((STATIC / "samples.json").read_text(encoding="utf-8"))[language]
    assert [step["iteration"] for step in found["steps"]] == [0, 100, 1000]
    assert all(text.startswith(found["prompt"]) and len(text) > 100 for text in texts)
    losses = [step["val_loss"] for step in found["steps"]]
    assert losses == sorted(losses, reverse=True)


def test_first_page_makes_way_for_the_form_once_there_is_a_model(
    client: TestClient, make_model: Callable[[str], Any]
) -> None:
    assert not load(client, "/").all("#create-form")
    assert load(client, "/create").all("#create-form")
    make_model("поэт")
    assert load(client, "/").all("#create-form")


def test_only_the_first_model_has_a_coach(client: TestClient, make_model: Callable[[str], Any]) -> None:
    make_model("поэт")
    assert load(client, "/training").one("#coach")["data-model"] == "поэт"
    make_model("прозаик")
    assert not load(client, "/training").all("#coach")


@pytest.mark.usefixtures("furnished")
def test_create_offers_the_books_and_ticks_the_only_one(client: TestClient, make_book: Callable[[str], Any]) -> None:
    picks = load(client, "/").all(".pick")
    assert [pick.one("input")["value"] for pick in picks] == ["Анна Каренина"]
    assert "11\u00a0040 символов" in " ".join(str(c) for c in picks[0].one(".note").children)
    assert "checked" in picks[0].one("input").attributes
    make_book("Война и мир")
    for page in ("/create", "/training"):
        ticked = load(client, f"{page}?book=Война и мир").all("[name=books][checked]")
        assert [box["value"] for box in ticked if box["value"]] == ["Война и мир"]


def test_create_folds_the_sizes_and_keeps_the_button_beside_the_estimate(client: TestClient) -> None:
    page = load(client, "/create")
    assert "open" not in page.one("#sizes").attributes
    for parameter in config.parameters(config.ModelConfig):
        assert any(node.attributes.get("id") == "sizes" for node in page.one(f"[name={parameter.name}]").up())
    assert any(node.attributes.get("id") == "estimate" for node in page.one("#create").up())


# ---- training --------------------------------------------------------------------------------------------------------


@in_each_language
@pytest.mark.usefixtures("furnished")
def test_training_shows_every_parameter_with_help(client: TestClient, language: str) -> None:
    form = load(client, "/training", language).one("#train-form")
    assert_form_shows(form, config.TrainConfig, language)
    assert_form_shows(form, config.SelfPlayConfig, language, "self_play.")


@in_each_language
@pytest.mark.usefixtures("furnished")
def test_training_has_a_weight_at_each_book_and_explains_it(client: TestClient, language: str) -> None:
    form = load(client, "/training", language).one("#train-form")
    books = form.all("#books [data-book]")
    assert books and all(book.one("[data-book-part=weight]")["value"] == "1" for book in books)
    help_ = form.one("#book-weights-help")
    assert help_.text == " ".join(str(translator(language).field("book_weights", "help")).split())


@pytest.mark.usefixtures("furnished")
def test_training_has_everything_but_the_length_in_groups_of_a_drawer(client: TestClient) -> None:
    form = load(client, "/training").one("#train-form")
    for kind, group in ((config.TrainConfig, ""), (config.SelfPlayConfig, "self_play.")):
        for parameter in _in_the_form(kind):
            above = list(form.one(f"[name={group}{parameter.name}]").up())
            groups = [node for node in above if "drawer-group" in node.attributes.get("class", "")]
            assert len(groups) == (parameter.name != "iterations"), parameter.name


@pytest.mark.usefixtures("furnished")
def test_training_puts_the_settings_first_until_there_is_a_run(client: TestClient) -> None:
    assert order_on_the_page(client) == ["queue", "setup", "live"]


def test_training_puts_the_run_first_once_there_is_one(client: TestClient, trained: str) -> None:
    assert order_on_the_page(client) == ["live", "setup"]
    assert "open" in load(client, "/training").one("#setup").attributes  # nothing trains now


def order_on_the_page(client: TestClient) -> list[str]:
    parts = load(client, "/training").one("#training").children
    return [part["id"] for part in parts if isinstance(part, Node) and part.tag != "template"]


@pytest.mark.usefixtures("furnished")
def test_training_shows_the_four_stages_in_order(client: TestClient) -> None:
    page = load(client, "/training", "en")
    assert [stage["data-stage"] for stage in page.all(".stages li")] == ["supervised", "self_play", "reward", "update"]


def test_training_without_a_model_leads_to_creating_one(client: TestClient) -> None:
    page = load(client, "/training")
    assert page.one(".empty a")["href"] == "/"
    assert not page.all("#train-form")


def test_training_takes_the_model_from_the_address(client: TestClient, make_model: Callable[[str], Any]) -> None:
    make_model("поэт")
    make_model("прозаик")
    for wanted in ("поэт", "прозаик"):
        page = load(client, f"/training?model={wanted}")
        assert page.one("#f-model option[selected]")["value"] == wanted


@in_each_language
@pytest.mark.parametrize("address", ["/training", "/generation"])
@pytest.mark.usefixtures("furnished")
def test_page_says_when_the_model_of_its_address_is_not_there(client: TestClient, address: str, language: str) -> None:
    said = load(client, f"{address}?model=призрак", language).one("#unknown-model").text
    assert "призрак" in said
    assert "поэт" in said
    assert not load(client, f"{address}?model=поэт", language).all("#unknown-model")


@pytest.mark.usefixtures("furnished")
def test_the_only_book_is_chosen_already(client: TestClient, make_book: Callable[[str], Any]) -> None:
    assert "checked" in load(client, "/training").one("#books [name=books]").attributes
    make_book("Вторая")
    boxes = load(client, "/training").all("#books [name=books]")
    assert ["checked" in box.attributes for box in boxes] == [False, False]


def test_training_offers_the_settings_of_the_last_run(client: TestClient, trained: str) -> None:
    data = json.loads(str(load(client, "/training").one("#page-data").children[0]))
    (model,) = data["models"]
    assert (model["name"], model["trained"], model["iteration"]) == (trained, True, 10)
    assert model["settings"]["iterations"] == 10
    assert model["settings"]["self_play"]["enabled"] is True


def lose_text_and_original(books: Path) -> None:
    (books / "злая.txt").unlink()
    (books / "злая.original").write_bytes(b"\0")


def put_a_folder_in_place_of_the_text(books: Path) -> None:
    (books / "злая.txt").unlink()
    (books / "злая.txt").mkdir()


@pytest.mark.parametrize("damage", [lose_text_and_original, put_a_folder_in_place_of_the_text])
def test_a_damaged_book_is_marked_with_what_can_be_done(
    client: TestClient,
    workspace: Workspace,
    make_model: Callable[[str], Any],
    make_book: Callable[[str], Any],
    damage: Callable[[Path], None],
) -> None:
    make_model("поэт")
    make_book("злая")
    damage(workspace.books)
    for address in ("/training", "/library?tab=books"):
        book = load(client, address, "en").one("[data-book=злая]")
        assert "is-damaged" in book["class"]
        assert "delete the book and add it again" in book.one(".book-notices").text.lower()
    assert_error(client.get("/books/злая"), 409, "book_damaged")
    assert client.delete("/books/злая").status_code == 204
    assert not load(client, "/library?tab=books").all("[data-book=злая]")


def test_a_book_is_shown_as_text(
    client: TestClient, make_model: Callable[[str], Any], make_book: Callable[[str], Any]
) -> None:
    make_model("поэт")
    make_book("злая", "<script>alert(1)</script> & <b>слова</b> " * 300)
    for address in ("/training", "/library?tab=books"):
        preview = load(client, address).one("#books .preview")
        assert preview.text.startswith("<script>alert(1)</script> & <b>")
        assert not preview.all("script")


# ---- generation and library ------------------------------------------------------------------------------------------


@in_each_language
@pytest.mark.usefixtures("furnished")
def test_generation_shows_every_parameter_with_help(client: TestClient, language: str) -> None:
    assert_form_shows(load(client, "/generation", language).one("#generate-form"), config.SamplingConfig, language)


@pytest.mark.usefixtures("furnished")
def test_generation_knows_which_models_can_write(client: TestClient) -> None:
    data = load(client, "/generation").one("#page-data")
    assert json.loads(str(data.children[0]))["trained"] == {"поэт": False}


def test_generation_begins_like_the_samples_of_the_model(client: TestClient, trained: str) -> None:
    page = load(client, "/generation")
    data = json.loads(str(page.one("#page-data").children[0]))
    begun = client.get(f"/training_history?model={trained}").json()["samples"][0]["prompt"]
    assert data["prompts"] == {trained: begun}
    assert page.one("#f-prompt").text == begun


@pytest.mark.usefixtures("furnished")
def test_address_of_generation_names_the_model_and_the_beginning(client: TestClient, trained: str) -> None:
    page = load(client, f"/generation?model={trained}&prompt={quote('<b>Однажды & всегда')}")
    data = json.loads(str(page.one("#page-data").children[0]))
    assert page.one("#f-model option[selected]")["value"] == data["asked"] == trained
    assert page.one("#f-prompt").text == data["begun"] == "<b>Однажды & всегда"
    assert json.loads(str(load(client, "/generation").one("#page-data").children[0]))["begun"] is None


@pytest.mark.usefixtures("furnished")
def test_sliders_and_moods_hold_values_that_the_server_accepts(client: TestClient) -> None:
    data = json.loads(str(load(client, "/generation").one("#page-data").children[0]))
    numbers = {p.name: p for p in config.parameters(config.SamplingConfig) if p.kind in ("int", "float")}
    assert set(data["sliders"]) == set(numbers) - {"seed"}
    for name, (least, most, step) in data["sliders"].items():
        assert step > 0
        for value in (least, most):
            config.SamplingConfig.model_validate({name: value})
        assert least <= numbers[name].default <= most
    for mood in data["moods"].values():
        config.SamplingConfig.model_validate(mood)
    assert data["moods"]["usual"] == {name: numbers[name].default for name in data["moods"]["usual"]}


def test_generation_without_a_model_leads_to_creating_one(client: TestClient) -> None:
    assert load(client, "/generation").one(".empty a")["href"] == "/"


@pytest.mark.usefixtures("furnished")
def test_an_untrained_model_can_be_trained_and_not_downloaded(client: TestClient) -> None:
    card = load(client, "/library").one("[data-model=поэт]")
    assert [link["href"] for link in card.all(".model-actions a")] == ["/training?model=%D0%BF%D0%BE%D1%8D%D1%82"]


def test_a_trained_model_can_write_go_on_and_be_downloaded(client: TestClient, trained: str) -> None:
    card = load(client, "/library", "en").one(f"[data-model={trained}]")
    addresses = [link["href"].split("?")[0] for link in card.all(".model-actions a")]
    assert addresses == ["/generation", "/training"]
    assert {link["href"].split("?")[0] for link in card.all(".downloads a")} == {"/download_model"}
    offered = [link["href"].partition("&format=")[2] for link in card.all(".downloads a")]
    types = ["f32", "f16", "bf16", "q8_0"]
    typed = [f"{form}&type={kind}" for form in ("gguf", "ollama") for kind in types]
    assert offered == ["hf", *typed, "checkpoint", "card"]
    assert all(link["download"] is not None for link in card.all(".downloads a"))
    assert card.one(".model-state").text == "10 iterations"
    assert any("Анна Каренина" in facts.text for facts in card.all(".facts"))
    assert load(client, "/generation").one("#f-model option[selected]")["value"] == trained


@in_each_language
def test_library_lists_every_training_with_its_books_and_figures(
    client: TestClient, trained: str, make_book: Callable[..., Any], language: str
) -> None:
    card = load(client, "/library", language).one(f"[data-model={trained}]")
    assert not card.all(".lineage li")  # one training needs no list
    make_book("Вторая", "Мельник слушал, как шумит вода, и ждал первых подвод. " * 200)
    train(client, books=["Вторая"], iterations=10)
    assert wait_until_over(client)["state"] == "done"
    trainings = load(client, "/library", language).one(f"[data-model={trained}]").all(".lineage li")
    assert len(trainings) == 2
    assert trainings[0].text.startswith("Анна Каренина") and "1–10" in trainings[0].text
    assert trainings[1].text.startswith("Вторая") and "11–20" in trainings[1].text


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize("address", ["/training", "/library?tab=books"])
def test_the_file_dialog_offers_the_endings_of_every_format(
    client: TestClient, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READERS, "other", dataclasses.replace(READERS["txt"], endings=(".other", ".oth")))
    offered = load(client, address).one("#upload-file")["accept"].split(",")
    assert {".txt", ".fb2", ".other", ".oth", ".zip", "text/plain"} <= set(offered)


def test_an_empty_library_tells_what_to_do(client: TestClient) -> None:
    page = load(client, "/library")
    assert "hidden" not in page.one("#models-empty").attributes
    page = load(client, "/library?tab=books")
    assert "hidden" not in page.one("#books-empty").attributes


@in_each_language
def test_a_browser_gets_errors_as_a_page(client: TestClient, language: str) -> None:
    answer = client.get("/download_model?model=x", headers={"Accept": "text/html", "Accept-Language": language})
    assert answer.status_code == 404
    page = parse(answer.text)
    told = translator(language).gettext("error.model_not_found", name="x")
    assert [f"{page.one('h1').text}.", page.one(".error-page .lead").text] == re.split(r"(?<=\.) ", told)
    assert page.one("title").text.startswith(page.one("h1").text)


# ---- the page of a book ----------------------------------------------------------------------------------------------


def test_page_of_a_book_tells_what_is_known_about_it(client: TestClient, trained: str) -> None:
    name = client.get("/books").json()["books"][0]["name"]
    client.patch(f"/books/{name}", json={"title": "Роман", "author": "Лев Толстой", "language": "ru"})
    page = load(client, f"/library/{name}")
    assert page.one("h1").text == "Роман"
    assert page.one(".lead").text.startswith("Лев Толстой · ")
    assert page.one("nav.tabs a[aria-current]")["href"] == "/library"
    assert page.one("#f-language option[selected]")["value"] == "ru"
    assert page.one(".learned a")["href"] == f"/training?model={quote(trained)}"
    assert page.one("#beginning").text.startswith("Все счастливые семьи")
    row = next(row for row in load(client, "/library?tab=books").all(".book") if row["data-book"] == name)
    links = [link["href"] for link in row.all("a")]
    assert links == [f"/library/{quote(name)}", f"/training?model={quote(trained)}", f"/library/{quote(name)}"]
    assert row.one(".book-facts").text.startswith("Лев Толстой · русский · ")


def test_page_of_a_book_lists_what_was_left_out(client: TestClient) -> None:
    client.post("/books", json={"title": "Сон", "text": "Сад."})
    assert load(client, "/library/Сон").all(".left-out") == []
    client.post("/upload_book", files={"file": ("a.srt", b"1\n00:00:01,000 --> 00:00:02,000\n<i>Hi</i>\n")})
    assert [item.text for item in load(client, "/library/a", "en").all(".left-out li")] == ["times (1)"]


def test_page_of_a_book_that_is_not_there_is_the_page_for_errors(client: TestClient) -> None:
    assert "«нет»" in load(client, "/library/нет").one("h1").text
    assert client.get("/library/нет", headers={"Accept": "text/html"}).status_code == 404
