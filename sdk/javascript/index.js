// The SDK: the client of the pages, with calls by name, retries, and a watch that resumes.

import { Backoff, pause } from "./backoff.js";
import { Client, Problem, Stream, following } from "./client.js";
import { NoResponse, isLost } from "./lost.js";
import { Watch } from "./watch.js";

export { clientCredentials } from "./credentials.js";
export { Client, NoResponse, Problem, Stream, Watch };

const RETRY_FOR = 30_000; // ms
const TEMPORARY = [429, 502, 503, 504, 507]; // the server has refused the request for now

// Porchlight calls one server. A user is an id, an e-mail address or "me".
export class Porchlight extends Client {
  #source; // of tokens, if the token is not fixed
  #retryFor;

  // token is an access token, or a function that returns one. The function is called before
  // each request; with a token as its argument, that one was refused, and it returns another.
  // retryFor is for how long, in ms, a call is repeated while the server cannot be reached or
  // refuses it for now.
  constructor({ url = "", token = "", retryFor = RETRY_FOR } = {}) {
    super({ url, token: typeof token === "function" ? "" : token });
    this.#source = typeof token === "function" ? token : null;
    this.#retryFor = retryFor;
  }

  async fetch(method, path, options = {}) {
    if (!this.#source) return super.fetch(method, path, options);
    const attempt = (token) => super.fetch(method, path, { ...options, headers: { Authorization: "Bearer " + token, ...options.headers } });
    const token = await this.#source();
    try {
      return await attempt(token);
    } catch (err) {
      if (err.status !== 401) throw err;
      const other = await this.#source(token);
      if (other === token) throw err;
      return attempt(other);
    }
  }

  // request repeats what is refused for now or gets no answer. A key makes the server carry
  // out a write once, however often it comes.
  async request(method, path, options = {}) {
    const backoff = new Backoff();
    const deadline = Date.now() + this.#retryFor;
    const given = { ...options };
    if (method !== "GET") given.headers = { "Idempotency-Key": randomKey(), ...options.headers };
    for (;;) {
      try {
        return await super.request(method, path, given);
      } catch (err) {
        options.signal?.throwIfAborted();
        const failure = isLost(err) ? new NoResponse(method, path, err) : err;
        const wait = backoff.next(failure.retryAfter);
        if (!isTemporary(failure) || Date.now() + wait > deadline) throw failure;
        await pause(wait, options.signal);
      }
    }
  }

  // presence, query and list take how fresh the answer must be: atLeast is a cursor, of a write
  // or of anything that was read; strong makes the read linearizable.
  presence(user, { signal, ...fresh } = {}) {
    return this.request("GET", of(user, "presence"), { query: freshness(fresh), signal });
  }

  // query reads the presence of up to 10,000 users.
  query(users, { signal, ...fresh } = {}) {
    return this.request("POST", "/v1/presence/query", { query: freshness(fresh), body: { users }, signal });
  }

  // list lists the active users with their presence.
  list({ status, group, signal, ...fresh } = {}) {
    return this.#all("/v1/presence", { status: status?.join(","), group, ...freshness(fresh) }, "presences", signal);
  }

  // Writes give their cursor: in the presence that they return, or else alone.

  // setStatus sets the user's own choice, which takes precedence over most claims.
  async setStatus(user, status, options = {}) {
    return (await this.setClaim(user, "manual", { source: "manual", status, ...options })).presence;
  }

  clearStatus(user, options) {
    return this.endClaim(user, "manual", options);
  }

  claims(user, { signal } = {}) {
    return this.#all(of(user, "claims"), {}, "claims", signal);
  }

  // setClaim makes a claim, or replaces the one with the same id.
  setClaim(user, id, { source, status, note, since, until, seconds, signal } = {}) {
    const body = { source, status, note, since: instant(since), until: instant(until), duration_seconds: seconds };
    return this.#write("PUT", of(user, "claims", id), { body, signal });
  }

  async endClaim(user, id, { signal } = {}) {
    return (await this.#write("DELETE", of(user, "claims", id), { signal })).presence.cursor;
  }

  // setNote sets the user's own note, which is shown if the winning claim has none.
  async setNote(user, text, { until, signal } = {}) {
    return (await this.#write("PUT", of(user, "note"), { body: { text, until: instant(until) }, signal })).presence;
  }

  async clearNote(user, { signal } = {}) {
    return (await this.#write("DELETE", of(user, "note"), { signal })).presence.cursor;
  }

  me({ signal } = {}) {
    return this.request("GET", "/v1/me", { signal });
  }

  // user reads a user of the directory, such as the one with an e-mail address.
  user(user, { signal } = {}) {
    return this.request("GET", of(user), { signal });
  }

  // zoomStatus and setZoomStatus are Zoom's two calls, in Zoom's words.
  zoomStatus(user, { signal } = {}) {
    return this.request("GET", zoom(user), { signal });
  }

  async setZoomStatus(user, status, { minutes, signal } = {}) {
    await this.request("PUT", zoom(user), { body: { status, duration: minutes }, signal });
  }

  // watch returns what happens to users from now on, for "for await".
  watch(options) {
    return new Watch(this, options);
  }

  // #write returns the answer of a write, with its cursor.
  async #write(method, path, options) {
    let cursor = "";
    const answer = await this.request(method, path, { ...options, onHeaders: (headers) => { cursor = headers.get("Presence-Cursor") ?? ""; } });
    return { ...answer, presence: { ...answer.presence, cursor } };
  }

  async *#all(path, query, member, signal) {
    for (let where = {}; where; ) {
      const page = await this.request("GET", path, { query: { ...query, ...where }, signal });
      yield* page[member];
      where = following(page);
    }
  }
}

const of = (user, ...rest) => "/v1/users/" + [user, ...rest].map(encodeURIComponent).join("/");
const zoom = (user) => `/v2/users/${encodeURIComponent(user)}/presence_status`;
const freshness = ({ strong, atLeast }) => ({ consistency: strong ? "strong" : "", at_least: atLeast });
const instant = (time) => (time instanceof Date ? time.toISOString() : time);

function isTemporary(failure) {
  return failure instanceof NoResponse ? failure.temporary : failure instanceof Problem && TEMPORARY.includes(failure.status);
}

function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
