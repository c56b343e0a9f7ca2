// Links the inputs for iterations and minutes: changing one changes the other. The input for minutes is disabled until the
// server has measured these settings.

import { valueOf } from "./form.js";
import { plain } from "./text.js";

export function linkMinutes(form) {
  const iterations = form.elements.iterations;
  const minutes = document.getElementById("f-minutes");
  let secondsEach = null; // of one iteration, self-play and checks included

  function show() {
    minutes.disabled = iterations.disabled || secondsEach === null;
    const count = countOf(iterations);
    if (secondsEach === null || count === null) minutes.value = "";
    else if (document.activeElement !== minutes) minutes.value = plain(rounded((count * secondsEach) / 60));
  }

  minutes.addEventListener("input", () => {
    const wished = Number(minutes.value.replace(/\s/g, "").replace(",", "."));
    if (!(wished > 0) || secondsEach === null) return;
    iterations.value = Math.max(1, Math.round((wished * 60) / secondsEach));
    iterations.dispatchEvent(new Event("input", { bubbles: true }));
  });
  minutes.addEventListener("blur", show);
  for (const kind of ["input", "valueset"]) iterations.addEventListener(kind, show);
  show();

  return {
    show,
    // Take the forecast: `count` iterations take `seconds`; both null when it is not known.
    measured(count, seconds) {
      secondsEach = count && seconds ? seconds / count : null;
      show();
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
