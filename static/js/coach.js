// The line beside the first training of the first model: what happens now, and at the end the way to the page for generating.

import { path } from "./api.js";
import { inCatalogue, t } from "./text.js";

const WAIT_SECONDS = 10; // before the page for generating opens by itself
const ACTIVE = ["queued", "running", "stopping"];
const FIRST_SHARE = 0.1;
const LAST_SHARE = 0.8;
const box = document.getElementById("coach");
const line = document.getElementById("coach-line");
const next = document.getElementById("coach-next");
const counting = document.getElementById("coach-count");
let seenRunning = false; // the end is followed only if the training ran while this page was open
let timer = null;

// Return the name of what happens in a training, or null where there is nothing to say.
export function phaseOf({ state, stage, parameters, iteration, iterations, reward, published_iteration: published }) {
  if (state === "done" || (state === "stopped" && published !== null)) return state;
  if (!ACTIVE.includes(state)) return null;
  if (state === "stopping") return state;
  if (parameters === null) return inCatalogue(`js.coach_${stage}`) ? stage : "queued"; // known from the first iteration on
  const share = iterations ? iteration / iterations : 0;
  if (share >= LAST_SHARE) return "late";
  if (reward !== null) return "self_play";
  return iteration < 20 || share < FIRST_SHARE ? "first" : "reading";
}

function show(status) {
  const mine = status.model === box.dataset.model && status.started_iteration === 0; // not a training that goes on
  const phase = mine ? phaseOf(status) : null;
  const over = phase === "done" || phase === "stopped";
  box.hidden = phase === null;
  const text = phase === null ? "" : t(`js.coach_${phase}`);
  if (line.textContent !== text) line.textContent = text;
  next.hidden = !over;
  if (over && seenRunning && phase === "done") count(WAIT_SECONDS);
  if (!over) stay();
  seenRunning = mine && ACTIVE.includes(status.state);
}

function count(seconds) {
  counting.hidden = false;
  counting.firstElementChild.textContent = t("js.coach_opens", { seconds });
  if (seconds === 0) location.assign(document.getElementById("coach-open").href);
  else timer = setTimeout(() => count(seconds - 1), 1000);
}

function stay() {
  clearTimeout(timer);
  counting.hidden = true;
}

if (box) {
  document.getElementById("coach-open").href = path`/generation?model=${box.dataset.model}`;
  document.getElementById("coach-stay").addEventListener("click", stay);
  document.getElementById("coach-close").addEventListener("click", () => {
    stay();
    box.remove();
  });
  for (const kind of ["keydown", "pointerdown", "wheel"]) addEventListener(kind, stay, { passive: true }); // someone reads on
  document.addEventListener("trainingstatus", ({ detail }) => show(detail));
}
