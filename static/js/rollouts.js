// Rounds of self-play: each text with its loops marked, its reward and the parts of the reward, by the way it was written.

import { get, path } from "./api.js";
import { marked } from "./loops.js";
import { count, decimal, number, percent, rewardPart, share, t } from "./text.js";

const section = document.getElementById("rollouts");
const place = document.getElementById("round");
const extremes = document.getElementById("extremes");
const older = document.getElementById("round-older");
const newer = document.getElementById("round-newer");
const AT_ONCE = 2; // texts of each way; the others stay folded
const WAYS = [[true, "greedy"], [false, "sampled"], [null, ""]]; // earlier versions had one way only
const REST_MILLISECONDS = 8000; // long enough to read a round before the next one replaces it

let model = null;
let shown = null; // the round on the page
let newest = 0;
let following = true;
let shownAt = 0;

// Show the newest round of a model, or that there is none; return what passages of the books score.
export async function showRollouts(name) {
  model = name;
  [shown, newest, following] = [null, 0, true];
  await go(null);
  return shown?.book ?? {};
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
  const groups = WAYS.map(([greedy, way]) => [way, round.rollouts.filter((rollout) => (rollout.greedy ?? null) === greedy)]);
  showExtremes(round.rollouts);
  place.replaceChildren(...groups.filter(([, rollouts]) => rollouts.length).map(([way, rollouts]) => groupElement(way, rollouts)));
}

// Put the text with the highest reward beside the one with the lowest.
function showExtremes(rollouts) {
  const known = rollouts.filter(({ reward }) => typeof reward === "number").sort((a, b) => b.reward - a.reward);
  extremes.hidden = known.length < 2;
  if (extremes.hidden) return;
  for (const [end, rollout] of [["best", known[0]], ["worst", known.at(-1)]]) {
    extremes.querySelector(`[data-extreme=${end}] .group-rollouts`).replaceChildren(rolloutElement(rollout));
  }
}

function arrange() {
  document.getElementById("rollouts-empty").hidden = shown !== null;
  for (const part of [section.querySelector(".round-travel"), document.getElementById("round-all")]) part.hidden = shown === null;
  if (shown === null) {
    extremes.hidden = true;
    return place.replaceChildren();
  }
  const title = { round: number(shown.round), n: number(shown.iteration), reward: decimal(shown.reward, 2) };
  document.getElementById("round-title").textContent = t("js.round_title", title);
  older.disabled = shown.round <= 1;
  newer.disabled = shown.round >= newest;
}

function groupElement(way, rollouts) {
  const group = document.getElementById("group-template").content.firstElementChild.cloneNode(true);
  const [heading, first, more] = group.children;
  heading.hidden = !way;
  if (way) heading.textContent = t(`js.way_${way}`);
  first.append(...rollouts.slice(0, AT_ONCE).map(rolloutElement));
  more.hidden = rollouts.length <= AT_ONCE;
  more.querySelector("summary").textContent = count("js.more_texts", rollouts.length - AT_ONCE);
  more.querySelector(".group-rollouts").append(...rollouts.slice(AT_ONCE).map(rolloutElement));
  return group;
}

function rolloutElement(rollout) {
  const element = document.getElementById("rollout-template").content.firstElementChild.cloneNode(true);
  const figure = (name) => element.querySelector(`[data-figure="${name}"]`);
  element.querySelector(".prompt").textContent = rollout.prompt;
  element.querySelector(".completion").replaceChildren(...marked(rollout.completion, rollout.loops ?? [], rollout.copies));
  const meter = element.querySelector(".meter-figure");
  const parts = Object.entries(rollout.reward_breakdown).map(([name, value]) => {
    const part = meter.cloneNode(true);
    part.querySelector("dt").textContent = rewardPart(name);
    return showMeter(part, value);
  });
  showMeter(meter, rollout.reward).after(...parts);
  const { looped = null } = rollout; // earlier versions did not measure it
  figure("looped").parentElement.hidden = looped === null;
  figure("looped").textContent = share(looped);
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
