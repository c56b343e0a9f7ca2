// The training page: connects the form, the history and the event stream with everything that shows them.

import { get, path, post } from "./api.js";
import { showAboutRun } from "./about_run.js";
import { besides } from "./beside.js";
import { addBook, chooseBooks, chosenBooks } from "./books.js";
import { chartTools } from "./chart_tools.js";
import { charts } from "./charts.js";
import { showComparison } from "./compared.js";
import { endingButtons, showEnding } from "./ending.js";
import { busy, glide } from "./form.js";
import { changesOfBooks } from "./lineage.js";
import { bestIteration, isActive, noteEvaluation, noteHistory, showConnection, showHistory, showRun } from "./live.js";
import { showMeter } from "./meter.js";
import { showQueue } from "./queue.js";
import { roundDone, showRollouts } from "./rollouts.js";
import { offerSample } from "./sample_now.js";
import { addSample, setSamples, showNewestSample } from "./samples.js";
import { setup } from "./setup.js";
import { follow } from "./stream.js";
import { showTabProgress } from "./tab.js";
import { t } from "./text.js";
import { uploads } from "./upload.js";

const RETRY_MILLISECONDS = 3000;
const page = document.getElementById("training");
const live = document.getElementById("live");
const stopButton = document.getElementById("stop");
const { models, like } = JSON.parse(document.getElementById("page-data").textContent);
const settings = document.getElementById("setup");
const drawing = charts(live);
const others = besides(drawing, models);
let status = { state: "idle", model: null, notices: [], book: {} };
let viewed = null; // the model whose run is on the page
let history = null;
let books = {}; // what passages of the books score, as the newest round on disk tells it

const form = setup(models, {
  chosen(model) {
    window.history.replaceState(null, "", path`/training?model=${model}`); // a reload shows the same model
    view(model);
  },
  started: showRunFirst,
  enqueued: showQueue,
});

const stream = follow({
  status: takeStatus,
  iterations: (event) => ofViewed() && (drawing.iterations(event) || reload()),
  Evaluated: takeEvaluation,
  SampleWritten: (event) => ofViewed() && addSample(event),
  SelfPlayDone: takeRound,
  RunStarted() {
    reload(); // a resumed run starts at its checkpoint, so later points are no longer valid
    others.view(viewed);
  },
  reset: () => reload(),
  polled: () => reload({ polling: true }),
  connection: showConnection,
});

const isNarrow = () => matchMedia("(max-width: 40rem)").matches;
const ofViewed = () => status.model === viewed;

function takeStatus(next) {
  const ended = isActive(status) && !isActive(next);
  if (ended || next.job_id !== status.job_id) showQueue(); // the next one has begun, or is about to
  status = next;
  if (ended && !isNarrow()) settings.open = true;
  page.dataset.state = status.state;
  showMeter(isActive(status));
  showTabProgress(status);
  form.running(isActive(status) ? status.model : null);
  if (!isActive(status) && status.model) form.reached(status.model, whatIsSaved(status));
  if (form.model() !== viewed) return view(form.model());
  showAll();
}

// Return the status of the model on the page: the server's, or that of the model's own last run, or null.
const ownStatus = () => (ofViewed() ? status : ((history?.model === viewed && history.status) || null));

// Show what the status and the history say of the model on the page.
function showAll() {
  const own = ownStatus();
  showRun(viewed, own ?? status, form.known(viewed), books);
  showEnding(viewed, own && !isActive(own) ? own : null);
  showAboutRun(form.known(viewed), Boolean(own?.config ?? form.known(viewed).settings));
  offerSample(viewed, savedIteration(), own?.config?.sample_prompt || form.known(viewed).settings?.sample_prompt || "");
  showMarks();
  drawing.books(ofViewed() && Object.keys(status.book).length ? status.book : books);
  showComparison((ofViewed() && status.compared) || (history?.model === viewed && history.compared) || null);
  showHistory(ofViewed() || hasHistory(), drawing.hasRounds(), drawing.hasLoops());
}

