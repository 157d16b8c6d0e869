// The client of the API that the server's pages use, and on which the SDK is built: requests,
// lists in pages, and a stream over a WebSocket that reconnects by itself. It depends on
// nothing but fetch and WebSocket. docs/streaming.md describes the stream.

const OPENING = 15_000; // ms, for each step until the first frame
const ANSWERING = 10_000; // ms, for the answer to a ping
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;

// A Problem is an answer other than success, in the words of its problem document, or of an
// error of Zoom's API or of OAuth.
export class Problem extends Error {
  // retryAfter is in seconds.
  constructor(status, document, retryAfter) {
    super(document.detail || document.title || document.message || document.reason || `The server answered with status ${status}.`);
    this.status = status;
    this.document = document;
    this.code = String(document.type ?? document.code ?? document.error ?? "").split("/").pop(); // such as "user-not-found"
    this.retryAfter = retryAfter * 1_000 || 0;
  }

  // temporary: the same request may succeed later.
  get temporary() {
    return this.status >= 500 || [408, 425, 429].includes(this.status);
  }
}

// A Client sends requests with an access token or, without one, with the cookie of the
// browser's sign-in.
export class Client {
  // url is the address of the server; "" means that of the page.
  constructor({ url = "", token = "" } = {}) {
    if (!isServer(url)) throw new TypeError(`${JSON.stringify(url)} is not the URL of a server: expected a form such as https://presence.example.com`);
    this.url = url.replace(/\/$/, "");
    this.token = token;
  }

  // fetch sends a request and returns the response, if that is a success. query is an object;
  // what is undefined, null or "" in it is left out. body is sent as JSON, unless it is text,
  // a Blob or a form.
  async fetch(method, path, { query, body, headers, timeout = OPENING, signal } = {}) {
    const raw = body === undefined || typeof body === "string" || body instanceof Blob || body instanceof URLSearchParams || body instanceof FormData;
    const timer = timeout ? AbortSignal.timeout(timeout) : undefined;
    const answer = await fetch(this.url + path + search(query), {
      method,
      headers: { ...(this.token && { Authorization: "Bearer " + this.token }), ...(!raw && { "Content-Type": "application/json" }), ...headers },
      body: raw ? body : JSON.stringify(body),
      signal: signal && timer ? AbortSignal.any([signal, timer]) : signal ?? timer,
    });
    if (answer.ok) return answer;
    const document = await answer.json().catch(() => null);
    const isObject = typeof document === "object" && document !== null && !Array.isArray(document);
    throw new Problem(answer.status, isObject ? document : {}, Number(answer.headers.get("Retry-After")));
  }

  // request returns the JSON of the answer, or {} if it has none. An answer that is cut short
  // is an error: a list would otherwise seem to end. onHeaders is called with its headers.
  async request(method, path, options) {
    const answer = await this.fetch(method, path, options);
    options?.onHeaders?.(answer.headers);
    return answer.status === 204 ? {} : answer.json();
  }

  get(path, query) {
    return this.request("GET", path, { query });
  }

  post(path, body) {
    return this.request("POST", path, { body });
  }

  put(path, body) {
    return this.request("PUT", path, { body });
  }

  patch(path, body) {
    return this.request("PATCH", path, { body });
  }

  delete(path, query) {
    return this.request("DELETE", path, { query });
  }

  // pages reads a list page by page, until there is none or the loop ends.
  async *pages(path, query = {}) {
    for (let where = {}; where; ) {
      const page = await this.get(path, { ...query, ...where });
      yield page;
      where = following(page);
    }
  }

  // stream returns a connection to GET /v1/stream, to be started.
  stream(on, query) {
    return new Stream(this, on, query);
  }
}

// following is the query of the page after this one, or null if this is the last. A page can
// be empty and still be followed by others.
export function following(page) {
  if (page.next) return { after: page.next };
  if (page.next_page_token) return { page_token: page.next_page_token };
  return page.older ? { before: page.older } : null;
}

// isServer: a page can leave out the address of its own server. Elsewhere, fetch would fail
// as it does without a network.
function isServer(url) {
  if (url === "" || url.startsWith("/")) return globalThis.location !== undefined;
  return /^https?:\/\/[^/?#]+[^?#]*$/i.test(url) && URL.canParse(url);
}

function search(query) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? "?" + new URLSearchParams(given) : "";
}

// Stream calls on.state("connecting" | "reconnecting" | "connected"), on.frame(f)
// with each frame, on.open() when a connection is ready to be asked things,
// on.lost() when one has ended, and on.ended(code, words) when it will not come
// back by itself: code is "unauthorized" or "refused".
export class Stream {
  #client;
  #on;
  #followed; // parameters of the stream
  #attempt = 0; // events of an earlier attempt are stale
  #socket = null;
  #open = false;
  #failures = 0;
  #waiting = 0; // timer of the next attempt
  #supervision = 0;
  #asked = 0; // timer: a ping was sent, and nothing has come since
  #cursor = ""; // of those whom the parameters follow

