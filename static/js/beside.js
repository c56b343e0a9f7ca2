// Losses on held-out text laid over the chart of the loss, chosen by name: earlier runs of the model on the page, and other
// models. An earlier run is moved to where the run on the page began, so that both can be read at one iteration.

import { get, path } from "./api.js";
import { number, t } from "./text.js";

const MOST = 3;
const select = document.getElementById("beside");
const chips = document.getElementById("beside-chosen");
const note = document.getElementById("beside-note");
let chosen = []; // [{key, name, iterations, losses, start}]; `start` is that of an earlier run
let runs = []; // the earlier runs of the model on the page, in the same form, the newest first
let began = 0; // where the run on the page began
let viewed = null;

// Fill the choice with earlier runs and with the models that have a run. `drawing` is what draws the charts.
export function besides(drawing, models) {
  const isFree = ({ key }) => !chosen.some((one) => one.key === key);
  const others = () => models.filter(({ name, iteration }) => iteration > 0 && name !== viewed).map(({ name }) => ({ key: `model:${name}`, name }));

  function arrange() {
    const groups = [["js.beside_runs", runs.filter(isFree)], ["js.beside_models", others().filter(isFree)]].filter(([, found]) => found.length);
    select.replaceChildren(new Option(t("js.beside_choose"), ""), ...groups.map(([label, found]) => group(t(label), found)));
    select.closest("label").hidden = groups.length === 0 || chosen.length >= MOST;
    chips.replaceChildren(...chosen.map(chip));
    note.hidden = !chosen.some(({ start }) => start !== undefined);
    note.textContent = t("js.beside_moved", { n: number(began) });
    drawing.beside(chosen.map(moved));
  }

  function chip({ key, name }) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "link-button", textContent: `${name} ×` });
    button.setAttribute("aria-label", t("js.beside_remove", { name }));
    button.addEventListener("click", () => {
      chosen = chosen.filter((one) => one.key !== key);
      arrange();
      select.focus();
    });
    return button;
  }

  async function addModel(name) {
    const { evaluations } = await get(path`/training_history?model=${name}`);
    if (name === viewed) return;
    add({ key: `model:${name}`, name, iterations: evaluations.iteration, losses: evaluations.val_loss });
  }

  function add(one) {
    if (isFree(one)) chosen.push(one);
    arrange();
  }

  // Ask for the runs of the model on the page; a chosen one stays chosen.
  async function askRuns() {
    const asked = viewed;
    const answer = await get(path`/training_runs?model=${asked}`).catch(() => ({ runs: [] }));
    if (asked !== viewed) return;
    began = answer.runs.at(-1)?.from_iteration ?? 0;
    runs = answer.runs.slice(0, -1).map(earlier).reverse();
    chosen = chosen.filter(({ key, start }) => start === undefined || runs.some((run) => run.key === key));
    arrange();
  }

  select.addEventListener("change", () => {
    const run = runs.find(({ key }) => key === select.value);
    if (run) add(run);
    else if (select.value) addModel(select.value.slice("model:".length)).catch(arrange);
  });
  return {
    add: (name) => addModel(name).catch(() => {}),
    // A run has begun or another model is on the page, which does not stand beside itself.
    view(model) {
      if (model !== viewed) {
        runs = [];
        chosen = chosen.filter(({ name, start }) => name !== model && start === undefined);
      }
      viewed = model;
      arrange();
      askRuns();
    },
  };
}

function group(label, found) {
  const options = Object.assign(document.createElement("optgroup"), { label });
  options.append(...found.map(({ key, name }) => new Option(name, key)));
  return options;
}

function earlier({ number: n, from_iteration: start, to_iteration: end, evaluations }) {
  const name = t("js.beside_run", { run: n, start: number(start), end: number(end) });
  return { key: `run:${n}`, name, start, iterations: evaluations.iteration, losses: evaluations.val_loss };
}

// Return a curve as it is drawn.
function moved({ name, start = began, iterations, losses }) {
  return { name, iterations: iterations.map((iteration) => iteration - start + began), losses };
}
