// Places of a text: from the server's characters to the browser's units, and from its tokens to what can be tinted.

// Return a function from a number of characters to a place in `text`; letters beyond the 16-bit ones take two units.
export function unitsOf(text) {
  const characters = [...text];
  if (characters.length === text.length) return (place) => place;
  const places = [0];
  for (const character of characters) places.push(places.at(-1) + character.length);
  return (place) => places[Math.min(place, characters.length)];
}

// Return the end of a text that a request may hold, and where it begins.
export function tail(text, most) {
  let start = Math.max(0, text.length - most);
  if (start && /[\uDC00-\uDFFF]/.test(text[start])) start += 1;
  return { start, text: text.slice(start) };
}

// Join tokens to pieces of text: {start, end, tokens}. Several tokens may be needed for one letter.
export function piecesOf(tokens, text, start) {
  const unit = unitsOf(text);
  const pieces = [];
  for (const [number, token] of tokens.entries()) {
    const [from, to] = [token.offset, tokens[number + 1]?.offset ?? Infinity].map((place) => start + (place === Infinity ? text.length : unit(place)));
    const open = pieces.at(-1);
    if (open && open.end === open.start) {
      open.tokens.push({ ...token, number });
      open.end = to;
    } else {
      pieces.push({ start: from, end: to, tokens: [{ ...token, number }] });
    }
  }
  return pieces.filter((piece) => piece.end > piece.start);
}

// Return how long the beginning is that two texts share.
export function sharedLength(one, other) {
  const most = Math.min(one.length, other.length);
  let length = 0;
  while (length < most && one[length] === other[length]) length += 1;
  return length;
}
