// The people of a board: what the stream and the list of names say of them, and which of
// them a query selects, in which order. It knows no document and sends no requests.

import { kind } from "../look.js";

// A person is { user, presence, name, email, groups, search, kind, changed }, and is replaced
// when anything of it changes. name is "" until the names were read.
export class People {
  #people = new Map();
  #departed = new Set(); // ids that left since the names were requested
  #seen = null; // ids of a complete snapshot that arrives in parts
  #order = null; // ids in the order of names; null: to be computed
  #groups = null; // names of all groups, in order; null: to be computed
  version = 0; // a number that changes with every change

  get size() {
    return this.#people.size;
  }

  get(user) {
    return this.#people.get(user);
  }

  // groups are the names of all groups that somebody is in.
  groups() {
    this.#groups ??= [...new Set([...this.#people.values()].flatMap((person) => person.groups))].sort(collator.compare);
    return this.#groups;
  }

  // receive applies a frame of the stream. It reports whether somebody appeared whose name
  // is not known.
  receive(frame) {
    switch (frame.type) {
      case "reset": // revisions of different stores cannot be compared
        for (const person of this.#people.values()) person.presence = { ...person.presence, revision: 0 };
        return false;
      case "snapshot":
        return this.#snapshot(frame);
      case "presence":
        return this.#appeared(frame);
      case "gone":
        this.#remove(frame.user);
    }
    return false;
  }

  // A complete snapshot replaces everything, and may have several parts.
  #snapshot(frame) {
    if (!frame.partial) this.#seen ??= new Set();
    let unknown = false;
    for (const presence of frame.presences ?? []) {
      unknown = this.#appeared(presence) || unknown;
      this.#seen?.add(presence.user);
    }
    for (const user of frame.gone ?? []) this.#remove(user);
    if (frame.more) return unknown;
    if (this.#seen) for (const user of this.#people.keys()) if (!this.#seen.has(user)) this.#remove(user);
    this.#seen = null;
    return unknown;
  }

  // lost forgets the parts of a snapshot whose rest will not come.
  lost() {
    this.#seen = null;
  }

  // expectNames begins a reading of the list of names: of those who leave from now on, the
  // stream is newer than the list.
  expectNames() {
    this.#departed.clear();
  }

  // addNames applies a page of the list. It has presences as well; the revision decides
  // whether these or the stream's are newer.
  addNames(listed) {
    for (const { user, display_name, email = "", groups = [], ...presence } of listed) {
      if (this.#departed.has(user)) continue;
      const name = display_name || email || user;
      this.#learn({ user, ...presence }, { name, email, groups, search: fold(name + " " + email) });
    }
    this.#order = this.#groups = null;
  }

  #appeared(presence) {
    this.#departed.delete(presence.user);
    return !this.#learn(presence).name;
  }

  #learn(presence, profile) {
    const known = this.#people.get(presence.user);
    const newer = !known || presence.revision >= known.presence.revision;
    const shown = newer ? presence : known.presence;
    const person = { ...(known ?? stranger(presence.user)), ...profile, presence: shown, kind: kind(shown.status), changed: Date.parse(shown.since) || 0 };
    this.#people.set(presence.user, person);
    if (!known) this.#order = null;
    this.version++;
    return person;
  }

  #remove(user) {
    this.#departed.add(user);
    if (!this.#people.delete(user)) return;
    this.#groups = null;
    this.version++;
  }

  // arrange returns { total, counts, sections, visible }: counts of the four kinds among
  // those whom everything but query.status selects, and sections of { title, people }, whose
  // title is "" if there is only one. It runs for each frame with a change, so it compares
  // nothing unless people are in the order of their last change.
  arrange(query, contacts = new Set()) {
    const selected = selects(query, contacts);
    const found = [];
    const byKind = Object.fromEntries(kinds.map((k) => [k, []]));
    for (const user of this.#byName()) {
      const person = this.#people.get(user);
      if (!person || !selected(person)) continue;
      found.push(person);
      byKind[person.kind].push(person);
    }
    let shown = query.status ? byKind[query.status] : found;
    if (!query.status && !query.sort) shown = kinds.flatMap((k) => byKind[k]);
    if (query.sort === "changed") shown.sort((a, b) => b.changed - a.changed);
    const counts = Object.fromEntries(kinds.map((k) => [k, byKind[k].length]));
    return { total: found.length, counts, visible: shown.length, sections: divide(shown, query.by) };
  }

  #byName() {
    const name = (user) => this.#people.get(user).name || user;
    this.#order ??= [...this.#people.keys()].sort((a, b) => collator.compare(name(a), name(b)) || (a < b ? -1 : 1));
    return this.#order;
  }
}

const kinds = ["available", "busy", "away", "offline"];
const collator = new Intl.Collator(undefined, { numeric: true });

function stranger(user) {
  return { user, name: "", email: "", groups: [], search: fold(user) };
}

// fold is text without the differences that a search ignores: case and accents.
export function fold(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLocaleLowerCase();
}

function selects({ text, group, contacts: only }, contacts) {
  const words = fold(text).split(/\s+/).filter(Boolean);
  return (person) =>
    words.every((word) => person.search.includes(word)) && (!group || person.groups.includes(group)) && (!only || contacts.has(person.user));
}

// divide makes sections of people in order. Who is in several groups is in several sections.
function divide(people, by) {
  if (!by) return [{ title: "", people }];
  const titles = by === "status" ? (person) => [person.kind] : (person) => (person.groups.length ? person.groups : [""]);
  const sections = new Map();
  for (const person of people) {
    for (const title of titles(person)) {
      if (!sections.has(title)) sections.set(title, []);
      sections.get(title).push(person);
    }
  }
  const compare = by === "status" ? (a, b) => kinds.indexOf(a) - kinds.indexOf(b) : (a, b) => !a - !b || collator.compare(a, b);
  return [...sections].sort(([a], [b]) => compare(a, b)).map(([title, members]) => ({ title, people: members }));
}
