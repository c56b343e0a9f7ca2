// How a text came about, in words: its length and speed, why it ended, its seed, and what wrote it.

import { count, t } from "./text.js";

// `done` is what the server says at the end of a text.
export function told({ tokens, tokens_per_second: speed, finish_reason: reason, engine, weights, seed, prompt_tokens: all, prompt_tokens_read: read }) {
  const parts = [count("js.tokens", tokens)];
  if (speed) parts.push(count("js.speed", speed < 10 ? Math.round(speed * 10) / 10 : Math.round(speed)));
  if (reason) parts.push(t(`js.finish_${reason}`));
  if (seed !== undefined) parts.push(t("js.seed", { seed }));
  if (engine) parts.push([engine === "native" ? t("js.engine_native") : engine, weights === "q8_0" && "Q8_0"].filter(Boolean).join(" "));
  if (read < all) parts.push(t("js.prompt_cut", { read, all }));
  return parts.join(" · ");
}

// Show it, with a button that gives the seed to `keepSeed`, for the next texts.
export function showTold(place, done, keepSeed) {
  place.textContent = told(done);
  if (done.seed === undefined) return;
  const keep = Object.assign(document.createElement("button"), { type: "button", className: "link-button", textContent: t("js.keep_seed") });
  keep.addEventListener("click", () => {
    keep.replaceWith(t("js.seed_kept"));
    keepSeed(done.seed);
  });
  place.append(" · ", keep);
}
