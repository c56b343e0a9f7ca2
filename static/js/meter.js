// How busy this computer is with a training: the share of the processor between two readings, and memory.

import { get } from "./api.js";
import { bytes, percent, t } from "./text.js";

const POLL_MILLISECONDS = 4000;
const place = document.querySelector('[data-live="machine"]');
let timer = null;
let before = null;

// Read while a training runs, and stop when it ends.
export function showMeter(active) {
  if (active === Boolean(timer)) return;
  clearTimeout(timer);
  timer = before = null;
  place.textContent = "";
  if (active) read();
}

async function read() {
  timer = setTimeout(read, POLL_MILLISECONDS);
  if (document.hidden) return;
  const now = await get("/machine").catch(() => null);
  if (now && timer) say(now, before);
  before = now;
}

function say(now, before) {
  const parts = [];
  if (before) {
    const share = (now.cpu_seconds - before.cpu_seconds) / (now.at_seconds - before.at_seconds) / now.cpu_count;
    parts.push(t("js.meter_cpu", { share: percent(Math.min(1, Math.max(0, share))), cores: now.cpu_count }));
  }
  if (now.memory_bytes !== null) parts.push(t("js.meter_memory", { held: bytes(now.memory_bytes) }));
  if (now.available_bytes !== null) parts.push(t("js.meter_free", { free: bytes(now.available_bytes) }));
  if (now.card_bytes !== null) parts.push(t("js.meter_card", { held: bytes(now.card_bytes) }));
  place.textContent = parts.join(" · ");
}
