// What a person does with a run besides training: its name, notes on it, its log and its page as files, and the same training once more.

import { patch, path, post } from "./api.js";
import { busy } from "./form.js";
import { t } from "./text.js";

const MOST_COPIES = 50;
const card = document.getElementById("about-run");
const title = document.getElementById("run-name");
const notes = document.getElementById("run-notes");
const said = card.querySelector("[role=status]");
const copy = document.getElementById("copy-run");
let shown = null;

// Show the card of a model: {name, notes, shape}; `hasRun` tells whether there is a training to repeat.
export function showAboutRun(known, hasRun) {
  copy.disabled = !hasRun;
  if (known.name === shown?.name) return;
  shown = known;
  title.value = known.name;
  notes.value = known.notes ?? "";
  said.textContent = "";
  for (const link of card.querySelectorAll("a[data-file]")) link.href = path`/${link.dataset.file}?model=${known.name}`;
}

// A run is called like its model: another name is another name of the model.
title.addEventListener("change", async () => {
  try {
    const { name } = await patch(path`/models/${shown.name}`, { name: title.value });
    if (name !== shown.name) location.assign(path`/training?model=${name}`);
  } catch (error) {
    said.textContent = error.message;
    title.value = shown.name;
  }
});

notes.addEventListener("change", async () => {
  const { name } = shown;
  shown.notes = notes.value;
  said.textContent = await patch(path`/models/${name}`, { notes: notes.value }).then(() => t("js.notes_saved"), (error) => error.message);
});

copy.addEventListener("click", () => busy(copy, async () => {
  try {
    const { name } = await created(shown);
    location.assign(path`/training?model=${name}&like=${shown.name}`);
  } catch (error) {
    said.textContent = error.message;
  }
}));

// Create an untrained model of the same shape under the first free name: "poet 2", "poet 3" ...
async function created({ name, shape }) {
  for (let number = 2; ; number++) {
    try {
      return await post("/create_model", { ...shape, name: `${name.replace(/ \d+$/, "")} ${number}` });
    } catch (error) {
      if (error.code !== "name_taken" || number > MOST_COPIES) throw error;
    }
  }
}