// Mark where the books changed, where self-play began and where the model was best.
function showMarks() {
  const marks = changesOfBooks(form.known(viewed).trainings, ofViewed() ? status : null);
  const began = drawing.selfPlayBegan();
  if (began !== null) marks.push({ iteration: began, label: t("js.mark_self_play") });
  if (bestIteration() !== null) marks.push({ iteration: bestIteration(), label: t("js.mark_best"), of: "loss" });
  drawing.mark(marks);
}

// Put the run before the settings and fold these away, once a training has been started here.
function showRunFirst() {
  settings.open = false;
  if (page.firstElementChild !== live) page.prepend(live);
  live.focus({ preventScroll: true });
  glide(live, "start");
}

// Return the iteration of the version that can write, or null where there is none yet.
function savedIteration() {
  const known = form.known(viewed);
  return (ofViewed() ? status.published_iteration : null) ?? (known.trained ? known.published ?? known.iteration : null);
}

// Return what is saved of a run: all of it if it was stopped or finished, else up to its last checkpoint.
function whatIsSaved({ state, model, books, iteration, checkpoint_iteration: checkpoint, published_iteration: published }) {
  const known = form.known(model);
  const saved = ["stopped", "done"].includes(state) ? iteration : (checkpoint ?? known.iteration);
  const unfinished = state !== "done" && saved > 0;
  return { iteration: saved, trained: known.trained || published !== null, books: books.length ? books : known.books, unfinished };
}

function takeEvaluation(event) {
  if (!ofViewed()) return;
  noteEvaluation(event);
  drawing.evaluated(event);
  showRun(viewed, ownStatus() ?? status, form.known(viewed), books);
  showMarks();
}

function takeRound(event) {
  if (!ofViewed()) return;
  drawing.round(event);
  roundDone(event.round);
}

const hasHistory = () => Boolean(history && (history.iterations.length || history.samples.length));

// Show a model's whole history, then follow it: the stream starts behind the history's last event.
async function view(model) {
  viewed = model;
  books = {};
  others.view(model);
  showRollouts(model).then((found) => {
    if (model !== viewed) return;
    books = found;
    showAll();
  });
  await reload();
}

async function reload({ polling = false } = {}) {
  const asked = viewed;
  const loaded = await get(path`/training_history?model=${asked}`).catch(() => null);
  if (asked !== viewed) return;
  if (loaded) showLoaded(loaded);
  delete page.dataset.waiting; // shown in one piece, so that nothing moves under the eyes
  if (polling) return;
  if (loaded) stream.from(loaded.last_event_id);
  else setTimeout(() => asked === viewed && reload(), RETRY_MILLISECONDS);
}

function showLoaded(loaded) {
  history = loaded;
  drawing.history(history);
  noteHistory(history);
  setSamples(history.samples);
  showAll();
  showNewestSample(); // the feed has a height only now
}

stopButton.addEventListener("click", () => busy(stopButton, async () => {
  // The answer may arrive after the stream has already said "stopped": only the stream is in order.
  await post("/stop_training", {}).catch(() => {});
}));

// The first uploaded book is ticked alone, without the books that were ticked by default; further ones are added to it.
let chosenByHand = false;
document.getElementById("books").addEventListener("input", () => (chosenByHand = true));

function takeBook(book, look) {
  const others = chosenByHand ? chosenBooks() : [];
  addBook(book, look);
  chooseBooks([...others, book.name]);
  chosenByHand = true;
  document.querySelector("#books [name=books]").dispatchEvent(new Event("change", { bubbles: true }));
}

chartTools(drawing);
endingButtons({ started: showRunFirst, curve: drawing.curve });
document.getElementById("to-setup").addEventListener("click", () => (settings.open = true));
if (page.firstElementChild === live && isNarrow()) settings.open = false;

uploads(document.querySelector("[data-role=uploader]"), takeBook);
if (like) others.add(like);
document.addEventListener("queueshown", () => viewed && showAll());
showQueue();
status = await get("/training_status").catch(() => status);
takeStatus(status);
