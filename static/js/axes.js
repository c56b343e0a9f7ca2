// Axes and scales of the charts, what the books score behind the curves, and vertical marks at iterations.

import { decimal, number, percent, short } from "./text.js";

const WHOLE_STEPS = [1, 2, 5].flatMap((first) => Array.from({ length: 10 }, (_, power) => first * 10 ** power)).sort((a, b) => a - b);
const LOG_MARKS = 6;
const FONT = "12px system-ui, sans-serif";

// Return the two axes of a chart: whole iterations, and values, which may be shares or on a logarithmic scale. `colour(token)`
// gives a colour of the current theme.
export function axes(colour, { areShares = false, isLog = false } = {}) {
  const grid = { stroke: () => colour("chart-grid"), width: 1 };
  const common = { stroke: () => colour("ink-soft"), grid, ticks: grid, font: FONT };
  const iterations = { ...common, size: 32, incrs: WHOLE_STEPS, values: (_, values) => values.map((value) => number(value)) };
  const shown = areShares ? (value, digits) => percent(value, Math.max(0, digits - 2)) : decimal;
  const evenly = (_, marks, axis, space, step) => marks.map((value) => shown(value, digitsOf(step)));
  const logarithmic = (_, marks) => marks.map((value) => short(value));
  return [iterations, { ...common, size: 64, ...(isLog ? { values: logarithmic, splits: logSplits } : { values: evenly }) }];
}

// Return marks at equal distances on a logarithmic axis, as round as three digits allow.
function logSplits(_, axis, least, most) {
  return Array.from({ length: LOG_MARKS }, (_, i) => Number((least * (most / least) ** ((i + 0.5) / LOG_MARKS)).toPrecision(3)));
}

// Return how many digits after the point keep neighbouring marks apart: 1 → 0, 0.25 → 2, 0.001 → 3
function digitsOf(step) {
  return Math.min(10, (String(Number(step.toPrecision(6))).split(".")[1] ?? "").length);
}

// Return the scales of a chart; the one for values has room for the numbers that `also()` returns.
export function scales(also, { isLog = false } = {}) {
  const evenly = (_, least, most) => (least === null ? [0, 1] : spread(Math.min(least, ...also()), Math.max(most, ...also())));
  const logarithmic = (_, least, most) => (least === null || least <= 0 ? [0.1, 10] : [least * 0.97, most * 1.03]);
  return {
    x: { time: false, range: (_, least, most) => (least === most ? [least - 1, most + 1] : [least, most]) },
    y: isLog ? { distr: 3, log: 10, range: logarithmic } : { range: evenly },
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

// Draw a dashed vertical line with its label at each marked iteration in view: [{iteration, label}]. Labels take turns in three
// rows, so that neighbours can be read.
export function drawMarks(chart, marks, colour) {
  const { ctx, bbox } = chart;
  const size = 11 * devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("ink-soft");
  ctx.lineWidth = devicePixelRatio;
  ctx.font = `${size}px system-ui, sans-serif`;
  ctx.textBaseline = "top";
  marks.forEach(({ iteration, label }, i) => {
    const x = Math.round(chart.valToPos(iteration, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) return;
    ctx.setLineDash([4, 4]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const isNearTheEnd = x + ctx.measureText(label).width + size > bbox.left + bbox.width;
    ctx.textAlign = isNearTheEnd ? "right" : "left";
    ctx.fillText(label, x + (isNearTheEnd ? -size / 2 : size / 2), bbox.top + (i % 3) * size * 1.3);
  });
  ctx.restore();
}
