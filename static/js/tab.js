// The page title and the mark on the training tab: progress of the running training, and how it ended.

import { number, percent, t } from "./text.js";

const ACTIVE = ["queued", "running", "stopping"];
const mark = document.getElementById("tab-progress");
const title = document.title;
let seenRunning = false; // the end is announced only if the training ran while this page was open

export function showTabProgress(status) {
  document.dispatchEvent(new CustomEvent("trainingstatus", { detail: status })); // for whatever else follows it
  const active = ACTIVE.includes(status.state);
  seenRunning ||= active;
  const text = active ? progressOf(status) : seenRunning ? t(`js.tab_${status.state}`) : "";
  mark.hidden = !active;
  if (active) mark.textContent = text;
  mark.title = active ? t(`state.${status.state}`) : "";
  document.title = text ? `${text} · ${title}` : title;
}

// Return the share that is done, or the iteration of an endless training. Before the first iteration the status does not know
// the end yet, but the settings do.
function progressOf({ iteration, iterations, config }) {
  if (iterations) return percent(iteration / iterations);
  return config?.iterations ? percent(0) : t("js.tab_iteration", { n: number(iteration) });
}
