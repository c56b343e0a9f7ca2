// The live view of a run: state, stages, progress, figures and errors, all written from one status.

import { path } from "./api.js";
import { comparison } from "./forecast.js";
import { showNotices } from "./notices.js";
import { decimal, duration, inCatalogue, number, percent, rewardPart, share, short, t } from "./text.js";

const ACTIVE = ["queued", "running", "stopping"];
const STAGES = ["supervised", "self_play", "reward", "update"];
const root = document.getElementById("live");
const place = (name) => root.querySelector(`[data-live="${name}"]`);
const section = (name) => root.querySelector(`[data-live-section="${name}"]`);

export const isActive = (status) => ACTIVE.includes(status.state);

function write(name, text) {
  const element = place(name);
  if (element.textContent !== text) element.textContent = text;
}

// Show a model's run: its status if it trains now or trained last, else only its history. `known` is what is saved of it:
// {iteration, trained}; `books` is what their passages score, where a round has told it.
export function showRun(model, status, known, books = {}) {
  const own = status.model === model;
  write("title", model ?? t("js.no_model"));
  place("state").dataset.state = own ? status.state : "idle";
  write("state", own ? t(`state.${status.state}`) : t(waits(model) ? "js.waits_its_turn" : "js.not_training"));
  const active = own && isActive(status);
  document.getElementById("stop").hidden = !active;
  document.getElementById("to-setup").textContent = t(active ? "js.to_setup" : "js.to_setup_again");
  document.getElementById("stop").disabled = status.state === "stopping";
  showStages(active ? status : {}, own ? stagesPassed(status) : []);
  showProgress(own ? status : null, active);
  showError(own ? status.error : null);
  showNext(own && !active ? status : {}, model, known);
  showFigures(own ? status : {}, books);
  for (const name of ["reward_soon", "rollouts_soon"]) write(name, t(whyNoSelfPlay(own ? status : {}, active) ?? `js.${name}`));
  showNotices(own ? status.notices : []);
}

const waits = (model) => [...document.querySelectorAll("#queue [data-waits]")].some(({ dataset }) => dataset.waits === model);

function whyNoSelfPlay({ config = null }, active) {
  if (config?.self_play?.enabled === false) return "js.self_play_off";
  if (active) return null;
  return config ? "js.self_play_not_reached" : "js.self_play_none";
}

// Return the stages that a finished run went through; self-play may not have started.
function stagesPassed({ state, iteration, started_iteration: from, reward }) {
  if (!["done", "stopped"].includes(state) || iteration <= from) return [];
  return reward === null ? ["supervised", "update"] : STAGES;
}

function showStages({ stage = null }, passed) {
  for (const item of section("stages").children) {
    if (item.dataset.stage === stage) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
    const done = passed.includes(item.dataset.stage);
    item.classList.toggle("is-done", done);
    item.classList.toggle("is-skipped", passed.length > 0 && !done);
    const fate = passed.length ? t(done ? "js.stage_done" : "js.stage_skipped") : "";
    item.querySelector(".stage-fate").textContent = fate && `: ${fate}`;
  }
  write("stage", stage && !STAGES.includes(stage) ? t(`stage.${stage}`) : "");
}

function showProgress(status, active) {
  section("progress").hidden = !status || (!active && !status.iteration);
  if (!status) return;
  const preparing = active && status.parameters === null; // known from the first iteration on
  const [done, total] = preparing ? [status.stage_done, status.stage_total] : [status.iteration, status.iterations];
  const bar = place("bar");
  bar.hidden = !active && !status.iterations; // an endless run has no share to show
  if (total) bar.value = done / total;
  else if (active) bar.removeAttribute("value");
  write("iteration", iterationOf(status, preparing));
  write("percent", total ? percent(done / total) : preparing || endsByTime(status) ? "" : t("js.endless"));
  const elapsed = active ? "js.elapsed" : "js.elapsed_whole";
  write("elapsed", status.elapsed_seconds ? t(elapsed, { time: duration(status.elapsed_seconds) }) : "");
  write("eta", active && status.eta_seconds !== null ? t("js.eta", { time: duration(status.eta_seconds) }) : "");
}

