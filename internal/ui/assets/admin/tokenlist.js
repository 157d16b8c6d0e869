// A list of tokens: those of the account, of a user or of an app.

import { useState } from "preact/hooks";

import { Ago, Alert, Confirm, html, Table, toast, useAction, useList } from "../components.js";
import { client } from "../session.js";
import texts from "../texts/tokens.js";
import { exportList } from "./exports.js";
import { AppName, UserName } from "./names.js";
import { Reach } from "./scopes.js";
import { CreateToken } from "./tokenform.js";

const PAGE = 100;
const SOON = 7 * 86_400_000; // ms

const nameOf = (token) => token.name || texts.unnamed;

// expiresSoon reports whether a token needs attention.
export function expiresSoon(token, now = Date.now()) {
  return Boolean(token.expires) && new Date(token.expires) - now < SOON && new Date(token.expires) > now;
}

function Expiry({ token }) {
  if (!token.expires) return texts.never;
  const marked = expiresSoon(token) ? texts.soon : new Date(token.expires) <= Date.now() && texts.expired;
  return html`<span class="row"><${Ago} at=${token.expires} />${marked && html`<span class="tag bad">▲ ${marked}</span>`}</span>`;
}

function columnsFor({ me, filters, onRevoke }) {
  return [
    { name: "token", title: texts.name, cell: (t) => html`<span class="two-lines"><span class="name">${nameOf(t)} ${t.id === me.token && html`<span class="tag">${texts.current}</span>`}</span><code class="quiet">${t.id}</code></span>` },
    !filters.app && { name: "app", title: texts.app, cell: (t) => html`<a href=${"/admin/apps/" + encodeURIComponent(t.app)}><${AppName} id=${t.app} /></a>` },
    { name: "user", title: texts.actsFor, cell: (t) => (t.user ? html`<a href=${"/admin/users/" + t.user}><${UserName} id=${t.user} /></a>` : texts.account) },
    { name: "scopes", title: texts.scopes, cell: (t) => html`<details><summary><${Reach} scopes=${t.scopes} /></summary><span class="quiet">${t.scopes.join(", ")}</span></details>` },
    { name: "created", title: texts.created, cell: (t) => html`<${Ago} at=${t.created} />` },
    { name: "expires", title: texts.expires, cell: (t) => html`<${Expiry} token=${t} />` },
    onRevoke && { name: "actions", title: "", cell: (t) => html`<button type="button" class="small danger" aria-label=${texts.revokeOf(nameOf(t))} onClick=${() => onRevoke(t)}>${texts.revoke}</button>` },
  ].filter(Boolean);
}

const exported = [["id", (t) => t.id], ["name", (t) => t.name], ["app", (t) => t.app], ["user", (t) => t.user], ["scopes", (t) => t.scopes.join(" ")], ["created", (t) => t.created], ["expires", (t) => t.expires]];

export function TokenList({ filters, me }) {
  const list = useList(client, "/v1/tokens", "tokens", { limit: PAGE, ...filters });
  const [dialog, setDialog] = useState(null);
  const act = useAction();
  const mayChange = me.scopes.includes("directory:write:admin");
  const filtered = filters.user || filters.app;
  const close = () => setDialog(null);

  const revoke = async (token) => {
    await client.delete("/v1/tokens/" + encodeURIComponent(token.id));
    list.change(list.rows.filter((t) => t.id !== token.id));
    toast(texts.revoked);
  };
  const revokeAll = async () => {
    const { revoked } = await client.delete("/v1/tokens", filters);
    list.reload();
    toast(texts.revokedAll(revoked));
  };
  const ask = (token) => setDialog(html`<${Confirm} title=${texts.revokeTitle(nameOf(token))} action=${texts.revoke} run=${() => revoke(token)} onClose=${close}>
    <p>${texts.revokeExplained}</p>${token.id === me.token && html`<p class="notice">${texts.revokeOwn}</p>`}<//>`);
  const askAll = () => setDialog(html`<${Confirm} title=${texts.revokeAllTitle} action=${texts.revokeAll} run=${revokeAll} onClose=${close}><p>${texts.revokeAllExplained}</p><//>`);
  const create = () => setDialog(html`<${CreateToken} me=${me} app=${filters.app} user=${filters.user} onClose=${close} onCreated=${list.reload} />`);
  const save = () => act.run(() => exportList({ path: "/v1/tokens", key: "tokens", query: filters, columns: exported, name: "tokens.csv" }));

  const counted = list.more ? texts.partly(list.rows.length) : texts.count(list.rows.length);
  return html`<div class="spread"><p class="quiet" id="token-count" role="status">${list.loading ? "" : counted}</p>
      <div class="row"><button type="button" id="export-tokens" disabled=${act.busy} onClick=${save}>${texts.export}</button>
      ${mayChange && filtered && list.rows.length > 0 && html`<button type="button" id="revoke-all" class="danger" onClick=${askAll}>${texts.revokeAll}</button>`}
      <button type="button" id="create-token" class="main" onClick=${create}>${texts.add}</button></div></div>
    <${Alert} id="tokens-problem">${act.problem}<//>
    <${Table} label=${texts.title} columns=${columnsFor({ me, filters, onRevoke: mayChange && ask })} list=${list} empty=${texts.none} />
    ${dialog}`;
}
