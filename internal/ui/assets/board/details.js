// Everything that the board knows of one person, and what the user can do about it.

import { useEffect, useState } from "preact/hooks";

import { Alert, Avatar, Dialog, html, Status, toast, useAction } from "../components.js";
import { ago, clock, exact, span, word } from "../look.js";
import { client, may } from "../session.js";
import texts from "../texts/board.js";

// Details is a dialog. mine has the user's contacts and watches, as useMine returns them.
export function Details({ me, person, now, mine, onClose }) {
  const act = useAction();
  const name = person.name || person.user;
  return html`<${Dialog} title=${name} onClose=${onClose}>
    <${Alert} id="details-problem">${act.problem || mine.problem}<//>
    <div id="details" data-user=${person.user}>
      <div class="row who"><${Avatar} name=${name} /><div>
        <div class="word"><${Status} status=${person.presence.status} /></div>
        <div class="quiet">${person.email}${person.user === me.user && html` <span class="tag">${texts.you}</span>`}</div></div></div>
      ${person.presence.note && html`<p class="note">${person.presence.note}</p>`}
      <${Facts} me=${me} person=${person} now=${now} />
    </div>
    ${!me.account_level && person.user !== me.user && html`<${Actions} person=${person} name=${name} mine=${mine} act=${act} me=${me} />`}
  <//>`;
}

function Facts({ me, person, now }) {
  const { since, until } = person.presence;
  const next = useNext(me, person);
  return html`<dl class="facts">
    ${since && html`<dt>${texts.since}</dt><dd><time datetime=${since}>${exact(since)}</time> <span class="quiet">(${span(now - Date.parse(since))})</span></dd>`}
    <dt>${texts.ends}</dt><dd>${until ? html`<time datetime=${until}>${exact(until)}</time> <span class="quiet">(${ago(until, now)})</span>` : texts.noEnd}</dd>
    ${next && html`<dt>${texts.next}</dt><dd>${texts.becomes(word(next.status), exact(next.at))}</dd>`}
    ${person.groups.length > 0 && html`<dt>${texts.groups}</dt><dd>${person.groups.map((group) => html`<span class="tag" key=${group}>${group}</span> `)}</dd>`}
  </dl>`;
}

// useNext is the next change, which only the person and administrators may know.
function useNext(me, person) {
  const [next, setNext] = useState(null);
  const { user, presence } = person;
  const allowed = user === me.user || me.scopes.includes("presence:read:admin");
  useEffect(() => {
    if (!allowed) return undefined;
    let wanted = true;
    client.get(`/v1/users/${encodeURIComponent(user)}/presence/explain`).then(
      (explanation) => wanted && setNext(explanation.next?.[0] ?? null),
      () => wanted && setNext(null), // the dialog is complete without it
    );
    return () => {
      wanted = false;
    };
  }, [user, presence.revision]);
  return next;
}

function Actions({ me, person, name, mine, act }) {
  const contact = mine.contacts.has(person.user);
  const watch = mine.watches.get(person.user);
  const toggleContact = () => act.run(async () => {
    await mine.setContact(person.user, !contact);
    toast(contact ? texts.removed(name) : texts.added(name));
  });
  return html`${watch && html`<p class="notice" id="watching">${texts.watching(clock(watch.expires))}</p>`}
    <footer>
      ${may(me, "contact:write") && html`<button type="button" id="contact" disabled=${act.busy} onClick=${toggleContact}>${contact ? texts.removeContact : texts.addContact}</button>`}
      ${watch
        ? html`<button type="button" id="unwatch" disabled=${act.busy} onClick=${() => act.run(() => mine.unwatch(person.user))}>${texts.unwatch}</button>`
        : person.presence.status !== "available" && html`<button type="button" id="watch" class="main" disabled=${act.busy} onClick=${() => act.run(() => mine.watch(person.user))}>${texts.watch}</button>`}
    </footer>`;
}
