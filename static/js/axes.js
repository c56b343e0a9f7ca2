// Axes and scales of the charts, and vertical marks at the iterations where the books changed.

import { decimal, number, percent } from "./text.js";

const WHOLE_STEPS = [1, 2, 5].flatMap((first) => Array.from({ length: 10 }, (_, power) => first * 10 ** power)).sort((a, b) => a - b);
const FONT = "12px system-ui, sans-serif";

// Return the two axes of a chart: whole iterations, and values, which may be shares. `colour(token)` gives a colour of the
// current theme.
export function axes(colour, areShares) {
  const grid = { stroke: () => colour("chart-grid"), width: 1 };
  const common = { stroke: () => colour("ink-soft"), grid, ticks: grid, font: FONT };
  const iterations = { ...common, size: 32, incrs: WHOLE_STEPS, values: (_, values) => values.map((value) => number(value)) };
  const shown = areShares ? (value, digits) => percent(value, Math.max(0, digits - 2)) : decimal;
  const values = { ...common, size: 64, values: (_, marks, axis, space, step) => marks.map((value) => shown(value, digitsOf(step))) };
  return [iterations, values];
}

// Return how many digits after the point keep neighbouring marks apart: 1 → 0, 0.25 → 2, 0.001 → 3
function digitsOf(step) {
  return Math.min(10, (String(Number(step.toPrecision(6))).split(".")[1] ?? "").length);
}

// Return the scales of a chart; the one for values has room for the numbers that `also()` returns.
export function scales(also) {
  return {
    x: { time: false, range: (_, least, most) => (least === most ? [least - 1, most + 1] : [least, most]) },
    y: { range: (_, least, most) => (least === null ? [0, 1] : spread(Math.min(least, ...also()), Math.max(most, ...also()))) },
  };
}

// Return a range with some room around the values that spans at least 2 % of their size, so that noise in the fourth digit
// does not fill the height; no room below 0 where no value is.
function spread(least, most) {
  const smallest = Math.max(0.005, 0.02 * Math.abs(most));
  const margin = Math.max((smallest - (most - least)) / 2, (most - least) * 0.08);
  return [least < 0 ? least - margin : Math.max(0, least - margin), most + margin];
}

// Draw what passages of the books score behind the curves: two values are the ends of a band, one is a dashed line.
export function drawBooks(chart, values, colour) {
  const { ctx, bbox } = chart;
  const [y, end = y] = values.map((value) => Math.round(chart.valToPos(value, "y", true)));
  ctx.save();
  if (values.length === 2) {
    ctx.fillStyle = colour("chart-books");
    ctx.fillRect(bbox.left, end, bbox.width, y - end);
  } else if (values.length) {
    ctx.strokeStyle = colour("ink-soft");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}

// Draw a dashed vertical line at each marked iteration in view.
export function drawMarks(chart, marks, colour) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.strokeStyle = colour("ink-soft");
  ctx.setLineDash([4, 4]);
  ctx.lineWidth = devicePixelRatio;
  for (const { iteration } of marks) {
    const x = Math.round(chart.valToPos(iteration, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}
