// The charts, drawn by uPlot: loss (batch, smoothed, held-out), reward (total and its parts), and loops; the last two beside what
// passages of the books score.
// The history gives the data, the event stream adds to it; an iteration that is already there is not added again.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { axes, drawBooks, drawMarks, scales } from "./axes.js";
import { Columns } from "./columns.js";
import { decimal, number, rewardPart, share, short, t } from "./text.js";

const HEIGHT = 240;
const MOST_POINTS = 6000; // beyond this the page asks the server for a thinner history

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
const probe = document.createElement("i");

// A custom property with light-dark() is only resolved where it is used as a colour.
function resolved(name) {
  probe.style.color = color(name);
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

// Return the value for the legend: the one under the pointer, else the newest; where a curve has none, its last one before.
const shown = (format) => (chart, value, series, index) => {
  const column = chart.data[series];
  for (let i = index ?? column.length - 1; i >= 0; i--) if (typeof column[i] === "number") return format(column[i]);
  return "—";
};

function showNewest(chart) {
  if (chart.cursor.idx === null || chart.cursor.idx === undefined) chart.setLegend({ idx: chart.data[0].length - 1 }, false);
}

function line(label, token, options = {}) {
  const points = { show: isLonely, size: 7, fill: () => resolved(token) };
  return { label: t(label), stroke: () => resolved(token), width: 2, spanGaps: true, points, value: shown(short), ...options };
}

// Return whether a series has a single value, which makes no line and is drawn as a point.
function isLonely(chart, series) {
  let values = 0;
  for (const value of chart.data[series] ?? []) if (typeof value === "number" && ++values > 1) return false;
  return values === 1;
}

const faint = { width: 1 };
const dots = { points: { show: true, size: 6, fill: () => resolved("surface") } };
const dashed = { dash: [6, 4] };

const KINDS = {
  loss: [line("js.chart_batch", "chart-faint", faint), line("js.chart_smooth", "chart-1"), line("js.chart_val", "chart-2", dots)],
  reward: [line("js.chart_reward", "chart-1")], // and a line for each part of the reward
  loops: [line("js.chart_loops", "chart-1", { value: shown(share) })],
};

// For each chart, how the legend shows a figure of the books, and which values of its band [low, mean, high] are drawn.
const BOOKS = {
  reward: { figure: "reward", drawn: ([low, , high]) => [low, high], text: ([low, , high]) => `${decimal(low, 2)}–${decimal(high, 2)}` },
  loops: { figure: "looped", drawn: ([, mean]) => [mean], text: ([, mean]) => share(mean) },
};

// Return the entry of the books in a legend; what it stands for is drawn behind the curves.
function booksLine(text, marker) {
  return { ...line("js.chart_books", "ink-soft", marker), paths: () => null, points: { show: false }, value: text };
}

// Draw a chart. `marks()` returns the changes of books to mark, `books()` the values of the books to draw behind the curves.
function draw(place, series, marks, books) {
  const iteration = { label: t("js.chart_iteration"), value: (_, value) => number(value) };
  const options = {
    width: Math.max(200, place.clientWidth),
    height: HEIGHT,
    scales: scales(books),
    series: [iteration, ...series],
    axes: axes(resolved, place.dataset.chart === "loops"),
    cursor: { points: { size: 7 } },
    hooks: {
      setCursor: [showNewest],
      drawClear: [(self) => drawBooks(self, books(), resolved)],
      drawAxes: [(self) => drawMarks(self, marks(), resolved)],
    },
  };
  const chart = new uPlot(options, [[], ...series.map(() => [])], place);
  new ResizeObserver(() => chart.setSize({ width: Math.max(200, place.clientWidth), height: HEIGHT })).observe(place);
  document.addEventListener("themechange", () => chart.redraw(false));
  return chart;
}

const PART_TOKENS = ["chart-3", "chart-2"];
const partLine = (name, i) => ({ ...line("", PART_TOKENS[i % PART_TOKENS.length], dashed), label: rewardPart(name) });

// Another environment pays for other things: its parts take the place of those that are drawn.
function fit(chart, series) {
  const labels = (all) => all.map(({ label }) => label).join("\n");
  if (labels(chart.series.slice(1)) === labels(series)) return;
  while (chart.series.length > 1) chart.delSeries(chart.series.length - 1);
  series.forEach((one, i) => chart.addSeries(one, i + 1));
}

export function charts(root) {
  const batches = new Columns(["loss", "smooth"]);
  const checks = new Columns(["val_loss"]);
  const rounds = new Columns(["reward"]);
  const loops = new Columns(["looped"]); // earlier versions did not measure them
  const parts = new Columns([]); // of the reward, by the names that its environment gave them
  const drawn = {};
  let marks = [];
  let book = {}; // bands of the books, by figure
  let smoothing = { factor: 0.95, iterationsPerPoint: 1 };
  let waiting = false;

  // Return the weight of iteration n in the running mean, as the server computes it (corrected for the start of the mean).
  function weight(n) {
    const { factor, iterationsPerPoint } = smoothing;
    return (1 - factor) / (1 - factor ** (n / iterationsPerPoint)) / iterationsPerPoint;
  }

  function addLoops(iteration, looped) {
    if (typeof looped === "number") loops.push(iteration, { looped });
  }

  function update() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const [x, reward] = rounds.table();
      set("loss", batches.iteration.length ? uPlot.join([batches.table(), checks.table()]) : [[]]);
      set("reward", [x, reward, ...parts.table().slice(1)], [...KINDS.reward, ...parts.names.map(partLine)]);
      set("loops", loops.table());
    });
  }

  const bandOf = (kind) => book[BOOKS[kind]?.figure];
  const valuesOf = (kind) => (bandOf(kind) ? BOOKS[kind].drawn(bandOf(kind)) : []);

  // Return the entry of the books for the legend of a chart, where they are known.
  function booksIn(kind) {
    const marker = kind === "reward" ? { fill: () => resolved("chart-books"), width: 1 } : dashed;
    return bandOf(kind) ? [booksLine(() => (bandOf(kind) ? BOOKS[kind].text(bandOf(kind)) : "—"), marker)] : [];
  }

  function set(kind, data, series = KINDS[kind]) {
    const place = root.querySelector(`[data-chart=${kind}]`);
    const empty = data[0].length === 0;
    place.classList.toggle("is-empty", empty);
    if (empty) return;
    const books = booksIn(kind);
    const all = [...series, ...books];
    drawn[kind] ??= draw(place, all, () => marks, () => valuesOf(kind));
    fit(drawn[kind], all);
    drawn[kind].setData([...data, ...books.map(() => data[0].map(() => null))]);
    Object.assign(place.dataset, { points: data[0].length, last: data[0].at(-1), books: valuesOf(kind) }); // for tests: what is drawn
    showNewest(drawn[kind]);
  }

  return {
    history({ iterations, loss, loss_smooth: smooth, evaluations, self_play: play, downsampling }) {
      if (downsampling) smoothing = { factor: downsampling.smoothing, iterationsPerPoint: downsampling.iterations_per_point };
      parts.names = Object.keys(play.reward_breakdown);
      [batches, checks, rounds, parts, loops].forEach((columns) => columns.clear());
      iterations.forEach((n, i) => batches.push(n, { loss: loss[i], smooth: smooth[i] }));
      evaluations.iteration.forEach((n, i) => checks.push(n, { val_loss: evaluations.val_loss[i] }));
      const row = (columns, { names }, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]]));
      play.iteration.forEach((n, i) => rounds.push(n, row(play, rounds, i)) && parts.push(n, row(play.reward_breakdown, parts, i)));
      play.iteration.forEach((n, i) => addLoops(n, play.looped[i]));
      update();
    },
    iterations({ iteration, loss }) {
      iteration.forEach((n, i) => {
        const before = batches.column("smooth").at(-1) ?? loss[i];
        batches.push(n, { loss: loss[i], smooth: before + weight(n) * ((loss[i] ?? before) - before) });
      });
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
    // Mark changes of books: [{iteration, text}].
    mark(changes) {
      marks = changes;
      root.querySelector("[data-live=book_changes]").textContent = marks.map(({ text }) => text).join(" ");
      Object.values(drawn).forEach((chart) => chart.redraw(false));
      for (const place of root.querySelectorAll("[data-chart]")) place.dataset.marks = marks.map(({ iteration }) => iteration).join(" ");
    },
    hasRounds: () => rounds.iteration.length > 0,
    hasLoops: () => loops.iteration.length > 0,
  };
}
