"""The Help pages: documents become pages, links and pictures work, HTML stays text, and the index holds what a search needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.testclient import TestClient

from i18n import LANGUAGES
from tests.web.page_tree import Node, parse
from tests.web.web_client import HERE, PORT, assert_error
from web import documents
from web.access import Access
from web.app import create_app
from web.network import Network
from workspace import Workspace

NAMES = [name for listed in documents.names("en", documents.DOCS).values() for name in listed]
in_each_language = pytest.mark.parametrize("language", LANGUAGES)


def rendered(text: str, path: str = "en/example.md") -> documents.Document:
    return documents.render(text, Path(path))


def load(client: TestClient, address: str, language: str = "en") -> Node:
    answer = client.get(address, headers={"Accept": "text/html", "Accept-Language": language})
    assert answer.status_code == 200, address
    return parse(answer.text)


# ---- Markdown --------------------------------------------------------------------------------------------------------


def test_html_in_a_document_is_shown_and_never_run() -> None:
    html = rendered("# A\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) <b>bold</b>\n").html
    assert "<script" not in html and "<b>" not in html and 'href="javascript' not in html
    assert "&lt;script&gt;" in html


def test_marks_of_generated_parts_are_left_out() -> None:
    assert "--" not in rendered("# A\n\n<!-- parameters -->\ntext\n<!-- /parameters -->\n").html


def test_headings_get_the_anchors_of_github_and_equal_ones_are_told_apart() -> None:
    found = rendered("# Что это?\n\n## `x` and *y*: the 2nd\n\n## Same\n\n## Same\n").headings
    assert [heading.anchor for heading in found] == ["что-это", "x-and-y-the-2nd", "same", "same-1"]
    assert found[1].text == "x and y: the 2nd"


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [
        ("quick-start.md", "/help/quick-start"),
        ("../architecture.md#rooms", "/help/architecture#rooms"),
        ("../ru/scaling.md", "/help/scaling?language=ru"),
        ("#here", "#here"),
        ("../img/create-en.png", "/help/img/create-en.png"),
        ("https://example.org/", "https://example.org/"),
    ],
)
def test_a_link_leads_to_the_page_of_its_document(link: str, leads_to: str) -> None:
    assert f'href="{leads_to}"' in rendered(f"[x]({link})").html


@pytest.mark.parametrize("link", ["../../README.md", "../../LICENSE"])
def test_a_link_to_a_file_without_a_page_leads_nowhere(link: str) -> None:
    assert "href" not in rendered(f"[x]({link})").html


def test_an_animation_is_shown_by_its_last_picture_which_leads_to_it() -> None:
    html = rendered("![first run](../img/tour-en.gif)").html
    assert '<a href="/help/img/tour-en.gif"><img src="/help/img/tour-en.png" alt="first run"' in html
    assert "<a" not in rendered("![first run](../img/tour-en.png)").html


def test_sections_hold_the_plain_words_under_each_heading() -> None:
    found = rendered("# A\n\nSome **bold** `code`\ntext.\n\n## B\n\n| x | y |\n|---|---|\n| 1 | 2 |\n").sections
    assert [(section.heading, section.text) for section in found] == [("A", "Some bold code text."), ("B", "x y 1 2")]


def test_the_empty_corner_of_a_table_is_no_heading() -> None:
    html = rendered("|  | x |\n|---|--:|\n| 1 | 2 |\n").html
    assert html.count("<th") == html.count("<thead") + 1
    assert "<td></td>" in html


def test_commands_can_be_scrolled_by_keyboard_and_keep_their_text() -> None:
    html = rendered('```bash\necho "<a>"\n```\n').html
    assert '<pre tabindex="0" data-language="bash"><code>echo &quot;&lt;a&gt;&quot;\n</code></pre>' in html


# ---- the pages -------------------------------------------------------------------------------------------------------


@in_each_language
@pytest.mark.parametrize("name", NAMES)
def test_every_link_and_picture_of_a_page_is_there(client: TestClient, name: str, language: str) -> None:
    page = load(client, f"/help/{name}", language)
    assert len(page.all("h1")) == 1
    article = page.one("article")
    ids = {node["id"] for node in page.walk() if "id" in node.attributes}
    for link in article.all("a[href]"):
        address, _, anchor = unquote(link["href"]).partition("#")
        if address.startswith("https://"):
            continue
        assert not address or address.startswith("/help/"), address
        there = ids if not address else None
        if there is None and not address.startswith("/help/img/"):
            there = {node["id"] for node in load(client, address, language).walk() if "id" in node.attributes}
        assert not anchor or anchor in (there or ()), link["href"]
    for picture in article.all("img"):
        assert picture["src"].startswith("/help/img/") and picture.attributes.get("alt"), picture.attributes
        assert client.get(picture["src"]).status_code == 200, picture["src"]


@in_each_language
def test_help_begins_with_start_here_and_lists_every_document(client: TestClient, language: str) -> None:
    page = load(client, "/help", language)
    listed = [link["href"] for link in page.all(".help-list a")]
    assert sorted(listed) == sorted(f"/help/{name}" for name in NAMES)
    assert page.one(".help-list [aria-current]")["href"] == listed[0]
    assert page.one(".help-next a")["href"] == listed[1]


def test_an_unknown_document_is_told_by_name(client: TestClient) -> None:
    error = assert_error(client.get("/help/nothing", headers={"Accept-Language": "en"}), 404, "document_not_found")
    assert "nothing" in error["message"]
    assert client.get("/help/..%2F..%2FREADME").status_code == 404


@in_each_language
def test_a_program_without_its_documents_says_so(workspace: Workspace, tmp_path: Path, language: str) -> None:
    app = create_app(workspace, network=Network(Access(PORT)), docs=tmp_path / "docs")
    with TestClient(app, base_url=f"http://localhost:{PORT}", client=HERE) as client:
        page = load(client, "/help", language)
        assert str(tmp_path / "docs") in page.one(".empty-line").text
        assert client.get("/help_index").json()["sections"] == []


# ---- the index -------------------------------------------------------------------------------------------------------


@in_each_language
def test_index_has_every_section_of_every_document(client: TestClient, language: str) -> None:
    answer: dict[str, Any] = client.get(f"/help_index?language={language}").json()
    assert answer["language"] == language
    assert list(dict.fromkeys(section["document"] for section in answer["sections"])) == NAMES
    assert re.search("[а-я]" if language == "ru" else "[a-z]", answer["sections"][0]["heading"])


def test_index_without_a_wish_is_in_the_language_of_the_request(client: TestClient) -> None:
    assert client.get("/help_index", headers={"Accept-Language": "ru"}).json()["language"] == "ru"
    assert_error(client.get("/help_index?language=xx"), 422)
