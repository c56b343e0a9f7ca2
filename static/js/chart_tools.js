// The tools of the loss chart: smoothing, logarithmic axis, zoom. The zoom holds for all charts, so that they stay in step.

const smoothing = document.getElementById("smoothing");
const logAxis = document.getElementById("log-axis");
const zoom = document.getElementById("zoom");
const PARTS = { all: 1, half: 0.5, tenth: 0.1 }; // of the iterations, the newest ones

export function chartTools(drawing) {
  smoothing.addEventListener("input", () => drawing.look({ smoothing: Number(smoothing.value) / 100 }));
  logAxis.addEventListener("change", () => drawing.look({ isLog: logAxis.checked }));
  zoom.addEventListener("change", () => drawing.look({ zoom: zoomTo(PARTS[zoom.value]) }));
  drawing.zoomed((range) => {
    zoom.value = range ? "drawn" : "all";
    drawing.look({ zoom: range && (() => range) });
  });
}

// Return a zoom to the newest part of the iterations, which moves on with them; null shows all of them.
function zoomTo(part) {
  if (!part || part === 1) return null;
  return (iterations) => {
    const [first, last] = [iterations[0], iterations.at(-1)];
    return { min: last - Math.max(1, (last - first) * part), max: last };
  };
}
