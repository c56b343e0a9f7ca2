// Other models' runs in the chart of the loss: their losses on held-out text, chosen by name.

import { get, path } from "./api.js";
import { t } from "./text.js";

const MOST = 3;
const select = document.getElementById("beside");
const chips = document.getElementById("beside-chosen");
let chosen = []; // [{name, iterations, losses}]
let viewed = null;

// Fill the choice with the models that have a run. `drawing` is what draws the charts.
export function besides(drawing, models) {
  const others = () => models.filter(({ name, iteration }) => iteration > 0 && name !== viewed && !chosen.some((one) => one.name === name));

  function arrange() {
    select.replaceChildren(new Option(t("js.beside_none"), ""), ...others().map(({ name }) => new Option(name, name)));
    select.closest("label").hidden = others().length === 0 || chosen.length >= MOST;
    chips.replaceChildren(...chosen.map(({ name }) => chip(name)));
    drawing.beside(chosen);
  }

  function chip(name) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "link-button", textContent: `${name} ×` });
    button.setAttribute("aria-label", t("js.beside_remove", { name }));
    button.addEventListener("click", () => {
      chosen = chosen.filter((one) => one.name !== name);
      arrange();
      select.focus();
    });
    return button;
  }

  async function add(name) {
    const { evaluations } = await get(path`/training_history?model=${name}`);
    if (name === viewed || chosen.some((one) => one.name === name)) return;
    chosen.push({ name, iterations: evaluations.iteration, losses: evaluations.val_loss });
    arrange();
  }

  select.addEventListener("change", () => select.value && add(select.value).catch(arrange));
  return {
    add: (name) => add(name).catch(() => {}),
    // Another model is on the page: it does not stand beside itself.
    view(model) {
      viewed = model;
      chosen = chosen.filter(({ name }) => name !== model);
      arrange();
    },
  };
}
