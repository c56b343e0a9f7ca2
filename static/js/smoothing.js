// Smooths a curve: an exponential mean over iterations, corrected for its start (Kingma and Ba 2014, section 3).

// Return the smoothed values; null stays null. `factor` is what a point of `step` iterations keeps of the mean before it, so that
// a thinned history and the single iterations that follow it are smoothed alike.
export function smoothed(iterations, values, factor, step) {
  let total = 0;
  let weight = 0;
  let before = (iterations[0] ?? 0) - step;
  return values.map((value, i) => {
    if (typeof value !== "number") return null;
    const kept = factor ** ((iterations[i] - before) / step);
    before = iterations[i];
    total = kept * total + (1 - kept) * value;
    weight = kept * weight + (1 - kept);
    return weight > 0 ? total / weight : value;
  });
}
