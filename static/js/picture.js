// A picture to share, drawn on this machine: how the model wrote at the beginning, how it writes now, and its loss.

import { resolved } from "./plot.js";

const [WIDTH, HEIGHT, MARGIN] = [1200, 630, 64];
const COLUMN = (WIDTH - 3 * MARGIN) / 2;
const LINES = 8;
const MARK = [
  "M9 11.5c4-1.6 8-1 11 1.5 3-2.5 7-3.1 11-1.5v16c-4-1.6-8-1-11 1.5-3-2.5-7-3.1-11-1.5zM20 13v16",
  "M12.5 24c2.5-5 4.5-6 7.5-6s5-1.5 7.5-5",
];

const family = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

// Return a canvas with the picture. `from` and `to` are {caption, text}, `curve` the smoothed loss, `title` and `name` texts.
export function drawPicture({ title, name, from, to, curve }) {
  const canvas = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
  const context = canvas.getContext("2d");
  context.fillStyle = resolved("paper");
  context.fillRect(0, 0, WIDTH, HEIGHT);
  drawCurve(context, curve);
  context.textBaseline = "top";
  write(context, title, [MARGIN, MARGIN - 8], { size: 46, weight: 600, voice: true });
  write(context, name, [MARGIN, MARGIN + 52], { size: 24, ink: "ink-soft" });
  [from, to].forEach(({ caption, text }, i) => {
    const x = MARGIN + i * (COLUMN + MARGIN);
    write(context, caption, [x, 172], { size: 20, ink: i ? "accent" : "ink-soft", weight: 600 });
    wrapped(context, text).forEach((row, n) => write(context, row, [x, 208 + n * 36], { size: 25, voice: true, ink: i ? "ink" : "ink-soft" }));
  });
  drawMark(context);
  return canvas;
}

function font(context, { size, weight = 400, voice = false }) {
  context.font = `${weight} ${size}px ${family(voice ? "serif" : "sans")}`;
}

function write(context, text, [x, y], style) {
  font(context, style);
  context.fillStyle = resolved(style.ink ?? "ink");
  context.fillText(text, x, y, WIDTH - x - MARGIN / 2);
}

// Return the text in rows as wide as a column, at most LINES of them.
function wrapped(context, text) {
  font(context, { size: 25, voice: true });
  const rows = [""];
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const longer = rows.at(-1) ? `${rows.at(-1)} ${word}` : word;
    if (context.measureText(longer).width <= COLUMN) rows[rows.length - 1] = longer;
    else rows.push(word);
  }
  return rows.length > LINES ? [...rows.slice(0, LINES - 1), `${rows[LINES - 1]} …`] : rows;
}

function drawCurve(context, values) {
  const known = values.filter((value) => typeof value === "number");
  if (known.length < 2) return;
  const [least, most] = [Math.min(...known), Math.max(...known)];
  context.strokeStyle = resolved("chart-faint");
  context.lineWidth = 5;
  context.lineJoin = "round";
  context.beginPath();
  known.forEach((value, i) => context.lineTo((i / (known.length - 1)) * WIDTH, 500 + (1 - (value - least) / (most - least || 1)) * 56));
  context.stroke();
}

function drawMark(context) {
  context.save();
  context.translate(MARGIN, HEIGHT - 58);
  context.fillStyle = "#0f6b5c";
  context.beginPath();
  context.roundRect(0, 0, 40, 40, 9);
  context.fill();
  context.lineWidth = 2.4;
  context.lineCap = context.lineJoin = "round";
  MARK.forEach((path, i) => {
    context.strokeStyle = i ? "#7fe3cd" : "#ffffff";
    context.stroke(new Path2D(path));
  });
  context.restore();
  write(context, "AZR Model Trainer", [MARGIN + 54, HEIGHT - 50], { size: 22, ink: "ink-soft" });
}

// Save a canvas as a PNG file of this name.
export async function savePicture(canvas, name) {
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${name}.png` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
