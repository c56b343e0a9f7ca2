// The tab title and the mark on the training tab: how far the running training is, and how it ended.

import { number, percent, t } from "./text.js";

const ACTIVE = ["queued", "running", "stopping"];
const mark = document.getElementById("tab-progress");
const title = document.title;
let seenRunning = false; // whether a training ran while this page was open: only then is its end news

export function showTabProgress(status) {
  const active = ACTIVE.includes(status.state);
  seenRunning ||= active;
  const text = active ? progressOf(status) : seenRunning ? t(`js.tab_${status.state}`) : "";
  mark.hidden = !active;
  if (active) mark.textContent = text;
  mark.title = active ? t(`state.${status.state}`) : "";
  document.title = text ? `${text} · ${title}` : title;
}

// The share of a training that has an end, the iteration of one that has none. Before the first iteration the status does
// not know the end yet; the settings say whether there will be one.
function progressOf({ iteration, iterations, config }) {
  if (iterations) return percent(iteration / iterations);
  return config?.iterations ? percent(0) : t("js.tab_iteration", { n: number(iteration) });
}
