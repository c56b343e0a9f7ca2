// Sample texts of a training: the newest one, or any earlier one by slider.

import { number, t } from "./text.js";

const text = document.getElementById("sample-text");
const range = document.getElementById("sample-range");
const travel = document.querySelector(".sample-travel");
let samples = [];
let following = true; // show each new sample, until the person goes back to an earlier one

// Replace the list; a person who went back to an earlier sample stays there.
export function setSamples(list) {
  const again = !following && samples[0]?.iteration === list[0]?.iteration && list.length >= samples.length;
  following = !again;
  samples = list.slice();
  arrange();
}

export function addSample(sample) {
  if (sample.iteration <= (samples.at(-1)?.iteration ?? -1)) return;
  samples.push(sample);
  arrange();
}

function arrange() {
  range.max = Math.max(0, samples.length - 1);
  if (following) range.value = range.max;
  travel.hidden = samples.length < 2;
  document.getElementById("samples-empty").hidden = samples.length > 0;
  text.hidden = samples.length === 0;
  show();
}

function show() {
  const sample = samples[Number(range.value)];
  text.querySelector(".prompt").textContent = sample?.prompt ?? "";
  text.querySelector(".completion").textContent = sample?.text ?? "";
  const when = sample ? t("js.sample_at", { n: number(sample.iteration), i: number(Number(range.value) + 1), total: number(samples.length) }) : "";
  document.getElementById("sample-iteration").textContent = when;
  range.setAttribute("aria-valuetext", when);
  document.getElementById("sample-before").disabled = Number(range.value) === 0;
  document.getElementById("sample-after").disabled = range.value === range.max;
}

function move(by) {
  range.value = Number(range.value) + by;
  following = range.value === range.max;
  show();
}

range.addEventListener("input", () => move(0));
document.getElementById("sample-before").addEventListener("click", () => move(-1));
document.getElementById("sample-after").addEventListener("click", () => move(1));
