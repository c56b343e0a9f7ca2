// Two models side by side: both read one text, and both continue one beginning with one seed.

import { post } from "./api.js";
import { busy } from "./form.js";
import { decimal, percent, t } from "./text.js";

const WRITTEN_TOKENS = 120;
const ALIKE = 0.005; // a smaller difference is chance in a passage of a few pages
const { models } = JSON.parse(document.getElementById("page-data").textContent);
const at = (id) => document.getElementById(id);
const of = (kind, model) => document.querySelector(`[data-${kind}="${CSS.escape(model)}"]`);

for (const select of document.querySelectorAll("#choose select")) select.addEventListener("change", () => at("choose").submit());

at("measure")?.addEventListener("click", () => busy(at("measure"), () => attempt("measure-error", async () => {
  at("measured-verdict").textContent = t("js.measuring");
  const found = [];
  for (const model of models) found.push(await post("/measure", { model, book: at("f-book").value }));
  showMeasured(found);
})));

// The bar of the model that predicts the text better is shorter: it needs fewer bits.
function showMeasured(found) {
  const most = Math.max(...found.map((each) => each.bits_per_byte));
  for (const { model, bits_per_byte: bits } of found) {
    of("measured", model).textContent = t("js.bits_per_byte", { bits: decimal(bits, 3) });
    of("measured", model).parentElement.querySelector("progress").value = bits / most;
  }
  at("measured").hidden = false;
  const [better, worse] = [...found].sort((a, b) => a.bits_per_byte - b.bits_per_byte);
  const share = 1 - better.bits_per_byte / worse.bits_per_byte;
  at("measured-verdict").textContent = share < ALIKE ? t("js.measured_alike") : t("js.measured_better", { model: better.model, share: percent(share, share < 0.1 ? 1 : 0) });
}

at("write")?.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.submitter ?? at("write").querySelector("button"), () => attempt("write-error", async () => {
    const prompt = at("f-prompt").value;
    const seed = Number(at("f-seed").value.trim() || Number.NaN);
    if (!Number.isInteger(seed) || seed < 0) throw new Error(t("js.number_needed"));
    at("written").hidden = false;
    for (const model of models) of("written", model).textContent = t("js.compare_writing");
    for (const model of models) {
      const { completion } = await post("/generate", { model, prompt, seed, max_new_tokens: WRITTEN_TOKENS });
      const begun = Object.assign(document.createElement("span"), { className: "prompt", textContent: prompt });
      of("written", model).replaceChildren(begun, completion);
    }
  }));
});

async function attempt(place, action) {
  const problem = at(place);
  problem.hidden = true;
  try {
    await action();
  } catch (error) {
    if (place === "measure-error") at("measured-verdict").textContent = "";
    else at("written").hidden = true;
    problem.textContent = error.message;
    problem.hidden = false;
  }
}
