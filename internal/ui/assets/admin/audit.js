// The page /admin/audit: the security events of the account. The filters are in the address.

import { useState } from "preact/hooks";

import { navigate } from "../admin.js";
import { Alert, Empty, Field, html, useAction, useList } from "../components.js";
import { download, saveCSV } from "../download.js";
import { client } from "../session.js";
import texts from "../texts/audit.js";
import common from "../texts/common.js";
import { AuditEvent, brokenAt } from "./auditevent.js";
import { Checkpoints } from "./checkpoints.js";
import { setFilters, useSearch } from "./filters.js";
import { forInput, fromInput } from "./times.js";

const PAGE = 100;

export default function Audit({ query }) {
  const { action, user, target, from, to, denied } = query;
  const filters = { action, user, target, from, to, denied };
  const list = useList(client, "/v1/audit", "events", { limit: PAGE, ...filters });
  const filtered = Object.values(filters).some(Boolean);
  const act = useAction();
  const broken = brokenAt(list.rows);

  return html`<header class="spread"><h1>${texts.title}</h1><div class="row">
      <button type="button" id="export-table" disabled=${!list.rows.length} onClick=${() => saveCSV(asTable(list.rows), "audit.csv")}>${texts.exportTable}</button>
      <button type="button" id="export" title=${texts.exportHint} disabled=${act.busy} onClick=${() => act.run(() => download("/v1/audit/export"))}>${texts.export}</button></div></header>
    <p class="quiet">${texts.intro} <a href="/help/audit">${texts.docs}</a></p>
    <${Alert} id="export-problem">${act.problem}<//>
    <${Filters} filters=${filters} filtered=${filtered} />
    <${Alert} id="chain-problem">${broken && texts.chainBroken(broken)}<//>
    <${Events} list=${list} />
    <${Checkpoints} />`;
}

const columns = ["sequence", "time", "action", "target", "user", "app", "token", "address", "request", "denied", "reason", "count", "before", "after"];

function asTable(rows) {
  return [columns, ...rows.map((e) => columns.map((name) => (e[name] && typeof e[name] === "object" ? JSON.stringify(e[name]) : e[name])))];
}

function Filters({ filters, filtered }) {
  const [user, setUser] = useSearch(filters.user ?? "", (value) => setFilters({ user: value }));
  const [target, setTarget] = useSearch(filters.target ?? "", (value) => setFilters({ target: value }));
  const time = (name) => html`<${Field} id=${name} label=${texts[name]}><input id=${name} type="datetime-local" step="1" value=${forInput(filters[name])} onChange=${(event) => setFilters({ [name]: fromInput(event.target.value) })} /><//>`;
  const known = !filters.action || filters.action in texts.actions;
  return html`<form class="toolbar" role="search" aria-label=${texts.title} onSubmit=${(event) => event.preventDefault()}>
    <${Field} id="user" label=${texts.user}><input id="user" type="search" autocomplete="off" autocapitalize="none" spellcheck="false" placeholder=${texts.userHint} value=${user} onInput=${(event) => setUser(event.target.value.trim())} /><//>
    <${Field} id="action" label=${texts.action}><select id="action" value=${filters.action ?? ""} onChange=${(event) => setFilters({ action: event.target.value })}>
      <option value="">${texts.anyAction}</option>${!known && html`<option value=${filters.action}>${filters.action}</option>`}
      ${Object.entries(texts.actions).map(([name, label]) => html`<option key=${name} value=${name}>${label}</option>`)}</select><//>
    <${Field} id="target" label=${texts.target}><input id="target" type="search" autocomplete="off" autocapitalize="none" spellcheck="false" placeholder=${texts.targetHint} value=${target} onInput=${(event) => setTarget(event.target.value.trim())} /><//>
    ${time("from")}${time("to")}
    <label><input type="checkbox" id="denied" checked=${filters.denied === "true"} onChange=${(event) => setFilters({ denied: event.target.checked && "true" })} /> ${texts.denied}</label>
    ${filtered && html`<button type="button" class="plain" id="no-filter" onClick=${() => navigate("/admin/audit")}>${texts.noFilter}</button>`}
  </form>`;
}

function Events({ list }) {
  const [open, setOpen] = useState(0);
  const { rows, loading, problem, more, loadMore } = list;
  return html`<${Alert} id="list-problem">${problem}<//>
    ${!loading && !problem && !rows.length && html`<${Empty}>${texts.none}<//>`}
    ${rows.length > 0 && html`<div class="table"><table id="events" aria-label=${texts.title}>
      <thead><tr>${[texts.time, texts.who, texts.what, texts.target, texts.result, ""].map((title) => html`<th scope="col">${title}</th>`)}</tr></thead>
      <tbody>${rows.map((e) => html`<${AuditEvent} key=${e.sequence} event=${e} open=${open === e.sequence} toggle=${() => setOpen(open === e.sequence ? 0 : e.sequence)} />`)}</tbody>
    </table></div>`}
    ${loading && html`<p class="quiet" role="status">${common.loading}</p>`}
    ${more && !loading && html`<p><button type="button" id="older" onClick=${loadMore}>${common.more}</button></p>`}`;
}
