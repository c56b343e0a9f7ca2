// The versions of a model that can write: the best, the latest, and the older checkpoints that are kept.

import { number, t } from "./text.js";

const EVERY_MODEL = 2; // the best and the latest stand in the page

// Offer the versions of a model, `kept` being the iterations of its checkpoints, the oldest first; the latest has its own entry. Where no
// model is chosen there are none.
export function offerVersions(select, kept = [], wished = select.value) {
  select.length = EVERY_MODEL;
  for (const iteration of kept.slice(0, -1).reverse()) select.add(new Option(t("js.version_at", { n: number(iteration) }), iteration));
  select.value = wished;
  if (select.selectedIndex < 0) select.value = "best";
}
