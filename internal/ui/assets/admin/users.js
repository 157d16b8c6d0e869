// The page /admin/users: the list of the users. Its filters are in the address. Below it are
// a user's own page, /admin/users/ID, and the import.

import { useState } from "preact/hooks";

import { navigate } from "../admin.js";
import { Alert, Field, html, Table, useAction, useList } from "../components.js";
import { download } from "../download.js";
import { client } from "../session.js";
import texts from "../texts/users.js";
import { setFilters, useSearch } from "./filters.js";
import Import from "./import.js";
import { useGroupNames } from "./groupnames.js";
import User from "./user.js";
import { AddUser } from "./userform.js";
import { nameOf, Person, Role, State, useOwner } from "./usermarks.js";

const PAGE = 200;

export default function Users({ me, rest, query }) {
  if (rest === "import") return html`<${Import} />`;
  if (rest) return html`<${User} key=${rest} id=${rest} me=${me} />`;
  return html`<${List} filters=${filtersOf(query)} />`;
}

function filtersOf({ query, role, active, group }) {
  return { query, role, active, group };
}

const columnsFor = (owner) => [
  { name: "user", title: texts.name, cell: (u) => html`<${Person} user=${u} />` },
  { name: "department", title: texts.department, cell: (u) => u.department || "–" },
  { name: "groups", title: texts.groups, cell: (u) => html`<span class="row">${u.groups.map((g) => html`<span class="tag">${g}</span>`)}</span>` },
  { name: "role", title: texts.role, cell: (u) => html`<${Role} user=${u} owner=${owner} />` },
  { name: "state", title: texts.state, cell: (u) => html`<${State} user=${u} />` },
];

function List({ filters }) {
  const list = useList(client, "/v1/users", "users", { limit: PAGE, ...filters });
  const columns = columnsFor(useOwner());
  const [adding, setAdding] = useState(false);
  const act = useAction();
  const filtered = Object.values(filters).some(Boolean);
  // A list in one piece is sorted by name. The API has no order but that of the ids.
  const sorted = list.rows.length <= PAGE && !list.more ? { ...list, rows: list.rows.toSorted(byName) } : list;
  const count = list.loading ? "" : list.more ? texts.partly(list.rows.length) : texts.count(list.rows.length);

  return html`<header class="spread"><h1>${texts.title}</h1><div class="row">
      <a class="button" href="/admin/users/import">${texts.import}</a>
      <button type="button" id="export" disabled=${act.busy} onClick=${() => act.run(() => download("/v1/users/export", filters))}>${filtered ? texts.exportThese : texts.export}</button>
      ${filtered && html`<button type="button" id="export-all" disabled=${act.busy} onClick=${() => act.run(() => download("/v1/users/export"))}>${texts.exportAll}</button>`}
      <button type="button" id="add-user" class="main" onClick=${() => setAdding(true)}>${texts.add}</button>
    </div></header>
    <${Alert} id="export-problem">${act.problem}<//>
    <${Filters} filters=${filters} filtered=${filtered} />
    <p class="quiet" id="count" role="status">${count}</p>
    <${Table} label=${texts.title} columns=${columns} list=${sorted} empty=${texts.none} />
    ${adding && html`<${AddUser} onClose=${() => setAdding(false)} onAdded=${list.reload} onOpen=${(u) => navigate("/admin/users/" + u.id)} />`}`;
}

function byName(a, b) {
  return nameOf(a).localeCompare(nameOf(b)) || a.email.localeCompare(b.email);
}

function Filters({ filters, filtered }) {
  const [typed, setTyped] = useSearch(filters.query ?? "", (query) => setFilters({ query }));
  const groups = useGroupNames();
  const chosen = (name) => (event) => setFilters({ [name]: event.target.value });
  return html`<form class="toolbar" role="search" aria-label=${texts.title} onSubmit=${(event) => event.preventDefault()}>
    <${Field} id="query" label=${texts.search}><input id="query" type="search" maxlength="256" autocomplete="off" spellcheck="false" placeholder=${texts.searchHint}
      value=${typed} onInput=${(event) => setTyped(event.target.value)} /><//>
    <${Field} id="role" label=${texts.role}><${Choice} id="role" value=${filters.role} options=${Object.entries(texts.roles)} onChange=${chosen("role")} /><//>
    <${Field} id="active" label=${texts.state}><${Choice} id="active" value=${filters.active} options=${[["true", texts.active], ["false", texts.deactivated]]} onChange=${chosen("active")} /><//>
    <${Field} id="group" label=${texts.group}><${Choice} id="group" value=${filters.group} options=${groups.map((g) => [g, g])} onChange=${chosen("group")} /><//>
    ${filtered && html`<button type="button" class="plain" id="no-filter" onClick=${() => navigate("/admin/users")}>${texts.noFilter}</button>`}
  </form>`;
}

// Choice is a select with a first option for all. A value that is no option is one as long
// as it is chosen.
function Choice({ id, value = "", options, onChange }) {
  const known = !value || options.some(([option]) => option === value);
  return html`<select id=${id} value=${value} onChange=${onChange}>
    <option value="">${texts.any}</option>
    ${!known && html`<option value=${value}>${value}</option>`}
    ${options.map(([option, label]) => html`<option key=${option} value=${option}>${label}</option>`)}
  </select>`;
}
