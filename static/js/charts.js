// The charts of a training: loss (batch, smoothed, held-out, other runs beside it), reward (total and its parts) and loops, the
// last two beside what passages of the books score; sparklines and a word for the four figures.
// The history gives the data, the event stream adds to it; an iteration that is already there is not added again.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { Columns } from "./columns.js";
import { besideBooks, ofHeldOut, ofLoss } from "./judgement.js";
import { booksLine, dashed, dots, draw, faint, fit, line, partLine, resolved, showNewest } from "./plot.js";
import { smoothed } from "./smoothing.js";
import { drawSparkline } from "./sparkline.js";
import { decimal, share, t } from "./text.js";

const MOST_POINTS = 6000; // beyond this the page asks the server for a thinner history

const KINDS = {
  loss: [line("js.chart_batch", "chart-faint", faint), line("js.chart_smooth", "chart-1"), line("js.chart_val", "chart-2", dots)],
  reward: [line("js.chart_reward", "chart-1")], // and a line for each part of the reward
  loops: [line("js.chart_loops", "chart-1", { format: share })],
};

// For each chart, how the legend shows a figure of the books, and which values of its band [low, mean, high] are drawn.
const BOOKS = {
  reward: { figure: "reward", drawn: ([low, , high]) => [low, high], text: ([low, , high]) => `${decimal(low, 2)}–${decimal(high, 2)}` },
  loops: { figure: "looped", drawn: ([, mean]) => [mean], text: ([, mean]) => share(mean) },
};

