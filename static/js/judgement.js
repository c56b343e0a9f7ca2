// Says in a word how a figure of a training stands. Pure functions; each returns the code of the word, or null where too little
// is known to say one. The rules are told on the page itself ("What do these numbers mean?").

const LOOK_BACK = 3; // checks
const BEHIND = 0.01; // above the best by this share: it has become worse
const STILL = 0.01; // a smaller change over LOOK_BACK checks is none
const CHANGE = 0.01; // of the smoothed loss over the last fifth of the iterations

// Held-out loss. `val` and `train` are the losses at the checks: on held-out text, and on the text that was learnt since.
export function ofHeldOut(val, train) {
  const known = val.map((loss, i) => ({ loss, train: train[i] })).filter(({ loss }) => typeof loss === "number");
  if (known.length < LOOK_BACK) return null;
  const now = known.at(-1);
  const best = known.reduce((one, other) => (other.loss < one.loss ? other : one));
  if (now.loss > best.loss * (1 + BEHIND)) return now.train < best.train ? "by_heart" : "worse";
  const before = known.at(-LOOK_BACK);
  return now.loss < before.loss * (1 - STILL) ? "good" : "still";
}

// Loss of the batches, smoothed.
export function ofLoss(iterations, smooth) {
  const end = iterations.at(-1);
  const from = iterations.findIndex((n) => n >= iterations[0] + 0.8 * (end - iterations[0]));
  if (iterations.length < 20 || from < 0) return null;
  const change = smooth.at(-1) / smooth[from] - 1;
  if (Math.abs(change) < CHANGE) return "still";
  return change < 0 ? "falls" : "rises";
}

// Reward or repetition beside the same figure of the books: `band` is [low, mean, high]. Nothing is said without the books.
export function besideBooks(value, band, higherIsBetter) {
  if (typeof value !== "number" || !band) return null;
  const reached = higherIsBetter ? value >= band[0] : value <= Math.max(band[2], band[1] + STILL);
  return reached ? "as_books" : higherIsBetter ? "below_books" : "above_books";
}
