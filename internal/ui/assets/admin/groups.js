// The page /admin/groups: the list of the groups. A group's own page is below it.

import { useEffect, useState } from "preact/hooks";

import { navigate } from "../admin.js";
import { Alert, Empty, Field, html, toast, useAction } from "../components.js";
import { saveCSV } from "../download.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/groups.js";
import { setFilters, useSearch } from "./filters.js";
import Group from "./group.js";
import { readGroups } from "./groupnames.js";
import { NameDialog } from "./namedialog.js";

const SHOWN = 200; // at once

export default function Groups({ rest, query }) {
  if (rest) return html`<${Group} key=${rest} id=${rest} query=${query.query ?? ""} />`;
  return html`<${List} query=${query.query ?? ""} />`;
}

// List has all groups, because the API cannot search them: an account has far fewer groups
// than users.
function List({ query }) {
  const [groups, setGroups] = useState(null);
  const [shown, setShown] = useState(SHOWN);
  const [adding, setAdding] = useState(false);
  const [typed, setTyped] = useSearch(query, (text) => setFilters({ query: text }));
  const act = useAction();
  useEffect(() => {
    act.run(async () => setGroups(await readGroups()));
  }, []);
  const wanted = query.trim().toLowerCase();
  const found = groups?.filter((g) => g.name.toLowerCase().includes(wanted));
  const save = () => saveCSV([["id", "name", "external_id", "created"], ...found.map((g) => [g.id, g.name, g.external_id, g.created])], "groups.csv");

  return html`<header class="spread"><h1>${texts.title}</h1><div class="row">
      <button type="button" id="export" disabled=${!found?.length} onClick=${save}>${texts.export}</button>
      <button type="button" id="add-group" class="main" onClick=${() => setAdding(true)}>${texts.add}</button></div></header>
    <${Alert} id="groups-problem">${act.problem}<//>
    <form class="toolbar" role="search" aria-label=${texts.title} onSubmit=${(event) => event.preventDefault()}>
      <${Field} id="query" label=${texts.search}><input id="query" type="search" maxlength="64" autocomplete="off" value=${typed} onInput=${(event) => setTyped(event.target.value)} /><//></form>
    <p class="quiet" id="count" role="status">${found ? texts.count(found.length) : act.problem ? "" : common.loading}</p>
    ${found?.length === 0 && html`<${Empty}>${texts.none}<//>`}
    ${found?.length > 0 && html`<div class="table"><table aria-label=${texts.title}>
      <thead><tr><th scope="col">${texts.name}</th><th scope="col">${texts.created}</th></tr></thead>
      <tbody>${found.slice(0, shown).map((g) => html`<tr key=${g.id} data-id=${g.id}><td data-title=${texts.name}><a class="name" href=${"/admin/groups/" + g.id}>${g.name}</a></td><td data-title=${texts.created}>${exact(g.created)}</td></tr>`)}</tbody></table></div>`}
    ${found?.length > shown && html`<p><button type="button" onClick=${() => setShown((n) => n + SHOWN)}>${common.more}</button></p>`}
    ${adding && html`<${NameDialog} title=${texts.add} action=${texts.add} onClose=${() => setAdding(false)} run=${async (name) => {
      const group = await client.post("/v1/groups", { name });
      toast(texts.added(group.name));
      navigate("/admin/groups/" + group.id);
    }} />`}`;
}
