// One chart drawn by uPlot: its lines, its legend, its size and its zoom. What is drawn is said by charts.js.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { axes, drawBooks, drawMarks, scales } from "./axes.js";
import { number, rewardPart, short, t } from "./text.js";

const HEIGHT = 240;
const TALL = 320;
const STEP = "training"; // charts with this key show the same iteration under the pointer
const probe = document.createElement("i");

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

// A custom property with light-dark() is only resolved where it is used as a colour.
export function resolved(name) {
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

// Show the newest values of the run itself, also where a curve laid over it goes on further.
export function showNewest(chart) {
  if (chart.cursor.idx === null || chart.cursor.idx === undefined) chart.setLegend({ idx: newest(chart.data) }, false);
}

function newest([iterations, first]) {
  const found = first?.findLastIndex((value) => typeof value === "number") ?? -1;
  return found < 0 ? iterations.length - 1 : found;
}

// Return a line of a chart. `label` is a key of the catalogue or, with `isName`, the text itself.
export function line(label, token, { format = short, isName = false, ...options } = {}) {
  const points = { show: isLonely, size: 7, fill: () => resolved(token) };
  const common = { stroke: () => resolved(token), width: 2, spanGaps: true, points, value: shown(format) };
  return { label: isName ? label : t(label), ...common, ...options };
}

// Return whether a series has a single value, which makes no line and is drawn as a point.
function isLonely(chart, series) {
  let values = 0;
  for (const value of chart.data[series] ?? []) if (typeof value === "number" && ++values > 1) return false;
  return values === 1;
}

export const faint = { width: 1 };
export const dots = { points: { show: true, size: 6, fill: () => resolved("surface") } };
export const dashed = { dash: [6, 4] };

const PART_TOKENS = ["chart-3", "chart-2"];
export const partLine = (name, i) => line(rewardPart(name), PART_TOKENS[i % PART_TOKENS.length], { isName: true, ...dashed });

// Return the entry of the books in a legend; what it stands for is drawn behind the curves.
export function booksLine(text, marker) {
  return { ...line("js.chart_books", "ink-soft", marker), paths: () => null, points: { show: false }, value: text };
}

// Draw a chart. `on.marks()` returns what to mark, `on.books()` the values of the books to draw behind the curves, and
// `on.zoomed(range)` is called with the iterations that the person has drawn a box around, or null to show everything.
export function draw(place, series, on, isLog) {
  const iteration = { label: t("js.chart_iteration"), value: (_, value) => number(value) };
  const height = place.classList.contains("chart-tall") ? TALL : HEIGHT;
  const kind = { areShares: place.dataset.chart === "loops", isLog };
  const options = {
    width: Math.max(200, place.clientWidth),
    height,
    scales: scales(on.books, kind),
    series: [iteration, ...series],
    axes: axes(resolved, kind),
    cursor: {
      points: { size: 7 },
      sync: { key: STEP, scales: ["x", null], setSeries: false },
      drag: { setScale: false, x: true, y: false },
      bind: { dblclick: () => () => on.zoomed(null) },
    },
    hooks: {
      setCursor: [showNewest],
      setSelect: [(self) => selected(self, on.zoomed)],
      drawClear: [(self) => drawBooks(self, on.books(), resolved)],
      drawAxes: [(self) => drawMarks(self, on.marks(), resolved)],
    },
  };
  const chart = new uPlot(options, [[], ...series.map(() => [])], place);
  const sizes = new ResizeObserver(() => chart.setSize({ width: Math.max(200, place.clientWidth), height }));
  sizes.observe(place);
  const repaint = () => chart.redraw(false);
  document.addEventListener("themechange", repaint);
  chart.hooks.destroy = [() => (sizes.disconnect(), document.removeEventListener("themechange", repaint))];
  return chart;
}

// Take the box that was drawn over a chart as its zoom.
function selected(chart, zoomed) {
  const { left, width } = chart.select;
  if (width < 8) return;
  chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  zoomed({ min: chart.posToVal(left, "x"), max: chart.posToVal(left + width, "x") });
}

// Another environment pays for other things: its parts take the place of those that are drawn.
export function fit(chart, series) {
  const labels = (all) => all.map(({ label }) => label).join("\n");
  if (labels(chart.series.slice(1)) === labels(series)) return;
  while (chart.series.length > 1) chart.delSeries(chart.series.length - 1);
  series.forEach((one, i) => chart.addSeries(one, i + 1));
}
