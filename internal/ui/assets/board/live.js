// The connection of a board: the stream of presences, and the list with the names, which a
// stream does not have.

import { People } from "./people.js";

const PAGE = 1_000;
const NAMES_AFTER = 500; // ms: people who appear together are looked up once
const NAMES_EVERY = 3_000;

// Live calls on.change() when something is to be drawn again, on.watch(watch) when a watch
// fired, and on.ended(words) when the sign-in is no longer valid. Read state ("connecting",
// "connected", "reconnecting" or ""), heard (when the last frame came) and problem.
export class Live {
  people = new People();
  state = "connecting";
  heard = null;
  problem = "";
  #client;
  #on;
  #group;
  #stream;
  #named = false; // the names were requested on this connection
  #fired = []; // watches
  #loading = null;
  #lookingUp = 0;
  #lookedUpAt = 0;

  // group is the one that the board is of, or "". watches is whether the user's watches are
  // to be delivered.
  constructor(client, on, { group, watches }) {
    this.#client = client;
    this.#on = on;
    this.#group = group;
    const followed = { ...(group ? { group } : { everyone: "true" }), ...(watches && { watches: "true" }) };
    this.#stream = client.stream(
      {
        state: (state) => this.#set({ state, ...(state === "connected" && { problem: "" }) }),
        frame: (frame) => this.#receive(frame),
        open: () => (this.#named = false),
        lost: () => this.people.lost(),
        ended: (code, words) => this.#ended(code, words),
      },
      followed,
    );
  }

  start() {
    this.#stream.start();
  }

  stop() {
    this.#stream.stop();
    clearTimeout(this.#lookingUp);
    this.#lookingUp = 0;
  }

  hurry() {
    this.#stream.hurry();
  }

  // stale: what is shown may be old.
  get stale() {
    return this.state !== "connected" && this.heard !== null;
  }

  #set(values) {
    Object.assign(this, values);
    this.#on.change();
  }

  #ended(code, words) {
    if (code === "unauthorized") return this.#on.ended(words);
    this.#set({ state: "", problem: words });
  }

  #receive(frame) {
    this.heard = new Date();
    if (frame.type === "watch") return this.#watchFired(frame.watch);
    // Without the stream, the board would show old presences as if they were live.
    if (frame.type === "error") {
      this.stop();
      return this.#ended("refused", frame.detail || frame.code);
    }
    const unknown = this.people.receive(frame);
    if (unknown && this.#named) this.#lookUp();
    if (frame.type === "snapshot" && !frame.more) this.#readFirstNames();
    this.#on.change();
  }

  // A watch that fired before the names were read waits for them.
  #watchFired(watch) {
    if (this.people.get(watch.user)?.name) this.#on.watch(watch);
    else this.#fired.push(watch);
  }

  // #readFirstNames reads the names once for each connection, after its first snapshot.
  async #readFirstNames() {
    if (this.#named) return;
    this.#named = true;
    try {
      await this.#load();
    } catch (err) {
      this.#set({ problem: err.message });
    }
  }

  // #lookUp reads the names again when somebody appears whose name is not known.
  #lookUp() {
    const wait = Math.max(NAMES_AFTER, this.#lookedUpAt + NAMES_EVERY - Date.now());
    this.#lookingUp ||= setTimeout(() => {
      this.#lookingUp = 0;
      if (this.#loading) return this.#lookUp(); // its pages may be older than whoever appeared
      this.#lookedUpAt = Date.now();
      this.#load().catch(() => {}); // the ids stay until the next time
    }, wait);
  }

  // One load runs at a time, because the people who left meanwhile belong to it.
  #load() {
    this.#loading ??= this.#readNames().finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #readNames() {
    this.people.expectNames();
    for await (const { presences } of this.#client.pages("/v1/presence", { limit: PAGE, group: this.#group })) {
      this.people.addNames(presences);
      this.#on.change();
    }
    for (const watch of this.#fired.splice(0)) this.#on.watch(watch);
  }
}
