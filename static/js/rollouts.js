// Rounds of self-play: each text with its reward and the parts of the reward.

import { get, path } from "./api.js";
import { decimal, number, percent, rewardPart, t } from "./text.js";

const section = document.getElementById("rollouts");
const place = document.getElementById("round");
const older = document.getElementById("round-older");
const newer = document.getElementById("round-newer");
const REST_MILLISECONDS = 8000; // long enough to read a round before the next one replaces it

let model = null;
let shown = null; // the round on the page
let newest = 0;
let following = true;
let shownAt = 0;

// Show the newest round of a model, or that there is none.
export async function showRollouts(name) {
  model = name;
  [shown, newest, following] = [null, 0, true];
  await go(null);
}

// Take note of a round that has just finished.
export function roundDone(round) {
  newest = Math.max(newest, round);
  const reading = section.matches(":hover, :focus-within");
  if (following && !reading && Date.now() - shownAt > REST_MILLISECONDS) go(null);
  else arrange();
}

async function go(before) {
  const asked = model;
  const query = before === null ? "" : `&before=${before}`;
  const { rounds } = await get(path`/rollouts?model=${model}&limit=1` + query).catch(() => ({ rounds: [] }));
  if (asked !== model) return;
  if (rounds.length) show(rounds[0]);
  arrange();
}

function show(round) {
  shown = round;
  shownAt = Date.now();
  newest = Math.max(newest, round.round);
  const groups = Map.groupBy ? Map.groupBy(round.rollouts, (r) => r.prompt) : grouped(round.rollouts);
  place.replaceChildren(...[...groups].map(([prompt, rollouts]) => groupElement(prompt, rollouts)));
  place.firstElementChild.open = true; // the others stay folded
}

function grouped(rollouts) {
  const groups = new Map();
  for (const rollout of rollouts) groups.set(rollout.prompt, [...(groups.get(rollout.prompt) ?? []), rollout]);
  return groups;
}

function arrange() {
  document.getElementById("rollouts-empty").hidden = shown !== null;
  section.querySelector(".round-travel").hidden = shown === null;
  if (shown === null) return place.replaceChildren();
  const title = { round: number(shown.round), n: number(shown.iteration), reward: decimal(shown.reward, 2) };
  document.getElementById("round-title").textContent = t("js.round_title", title);
  older.disabled = shown.round <= 1;
  newer.disabled = shown.round >= newest;
}

function groupElement(prompt, rollouts) {
  const group = document.getElementById("group-template").content.firstElementChild.cloneNode(true);
  group.querySelector(".group-prompt").textContent = prompt;
  group.querySelector(".group-rollouts").setAttribute("aria-label", prompt);
  group.querySelector(".group-rollouts").append(...rollouts.map(rolloutElement));
  return group;
}

function rolloutElement(rollout) {
  const element = document.getElementById("rollout-template").content.firstElementChild.cloneNode(true);
  const figure = (name) => element.querySelector(`[data-figure="${name}"]`);
  element.querySelector(".rollout-text").textContent = `…${rollout.completion}`;
  const meter = element.querySelector(".meter-figure");
  const parts = Object.entries(rollout.reward_breakdown).map(([name, value]) => {
    const part = meter.cloneNode(true);
    part.querySelector("dt").textContent = rewardPart(name);
    return showMeter(part, value);
  });
  showMeter(meter, rollout.reward).after(...parts);
  figure("advantage").textContent = (rollout.advantage > 0 ? "+" : "") + decimal(rollout.advantage, 3);
  figure("advantage").classList.add(rollout.advantage < 0 ? "is-negative" : "is-positive");
  figure("kl").textContent = decimal(rollout.kl, 3);
  figure("copied").textContent = percent(rollout.copied);
  return element;
}

function showMeter(meter, value) {
  meter.querySelector("b").textContent = decimal(value, 2);
  meter.querySelector("progress").value = value ?? 0;
  return meter;
}

older.addEventListener("click", () => {
  following = false;
  go(shown.round);
});
newer.addEventListener("click", () => {
  following = shown.round + 1 >= newest;
  go(shown.round + 2);
});
