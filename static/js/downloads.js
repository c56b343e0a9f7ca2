// The menu of downloads: each file is tested before it is offered, once for each version of its model.

import { send } from "./api.js";
import { eventsOf } from "./events.js";
import { t } from "./text.js";

// Test the files of a menu one after the other from when it is opened until it is closed.
export function testsWhenOpened(models) {
  models.addEventListener("toggle", (event) => event.target.matches("[data-role=downloads]") && event.target.open && testAll(event.target), true);
}

async function testAll(menu) {
  if (menu.dataset.testing) return;
  menu.dataset.testing = "yes";
  const model = menu.closest("[data-model]").dataset.model;
  for (const file of menu.querySelectorAll("[data-role=download]:not([data-tested])")) {
    if (!menu.open) break;
    await test(model, file);
  }
  delete menu.dataset.testing;
}

async function test(model, file) {
  const format = file.closest("[data-format]").dataset.format;
  const note = file.querySelector("[data-role=tested]");
  const type = file.dataset.type;
  note.textContent = t("js.export_testing");
  try {
    const response = await send("POST", "/check_export", { model, format, ...(type && { type }) });
    for await (const { event, data } of eventsOf(response)) {
      if (event === "stage") note.textContent = t(`js.export_stage_${data.stage}`);
      else note.textContent = event === "done" ? data.sentence : data.error.message;
      if (event === "done") file.dataset.tested = "";
      if (event === "error" || data.passed === false) file.dataset.failed = "";
    }
  } catch (error) {
    note.textContent = error.message;
  }
}
