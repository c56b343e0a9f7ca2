// What a person does with a model in the library: rename, copy, note, delete and bring back.

import { patch, path, post, remove } from "./api.js";
import { attempt, busy, say } from "./form.js";
import { number, t } from "./text.js";
import { offerUndo } from "./undo.js";

const TYPING_MILLISECONDS = 1000; // of quiet before a note is saved
const models = document.getElementById("models");
const dialog = document.getElementById("name-dialog");
const form = dialog.querySelector("form");
const input = document.getElementById("new-name");

const nameOf = (element) => element.closest("[data-model]").dataset.model;

// ---- names -----------------------------------------------------------------------------------------------------------

// Ask for a name and call `action` with it. The dialog stays open with the message while the name is refused.
function askName(kind, name, value, action) {
  document.getElementById("name-title").textContent = t(`js.${kind}_model`, { name });
  document.getElementById("name-yes").textContent = t(`js.${kind}_yes`);
  input.value = value;
  say(document.getElementById("name-error"), "");
  form.onsubmit = (event) => {
    event.preventDefault();
    busy(document.getElementById("name-yes"), () => attempt(document.getElementById("name-error"), async () => {
      await action(input.value);
      location.reload();
    }));
  };
  dialog.showModal();
  input.select();
}

document.getElementById("name-cancel").addEventListener("click", () => dialog.close());

const actions = {
  rename: (name) => askName("rename", name, name, (wanted) => patch(path`/models/${name}`, { name: wanted })),
  duplicate: (name) => askName("duplicate", name, "", (wanted) => post(path`/models/${name}/duplicate`, wanted.trim() ? { name: wanted } : {})),
  delete: (name, card) => attempt(card.querySelector("[data-role=model-error]"), async () => {
    await remove(path`/models/${name}`);
    card.querySelector(".model-pick input:checked")?.click(); // a model that is gone is not compared
    card.remove();
    document.querySelector(".imported")?.remove();
    document.querySelector("[data-role=models-count]").textContent = number(models.children.length);
    offerUndo(name);
    showEmpty();
  }),
};

models.addEventListener("click", (event) => {
  const button = event.target.closest("[data-model-action]");
  if (!button) return;
  const card = button.closest("[data-model]");
  actions[button.dataset.modelAction](card.dataset.model, card);
});

function showEmpty() {
  document.getElementById("models-empty").hidden = models.children.length > 0;
}

// ---- notes -----------------------------------------------------------------------------------------------------------

const waiting = new WeakMap();

models.addEventListener("input", ({ target }) => {
  if (!target.matches("[data-role=notes]")) return;
  clearTimeout(waiting.get(target));
  waiting.set(target, setTimeout(() => saveNotes(target), TYPING_MILLISECONDS));
});

models.addEventListener("change", ({ target }) => {
  if (!target.matches("[data-role=notes]")) return;
  clearTimeout(waiting.get(target));
  saveNotes(target);
});

async function saveNotes(area) {
  const state = area.parentElement.querySelector("[data-role=notes-state]");
  if (area.value === area.defaultValue) return;
  const notes = area.value;
  try {
    await patch(path`/models/${nameOf(area)}`, { notes });
    area.defaultValue = notes;
    state.textContent = t("js.book_saved");
  } catch (error) {
    state.textContent = error.message;
  }
}
