// The page /admin/apps: the apps of the account, and those that act for the reader. Below it
// is a page for each app.

import { useState } from "preact/hooks";

import { navigate } from "../admin.js";
import { Alert, Field, html, Table, useAction, useList } from "../components.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import texts from "../texts/apps.js";
import App from "./app.js";
import { AddApp } from "./appform.js";
import { exportList } from "./exports.js";
import { setFilters, useSearch } from "./filters.js";
import { Reach } from "./scopes.js";

const PAGE = 200;

export default function Apps({ me, rest, query }) {
  if (rest) return html`<${App} key=${rest} id=${rest} me=${me} />`;
  return html`<${List} me=${me} search=${query.query ?? ""} />`;
}

const columns = [
  { name: "app", title: texts.name, cell: (a) => html`<span class="two-lines"><a class="name" href=${"/admin/apps/" + encodeURIComponent(a.id)}>${a.name}</a><code class="quiet">${a.id}</code></span>` },
  { name: "kind", title: texts.kind, cell: (a) => (a.public ? texts.public : texts.confidential) },
  { name: "scopes", title: texts.scopes, cell: (a) => html`<span title=${a.scopes.join(" ")}>${texts.scopeCount(a.scopes.length)}</span>` },
  { name: "reach", title: texts.reach, cell: (a) => html`<${Reach} scopes=${a.scopes} />` },
  { name: "created", title: texts.created, cell: (a) => exact(a.created) },
];

const exported = [["id", (a) => a.id], ["name", (a) => a.name], ["public", (a) => a.public], ["scopes", (a) => a.scopes.join(" ")], ["redirect_uris", (a) => a.redirect_uris.join(" ")], ["created", (a) => a.created]];

function List({ me, search }) {
  const list = useList(client, "/v1/apps", "apps", { limit: PAGE });
  const [adding, setAdding] = useState(false);
  const [typed, setTyped] = useSearch(search, (query) => setFilters({ query }));
  const act = useAction();
  const matches = (app) => (app.name + "\n" + app.id).toLowerCase().includes(search.toLowerCase());
  const shown = { ...list, rows: list.rows.filter(matches) };
  const save = () => act.run(() => exportList({ path: "/v1/apps", key: "apps", columns: exported, name: "apps.csv", keep: matches }));

  return html`<header class="spread"><h1>${texts.title}</h1><div class="row">
      <button type="button" id="export" disabled=${act.busy} onClick=${save}>${texts.export}</button>
      <button type="button" id="add-app" class="main" onClick=${() => setAdding(true)}>${texts.add}</button>
    </div></header>
    <p class="quiet">${texts.intro} <a href="/help/oauth">${texts.docs}</a></p>
    <${Alert} id="export-problem">${act.problem}<//>
    <form class="toolbar" role="search" aria-label=${texts.title} onSubmit=${(event) => event.preventDefault()}>
      <${Field} id="query" label=${texts.search}><input id="query" type="search" autocomplete="off" spellcheck="false" placeholder=${texts.searchHint} value=${typed} onInput=${(event) => setTyped(event.target.value)} /><//>
    </form>
    <p class="quiet" id="count" role="status">${list.loading ? "" : texts.count(shown.rows.length)}</p>
    <${Table} label=${texts.title} columns=${columns} list=${shown} empty=${texts.none} />
    ${adding && html`<${AddApp} me=${me} onClose=${() => setAdding(false)} onDone=${(app) => navigate("/admin/apps/" + encodeURIComponent(app.id))} />`}`;
}
