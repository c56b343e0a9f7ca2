// Links the inputs for the length of a training: iterations, minutes, and the slider of time. Changing one changes the others.
// Minutes and slider are disabled until the server has measured these settings; only "without end" can be chosen before.

import { valueOf } from "./form.js";
import { count, duration, plain, t } from "./text.js";
import { ENDLESS, minutesAt, positionOf } from "./time_scale.js";

// `shown()` is called whenever the length of the training has changed.
export function linkMinutes(form, shown) {
  const iterations = form.elements.iterations;
  const minutes = document.getElementById("f-minutes");
  const slider = document.getElementById("f-time");
  const endless = document.getElementById("f-endless");
  const now = document.getElementById("f-time-now");
  const stops = [...document.querySelectorAll(".time-stops button")];
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
    showSlider(known);
    shown();
  }

  function showSlider(known) {
    slider.disabled = secondsEach === null;
    for (const stop of stops) stop.disabled = secondsEach === null && stop.dataset.minutes !== "endless";
    if (document.activeElement !== slider) slider.value = endless.checked ? ENDLESS : positionOf((known ?? 900) / 60);
    const said = endless.checked ? t("js.time_endless") : known === null ? t("js.time_unknown") : duration(known);
    slider.setAttribute("aria-valuetext", said);
    now.textContent = said;
    now.classList.toggle("is-unknown", known === null && !endless.checked);
    for (const stop of stops) stop.setAttribute("aria-pressed", String(isAt(stop.dataset.minutes, known)));
  }

  // Return whether the length is the one of a stop, within a tenth.
  function isAt(minutes, known) {
    if (minutes === "endless" || endless.checked) return minutes === "endless" && endless.checked;
    return known !== null && Math.abs(known / 60 / Number(minutes) - 1) < 0.1;
  }

  // Choose a length in minutes, or Infinity.
  function choose(wished) {
    if (endless.checked !== (wished === Infinity)) endless.click();
    if (wished === Infinity || secondsEach === null) return;
    iterations.value = done + Math.max(1, Math.round((wished * 60) / secondsEach));
    iterations.dispatchEvent(new Event("input", { bubbles: true }));
  }

  minutes.addEventListener("input", () => {
    const wished = Number(minutes.value.replace(/\s/g, "").replace(",", "."));
    if (wished > 0) choose(wished);
  });
  minutes.addEventListener("blur", show);
  slider.addEventListener("input", () => choose(minutesAt(Number(slider.value))));
  for (const stop of stops) {
    stop.addEventListener("click", () => {
      choose(stop.dataset.minutes === "endless" ? Infinity : Number(stop.dataset.minutes));
      form.dispatchEvent(new Event("change", { bubbles: true }));
    });
  }
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
