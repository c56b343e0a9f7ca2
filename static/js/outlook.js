// The times of a training on this machine: on the card of each preset, in the estimate, and as an answer to "what can I train in
// 30 minutes, in 8 GB". The first answer takes the server some seconds, in which it measures.

import { post } from "./api.js";
import { bytes, count, duration, percent, t } from "./text.js";

const PAUSE_MILLISECONDS = 500;
const answer = document.getElementById("limits-answer");
const take = document.getElementById("limits-take");

// Return the controller. `cards` are the presets' radio buttons; `shown()` is called when there are new outlooks.
export function outlooksOf(cards, shown) {
  let found = null; // what the server said: {outlooks, best, sample_prompt}
  let problem = "";
  let refusal = null; // the error that says why these books cannot be trained on
  let waits = false;
  let timer;
  let newest = 0;

  // Ask for `wishes`, the body of a request; null while no book is chosen.
  function ask(wishes) {
    clearTimeout(timer);
    const turn = ++newest;
    found = null;
    refusal = null;
    waits = wishes !== null;
    problem = t(wishes ? "js.outlook_measuring" : "js.outlook_no_books");
    show(wishes);
    if (wishes) timer = setTimeout(async () => {
      const got = await post("/suggest_model", wishes).catch((error) => error);
      if (turn !== newest) return;
      waits = false;
      if (!(got instanceof Error)) found = got;
      else {
        problem = got.message;
        if (got.code === "book_too_small") refusal = got;
      }
      show(wishes);
    }, PAUSE_MILLISECONDS);
  }

  function show(wishes) {
    for (const card of cards) showCard(card.closest(".preset"), found?.outlooks[card.value] ?? null, found?.best === card.value && isLimited(wishes), waits);
    showAnswer(wishes);
    shown();
  }

  function showAnswer(wishes) {
    const limited = isLimited(wishes);
    answer.hidden = !limited;
    const best = limited && found?.best ? found.outlooks[found.best] : null;
    take.hidden = !best || cards.some((card) => card.checked && card.value === found.best);
    if (!limited) return;
    answer.textContent = !found ? problem : best ? t(best.in_time ? "js.limits_done" : "js.limits_begun", described(nameOf(found.best), best)) : t("js.limits_none");
  }

  function nameOf(preset) {
    return cards.find((card) => card.value === preset).closest(".preset").querySelector(".preset-name").textContent;
  }

  take.addEventListener("click", () => cards.find((card) => card.value === found.best).click());
  return {
    ask,
    of: (name) => found?.outlooks[name] ?? null,
    prompt: () => found?.sample_prompt ?? null,
    refusal: () => refusal,
    problem: () => (found ? "" : problem),
    waits: () => waits,
  };
}

const isLimited = (wishes) => Boolean(wishes?.minutes || wishes?.memory_bytes);
const described = (name, outlook) => ({ name, time: timeOf(outlook), reads: readsOf(outlook).toLowerCase() });

function showCard(card, outlook, best, waits) {
  card.classList.toggle("is-best", best);
  card.classList.toggle("is-out", Boolean(outlook && !outlook.fits));
  const part = (name) => card.querySelector(`[data-preset-part="${name}"]`);
  part("time").textContent = outlook ? t("js.outlook_time", { time: timeOf(outlook) }) : waits ? "…" : "—";
  part("reads").textContent = !outlook ? "" : outlook.fits ? readsOf(outlook) : t("js.outlook_no_memory", { needed: bytes(outlook.training_bytes) });
}

// Return the time in words, no finer than it can be known.
export function timeOf({ seconds }) {
  return duration(seconds >= 60 ? Math.round(Number(seconds.toPrecision(2)) / 60) * 60 : seconds);
}

export function readsOf({ epochs }) {
  return epochs < 0.95 ? t("js.outlook_part", { share: percent(epochs) }) : count("js.outlook_reads", Math.round(epochs));
}
