// The page title, the favicon and the mark on the training tab: progress of the running training, and how it ended.

import { showOnFavicon } from "./favicon.js";
import { notifyEnd, offerNotification } from "./notify.js";
import { number, percent, t } from "./text.js";

const ACTIVE = ["queued", "running", "stopping"];
const mark = document.getElementById("tab-progress");
const title = document.title;
let seenRunning = false; // the end is announced only if the training ran while this page was open
let wasActive = false;

export function showTabProgress(status) {
  document.dispatchEvent(new CustomEvent("trainingstatus", { detail: status })); // for whatever else follows it
  const active = ACTIVE.includes(status.state);
  seenRunning ||= active;
  if (wasActive && !active) notifyEnd(status);
  wasActive = active;
  offerNotification(active);
  showOnFavicon(active ? (shareOf(status) ?? 0) : null);
  const text = active ? progressOf(status) : seenRunning ? t(`js.tab_${status.state}`) : "";
  mark.hidden = !active;
  if (active) mark.textContent = text;
  mark.title = active ? t(`state.${status.state}`) : "";
  document.title = text ? `${text} · ${title}` : title;
}

const shareOf = ({ iteration, iterations }) => (iterations ? iteration / iterations : null);

// Return the share that is done in words, or the iteration of an endless training. Before the first iteration the status does not know
// the end yet, but the settings do.
function progressOf({ iteration, iterations, config }) {
  if (iterations) return percent(iteration / iterations);
  return config?.iterations || config?.max_minutes ? percent(0) : t("js.tab_iteration", { n: number(iteration) });
}
