// One continuation of a text: asks the server, hands on what arrives, and ends with an error that leaves what has arrived.

import { ApiError, send } from "./api.js";
import { eventsOf } from "./events.js";
import { t } from "./text.js";

// Browsers that cannot read a stream get the text whole.
const canStream = () => "TextDecoderStream" in globalThis && "pipeThrough" in (globalThis.ReadableStream?.prototype ?? {});

// Call `on.accepted()` once and `on.text(text, tokens)` for each piece; return what the server says at the end.
// Throws ApiError, and AbortError when `signal` ends it.
export async function write(wishes, signal, on) {
  const stream = canStream();
  const response = await send("POST", "/generate", { ...wishes, stream }, { signal });
  on.accepted();
  try {
    return stream ? await read(response, on) : await whole(response, on);
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    throw new ApiError({ code: "cut_off", message: t("js.cut_off") }); // the connection broke, or what came is no event
  }
}

async function read(response, on) {
  for await (const { event, data } of eventsOf(response)) {
    if (event === "error") throw new ApiError(data.error ?? data);
    if (event === "token") on.text(data.text, data.tokens);
    if (event === "done") return data;
  }
  throw new ApiError({ code: "cut_off", message: t("js.cut_off") });
}

async function whole(response, on) {
  const done = await response.json();
  on.text(done.completion, done.tokens);
  return done;
}
