// The page is a session: its user is signed in while it is open, and it reports whether the
// user is active. This module has the rules; it knows no document. The state is in memory,
// and the session's id, across a reload, with the page.

import { Contacts } from "./contacts.js";

const ACTIVITY_EVERY = 30_000; // ms between reports of the same activity

export class Session {
  connection = ""; // as on.state of the stream
  heard = null; // when the last frame arrived
  own = null; // the presence of the user
  present = false; // the server has the session
  replaced = false; // by another session: this one does not sign in by itself
  stopped = ""; // why the stream does not reconnect by itself
  problem = { code: "", detail: "" }; // what the server refused
  contacts;
  id; // of the session, for sign_in

  #client;
  #on;
  #now;
  #stream = null;
  #activity = null;
  #follows; // whether contacts may be followed
  #reported; // the activity that the server knows; undefined: none
  #reportedAt = 0;
  #asked = new Map(); // pending requests, by the id of the frame
  #lastID = 0;

  // on.changed() is called after each change of the state, on.watch(watch) when one has
  // fired, and on.unauthorized(words) when the credential is no longer valid. id continues
  // an earlier session.
  constructor({ client, on, id = "", follows = true, now = Date.now }) {
    this.id = id || chosenID();
    this.contacts = new Contacts(on.changed);
    this.#client = client;
    this.#on = on;
    this.#follows = follows;
    this.#now = now;
  }

  // start connects. activity is an Activity, which says whether the user is active.
  start(activity = this.#activity) {
    this.#activity = activity;
    this.stopped = "";
    this.#stream ??= this.#client.stream({
      state: (state) => this.#change({ connection: state }),
      frame: (frame) => this.#receive(frame),
      open: () => this.#greet(),
      lost: () => this.#lost(),
      ended: (code, words) => this.#ended(code, words),
    }, { users: "me", watches: "true" });
    this.#stream.start();
  }

  // stop closes the connection. The server keeps the session for a grace period, so that a
  // user who returns continues it.
  stop() {
    this.#stream?.stop();
  }

  hurry() {
    this.#stream?.hurry();
  }

  // signOut ends the session at once. signIn, after that, begins another.
  signOut() {
    this.#ask({ type: "sign_out" }, { what: "sign_out" });
    this.id = chosenID();
    this.#reported = undefined;
    this.#change({ present: false });
  }

  // signIn continues or begins the session. It states the activity if the server may not
  // know it: a reconnection is no activity.
  signIn() {
    if (this.replaced) this.#change({ replaced: false });
    const { active } = this.#activity;
    const stated = active && this.#reported !== false ? undefined : active;
    this.#ask({ type: "sign_in", client_type: "web", session: this.id, active: stated }, { what: "sign_in", stated, session: this.id });
  }

  // report tells the server whether the user is active.
  report(active) {
    if (active && this.#reported === true && this.#now() - this.#reportedAt < ACTIVITY_EVERY) return;
    if (this.present && !this.replaced && this.#ask({ type: "activity", active }, { what: "activity" })) this.#setReported(active);
  }

  #setReported(active) {
    this.#reported = active;
    this.#reportedAt = this.#now();
  }

  #change(members) {
    Object.assign(this, members);
    this.#on.changed();
  }

  #greet() {
    if (!this.replaced) this.signIn();
    if (this.#follows) this.#ask(this.contacts.begin(), { what: "contacts" });
  }

  // #ask sends a frame that expects an answer, and reports whether it was sent.
  #ask(frame, about) {
    const id = about.what + "-" + ++this.#lastID;
    if (!this.#stream?.send({ ...frame, id })) return false;
    this.#asked.set(id, about);
    return true;
  }

  #receive(frame) {
    this.heard = this.#now();
    const about = this.#asked.get(frame.id);
    this.#handle(frame, about);
    this.contacts.keep(frame.cursor);
    if (frame.id && !frame.more) this.#asked.delete(frame.id);
  }

  #handle(frame, about) {
    switch (frame.type) {
      case "reset":
        this.contacts.reset();
        if (this.own) this.own = { ...this.own, revision: 0 };
        return;
      case "snapshot":
        if (about?.what === "contacts") this.contacts.receive(frame);
        else frame.presences?.forEach((presence) => this.#learn(presence));
        frame.gone?.forEach((user) => this.contacts.remove(user));
        return;
      case "presence":
        return this.#learn(frame);
      case "gone":
        return this.contacts.remove(frame.user);
      case "watch":
        return this.#on.watch(frame.watch);
      case "done":
        if (about?.what === "sign_in") this.#signedIn(about, frame);
        return;
      case "error":
        return this.#refused(about, frame);
    }
  }

  // The page's own user is whom it follows as "me".
  #learn(presence) {
    const isOwn = presence.asked_as === "me" || presence.user === this.own?.user;
    if (!isOwn) return this.contacts.learn(presence);
    if (presence.revision < this.own?.revision) return;
    this.#change({ own: presence });
  }

  #signedIn(about, frame) {
    this.id = frame.session;
    if (about.stated !== undefined) this.#setReported(about.stated);
    else if (this.id !== about.session) this.#setReported(true); // a new one is active
    this.#change({ present: true, problem: { code: "", detail: "" } });
    if (this.#reported === !this.#activity.active) this.report(this.#activity.active); // it changed meanwhile
  }

  #refused(about, frame) {
    if (frame.code === "session-replaced") {
      this.id = chosenID();
      return this.#change({ replaced: true, present: false });
    }
    if (about?.what === "contacts") return; // the token may not read contacts: there is no list
    if (about?.what === "activity") this.#reportedAt = 0; // the next input reports it again
    this.#change({ problem: { code: about?.what === "sign_in" ? frame.code : "", detail: frame.detail || frame.code } });
  }

  #lost() {
    this.#asked.clear();
    this.contacts.pause();
    this.#change({ present: false });
  }

  #ended(code, words) {
    if (code === "unauthorized") return this.#on.unauthorized(words);
    this.#change({ connection: "", stopped: words });
  }
}

// chosenID is an id for sign_in until the server has assigned one, so that a repeated
// sign_in does not begin a second session.
function chosenID() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
