// Notices of a training: the newest at the top of the page, all of them in a list.

import { number, t } from "./text.js";

const WARNINGS = ["memorising", "self_play_paused", "non_finite_skipped", "spike_skipped", "went_back", "self_play_left_out", "micro_batch_halved", "checkpoint_corrupt", "weights_restored"];
const section = document.querySelector('[data-live-section="notices"]');
const list = document.getElementById("notices");
const latest = document.querySelector('[data-live="latest"]');
let shownNotices = "[]";

export function showNotices(notices) {
  section.hidden = notices.length === 0;
  const key = JSON.stringify(notices);
  if (key === shownNotices) return;
  shownNotices = key;
  const newest = notices.at(-1);
  showLatest(newest?.code === "early_stopped" ? undefined : newest); // the outcome below says it already
  list.replaceChildren(...[...notices].reverse().map(noticeItem));
}

// Show the newest notice at the top of the page, where it is seen while the training runs.
function showLatest(notice) {
  latest.classList.toggle("is-warning", WARNINGS.includes(notice?.code));
  latest.textContent = notice ? `${t("js.iteration", { n: number(notice.iteration) })}. ${notice.message}` : "";
}

function noticeItem(notice) {
  const item = document.createElement("li");
  const when = document.createElement("span");
  const what = document.createElement("span");
  when.className = "note";
  when.textContent = t("js.iteration", { n: number(notice.iteration) });
  what.textContent = notice.message;
  item.append(when, what);
  return item;
}
