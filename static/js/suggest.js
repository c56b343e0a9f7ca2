// Fills in what follows from the chosen books, until the person changes it: the number of iterations, how often to check, and
// a beginning for the sample text in the language of the books.

import { post } from "./api.js";
import { bookWeights, chosenBooks, previews, promptsOfBooks } from "./books.js";
import { setValue, valueOf } from "./form.js";
import { number, t } from "./text.js";

const FOLLOWING = ["iterations", "eval_every", "sample_prompt"];
export const BATCH = ["batch_size", "grad_accum_steps"];
const CHECKS = 10; // in a training as long as suggested

export function suggesting(form) {
  const line = document.getElementById("suggestion");
  const own = new Set(); // inputs that the person has filled in
  let suggested = null;
  let turn = 0;

  form.addEventListener("input", ({ target }) => {
    if (FOLLOWING.includes(target.name)) own.add(target.name);
    describe();
  });
  line.querySelector("button").addEventListener("click", () => {
    own.delete("iterations");
    apply();
    form.dispatchEvent(new Event("change", { bubbles: true }));
  });

  // An input is left alone once the person has written in it, and while they are about to.
  function offer(name, value) {
    const control = form.elements[name];
    if (!own.has(name) && control !== document.activeElement) setValue(control, value);
  }

  function apply() {
    if (suggested !== null) {
      offer("iterations", suggested);
      offer("eval_every", Math.min(100, Math.max(5, Math.round(suggested / CHECKS))));
    }
    describe();
  }

  function describe() {
    line.hidden = suggested === null;
    if (line.hidden) return;
    line.querySelector("span").textContent = t("js.suggestion", { n: number(suggested) });
    line.querySelector("button").hidden = Number(form.elements.iterations.value) === suggested && !form.elements.iterations.disabled;
  }

  return {
    describe,
    forget: () => own.clear(),
    // Take the number that the forecast has counted: the one before it was an estimate. Returns whether the length has changed.
    measured(counted) {
      if (suggested === null || counted === suggested) return false;
      const before = form.elements.iterations.value;
      suggested = counted;
      apply();
      return form.elements.iterations.value !== before;
    },
    // Update the suggestions after a change of books, batch or model. `going`: the model goes on with the books and settings
    // of its last training, so nothing is suggested.
    async follow(shape, going) {
      const books = chosenBooks();
      const mine = ++turn;
      if (books.length && !going) offer("sample_prompt", promptsOfBooks()[0] ?? firstWords(previews()) ?? form.elements.sample_prompt.value);
      const answer = books.length ? await post("/estimate", { ...shape, books, train: { ...batchOf(form), ...weights() } }).catch(() => null) : null;
      if (mine !== turn) return;
      suggested = going ? null : (answer?.suggested_iterations ?? null); // meant for a first training on these books
      apply();
    },
  };
}

// Return the settings that decide how much one iteration reads; unfinished numbers are left to the server's defaults.
function batchOf(form) {
  const batch = {};
  for (const name of BATCH) {
    try {
      batch[name] = valueOf(form.elements[name]);
    } catch {
      // being typed
    }
  }
  return batch;
}

function weights() {
  try {
    return { book_weights: bookWeights() };
  } catch {
    return {}; // being typed
  }
}

// Return the first words of a text, a beginning in a language that the product has no prompt in.
function firstWords(text) {
  return text.match(/[\p{L}\p{M}]+(?:\s+[\p{L}\p{M}]+){0,2}/u)?.[0].slice(0, 60) ?? null;
}
