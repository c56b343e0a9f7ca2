// Before and after: how the model wrote when self-play began and how it writes now, in words and in two pairs of texts.

import { marked } from "./loops.js";
import { decimal, number, rewardPart, share, t } from "./text.js";

const NOTICEABLE = 0.01; // of the tokens; less is chance in a few hundred of them
const section = document.getElementById("compared");
let shown = null; // the comparison on the page, as JSON

// Show a comparison, or nothing: {since, iteration, prompt, before, now, book}, where `before` and `now` are by ways of writing.
export function showComparison(compared) {
  section.hidden = !compared;
  const key = JSON.stringify(compared);
  if (!compared || key === shown) return;
  shown = key;
  for (const way of Object.keys(compared.now)) showWay(way, compared);
}

function showWay(way, { since, iteration, prompt, before, now, book }) {
  place("sentence", way).textContent = sentence(way, since, before[way], now[way], book);
  showWriting(place("before", way), t("js.compared_began", { n: number(since) }), prompt, before[way]);
  showWriting(place("now", way), t("js.compared_reached", { n: number(iteration) }), prompt, now[way]);
}

const place = (part, way) => section.querySelector(`[data-compared="${part}"][data-way="${way}"]`);

// Say whether the model repeats itself less, more or as much as before, with the figures of the books where they are known.
function sentence(way, since, before, now, book) {
  const change = now.looped - before.looped;
  const verdict = Math.abs(change) < NOTICEABLE ? "same" : change < 0 ? "less" : "more";
  const inBooks = (band, shape) => (band ? t("js.compared_books", { value: shape(band[1]) }) : "");
  return t(`js.compared_${way}_${verdict}`, {
    since: number(since),
    before: share(before.looped),
    now: share(now.looped),
    books: inBooks(book.looped, share),
    reward_before: decimal(before.reward, 2),
    reward_now: decimal(now.reward, 2),
    reward_books: inBooks(book.reward, (value) => decimal(value, 2)),
  });
}

function showWriting(element, when, prompt, { text, loops, looped, reward, reward_breakdown: parts }) {
  element.querySelector(".writing-when").textContent = when;
  element.querySelector(".prompt").textContent = prompt;
  element.querySelector(".completion").replaceChildren(...marked(text, loops));
  const figures = [[t("js.chart_loops"), share(looped)], [t("js.chart_reward"), decimal(reward, 2)]];
  for (const [name, value] of Object.entries(parts)) figures.push([rewardPart(name), decimal(value, 2)]);
  element.querySelector(".writing-figures").textContent = figures.map(([name, value]) => `${name.toLowerCase()} ${value}`).join(" · ");
}
