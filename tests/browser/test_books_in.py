"""Books brought in: a choice of the encoding where a file is refused, a folder, a pasted text."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

MIXED = (
    "Утром бабушка вышла из дома и пошла к колодцу.\n".encode() * 12
    + "Внук ещё спал, и было жаль его будить.\n".encode("koi8-r") * 12
)


@pytest.fixture
def page(visit: Any) -> Iterator[Page]:
    """The library, whose browser tells of refused files as well."""
    visitor = visit()
    page: Page = visitor.open("/library?tab=books")
    page.wait_for_load_state()
    yield page
    assert all("422" in complaint for complaint in visitor.take_complaints())


def test_file_in_two_encodings_can_be_read_as_one_where_it_is_refused(page: Page) -> None:
    page.set_input_files("#upload-file", {"name": "смесь.txt", "mimeType": "text/plain", "buffer": MIXED})
    refused = page.locator("[data-role=upload-results] .field-error")
    expect(refused).to_contain_text("со строки 13")
    boxes = [place.bounding_box() for place in (refused.locator("select"), page.locator(".uploader"))]
    choice, around = (box for box in boxes if box)
    assert choice["x"] + choice["width"] <= around["x"] + around["width"]
    refused.locator("select").select_option("koi8_r")
    refused.get_by_role("button", name="Прочитать как").click()
    expect(page.locator("[data-role=upload-results]")).to_contain_text("«смесь» добавлена")
    expect(page.locator('[data-book="смесь"] [data-book-part=facts]')).to_contain_text("KOI8-R")


def test_folder_and_pasted_text_become_books(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "полка"
    (folder / "том").mkdir(parents=True)
    (folder / "том" / "раз.md").write_text("# Раз\n\nтекст[^1]\n\n[^1]: сноска\n", encoding="utf-8")
    (folder / "два.txt").write_text("два", encoding="utf-8")
    shutil.copy(Path(__file__), folder / "test.py")
    page.set_input_files("#upload-folder", folder)
    expect(page.locator('[data-book="раз"] [data-book-part=left-out]')).to_have_text(re.compile("Опущено: сноски"))
    expect(page.locator("[data-role=upload-results] li")).to_have_count(2)
    page.get_by_text("Вставить текст").click()
    page.get_by_role("button", name="Добавить текст").click()
    expect(page.locator("[data-role=paste-error]")).to_have_text(
        "Здесь нет текста. Выберите другой файл или вставьте сам текст."
    )
    expect(page.locator("[data-role=books-count]")).to_have_text("4")  # with the examples
    page.fill("[data-role=paste-title]", "Сон")
    page.fill("[data-role=paste-text]", "Мне снился сад.")
    page.get_by_role("button", name="Добавить текст").click()
    expect(page.locator('[data-book="Сон"] [data-book-part=preview]')).to_have_text("Мне снился сад.")
    page.reload()
    expect(page.locator('[data-book="Сон"]')).to_have_count(1)


def test_book_is_edited_read_otherwise_and_deleted_on_its_page(page: Page) -> None:
    story = "Ранним утром старик вышел на берег, и море лежало гладкое, как стекло.\n"
    page.set_input_files(
        "#upload-file", {"name": "утро.txt", "mimeType": "text/plain", "buffer": story.encode("cp1251")}
    )
    page.locator('[data-book="утро"] a.book-title').click()
    page.fill("#f-title", "Утро")
    page.fill("#f-author", "Анна Ли")
    page.select_option("#f-language", "uk")
    page.get_by_role("button", name="Сохранить").click()
    expect(page.locator("h1")).to_have_text("Утро")
    expect(page.locator(".lead")).to_contain_text("Анна Ли · 71 символ · 12 слов · украинский")
    expect(page.locator("#book-note")).to_have_text("Сохранено.")
    page.wait_for_load_state()
    page.select_option("#f-encoding", "koi8_r")
    expect(page.locator("#beginning")).to_contain_text("пЮММХЛ")
    page.get_by_role("button", name="Прочитать так").click()
    expect(page.locator(".facts")).to_contain_text(["Абзацев", "KOI8-R"])
    page.wait_for_load_state()  # the page came anew, and nobody clicks before its scripts run
    page.get_by_role("button", name="Удалить книгу").click()
    expect(page.locator("h1")).to_have_text("Мои книги")
    row = page.locator('[data-book="утро"]')
    expect(row).to_have_count(0)
    page.wait_for_load_state()
    page.get_by_role("button", name="Вернуть").click()
    expect(row.locator("a.book-title")).to_have_text("Утро")
    page.wait_for_load_state()
    row.locator("[data-book-part=looking] summary").click()
    row.get_by_role("button", name="Удалить книгу").click()
    expect(page.locator(".deleted")).to_contain_text("Книга «Утро» удалена.")
    expect(page.get_by_role("button", name="Вернуть")).to_be_focused()
    page.get_by_role("button", name="Освободить место сейчас").click()
    expect(page.locator(".deleted")).to_have_count(0)
    expect(row).to_have_count(0)
