// One person on the board.

import { useMemo } from "preact/hooks";

import { Avatar, html } from "../components.js";
import { clock, span, word } from "../look.js";
import texts from "../texts/board.js";

// Row is a card. It is drawn again only if the person, the time or the place has changed: a
// change of one person costs one row.
export function Row({ id, person, index, total, now, current, place, onOpen }) {
  const { user, presence } = person;
  const content = useMemo(() => html`<${Card} person=${person} now=${now} />`, [person, now]);
  return html`<li data-user=${user} data-status=${presence.status} style=${place} aria-posinset=${index + 1} aria-setsize=${total}>
    <button type="button" class="person" data-index=${index} tabindex=${current ? 0 : -1} aria-haspopup="dialog" onClick=${() => onOpen(user, index)}>${content}</button>
  </li>`;
}

// Card is what the board shows of a person. brief, on a wall, is without groups and with one time.
export function Card({ person, now, brief = false }) {
  const { presence, name, user } = person;
  const { status, note } = presence;
  const groups = brief ? "" : person.groups.join(", ");
  return html`<${Avatar} name=${name || user} status=${status} />
    <span class="lines">
      <span class="name" title=${name || user}>${name || user}</span>
      <span class="state"><span class="word" data-status=${status}>${word(status)}</span>
        <span class="quiet times">${shortTimes(presence, now).slice(0, brief ? 1 : 2).join(" · ")}</span></span>
      ${(note || groups) && html`<span class="third">
        ${note && html`<span class="note" title=${note}>${note}</span>`}
        ${groups && html`<span class="quiet groups" title=${groups}>${groups}</span>`}
      </span>`}
    </span>`;
}

function shortTimes({ since, until }, now) {
  return [until && texts.until(clock(until)), since && span(now - Date.parse(since))].filter(Boolean);
}
