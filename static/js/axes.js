// Axes and scales of the charts, and vertical marks at the iterations where the books changed.

import { decimal, number } from "./text.js";

const WHOLE_STEPS = [1, 2, 5].flatMap((first) => Array.from({ length: 10 }, (_, power) => first * 10 ** power)).sort((a, b) => a - b);
const FONT = "12px system-ui, sans-serif";

// Return the two axes of a chart: whole iterations, and values. `colour(token)` gives a colour of the current theme.
export function axes(colour) {
  const grid = { stroke: () => colour("chart-grid"), width: 1 };
  const common = { stroke: () => colour("ink-soft"), grid, ticks: grid, font: FONT };
  const iterations = { ...common, size: 32, incrs: WHOLE_STEPS, values: (_, values) => values.map((value) => number(value)) };
  const values = { ...common, size: 64, values: (_, marks, axis, space, step) => marks.map((value) => decimal(value, digitsOf(step))) };
  return [iterations, values];
}

// Return how many digits after the point keep neighbouring marks apart: 1 → 0, 0.25 → 2, 0.001 → 3
function digitsOf(step) {
  return Math.min(10, (String(Number(step.toPrecision(6))).split(".")[1] ?? "").length);
}

export const scales = {
  x: { time: false, range: (_, least, most) => (least === most ? [least - 1, most + 1] : [least, most]) },
  y: { range: (_, least, most) => (least === null ? [0, 1] : spread(least, most)) },
};

// Return a range with some room around the values that spans at least 2 % of their size, so that noise in the fourth digit
// does not fill the height.
function spread(least, most) {
  const smallest = Math.max(0.005, 0.02 * Math.abs(most));
  const margin = Math.max((smallest - (most - least)) / 2, (most - least) * 0.08);
  return [least - margin, most + margin];
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
