"""What a person does with models in the library: look whether a download was tested, take it, bring it back."""

from __future__ import annotations

import re

from playwright.sync_api import expect

import workflows
from tests.training_kit import MODEL, fill, plan
from workspace import Workspace


def test_a_download_is_tested_on_the_page_and_comes_back_as_a_model(server, visit, tmp_path):
    workspace = Workspace(tmp_path / "elsewhere")
    fill(workspace)
    list(workflows.train(workspace, plan(workspace, iterations=3)))
    (tmp_path / "поэт.gguf").write_bytes(b"".join(workflows.export_model(workspace, MODEL, "gguf").chunks))

    visitor = visit("en-US")
    page = visitor.open("/library")
    (tmp_path / "broken.zip").write_bytes(b"PK")
    page.set_input_files("#import-file", tmp_path / "broken.zip")
    expect(page.locator("[data-role=import-error]")).to_contain_text("“broken” is not a model")
    assert len(visitor.take_complaints()) == 1  # the browser's own line about the answer 422
    page.set_input_files("#import-file", tmp_path / "поэт.gguf")
    page.wait_for_url("**/library?imported=*")

    menu = page.locator(f'[data-model="{MODEL}"] .downloads')
    menu.locator("summary").click()
    tested = menu.locator("[data-format=gguf] [data-type=q8_0]")
    expect(tested).to_have_attribute("data-tested", "", timeout=30_000)
    expect(tested.locator("[data-role=tested]")).to_contain_text("Tested: weights")
    with page.expect_download() as download:
        tested.locator("a").click()
    assert download.value.suggested_filename == f"{MODEL}-q8_0.gguf"

    page.locator(f'[data-model="{MODEL}"] [data-role=notes]').fill("до ужина")
    expect(page.locator("[data-role=notes-state]")).to_have_text("Saved.")
    page.locator("[data-model-action=duplicate]").click()
    page.get_by_role("button", name="Copy", exact=True).last.click()
    copy = page.locator(f'[data-model="{MODEL} (2)"]')
    expect(copy.locator("[data-role=notes]")).to_have_value("до ужина")
    page.wait_for_load_state()  # the page came anew, and nobody clicks before its scripts run
    copy.locator("[data-model-action=rename]").click()
    page.fill("#new-name", MODEL)
    page.keyboard.press("Enter")
    expect(page.locator("#name-error")).to_contain_text("already taken")
    page.fill("#new-name", "Прозаик")
    page.keyboard.press("Enter")
    renamed = page.locator('[data-model="Прозаик"]')
    expect(renamed).to_have_count(1)
    page.wait_for_load_state()
    renamed.locator(".model-pick input").check()
    renamed.locator("[data-model-action=delete]").click()
    expect(renamed).to_have_count(0)
    expect(page.locator("#compare-form")).to_be_hidden()  # nothing is picked now
    page.get_by_role("button", name="Bring back").click()
    expect(renamed).to_have_count(1)
    page.wait_for_load_state()
    assert len(visitor.take_complaints()) == 1  # about the name that was taken

    page.locator(f'[data-model="{MODEL}"] .model-pick input').check()
    expect(page.locator("#compare")).to_be_disabled()
    renamed.locator(".model-pick input").check()
    page.click("#compare")
    expect(page.locator("#choose select").nth(1)).to_have_value("Прозаик")
    page.wait_for_load_state()
    page.click("#measure")
    expect(page.locator("#measured-verdict")).to_have_text("Both models predict this text alike.")
    page.fill("#f-prompt", "Старик")
    page.click("#write button")
    expect(page.locator(".written blockquote").nth(1)).to_have_text(re.compile("^Старик."))
    texts = [page.locator(".written blockquote").nth(place).text_content() for place in (0, 1)]
    assert texts[0] == texts[1]
