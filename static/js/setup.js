// The settings of a training: model, books, length, and the start button with its label.

import { path, post } from "./api.js";
import { bookWeights, chooseBooks, chosenBooks, showWeights, writeWeights } from "./books.js";
import { forecasting } from "./forecast.js";
import { FieldProblem, busy, clearErrors, read, showError, write } from "./form.js";
import { linkMinutes } from "./minutes.js";
import { takeRefusal } from "./refused.js";
import { rememberedSampling } from "./sampling.js";
import { BATCH, suggesting } from "./suggest.js";
import { number, t } from "./text.js";

const form = document.getElementById("train-form");
const button = document.getElementById("start");
const enqueueButton = document.getElementById("enqueue");
const endless = document.getElementById("f-endless");
const iterations = form.elements.iterations;
const playSwitch = form.elements["self_play.enabled"];

// Return the form's controller. `models` is what the server knows: [{name, iteration, unfinished, trained, books, settings}].
// `on.chosen(name)` is called when the person picks another model, `on.started()` when a training has begun,
// `on.enqueued()` when one waits its turn.
export function setup(models, on) {
  const byName = new Map(models.map((model) => [model.name, { ...model }]));
  const chosen = () => byName.get(form.elements.model.value);
  let running = null;
  const minutes = linkMinutes(form, () => noteStart());
  const suggestion = suggesting(form);
  const forecast = forecasting(wished, (asked, found) => {
    minutes.measured(...secondsFound(asked, found));
    if (found && suggestion.measured(found.suggested_iterations)) foretell();
  });

  function describe() {
    const { iteration } = chosen();
    const note = !iteration ? "js.model_new" : chosen().unfinished && sameBooks() ? "js.model_stopped" : "js.model_trained";
    document.getElementById("model-note").textContent = running === chosen().name ? "" : t(note, { n: number(iteration) });
    button.textContent = iteration ? t("js.continue_from", { n: number(iteration) }) : t("js.start");
    button.disabled = running !== null;
    enqueueButton.hidden = running === null;
    noteStart();
  }

  function noteStart() {
    const length = minutes.described();
    document.getElementById("start-note").replaceChildren(...(running === null ? [length] : otherRuns()));
  }

  function otherRuns() {
    const text = t("js.one_at_a_time", { model: running });
    if (running === chosen().name) return [text];
    const link = Object.assign(document.createElement("a"), { href: path`/training?model=${running}`, textContent: t("js.show_running") });
    return [`${text} `, link];
  }

  const sameBooks = () => String([...chosen().books].sort()) === String(chosenBooks().sort());

  // Return whether the model goes on with the books and settings of its last training.
  const goesOn = () => chosen().settings !== null && sameBooks();

  function takeModel() {
    takeSettings(chosen().settings);
    writeWeights(chosen().books, chosen().settings?.book_weights);
    suggestion.forget();
    suggestion.follow(chosen().shape, goesOn());
    minutes.show();
    describe();
  }

  form.elements.model.addEventListener("change", () => {
    if (chosen().books.length) chooseBooks(chosen().books);
    clearErrors(form);
    takeModel();
    on.chosen(chosen().name);
  });
  form.addEventListener("change", ({ target }) => {
    describe();
    showWeights();
    if (["books", ...BATCH].includes(target.name) || target.dataset.bookPart === "weight") suggestion.follow(chosen().shape, goesOn()).then(foretell);
  });
  endless.addEventListener("change", () => {
    iterations.disabled = endless.checked;
    minutes.show();
    suggestion.describe();
  });
  playSwitch.addEventListener("change", showSelfPlay);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (button.disabled) return;
    forecast.stop();
    busy(button, () => start(on.started));
  });

  enqueueButton.addEventListener("click", () => busy(enqueueButton, () => start(on.enqueued, { queue: true })));

  const foretell = () => (running === null ? forecast.ask() : forecast.running());
  form.addEventListener("change", foretell);
  takeModel();
  foretell();
  const refusal = takeRefusal(chosen().name);
  if (refusal) showError(form, refusal);
  return {
    model: () => chosen().name,
    known: (name) => byName.get(name) ?? { iteration: 0, trained: false, trainings: [] },
    running(model) {
      if (model === running) return;
      running = model;
      describe();
      foretell();
    },
    reached(model, changes) {
      Object.assign(byName.get(model) ?? {}, changes);
      describe();
    },
  };
}

// Return from a forecast: a number of iterations, their seconds, and how many of them are done where a stopped training goes
// on. For an endless training they are those of the suggested number.
function secondsFound(asked, found) {
  if (!found) return [null, null, 0];
  if (!asked.iterations) return [found.suggested_iterations, found.suggested_seconds, 0];
  return [found.iterations_left, found.total_seconds, asked.iterations - found.iterations_left];
}

// Fill in the settings of the model's last run, so that a training goes on as it was unless the person changes something.
// Where there was none, self-play is to write as the person lets models write.
function takeSettings(settings) {
  if (!settings) write(form, { self_play: rememberedSampling() });
  if (settings) {
    write(form, { ...settings, iterations: settings.iterations ?? iterations.defaultValue });
    endless.checked = settings.iterations === null;
  }
  iterations.disabled = endless.checked;
  showSelfPlay();
}

function showSelfPlay() {
  for (const control of form.querySelectorAll('[name^="self_play."]')) {
    if (control !== playSwitch) control.disabled = !playSwitch.checked;
  }
}

// Return the body of a /train request. Throws FieldProblem.
function wishes() {
  const values = read(form);
  if (endless.checked) values.iterations = null;
  else if (values.iterations === null) throw new FieldProblem("iterations", t("js.number_needed"));
  return { ...values, books: chosenBooks(), book_weights: bookWeights() };
}

// Return the same, or null while the form is incomplete, without showing errors.
function wished() {
  try {
    const values = wishes();
    return values.books.length ? values : null;
  } catch {
    return null;
  }
}

async function start(started, how = {}) {
  clearErrors(form);
  try {
    await post("/train", { ...wishes(), ...how });
    started();
  } catch (error) {
    showError(form, error);
  }
}
