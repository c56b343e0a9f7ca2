// The manuscript: a text area that grows with its text, with a picture of the same text behind it, where words are tinted and underlined.
// It knows which characters the model wrote, and takes back and repeats changes, its own and the model's alike.

const MOST_STEPS = 60; // that can be taken back
const MOST_STEP_CHARACTERS = 400_000; // of all of them together
const PAUSE_MILLISECONDS = 1200; // typing without a longer pause is one step

// `changed()` is called after every change of the text, whoever made it.
export function openManuscript(area, picture, changed) {
  let shown = area.value; // the text that `written` is about
  let written = []; // [start, end] of what the model wrote
  let marks = []; // {start, end, classes, key} of what is tinted, in order, without overlaps
  let undone = [];
  let done = [];
  let typedAt = 0;
  let painting = 0;
  const end = document.createElement("span"); // behind the last letter
  end.className = "text-end";
  end.textContent = "\u200b"; // so that a last empty line has height as well

  const state = () => ({ text: shown, written });

  function remember() {
    done.push(state());
    undone = [];
    typedAt = 0;
    let size = 0;
    const first = done.findLastIndex((step) => (size += step.text.length) > MOST_STEP_CHARACTERS);
    done.splice(0, Math.max(first + 1, done.length - MOST_STEPS));
  }

  function show(next) {
    shown = next.text;
    written = next.written;
    if (area.value !== shown) area.value = shown;
    paintSoon();
    changed();
  }

  function typed() {
    if (area.value === shown) return;
    if (Date.now() - typedAt > PAUSE_MILLISECONDS) remember();
    typedAt = Date.now();
    show({ text: area.value, written: moved(written, shown, area.value) });
  }

  function step(from, to) {
    if (area.readOnly || !from.length) return;
    to.push(state());
    typedAt = 0;
    show(from.pop());
    area.setSelectionRange(shown.length, shown.length);
  }

  const undo = () => step(done, undone);
  const redo = () => step(undone, done);

  function paintSoon() {
    painting ||= requestAnimationFrame(() => {
      painting = 0;
      paint();
    });
  }

  function paint() {
    const pieces = document.createDocumentFragment();
    for (const piece of slices(shown.length, written, marks)) {
      const text = shown.slice(piece.start, piece.end);
      const classes = [...(piece.mark?.classes ?? []), ...(piece.written ? ["is-written"] : [])];
      if (!classes.length) {
        pieces.append(text);
        continue;
      }
      const span = document.createElement("span");
      span.className = classes.join(" ");
      if (piece.mark) span.dataset.key = piece.mark.key;
      span.append(text);
      pieces.append(span);
    }
    pieces.append(end);
    picture.replaceChildren(pieces);
  }

  area.addEventListener("input", typed);
  area.addEventListener("beforeinput", (event) => {
    if (!event.inputType.startsWith("history")) return;
    event.preventDefault();
    (event.inputType === "historyUndo" ? undo : redo)();
  });
  area.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const action = event.code === "KeyZ" ? (event.shiftKey ? redo : undo) : event.code === "KeyY" ? redo : null;
    if (!action) return;
    event.preventDefault();
    action();
  });
  paint();

  return {
    undo,
    redo,
    get text() {
      return shown;
    },
    get canUndo() {
      return done.length > 0;
    },
    get canRedo() {
      return undone.length > 0;
    },
    // Put another text in place of this one, as one step.
    put(text, from = text.length) {
      if (text === shown) return;
      remember();
      show({ text, written: [...written.filter(([, end]) => end <= from), ...(from < text.length ? [[from, text.length]] : [])] });
    },
    // Begin a step to which `append` adds what the model writes; from `from` on the text is the model's already.
    begin(text, from) {
      remember();
      show({ text, written: [...clipped(written, from), ...(from < text.length ? [[from, text.length]] : [])] });
    },
    // Take back a step to which nothing was added.
    drop() {
      show(done.pop());
    },
    append(text) {
      const last = written.at(-1);
      const joins = last && last[1] === shown.length;
      const span = [joins ? last[0] : shown.length, shown.length + text.length];
      const { selectionStart, selectionEnd } = area;
      area.setRangeText(text, shown.length, shown.length, "preserve");
      if (area.value !== shown + text) area.value = shown + text; // an area writes line ends in its own way
      area.setSelectionRange(selectionStart, selectionEnd);
      show({ text: area.value, written: [...(joins ? written.slice(0, -1) : written), span] });
    },
    mark(found) {
      marks = found;
      paint();
    },
    // Return where the text ends in the window.
    bottom: () => end.getBoundingClientRect().bottom,
    // Return the element behind the mark with this key.
    markAt: (key) => picture.querySelector(`[data-key="${key}"]`),
    kept: () => ({ ...state(), done: done.slice(-20), undone: undone.slice(-20) }),
    take(kept) {
      done = kept.done ?? [];
      undone = kept.undone ?? [];
      show({ text: kept.text, written: kept.written ?? [] });
    },
  };
}

// Return where spans are after an edit that changed one stretch: what was typed into the model's words is the person's.
export function moved(spans, before, after) {
  const most = Math.min(before.length, after.length);
  let head = 0;
  while (head < most && before[head] === after[head]) head += 1;
  let tail = 0;
  while (tail < most - head && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  const [cut, shift] = [before.length - tail, after.length - before.length];
  return spans.flatMap(([start, end]) => [
    ...(start < head ? [[start, Math.min(end, head)]] : []),
    ...(end > cut ? [[Math.max(start, cut) + shift, end + shift]] : []),
  ]);
}

function clipped(spans, length) {
  return spans.filter(([start]) => start < length).map(([start, end]) => [start, Math.min(end, length)]);
}

// Yield neighbouring slices of a text, each with the mark it stands in and whether the model wrote it.
function* slices(length, written, marks) {
  const edges = new Set([0, length]);
  for (const [start, end] of written) edges.add(start).add(end);
  for (const { start, end } of marks) edges.add(start).add(end);
  const places = [...edges].filter((place) => place <= length).sort((a, b) => a - b);
  let [w, m] = [0, 0];
  for (let i = 0; i + 1 < places.length; i += 1) {
    const [start, end] = [places[i], places[i + 1]];
    while (w < written.length && written[w][1] <= start) w += 1;
    while (m < marks.length && marks[m].end <= start) m += 1;
    const mark = m < marks.length && marks[m].start <= start ? marks[m] : null;
    yield { start, end, mark, written: w < written.length && written[w][0] <= start };
  }
}
