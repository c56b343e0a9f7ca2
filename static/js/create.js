// The create page: keeps books, cards, sizes, limits and the estimate in step, creates the model and starts its training.

import { path, post } from "./api.js";
import { busy, clearErrors, read, showError, valueOf } from "./form.js";
import { estimateFor } from "./estimate.js";
import { forgetDraft } from "./keep.js";
import { outlooksOf } from "./outlook.js";
import { keepRefusal } from "./refused.js";
import { rememberedSampling } from "./sampling.js";
import { count, t } from "./text.js";
import { uploads } from "./upload.js";

const form = document.getElementById("create-form");
const { presets } = JSON.parse(document.getElementById("page-data").textContent);
const sizes = [...form.querySelectorAll(".field-grid [data-kind]")];
const cards = [...form.querySelectorAll("[name=preset]")];
const picks = document.getElementById("picks");
const submit = document.getElementById("create");
const only = document.getElementById("create-only");
const estimate = estimateFor(document.getElementById("estimate"), form, form.querySelector(".field-grid"));
const outlooks = outlooksOf(cards, showOutlook);
let running = false; // another training: this one will wait its turn

const chosenBooks = () => [...picks.querySelectorAll("[name=books]:checked")].map((box) => box.value);
const chosen = () => cards.find((card) => card.checked)?.value ?? "own";
const shape = () => Object.fromEntries(sizes.map((control) => [control.name, valueOf(control)]));

function takePreset(preset) {
  for (const control of sizes) control.value = presets[preset][control.name];
}

function matches(preset) {
  return sizes.every((control) => String(presets[preset][control.name]) === control.value);
}

function refresh() {
  const books = chosenBooks();
  estimate.ask(shape, books);
  outlooks.ask(books.length ? { books, ...limits(), ...own() } : null);
  nameButtons();
}

function nameButtons() {
  const trains = chosenBooks().length > 0;
  submit.textContent = t(!trains ? "js.create_model" : running ? "js.create_and_queue" : "js.create_and_train");
  only.hidden = !trains;
}

document.addEventListener("trainingstatus", ({ detail }) => {
  running = ["queued", "running", "stopping"].includes(detail.state);
  nameButtons();
});

// Return what there is of time and memory; a field that is empty or no number limits nothing.
function limits() {
  const [minutes, gigabytes] = ["f-within", "f-memory"].map((id) => Number(document.getElementById(id).value.replace(/\s/g, "").replace(",", ".")));
  return { minutes: minutes > 0 ? minutes : null, memory_bytes: gigabytes > 0 ? Math.round(gigabytes * 1e9) : null };
}

function own() {
  if (chosen() !== "own") return {};
  try {
    return { own: shape() };
  } catch {
    return {}; // being typed
  }
}

function showOutlook() {
  estimate.showTime(outlooks.of(chosen()), outlooks.problem(), outlooks.waits(), Boolean(outlooks.refusal()));
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
picks.addEventListener("change", refresh);
for (const id of ["f-within", "f-memory"]) document.getElementById(id).addEventListener("input", refresh);

// ---- books that are added here ---------------------------------------------------------------------------------------

uploads(form.querySelector("[data-role=uploader]"), (book) => {
  const known = [...picks.querySelectorAll("[name=books]")].find((box) => box.value === book.name);
  if (known) known.checked = true;
  else picks.prepend(pick(book));
  refresh();
});

function pick(book) {
  const box = Object.assign(document.createElement("input"), { type: "checkbox", name: "books", value: book.name, checked: true });
  box.dataset.kind = "book";
  const title = Object.assign(document.createElement("span"), { className: "book-title", textContent: book.title });
  const facts = Object.assign(document.createElement("span"), { className: "note", textContent: count("js.characters", book.characters) });
  const label = Object.assign(document.createElement("label"), { className: "pick" });
  const line = document.createElement("li");
  label.append(box, " ", title, " ", facts);
  line.append(label);
  return line;
}

// ---- creating --------------------------------------------------------------------------------------------------------

// Create the model and go to its training, which `trains` starts at once; where it cannot start, its page says why. Books that are
// known to be too short are told here, before there is a model.
function create(button, trains) {
  busy(button, async () => {
    clearErrors(form);
    try {
      if (trains && outlooks.refusal()) throw outlooks.refusal();
      const { name } = await post("/create_model", read(form));
      forgetDraft(form);
      if (trains) await start(training(name));
      location.assign(path`/training?model=${name}` + chosenBooks().map((book) => path`&book=${book}`).join(""));
    } catch (error) {
      showError(form, error);
    }
  });
}

// Start the training, or let it wait where another one runs. Any other problem is told by the page that follows: the model is there.
async function start(wishes) {
  const queued = (error) => {
    if (error.code !== "training_runs") throw error;
    return post("/train", { ...wishes, queue: true });
  };
  await post("/train", wishes).catch(queued).catch((error) => keepRefusal(wishes.model, error));
}

// Return the body of a /train request: as long as the estimate says, else as the defaults are.
function training(model) {
  const wishes = { model, books: chosenBooks(), self_play: rememberedSampling() };
  const outlook = outlooks.of(chosen());
  if (outlook) Object.assign(wishes, { iterations: outlook.iterations, eval_every: outlook.eval_every });
  if (outlooks.prompt()) wishes.sample_prompt = outlooks.prompt();
  return wishes;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  create(submit, chosenBooks().length > 0);
});
only.addEventListener("click", () => create(only, false));

// After going back the browser restores what was typed; update the preset cards to it.
for (const card of cards) card.checked = matches(card.value);
refresh();
