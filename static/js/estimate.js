// The panel beside the form that shows, while the person types, time, parameters, layers, memory and whether there is enough text.

import { post } from "./api.js";
import { clearErrors, showError } from "./form.js";
import { readsOf, timeOf } from "./outlook.js";
import { bytes, count, decimal, number, percent, short, t } from "./text.js";

const PAUSE_MILLISECONDS = 200;
// Upper limits of tokens per parameter and the verdict for each; large models are trained with about 20.
const VERDICTS = [[0.01, "tiny"], [0.2, "little"], [2, "fair"], [20, "good"], [Infinity, "plenty"]];

// Return the panel's controller. `sizes` is the part of the form whose errors the estimate shows and clears.
export function estimateFor(panel, form, sizes) {
  const part = (name) => panel.querySelector(`[data-estimate="${name}"]`);
  const layer = (name) => panel.querySelector(`[data-layer="${name}"]`);
  let timer;
  let newest = 0;

  // Request an estimate for the sizes that `read()` returns once typing pauses; only the newest answer is shown.
  function ask(read, books) {
    panel.classList.add("is-stale");
    clearTimeout(timer);
    const turn = ++newest;
    timer = setTimeout(async () => {
      try {
        const asked = read();
        const answer = await post("/estimate", { ...asked, books });
        if (turn === newest) show(asked, answer);
      } catch (error) {
        if (turn === newest) fail(error);
      }
    }, PAUSE_MILLISECONDS);
  }

  function show(asked, answer) {
    clearErrors(sizes);
    panel.classList.remove("is-stale");
    part("parameters").textContent = number(answer.parameters);
    part("parameters_unit").textContent = count("js.parameters_word", answer.parameters);
    layer("embedding").textContent = `${number(asked.vocab_size)} × ${number(asked.d_model)}`;
    layer("blocks").textContent = t("js.layer_blocks", { layers: number(asked.num_layers), heads: number(asked.num_heads), d_ff: number(asked.d_ff) });
    layer("head").textContent = `${number(asked.d_model)} × ${number(asked.vocab_size)}`;
    showMemory(answer);
    showRatio(answer);
    part("spoken").textContent = `${count("js.parameters", answer.parameters)}. ${part("memory_verdict").textContent}`;
  }

  // Show the time of the chosen size, or why there is none. Books that are too short leave nothing to say about how they suit it.
  function showTime(outlook, problem, waits, isRefused) {
    panel.classList.toggle("is-refused", isRefused);
    part("time").toggleAttribute("data-known", outlook !== null);
    part("time").textContent = outlook ? t("js.outlook_time", { time: timeOf(outlook) }) : waits ? "…" : "—";
    part("time_note").textContent = outlook ? t("js.outlook_iterations", { iterations: count("js.iterations", outlook.iterations), reads: readsOf(outlook).toLowerCase() }) : problem;
  }

  function showMemory({ training_bytes: needed, available_bytes: available, fits }) {
    const known = typeof available === "number";
    part("memory").textContent = known ? t("js.memory", { needed: bytes(needed), available: bytes(available) }) : bytes(needed);
    part("memory_bar").hidden = !known;
    part("memory_bar").value = known ? Math.min(1, needed / available) : 0;
    part("memory_bar").classList.toggle("is-over", !fits);
    part("memory_verdict").classList.toggle("is-bad", !fits);
    const share = known ? percent(Math.max(0.01, needed / available)) : "";
    part("memory_verdict").textContent = !fits ? t("js.memory_over") : known ? t("js.memory_fits", { share }) : "";
  }

  function showRatio({ tokens, tokens_per_parameter: ratio }) {
    const chosen = ratio !== null && ratio !== undefined;
    part("ratio_box").hidden = !chosen;
    if (!chosen) return;
    const digits = ratio >= 0.1 ? 2 : 4;
    part("ratio").textContent = ratio >= 10 ? short(ratio) : decimal(ratio, digits);
    const verdict = VERDICTS.find(([limit]) => ratio < limit)[1];
    part("ratio_verdict").textContent = `${count("js.about_tokens", Number(tokens.toPrecision(2)))} ${t(`js.verdict_${verdict}`)}`;
  }

  function fail(error) {
    clearErrors(sizes);
    part("parameters").textContent = "—";
    part("ratio_box").hidden = true;
    part("memory").textContent = "—";
    part("memory_bar").value = 0;
    part("memory_verdict").textContent = "";
    showError(form, error, { focus: false });
  }

  return { ask, showTime };
}
