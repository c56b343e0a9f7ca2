// The create page: keeps presets, sizes and the estimate in step, and creates the model.

import { path, post } from "./api.js";
import { busy, clearErrors, read, showError, valueOf } from "./form.js";
import { estimateFor } from "./estimate.js";
import { forgetDraft } from "./keep.js";
import { number, t } from "./text.js";

const form = document.getElementById("create-form");
const { presets } = JSON.parse(document.getElementById("page-data").textContent);
const sizes = [...form.querySelectorAll(".field-grid [data-kind]")];
const cards = [...form.querySelectorAll("[name=preset]")];
const book = form.querySelector("[data-role=book]");
const created = document.getElementById("created");
const estimate = estimateFor(document.getElementById("estimate"), form, form.querySelector(".field-grid"));

function takePreset(preset) {
  for (const control of sizes) control.value = presets[preset][control.name];
}

function matches(preset) {
  return sizes.every((control) => String(presets[preset][control.name]) === control.value);
}

function refresh() {
  estimate.ask(() => Object.fromEntries(sizes.map((c) => [c.name, valueOf(c)])), book.value ? [book.value] : []);
}

for (const card of cards) {
  card.addEventListener("change", () => {
    takePreset(card.value);
    refresh();
  });
}
for (const control of sizes) {
  control.addEventListener("input", () => {
    for (const card of cards) card.checked = matches(card.value);
    refresh();
  });
}
book.addEventListener("change", refresh);
form.elements.name.addEventListener("input", () => (created.hidden = true));

function celebrate(model) {
  document.getElementById("created-text").textContent = t("js.created", { parameters: number(model.parameters) });
  document.getElementById("created-train").href = path`/training?model=${model.name}`;
  created.hidden = false;
  created.focus();
  created.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(form.querySelector("[type=submit]"), async () => {
    clearErrors(form);
    created.hidden = true;
    try {
      celebrate(await post("/create_model", read(form)));
      forgetDraft(form);
    } catch (error) {
      showError(form, error);
    }
  });
});

// After going back the browser restores what was typed; update the preset cards to it.
for (const card of cards) card.checked = matches(card.value);
refresh();
