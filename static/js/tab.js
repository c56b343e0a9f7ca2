// The training tab says from every page how far the running training is.

import { percent, t } from "./text.js";

const ACTIVE = ["queued", "running", "stopping"];
const mark = document.getElementById("tab-progress");

const title = document.title;

export function showTabProgress(status) {
  mark.hidden = !ACTIVE.includes(status.state);
  document.title = title;
  if (mark.hidden) return;
  mark.textContent = status.iterations ? percent(status.iteration / status.iterations) : t("js.endless_mark");
  document.title = `${mark.textContent} · ${title}`;
  mark.title = t(`state.${status.state}`);
}