  constructor(client, on, followed = { users: "me" }) {
    this.#client = client;
    this.#on = on;
    this.#followed = followed;
  }

  start() {
    this.#connect("connecting");
  }

  // stop ends it. Frames that were sent before it still arrive.
  stop() {
    this.#abandon();
    clearTimeout(this.#waiting);
    this.#waiting = 0;
  }

  // hurry does not wait any longer, or makes sure that the connection is alive.
  hurry() {
    if (this.#waiting) this.#connect("reconnecting");
    else if (this.#open && !this.#asked) this.#ping();
  }

  // send reports whether the frame was sent. Only an answer confirms more.
  send(frame) {
    if (!this.#open) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  async #connect(state) {
    this.stop();
    const attempt = this.#attempt;
    this.#on.state(state);
    try {
      const { ticket } = await this.#client.post("/v1/tickets"); // it opens one stream only
      if (attempt === this.#attempt) this.#listen(ticket);
    } catch (err) {
      if (attempt === this.#attempt) this.#failed(err);
    }
  }

  #listen(ticket) {
    const url = new URL(this.#client.url + "/v1/stream", globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams({ ...this.#followed, ticket, ...(this.#cursor && { cursor: this.#cursor }) });
    const socket = new WebSocket(url);
    const attempt = this.#attempt;
    this.#socket = socket;
    this.#supervision = setTimeout(() => this.#lost(), OPENING);
    socket.onmessage = (event) => {
      if (attempt === this.#attempt) this.#receive(event.data);
    };
    socket.onclose = (event) => {
      if (attempt === this.#attempt) this.#closed(event);
    };
  }

  #receive(text) {
    this.#answered();
    const frame = JSON.parse(text);
    if (frame.type === "hello") this.#greeted(frame);
    if (frame.type === "reset") this.#cursor = "";
    this.#on.frame(frame);
    if (frame.cursor) this.#cursor = frame.cursor; // after the frame was handled
  }

  #greeted(frame) {
    clearTimeout(this.#supervision);
    this.#supervision = setInterval(() => this.#beat(), (frame.ping_seconds || 30) * 1_000);
    this.#open = true;
    this.#on.state("connected");
    this.#on.open();
  }

  // The browser answers the server's pings without telling the page, so the page sends
  // its own. Timers of a hidden page or after sleep fire late, so silence counts only
  // after a ping.
  #beat() {
    this.#failures = 0; // it lasted; one that ends at once goes on being a failure
    if (!this.#asked) this.#ping();
  }

  #ping() {
    this.#asked = setTimeout(() => this.#lost(), ANSWERING);
    this.send({ type: "ping" });
  }

  #answered() {
    clearTimeout(this.#asked);
    this.#asked = 0;
  }

  #closed(event) {
    let why = {};
    try {
      why = JSON.parse(event.reason);
    } catch {
      // A proxy, or a connection that broke: there is nothing to read.
    }
    const { code } = event;
    if (code === 3500) {
      this.#end("unauthorized", "Your sign-in or access token is no longer valid.");
    } else if (code === 3505) {
      this.#end("refused", "The account is suspended. Ask the operator of the server.");
    } else if ((code >= 3501 && code <= 3999) || [1002, 1007, 1009].includes(code)) {
      this.#end("refused", `The server closed the connection (${why.reason || code}).`);
    } else {
      this.#lost(why.retry_ms);
    }
  }

  #failed(err) {
    if (err.status === 401) this.#end("unauthorized", err.message);
    else if (err instanceof Problem && !err.temporary) this.#end("refused", err.message);
    else this.#lost(0, err.retryAfter);
  }

  #end(code, words) {
    this.stop();
    this.#on.ended(code, words);
  }

  // exactly, in ms: the server has spread its clients itself. Otherwise a random
  // time, so that they do not come back all at once.
  #lost(exactly = 0, atLeast = 0) {
    this.#abandon();
    const most = Math.min(FIRST_WAIT * 2 ** this.#failures++, LONGEST_WAIT);
    this.#waiting = setTimeout(() => this.#connect("reconnecting"), exactly || atLeast + Math.random() * most);
    this.#on.state("reconnecting");
  }

  #abandon() {
    this.#attempt++;
    clearTimeout(this.#supervision); // an interval too
    this.#answered();
    const [socket, open] = [this.#socket, this.#open];
    this.#socket = null;
    this.#open = false;
    socket?.close(1000);
    if (open) this.#on.lost();
  }
}