const endsByTime = ({ config }) => config?.iterations === null && config.max_minutes !== null;

function iterationOf(status, preparing) {
  const { iteration, iterations } = status;
  if (preparing) return t("js.preparing");
  if (iterations > iteration && endsByTime(status)) return t("js.iteration_about", { n: number(iteration), total: number(Number(iterations.toPrecision(2))) });
  if (iterations) return t("js.iteration_of", { n: number(iteration), total: number(iterations) });
  return t("js.iteration", { n: number(iteration) });
}

function showError(error) {
  section("error").hidden = !error;
  write("error", error?.message ?? "");
}

// Show what the person can do now that the training is over, and why it ended early.
function showNext({ state, notices = [], measured = null }, model, { iteration, trained }) {
  const known = inCatalogue(`js.next_${state}`) && iteration;
  const early = notices.find(({ code }) => code === "early_stopped"); // the reason, in words
  const text = known ? [early?.message, t(`js.next_${state}`, { n: number(iteration) })].filter(Boolean).join(" ") : "";
  section("next").hidden = !text;
  section("next-links").hidden = !trained;
  root.querySelector("[data-role=generate-link]").href = path`/generation?model=${model ?? ""}`;
  write("next", text);
  write("measured", text ? comparison(measured) : "");
}

// The last figures of the model's history, over all its runs, for what the status does not know.
let before = {};
let best = null; // the lowest held-out loss: {loss, iteration}

export function noteHistory({ loss_smooth: smooth, evaluations, self_play: play }) {
  const last = (column) => column?.at(-1) ?? null;
  before = { loss: last(smooth), val_loss: last(evaluations.val_loss), bits_per_byte: last(evaluations.bits_per_byte) };
  before.reward = last(play.reward);
  before.looped = last(play.looped);
  before.reward_breakdown = Object.fromEntries(Object.entries(play.reward_breakdown).map(([name, column]) => [name, last(column)]));
  best = null;
  evaluations.iteration.forEach((n, i) => noteEvaluation({ iteration: n, val_loss: evaluations.val_loss[i] }));
}

export function noteEvaluation({ iteration, val_loss: loss }) {
  if (typeof loss === "number" && (best === null || loss < best.loss)) best = { loss, iteration };
}

function showFigures(status, books) {
  const figure = (name) => status[name] ?? before[name] ?? null;
  for (const name of ["loss", "val_loss", "bits_per_byte"]) write(name, decimal(figure(name), 3));
  write("best", best ? t("js.best", { loss: decimal(best.loss, 3), n: number(best.iteration) }) : "");
  write("reward", decimal(figure("reward"), 2));
  write("looped", share(figure("looped")));
  const ofBooks = status.book?.looped ?? books.looped;
  write("looped_books", ofBooks ? t("js.books_loop", { value: share(ofBooks[1]) }) : "");
  const own = Object.entries(status.reward_breakdown ?? {});
  const parts = own.length ? own : Object.entries(before.reward_breakdown ?? {});
  write("reward_parts", parts.map(([name, value]) => `${rewardPart(name).toLowerCase()} ${decimal(value, 2)}`).join(" · "));
  write("tokens_per_second", number(figure("tokens_per_second"), 0));
  write("learning_rate", short(figure("learning_rate")));
}

// Return the iteration with the lowest held-out loss, or null.
export const bestIteration = () => best?.iteration ?? null;

export function showConnection(state) {
  const element = place("connection");
  element.hidden = state === "live" || !inCatalogue(`js.connection_${state}`);
  write("connection", element.hidden ? "" : t(`js.connection_${state}`));
}

export function showHistory(exists, hasRounds, hasLoops) {
  section("history").hidden = !exists;
  section("idle").hidden = exists;
  root.classList.toggle("is-idle", !exists);
  document.getElementById("to-setup").hidden = !exists;
  section("no-reward").hidden = hasRounds;
  section("loops").hidden = !hasLoops;
}
