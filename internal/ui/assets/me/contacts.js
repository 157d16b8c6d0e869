// What the stream says of the user's contacts.

const TOGETHER = 50; // ms: changes that arrive together are shown once

export class Contacts {
  people = new Map(); // presences by the id of the user
  cursor = "";
  #changed;
  #following = false; // the list is complete
  #more = false; // another part of it follows
  #timer = 0;

  constructor(changed) {
    this.#changed = changed;
  }

  // begin is the frame that follows the contacts.
  begin() {
    this.pause();
    return { type: "follow", contacts: true, cursor: this.cursor || undefined };
  }

  // pause: the connection has ended.
  pause() {
    this.#following = this.#more = false;
  }

  // reset: revisions of different stores cannot be compared.
  reset() {
    this.cursor = "";
    for (const [user, presence] of this.people) this.people.set(user, { ...presence, revision: 0 });
  }

  receive(frame) {
    if (!frame.partial && !this.#more) this.people.clear();
    this.#more = Boolean(frame.more);
    this.#following = !frame.more;
    frame.gone?.forEach((user) => this.people.delete(user));
    frame.presences?.forEach((presence) => this.learn(presence));
    this.#show();
  }

  learn(presence) {
    if (presence.revision < this.people.get(presence.user)?.revision) return;
    this.people.set(presence.user, presence);
    this.#show();
  }

  remove(user) {
    this.people.delete(user);
    this.#show();
  }

  // Until the contacts are complete, a cursor does not cover them.
  keep(cursor) {
    if (cursor && this.#following) this.cursor = cursor;
  }

  #show() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.#changed();
    }, TOGETHER);
  }
}
