// What belongs to the user who looks at the board: contacts, and the people whom the user
// wants to be told about.

import { useEffect, useState } from "preact/hooks";

import { client, may } from "../session.js";

// useMine reads them once. An account-level token has neither.
export function useMine(me) {
  const [contacts, setContacts] = useState(new Set());
  const [watches, setWatches] = useState(new Map()); // by the id of the user
  const [problem, setProblem] = useState("");
  useEffect(() => {
    if (me.account_level) return;
    const read = async () => {
      if (may(me, "contact:read")) setContacts(new Set(await all("/v1/users/me/contacts", "contacts", (c) => c.user)));
      setWatches(new Map(await all("/v1/watches", "watches", (w) => [w.user, w])));
    };
    read().catch((err) => setProblem(err.message));
  }, []);

  return {
    contacts, watches, problem,
    async setContact(user, wanted) {
      const path = "/v1/users/me/contacts/" + encodeURIComponent(user);
      if (wanted) await client.put(path, {});
      else await client.delete(path);
      setContacts((known) => changed(known, (next) => (wanted ? next.add(user) : next.delete(user))));
    },
    // The answer of the browser is not waited for: the page itself tells the user too.
    async watch(user) {
      if (globalThis.Notification?.permission === "default") Notification.requestPermission();
      const watch = await client.post("/v1/watches", { user });
      if (!watch.fired) setWatches((known) => changed(known, (next) => next.set(user, watch)));
    },
    async unwatch(user) {
      await client.delete("/v1/watches/" + encodeURIComponent(watches.get(user).id));
      setWatches((known) => changed(known, (next) => next.delete(user)));
    },
    fired(user) {
      setWatches((known) => changed(known, (next) => next.delete(user)));
    },
  };
}

// changed is a copy of a set or a map with a change.
function changed(known, change) {
  const next = new known.constructor(known);
  change(next);
  return next;
}

async function all(path, key, item) {
  const found = [];
  for await (const page of client.pages(path)) found.push(...page[key].map(item));
  return found;
}

// notify shows a notice on the desktop if the user has allowed it.
export function notify(title, body) {
  if (globalThis.Notification?.permission !== "granted") return;
  try {
    new Notification(title, { body });
  } catch {
    // Some browsers on phones have them only for service workers. The page shows it as well.
  }
}
