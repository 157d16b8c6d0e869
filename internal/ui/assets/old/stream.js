// A connection to GET /v1/stream that reconnects by itself. docs/streaming.md is
// what it keeps to; it knows nothing of the page.

const OPENING = 15_000; // ms, for each step until the first frame
const ANSWERING = 10_000; // ms, for the answer to a ping
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;

// Refused is an answer other than success, in the words of its problem document.
export class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail || problem.title || `The server answered with status ${status}.`);
    this.status = status;
    this.retryAfter = retryAfter * 1_000 || 0;
  }

  // passing: the same request may succeed later.
  get passing() {
    return this.status >= 500 || [408, 425, 429].includes(this.status);
  }
}

// request asks with a token, or with "" by the cookie of the sign-in.
export async function request(token, method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: { ...(token && { Authorization: "Bearer " + token }), ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(OPENING),
  });
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, content, Number(answer.headers.get("Retry-After")));
  return content;
}

// Stream calls on.state("connecting" | "reconnecting" | "connected"), on.frame(f)
// with each frame, on.open() when a connection is ready to be asked things,
// on.lost() when one has ended, and on.ended(code, words) when it will not come
// back by itself: code is "unauthorized" or "refused".
export class Stream {
  #token;
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

  constructor(token, on, followed = { users: "me" }) {
    this.#token = token;
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
      const { ticket } = await request(this.#token, "POST", "/v1/tickets"); // it opens one stream only
      if (attempt === this.#attempt) this.#listen(ticket);
    } catch (err) {
      if (attempt === this.#attempt) this.#failed(err);
    }
  }

  #listen(ticket) {
    const url = new URL("/v1/stream", location.href);
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
      this.#end("unauthorized", "The access token is no longer valid.");
    } else if ((code >= 3501 && code <= 3999) || [1002, 1007, 1009].includes(code)) {
      this.#end("refused", `The server closed the connection (${why.reason || code}).`);
    } else {
      this.#lost(why.retry_ms);
    }
  }

  #failed(err) {
    if (err.status === 401) this.#end("unauthorized", err.message);
    else if (err instanceof Refused && !err.passing) this.#end("refused", err.message);
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
