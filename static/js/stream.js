// Follows a training: one event stream per page, and polling where no stream gets through.
// `on` has a function for each event: status, iterations, Evaluated, SampleWritten, SelfPlayDone, reset, connection;
// `polled` is called after polling, when only the status is new and the history has to be requested.

import { get } from "./api.js";

const EVENTS = ["status", "iterations", "Evaluated", "SampleWritten", "SelfPlayDone", "Notice", "RunStarted", "reset"];
const POLL_MILLISECONDS = 2000;
const RETRY_STREAM_MILLISECONDS = 30_000;
const FAILURES_BEFORE_POLLING = 3;

// Start following behind the event that the history already holds; `close()` ends it.
export function follow(on) {
  let source = null;
  let lastEventId = null;
  let failures = 0;
  let timer = null;
  let reachable = true;

  function open() {
    close();
    const from = lastEventId === null ? "" : `?last_event_id=${lastEventId}`;
    source = new EventSource(`/training_events${from}`);
    source.onopen = () => {
      failures = 0;
      on.connection("live");
    };
    source.onerror = lost;
    for (const name of EVENTS) source.addEventListener(name, receive);
  }

  function receive(event) {
    if (event.lastEventId) lastEventId = event.lastEventId;
    on[event.type]?.(JSON.parse(event.data));
  }

  // The browser reconnects on its own; when that keeps failing or it gives up, start polling.
  function lost() {
    failures += 1;
    on.connection("reconnecting");
    if (source.readyState === EventSource.CLOSED || failures >= FAILURES_BEFORE_POLLING) poll(Date.now());
  }

  async function poll(since) {
    close();
    try {
      const status = await get("/training_status");
      if (!reachable) return comeBack();
      on.status(status);
      on.connection("polling");
      on.polled();
    } catch {
      reachable = false;
      on.connection("lost");
    }
    const retry = Date.now() - since > RETRY_STREAM_MILLISECONDS;
    timer = setTimeout(() => (retry ? open() : poll(since)), POLL_MILLISECONDS);
  }

  // The server is back, perhaps a new process, which answers an old event id with `reset`.
  function comeBack() {
    reachable = true;
    open();
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());

  return {
    // (Re)start behind the event with this id.
    from(id) {
      lastEventId = id;
      open();
    },
    close,
  };
}