export function charts(root) {
  const batches = new Columns(["loss"]);
  const checks = new Columns(["val_loss", "train_loss"]);
  const rounds = new Columns(["reward"]);
  const loops = new Columns(["looped"]); // earlier versions did not measure them
  const parts = new Columns([]); // of the reward, by the names that its environment gave them
  const drawn = {};
  let marks = [];
  let book = {}; // bands of the books, by figure
  let step = 1; // iterations for each point of the history
  let look = { smoothing: 0.9, isLog: false, zoom: null };
  let beside = []; // earlier runs and other models: [{name, iterations, losses}]
  let onZoom = () => {};
  let waiting = false;

  const curve = () => smoothed(batches.iteration, batches.column("loss"), look.smoothing, step);

  function update() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const smooth = curve();
      drawLoss(smooth);
      const [x, reward] = rounds.table();
      set("reward", [x, reward, ...parts.table().slice(1)], [...KINDS.reward, ...parts.names.map(partLine)]);
      set("loops", loops.table());
      tellFigures(smooth);
    });
  }

  function drawLoss(smooth) {
    const tables = [[batches.iteration, batches.column("loss"), smooth], checks.table().slice(0, 2)];
    const series = [...KINDS.loss, ...beside.map(besideLine)];
    set("loss", batches.iteration.length ? uPlot.join([...tables, ...beside.map(({ iterations, losses }) => [iterations, losses])]) : [[]], series);
  }

  const bandOf = (kind) => book[BOOKS[kind]?.figure];
  const valuesOf = (kind) => (bandOf(kind) ? BOOKS[kind].drawn(bandOf(kind)) : []);

  // Return the entry of the books for the legend of a chart, where they are known.
  function booksIn(kind) {
    const marker = kind === "reward" ? { fill: () => resolved("chart-books"), width: 1 } : dashed;
    return bandOf(kind) ? [booksLine(() => (bandOf(kind) ? BOOKS[kind].text(bandOf(kind)) : "—"), marker)] : [];
  }

  // Return what is marked in a chart: the best iteration belongs to the loss alone.
  const marksIn = (kind) => marks.filter(({ of }) => !of || of === kind);

  function set(kind, data, series = KINDS[kind]) {
    const place = root.querySelector(`[data-chart=${kind}]`);
    const empty = data[0].length === 0;
    place.classList.toggle("is-empty", empty);
    if (empty) return;
    const books = booksIn(kind);
    const all = [...series, ...books];
    const on = { marks: () => marksIn(kind), books: () => valuesOf(kind), zoomed: (range) => onZoom(range) };
    drawn[kind] ??= draw(place, all, on, kind === "loss" && look.isLog);
    fit(drawn[kind], all);
    drawn[kind].batch(() => {
      drawn[kind].setData([...data, ...books.map(() => data[0].map(() => null))]);
      if (look.zoom) drawn[kind].setScale("x", look.zoom(data[0]));
    });
    Object.assign(place.dataset, { points: data[0].length, last: data[0].at(-1), books: valuesOf(kind) }); // for tests: what is drawn
    showNewest(drawn[kind]);
  }

  // Draw the curves beside the four figures, and say in a word how each stands.
  function tellFigures(smooth) {
    const curves = { loss: smooth, val_loss: checks.column("val_loss"), reward: rounds.column("reward"), looped: loops.column("looped") };
    const words = {
      loss: ofLoss(batches.iteration, batches.column("loss")),
      val_loss: ofHeldOut(checks.column("val_loss"), checks.column("train_loss")),
      reward: besideBooks(rounds.column("reward").at(-1), book.reward, true),
      looped: besideBooks(loops.column("looped").at(-1), book.looped, false),
    };
    for (const [name, values] of Object.entries(curves)) {
      drawSparkline(root.querySelector(`[data-spark=${name}]`), values);
      const place = root.querySelector(`[data-word=${name}]`);
      place.dataset.code = words[name] ?? "";
      place.textContent = words[name] ? t(`js.word_${words[name]}`) : "";
    }
  }

  function addLoops(iteration, looped) {
    if (typeof looped === "number") loops.push(iteration, { looped });
  }

  return {
    history({ iterations, loss, evaluations, self_play: play, downsampling }) {
      if (downsampling) step = downsampling.iterations_per_point;
      parts.names = Object.keys(play.reward_breakdown);
      [batches, checks, rounds, parts, loops].forEach((columns) => columns.clear());
      iterations.forEach((n, i) => batches.push(n, { loss: loss[i] }));
      evaluations.iteration.forEach((n, i) => checks.push(n, { val_loss: evaluations.val_loss[i], train_loss: evaluations.train_loss?.[i] }));
      const row = (columns, { names }, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]]));
      play.iteration.forEach((n, i) => rounds.push(n, row(play, rounds, i)) && parts.push(n, row(play.reward_breakdown, parts, i)));
      play.iteration.forEach((n, i) => addLoops(n, play.looped[i]));
      update();
    },
    iterations({ iteration, loss }) {
      iteration.forEach((n, i) => batches.push(n, { loss: loss[i] }));
      update();
      return batches.iteration.length <= MOST_POINTS;
    },
    evaluated(event) {
      checks.push(event.iteration, event);
      update();
    },
    round(event) {
      Object.keys(event.reward_breakdown).forEach((name) => parts.add(name));
      if (rounds.push(event.iteration, event)) parts.push(event.iteration, event.reward_breakdown);
      addLoops(event.iteration, event.looped);
      update();
    },
    // Draw what the books score: {reward: [low, mean, high], looped: ..., ...}; nothing where that is not known.
    books(bands) {
      if (JSON.stringify(bands) === JSON.stringify(book)) return;
      book = bands;
      update();
    },
    // Mark changes of books, where self-play began and where the model was best: [{iteration, label, text?, of?}].
    mark(changes) {
      marks = changes;
      root.querySelector("[data-live=book_changes]").textContent = marks.map(({ text }) => text ?? "").join(" ").trim();
      Object.values(drawn).forEach((chart) => chart.redraw(false));
      for (const place of root.querySelectorAll("[data-chart]")) place.dataset.marks = marksIn(place.dataset.chart).map(({ iteration }) => iteration).join(" ");
    },
    // Change how the curves are drawn: {smoothing, isLog, zoom}; `zoom` returns the iterations to show, {min, max}, or is null.
    look(changes) {
      if ("isLog" in changes && changes.isLog !== look.isLog) {
        drawn.loss?.destroy();
        delete drawn.loss;
      }
      look = { ...look, ...changes };
      update();
    },
    // Lay the losses of other runs over this one's.
    beside(others) {
      beside = others;
      update();
    },
    zoomed(listener) {
      onZoom = listener;
    },
    curve,
    selfPlayBegan: () => rounds.iteration[0] ?? null,
    hasRounds: () => rounds.iteration.length > 0,
    hasLoops: () => loops.iteration.length > 0,
  };
}

const BESIDE_TOKENS = ["chart-3", "ink-soft", "danger"];
const besideLine = ({ name }, i) => line(name, BESIDE_TOKENS[i % BESIDE_TOKENS.length], { isName: true, width: 1.5, ...dashed });
