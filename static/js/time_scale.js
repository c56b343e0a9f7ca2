// The slider of time: its positions 0 to 100 are minutes on a logarithmic scale, with stops at 1, 5, 15 and 60 minutes at equal
// distances, then up to eight hours; the right end is a training without end.

const STOPS = [[0, 1], [25, 5], [50, 15], [75, 60], [99, 480]]; // [position, minutes]
export const ENDLESS = 100;

// Return the minutes at a position; Infinity at the right end.
export function minutesAt(position) {
  if (position >= ENDLESS) return Infinity;
  const next = Math.max(1, STOPS.findIndex(([at]) => at >= position));
  const [[from, least], [to, most]] = [STOPS[next - 1], STOPS[next]];
  return least * (most / least) ** ((position - from) / (to - from));
}

// Return the position of a number of minutes, which may lie beyond the ends of the scale.
export function positionOf(minutes) {
  if (minutes === Infinity) return ENDLESS;
  const kept = Math.min(Math.max(minutes, STOPS[0][1]), STOPS.at(-1)[1]);
  const next = Math.max(1, STOPS.findIndex(([, most]) => most >= kept));
  const [[from, least], [to, most]] = [STOPS[next - 1], STOPS[next]];
  return Math.round(from + (to - from) * (Math.log(kept / least) / Math.log(most / least)));
}
