// A watch: the presence of users and its changes, over server-sent events. docs/streaming.md
// describes the protocol.

import { Backoff, pause } from "./backoff.js";
import { Problem } from "./client.js";
import { NoResponse, isLost } from "./lost.js";

const OPENING = 15_000; // ms, until the first frame

// A Watch is iterated once. Each event is one of
//
//	{ type: "snapshot", presences, unknown }  it replaces all that is known
//	{ type: "presence", user, status, … }     a user changed, or was added
//	{ type: "gone", user, reason }            a user is no longer followed
//
// It reconnects and resumes by itself, until the loop ends, the signal aborts, or the server
// refuses it for good: then the loop throws the Problem. A certificate that cannot be verified
// ends it with NoResponse, outside browsers.
export class Watch {
  // cursor is where another watch of the same users can resume: it covers every event that
  // the loop has left behind.
  cursor;
  #client;
  #query;
  #signal;
  #longestWait;
  #revisions = new Map(); // by user: a version can come twice
  #names = new Map(); // the user of each e-mail address that was asked for
  #parts = []; // of a snapshot that is not complete

  constructor(client, { users, contacts, everyone, group, cursor = "", signal, longestWait } = {}) {
    this.#client = client;
    this.#query = { users: users?.join(","), contacts: contacts || "", everyone: everyone || "", group };
    this.#signal = signal;
    this.#longestWait = longestWait;
    this.cursor = cursor;
  }

  async *[Symbol.asyncIterator]() {
    const backoff = new Backoff(this.#longestWait);
    for (;;) {
      const opened = performance.now();
      let stableAfter = Infinity; // ms after which the connection was good
      let fixedWait = 0; // ms to wait, without jitter: the server has spread its clients itself
      let asked = 0;
      this.#parts = [];
      try {
        for await (const frame of this.#frames()) {
          if (frame.type === "hello") stableAfter = frame.ping_seconds * 1_000;
          if (frame.type === "close") fixedWait = wait(frame);
          yield* this.#events(frame);
          if (frame.cursor && !frame.more) this.cursor = frame.cursor; // after the events were handled
        }
      } catch (err) {
        this.#signal?.throwIfAborted();
        const failure = isLost(err) ? new NoResponse("GET", "/v1/stream", err) : err;
        if (!failure.temporary) throw failure;
        asked = failure.retryAfter;
      }
      if (performance.now() - opened >= stableAfter) backoff.reset();
      await pause(fixedWait || backoff.next(asked), this.#signal);
    }
  }

  // #frames yields the frames of one connection.
  async *#frames() {
    const ended = new AbortController();
    const signal = this.#signal ? AbortSignal.any([this.#signal, ended.signal]) : ended.signal;
    let silence = OPENING;
    const within = async (promise) => { // the time in which the loop handles events does not count
      const timer = setTimeout(() => ended.abort(new DOMException("The server was silent.", "TimeoutError")), silence);
      try {
        return await promise;
      } finally {
        clearTimeout(timer);
      }
    };
    try {
      const query = { ...this.#query, cursor: this.cursor };
      const answer = await within(this.#client.fetch("GET", "/v1/stream", { query, headers: { Accept: "text/event-stream" }, timeout: 0, signal }));
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ; ) {
        const { value, done } = await within(reader.read());
        if (done) return;
        const events = (text + value).split("\n\n");
        text = events.pop();
        for (const event of events) {
          const frame = parse(event);
          if (frame?.type === "hello") silence = 2_000 * frame.ping_seconds;
          if (frame) yield frame;
        }
      }
    } finally {
      ended.abort();
    }
  }

  *#events(frame) {
    switch (frame.type) {
      case "reset": // a complete snapshot follows
        this.cursor = "";
        this.#revisions.clear();
        break;
      case "snapshot":
        yield* frame.partial ? this.#partial(frame) : this.#complete(frame);
        break;
      case "presence":
        yield* this.#presence(frame);
        break;
      case "gone":
        yield this.#gone(frame.user, frame.reason);
        break;
      case "error":
        throw new Problem(400, { type: frame.code, detail: frame.detail });
    }
  }

  *#complete(frame) {
    this.#parts.push(frame);
    if (frame.more) return;
    const presences = this.#parts.flatMap((part) => part.presences ?? []);
    const unknown = this.#parts.flatMap((part) => part.unknown ?? []);
    this.#parts = [];
    this.#revisions = new Map(presences.map((presence) => [presence.user, presence.revision]));
    for (const presence of presences) this.#name(presence);
    yield { type: "snapshot", presences, unknown };
  }

  *#partial(frame) {
    for (const user of frame.gone ?? []) yield this.#gone(user, "");
    for (const name of frame.unknown ?? []) {
      const user = this.#names.get(name) ?? name;
      if (this.#revisions.has(user)) yield this.#gone(user, "deleted");
    }
    for (const presence of frame.presences ?? []) yield* this.#presence(presence);
  }

  *#presence({ cursor, ...presence }) {
    this.#name(presence);
    if ((this.#revisions.get(presence.user) ?? -1) >= presence.revision) return;
    this.#revisions.set(presence.user, presence.revision);
    yield { ...presence, type: "presence" };
  }

  #name(presence) {
    if (presence.asked_as) this.#names.set(presence.asked_as, presence.user);
  }

  #gone(user, reason) {
    this.#revisions.delete(user);
    return { type: "gone", user, reason };
  }
}

function parse(event) {
  const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
  return data.length ? JSON.parse(data.join("\n")) : null;
}

// wait is what a close frame asks for. A token that is no longer valid is refused at the next
// attempt, with the reason.
function wait({ close_code: code, reason, retry_ms: milliseconds }) {
  if (code > 3500) throw new Problem(403, { type: reason, detail: `The server closed the stream (${reason}).` });
  return milliseconds ?? 0;
}
