// The forecast of time and memory: requested once the form has been left alone, and measured by the server in a few seconds.

import { post } from "./api.js";
import { bytes, decimal, duration, number, short, t } from "./text.js";

const PAUSE_MILLISECONDS = 1500;
const place = document.getElementById("forecast");

// Return the forecast's controller. `wishes()` returns the body of a /train request, or null while the form is incomplete;
// `measured(body, answer)` receives the forecast, or null after an error.
export function forecasting(wishes, measured) {
  let timer;
  let asking = new AbortController();

  function stop() {
    clearTimeout(timer);
    asking.abort();
    asking = new AbortController();
  }

  function ask() {
    stop();
    const wished = wishes();
    say([t(wished ? "js.forecast_soon" : "js.forecast_none")]);
    if (!wished) return;
    timer = setTimeout(() => measure(wished, asking.signal), PAUSE_MILLISECONDS);
  }

  async function measure(wished, signal) {
    say([t("js.forecast_measuring")]);
    const answer = await post("/forecast", wished, { signal }).catch((error) => error);
    if (signal.aborted) return;
    const failed = answer instanceof Error;
    say(failed ? [answer.message] : sentences(answer, wished));
    measured(wished, failed ? null : answer);
  }

  function running() {
    stop();
    say([t("js.forecast_running")]);
  }

  return { ask, running, stop };
}

function say(lines) {
  place.replaceChildren(...lines.map((line, index) => Object.assign(document.createElement(index ? "span" : "b"), { textContent: line })));
}

function sentences(found, { max_minutes: minutes = null }) {
  const seconds = Math.min(found.total_seconds ?? Infinity, minutes === null ? Infinity : minutes * 60);
  const total = seconds === Infinity
    ? t("js.forecast_endless", { epoch: duration(found.epoch_seconds) })
    : t("js.forecast_total", { time: duration(seconds) });
  const lines = [total, t("js.forecast_speed", { speed: number(found.tokens_per_second, 0), epoch: duration(found.epoch_seconds) })];
  if (found.epochs !== null && found.epochs_least < found.epochs) lines.push(t("js.forecast_epochs_weighed", { most: short(found.epochs), least: short(found.epochs_least) }));
  else if (found.epochs !== null) lines.push(t("js.forecast_epochs", { epochs: short(found.epochs) }));
  lines.push(t("js.forecast_memory", { needed: bytes(found.training_bytes), ratio: decimal(found.tokens_per_parameter, 2) }));
  if (found.vocab_hardly_fits) {
    const { bytes_per_token: now, first } = found.vocab_hardly_fits;
    lines.push(t("js.forecast_misfit", { now: decimal(now, 1), first: decimal(first, 1) }));
  }
  return lines;
}

// Return a sentence that compares a finished run with its forecast.
export function comparison(measured) {
  if (!measured) return "";
  const { seconds, expected_seconds: expected, peak_bytes: peak, expected_bytes: planned } = measured;
  const memory = peak === null ? "" : ` ${t("js.measured_memory", { peak: bytes(peak), expected: bytes(planned) })}`;
  return t("js.measured_time", { time: duration(seconds), expected: duration(expected) }) + memory;
}
