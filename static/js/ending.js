// The card at the end of a training: how the model wrote at first and how it writes now, and what can be done next.

import { path, post } from "./api.js";
import { busy, showError } from "./form.js";
import { drawPicture, savePicture } from "./picture.js";
import { firstAndLast } from "./samples.js";
import { duration, number, t } from "./text.js";

const MORE = 1000; // iterations, as the button says
const card = document.getElementById("ending");
const pair = card.querySelector(".from-to");
const more = document.getElementById("more-iterations");
const share = document.getElementById("share");
let status = {};

// Show the card's texts for a model that does not train now. `own` is the status of its last run, or null.
export function showEnding(model, own) {
  status = own ?? {};
  const [from, to] = firstAndLast();
  const isTold = Boolean(own?.elapsed_seconds && from && to && from.iteration < to.iteration);
  card.querySelector("h3").hidden = pair.hidden = share.hidden = !isTold;
  more.hidden = !own?.config || !own.books.length || !own.iteration;
  card.querySelector("[data-role=download-link]").href = path`/download_model?model=${model}&format=hf`;
  if (isTold) [from, to].forEach((sample, i) => showSample(pair.children[i], sample, i));
  if (isTold) card.querySelector("h3").textContent = t("js.ending", { time: duration(own.elapsed_seconds) });
}

const captionOf = ({ iteration }, i) => t(i ? "js.ending_to" : "js.ending_from", { n: number(iteration) });

function showSample(figure, sample, i) {
  figure.querySelector("figcaption").textContent = captionOf(sample, i);
  figure.querySelector(".prompt").textContent = sample.prompt;
  figure.querySelector(".completion").textContent = sample.text;
}

// Return the body of a /train request that trains this model MORE iterations on, with everything else as it was. A stopped run
// counts its iterations from where it began.
function longer({ model, books, config, state, iteration, iterations }) {
  const isUnfinished = state !== "done" && iterations !== null && config.iterations !== null;
  const before = isUnfinished ? iteration - (iterations - config.iterations) : 0;
  return { ...config, model, books, iterations: before + MORE, max_minutes: null };
}

// `started()` is called once the training goes on; `curve()` returns the smoothed loss.
export function endingButtons({ started, curve }) {
  more.addEventListener("click", () => busy(more, async () => {
    try {
      await post("/train", longer(status));
      started();
    } catch (error) {
      showError(document.getElementById("train-form"), error);
    }
  }));
  share.addEventListener("click", () => busy(share, async () => {
    const [from, to] = firstAndLast().map((sample, i) => ({ caption: captionOf(sample, i), text: sample.prompt + sample.text }));
    const title = t("js.ending", { time: duration(status.elapsed_seconds) });
    await savePicture(drawPicture({ title, name: status.model, from, to, curve: curve() }), status.model);
  }));
}
