// A curve without axes beside a figure: the last values of a column.

const NAMESPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, MOST] = [120, 28, 120];

// Draw the newest values of a column into `place`; nothing for fewer than two.
export function drawSparkline(place, values) {
  const known = values.filter((value) => typeof value === "number");
  const shown = thinned(known);
  if (shown.length < 2) return place.replaceChildren();
  const [least, most] = [Math.min(...shown), Math.max(...shown)];
  const x = (i) => (i / (shown.length - 1)) * WIDTH;
  const y = (value) => HEIGHT - 2 - ((value - least) / (most - least || 1)) * (HEIGHT - 4);
  const path = document.createElementNS(NAMESPACE, "path");
  path.setAttribute("d", `M${shown.map((value, i) => `${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}`);
  const svg = place.querySelector("svg") ?? document.createElementNS(NAMESPACE, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.replaceChildren(path);
  if (!svg.isConnected) place.replaceChildren(svg);
}

// Return at most MOST values, evenly picked, the newest among them.
function thinned(values) {
  const step = Math.max(1, values.length / MOST);
  const picked = [];
  for (let at = values.length - 1; at >= 0; at -= step) picked.unshift(values[Math.round(at)]);
  return picked;
}
