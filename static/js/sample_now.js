// "Sample now": the best version saved so far continues a text, and its answer joins the feed.

import { post } from "./api.js";
import { busy } from "./form.js";
import { addAsked } from "./samples.js";
import { number, t } from "./text.js";

const TOKENS = 80;
const form = document.getElementById("ask-form");
const input = form.elements.prompt;
const button = form.querySelector("button");
const error = form.querySelector(".field-error");
let asked = { model: null, iteration: null };

// Take note of the model on the page: `iteration` is that of its saved version, null where there is none yet.
export function offerSample(model, iteration, prompt) {
  asked = { model, iteration };
  form.hidden = iteration === null;
  if (!input.value && document.activeElement !== input) input.value = prompt;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(button, ask);
});

async function ask() {
  const { model, iteration } = asked;
  const prompt = input.value;
  error.hidden = true;
  try {
    const { completion } = await post("/generate", { model, prompt, max_new_tokens: TOKENS });
    if (model === asked.model) addAsked({ prompt, text: completion, when: t("js.asked_now", { n: number(iteration) }) });
  } catch (problem) {
    error.textContent = problem.message;
    error.hidden = false;
  }
}
