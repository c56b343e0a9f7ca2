// The settings of a training: model, books, length, and the start button with its label.

import { path, post } from "./api.js";
import { chooseBooks, chosenBooks } from "./books.js";
import { forecasting } from "./forecast.js";
import { FieldProblem, busy, clearErrors, read, showError, write } from "./form.js";
import { linkMinutes } from "./minutes.js";
import { BATCH, suggesting } from "./suggest.js";
import { number, t } from "./text.js";

const form = document.getElementById("train-form");
const button = document.getElementById("start");
const endless = document.getElementById("f-endless");
const iterations = form.elements.iterations;
const playSwitch = form.elements["self_play.enabled"];

// Return the form's controller. `models` is what the server knows: [{name, iteration, trained, books, settings}].
// `on.chosen(name)` is called when the person picks another model, `on.started()` when a training has begun.
export function setup(models, on) {
  const byName = new Map(models.map((model) => [model.name, { ...model }]));
  const chosen = () => byName.get(form.elements.model.value);
  let running = null;
  const minutes = linkMinutes(form);
  const suggestion = suggesting(form);
  const forecast = forecasting(wished, (asked, found) => minutes.measured(...secondsFound(asked, found)));

  function describe() {
    const { iteration } = chosen();
    const note = iteration ? t("js.model_trained", { n: number(iteration) }) : t("js.model_new");
    document.getElementById("model-note").textContent = running === chosen().name ? "" : note;
    button.textContent = iteration ? t("js.continue_from", { n: number(iteration) }) : t("js.start");
    button.disabled = running !== null;
    document.getElementById("start-note").replaceChildren(...(running === null ? [] : otherRuns()));
  }

  function otherRuns() {
    const text = t("js.one_at_a_time", { model: running });
    if (running === chosen().name) return [text];
    const link = Object.assign(document.createElement("a"), { href: path`/training?model=${running}`, textContent: t("js.show_running") });
    return [`${text} `, link];
  }

  // Return whether the model goes on with the books and settings of its last training.
  function goesOn() {
    const { settings, books } = chosen();
    return settings !== null && String([...books].sort()) === String(chosenBooks().sort());
  }

  function takeModel() {
    takeSettings(chosen().settings);
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
    if (["books", ...BATCH].includes(target.name)) suggestion.follow(chosen().shape, goesOn()).then(foretell);
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

  const foretell = () => (running === null ? forecast.ask() : forecast.running());
  form.addEventListener("change", foretell);
  takeModel();
  foretell();
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

// Return a number of iterations and their seconds from a forecast; for an endless training, those of the suggested number.
function secondsFound(asked, found) {
  if (!found) return [null, null];
  return asked.iterations ? [asked.iterations, found.total_seconds] : [found.suggested_iterations, found.suggested_seconds];
}

// Fill in the settings of the model's last run, so that a training goes on as it was unless the person changes something.
function takeSettings(settings) {
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
  return { ...values, books: chosenBooks() };
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

async function start(started) {
  clearErrors(form);
  try {
    await post("/train", wishes());
    started();
  } catch (error) {
    showError(form, error);
  }
}
