// The user's contacts, the search for others, and the watches that wait.

import { useEffect, useMemo, useState } from "preact/hooks";

import { Alert, Avatar, Empty, html, Menu, toast, useAction, useDelayed } from "../components.js";
import { clock, times, word } from "../look.js";
import { client, may } from "../session.js";
import texts from "../texts/me.js";
import { askToNotify, notificationsBlocked } from "./badge.js";
import { byName, matches } from "./people.js";

const MOST_FOUND = 8;

export function ContactList({ me, session, people, watches, fired }) {
  const [text, setText] = useState("");
  const act = useAction();
  const named = [...session.contacts.people.values()].map((presence) => ({ presence, name: people.name(presence.user, presence.asked_as || presence.user) }));
  named.sort(byName);
  const shown = text ? named.filter(({ presence, name }) => matches(text, name, people.email(presence.user))) : named;
  const writes = may(me, "contact:write");

  // What is chosen from the menu of one contact must not be lost while that of another is done.
  const tell = (user, name) => act.later("tell " + user, async () => {
    const watch = await client.post("/v1/watches", { user, until_status: "available" });
    if (watch.fired) return fired.add(watch);
    watches.add(watch);
    toast(texts.watching(name));
    return askToNotify();
  });
  const remove = (user, name) => act.later("remove " + user, async () => {
    await client.delete("/v1/users/me/contacts/" + encodeURIComponent(user));
    toast(texts.removed(name));
  });
  const add = ({ user, name }) => act.run(async () => {
    await client.put("/v1/users/me/contacts/" + encodeURIComponent(user), {});
    toast(texts.added(name));
  });
  const cancel = (watch) => act.later("cancel " + watch.id, () => watches.cancel(watch.id));

  return html`<section id="contacts" class=${session.connection === "connected" ? "card" : "card stale"} aria-labelledby="contacts-title">
    <h2 id="contacts-title">${texts.contacts}</h2>
    <${Alert} id="contacts-problem">${act.problem}<//>
    <div class="field"><label for="find">${texts.find}</label>
    <input id="find" type="search" autocomplete="off" placeholder=${texts.findHint} value=${text} onInput=${(event) => setText(event.target.value)} /></div>
    ${named.length === 0 && !text && html`<${Empty}>${texts.noContacts}<//>`}
    ${shown.length > 0 && html`<ul id="people" class="rows people">${shown.map(({ presence, name }) => html`<${Contact} key=${presence.user} presence=${presence} name=${name}
      watch=${watches.list.find((w) => w.user === presence.user)} writes=${writes} tell=${tell} remove=${remove} cancel=${cancel} />`)}</ul>`}
    ${text.trim() && writes && html`<${Others} text=${text} me=${me} people=${people} contacts=${session.contacts.people} add=${add} busy=${act.busy} />`}
    ${watches.list.length > 0 && html`<${Waiting} watches=${watches.list} people=${people} cancel=${cancel} busy=${act.busy} />`}
  </section>`;
}

// Contact is drawn again only when it changes, because there may be a thousand.
function Contact({ presence, name, watch, writes, tell, remove, cancel }) {
  return useMemo(() => {
    const { user, status, note } = presence;
    const items = [
      watch ? { label: texts.cancel, run: () => cancel(watch) } : status !== "available" && { label: texts.tell, run: () => tell(user, name) },
      writes && { label: texts.remove, run: () => remove(user, name), danger: true },
    ].filter(Boolean);
    return html`<li data-user=${user} data-status=${status}>
      <${Avatar} name=${name} status=${status} />
      <div class="who"><div class="name" title=${name}>${name}</div>
      <div class="quiet">${[word(status), times(presence)].filter(Boolean).join(", ")}</div>
      ${note && html`<div class="quiet" title=${note}>${note}</div>`}</div>
      ${items.length > 0 && html`<${Menu} label=${texts.actions(name)} items=${items} />`}
    </li>`;
  }, [presence, name, watch, writes]);
}

// Others are people who are no contacts.
function Others({ text, me, people, contacts, add, busy }) {
  const wanted = useDelayed(text, 150);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    people.ready().catch((err) => setProblem(err.message));
  }, []);
  const found = people.find(wanted, MOST_FOUND, ({ user }) => user === me.user || contacts.has(user));
  return html`<${Alert} id="find-problem">${problem}<//>
    <p class="quiet" role="status">${texts.found(found.length)}</p>
    <ul id="found" class="rows people">${found.map((person) => html`<li key=${person.user} data-user=${person.user}>
      <${Avatar} name=${person.name} />
      <div class="who"><div class="name" title=${person.name}>${person.name}</div><div class="quiet" title=${person.email}>${person.email}</div></div>
      <button type="button" class="small" disabled=${busy} aria-label=${texts.addPerson(person.name)} onClick=${() => add(person)}>${texts.add}</button>
    </li>`)}</ul>`;
}

function Waiting({ watches, people, cancel, busy }) {
  return html`<h3>${texts.waiting}</h3>
    ${notificationsBlocked() && html`<p class="quiet">${texts.blocked}</p>`}
    <ul id="watches" class="rows">${watches.map((watch) => {
      const name = people.name(watch.user);
      return html`<li key=${watch.id}><span>${texts.isStatus(name, word(watch.until_status))} <span class="quiet">${texts.watchUntil(clock(watch.expires))}</span></span>
        <button type="button" class="small" disabled=${busy} aria-label=${texts.cancelWatch(name)} onClick=${() => cancel(watch)}>${texts.cancel}</button></li>`;
    })}</ul>`;
}
