// The recent changes of a user.

import { useEffect } from "preact/hooks";

import { html, Status, Table, useList } from "../components.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import texts from "../texts/users.js";
import { AppName, UserName } from "./names.js";

const PAGE = 10;

// History reads the changes again when the record of the user has another revision, unless
// the reader looks at older ones.
export function History({ user, revision }) {
  const list = useList(client, `/v1/users/${user.id}/history`, "entries", { limit: PAGE });
  useEffect(() => {
    if (list.rows.length && list.rows.length <= PAGE) list.reload();
  }, [revision]);
  const columns = [
    { name: "time", title: texts.changed, cell: (e) => (e.time ? html`<time datetime=${e.time}>${exact(e.time)}</time>` : "–") },
    { name: "cause", title: texts.cause, cell: (e) => texts.causes[e.cause] ?? e.cause },
    { name: "shown", title: texts.shown, cell: shown },
    { name: "by", title: texts.by, cell: (e) => html`<${Actor} actor=${e.actor} entry=${e} user=${user} />` },
  ];
  return html`<section class="stack" id="history" aria-labelledby="history-title"><h2 id="history-title">${texts.history}</h2>
    <${Table} label=${texts.history} columns=${columns} list=${list} empty=${texts.noHistory} /></section>`;
}

function shown(entry) {
  if (entry.erased) return html`<span class="tag">${texts.erasedEntry}</span>`;
  if (!entry.after) return html`<span class="tag bad">${texts.damagedEntry}</span>`;
  const { status, note, user_state } = entry.after;
  if (user_state !== "active") return html`<span class="tag bad">⊘ ${texts[user_state] ?? user_state}</span>`;
  return html`<span class="row"><${Status} status=${status} />${note && html`<q>${note}</q>`}</span>`;
}

function Actor({ actor, entry, user }) {
  if (!actor) return entry.erased ? "–" : texts.theServer;
  if (actor.user === user.id) return texts.theUser;
  return actor.user ? html`<${UserName} id=${actor.user} />` : html`<${AppName} id=${actor.app} />`;
}
