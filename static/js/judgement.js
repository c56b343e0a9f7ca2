// Says in a word how a figure of a training stands. Pure functions; each returns the code of the word, or null where too little
// is known to say one. The rules are told on the page itself ("What do these numbers mean?").

const LOOK_BACK = 3; // checks
const BEHIND = 0.01; // above the best by this share: it has become worse
const STILL = 0.01; // a smaller change over LOOK_BACK checks is none
const CHANGE = 0.01; // of the mean loss from the last fifth but one to the last fifth of the iterations

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

// Loss of the batches. Means are compared, not two points: a batch may be harder than another by more than a training brings.
export function ofLoss(iterations, losses) {
  const length = iterations.at(-1) - iterations[0];
  const meanBetween = (from, to) => mean(losses.filter((_, i) => iterations[i] > iterations[0] + from * length && iterations[i] <= iterations[0] + to * length));
  if (iterations.length < 20) return null;
  const change = meanBetween(0.8, 1) / meanBetween(0.6, 0.8) - 1;
  if (Math.abs(change) < CHANGE) return "still";
  return change < 0 ? "falls" : "rises";
}

function mean(values) {
  const known = values.filter((value) => typeof value === "number");
  return known.reduce((sum, value) => sum + value, 0) / known.length;
}

// Reward or repetition beside the same figure of the books: `band` is [low, mean, high]. Nothing is said without the books.
export function besideBooks(value, band, higherIsBetter) {
  if (typeof value !== "number" || !band) return null;
  const reached = higherIsBetter ? value >= band[0] : value <= Math.max(band[2], band[1] + STILL);
  return reached ? "as_books" : higherIsBetter ? "below_books" : "above_books";
}
