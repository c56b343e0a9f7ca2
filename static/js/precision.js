// What weights of fewer bits cost the chosen model: shown beside the choice, measured once by the server when it is first chosen.

import { get, path } from "./api.js";
import { number, t } from "./text.js";

const DIGITS = 4;

// `known` are the measurements that are there already, by model. Without the choice (no llama.cpp here) there is nothing to do.
export function showPrecision(form, known) {
  const select = form.elements.weights;
  if (!select) return;
  const note = document.getElementById("precision-cost");

  async function show() {
    const name = form.elements.model.value;
    if (!known[name] && select.value === "f16") return (note.textContent = "");
    if (!known[name]) await measure(name);
    if (known[name] && name === form.elements.model.value) note.textContent = told(known[name]);
  }

  async function measure(name) {
    note.textContent = t("js.precision_measuring");
    try {
      known[name] = await get(path`/models/${name}/precision`);
    } catch (error) {
      if (name === form.elements.model.value) note.textContent = error.message;
    }
  }

  select.addEventListener("change", show);
  select.addEventListener("valueset", show);
  form.elements.model.addEventListener("change", show);
  show();
}

function told({ bits_per_byte: bits, cost }) {
  if (!bits) return t("js.precision_unknown");
  const sign = cost < 0 ? "" : "+";
  return t("js.precision_cost", { cost: sign + number(cost, DIGITS), bits: number(bits.f16, DIGITS) });
}
