// Links the inputs for iterations and minutes: changing one changes the other. The input for minutes is disabled until the
// server has measured these settings.

import { valueOf } from "./form.js";
import { count, duration, plain, t } from "./text.js";

// `shown()` is called whenever the length of the training has changed.
export function linkMinutes(form, shown) {
  const iterations = form.elements.iterations;
  const minutes = document.getElementById("f-minutes");
  let secondsEach = null; // of one iteration, self-play and checks included
  let done = 0; // iterations of a stopped training that goes on

  // Return how many of the chosen iterations are still to come, or null while there is no number.
  function left() {
    const wished = countOf(iterations);
    return wished > done ? wished - done : wished;
  }

  // Return the seconds that they will take, or null while that is not known.
  const seconds = () => (secondsEach === null || left() === null ? null : left() * secondsEach);

  function show() {
    minutes.disabled = iterations.disabled || secondsEach === null;
    const known = seconds();
    if (known === null) minutes.value = "";
    else if (document.activeElement !== minutes) minutes.value = plain(rounded(known / 60));
    shown();
  }

  minutes.addEventListener("input", () => {
    const wished = Number(minutes.value.replace(/\s/g, "").replace(",", "."));
    if (!(wished > 0) || secondsEach === null) return;
    iterations.value = done + Math.max(1, Math.round((wished * 60) / secondsEach));
    iterations.dispatchEvent(new Event("input", { bubbles: true }));
  });
  minutes.addEventListener("blur", show);
  for (const kind of ["input", "valueset"]) iterations.addEventListener(kind, show);

  return {
    show,
    // Take the forecast: `left` iterations take `total` seconds after `before` of the chosen ones; null when it is not known.
    measured(left, total, before) {
      secondsEach = left && total ? total / left : null;
      done = before;
      show();
    },
    // Return the length of the training in words for the start button; empty while it is not known, or endless.
    described() {
      const known = iterations.disabled ? null : seconds();
      return known === null ? "" : t("js.start_length", { iterations: count("js.iterations", left()), time: duration(known) });
    },
  };
}

function countOf(iterations) {
  try {
    return valueOf(iterations);
  } catch {
    return null;
  }
}

// Round to two significant digits, from 100 on to three: 0.4, 3.5, 42
function rounded(minutes) {
  return Number(minutes.toPrecision(minutes >= 100 ? 3 : 2));
}
