// The people of the account by name, read once, for contacts, watches and rules.

import { useReducer, useRef } from "preact/hooks";

import { client } from "../session.js";

const PAGE = 1_000;
const collator = new Intl.Collator();

export function byName(a, b) {
  return collator.compare(a.name, b.name);
}

export class People {
  all = []; // { user, name, email }
  #known = new Map(); // by id; null: nobody is known by it
  #changed;
  #reading = null;

  constructor(changed) {
    this.#changed = changed;
  }

  // name is the best known name of a user. If it is unknown, all names are read once more.
  name(user, otherwise = user) {
    if (!this.#known.has(user)) {
      this.#known.set(user, null);
      this.read().catch(() => {}); // what is known stays
    }
    return this.#known.get(user)?.name ?? otherwise;
  }

  email(user) {
    return this.#known.get(user)?.email;
  }

  // ready reads the people unless that was done.
  ready() {
    return this.all.length ? Promise.resolve() : this.read();
  }

  read() {
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  async #readAll() {
    const all = [];
    for await (const page of client.pages("/v1/presence", { limit: PAGE })) {
      for (const { user, display_name, email } of page.presences) all.push({ user, email, name: display_name || email || user });
    }
    all.sort(byName);
    this.all = all;
    for (const person of all) this.#known.set(person.user, person);
    this.#changed();
  }

  // find are the people whose name or address has a text.
  find(text, most, except = () => false) {
    const found = [];
    for (const person of this.all) {
      if (found.length === most) break;
      if (matches(text, person.name, person.email) && !except(person)) found.push(person);
    }
    return found;
  }
}

// matches reports whether one of the words has the text, in any case.
export function matches(text, ...words) {
  const wanted = text.trim().toLocaleLowerCase();
  return words.some((word) => word?.toLocaleLowerCase().includes(wanted));
}

export function usePeople() {
  const [, draw] = useReducer((n) => n + 1, 0);
  const people = useRef(null);
  people.current ??= new People(draw);
  return people.current;
}
