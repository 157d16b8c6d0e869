// The page /admin/groups/ID: the members of a group.

import { useEffect, useState } from "preact/hooks";

import { navigate } from "../admin.js";
import { Alert, Confirm, Dialog, Field, html, Table, toast, useAction, useDelayed, useList } from "../components.js";
import { download } from "../download.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/groups.js";
import userTexts from "../texts/users.js";
import { setFilters, useSearch } from "./filters.js";
import { NameDialog } from "./namedialog.js";
import { nameOf, Person, Role, State, useOwner } from "./usermarks.js";

export default function Group({ id, query }) {
  const [group, setGroup] = useState(null);
  const act = useAction();
  useEffect(() => {
    act.run(async () => setGroup(await client.get("/v1/groups/" + encodeURIComponent(id))));
  }, [id]);
  return html`<p><a href="/admin/groups">← ${texts.back}</a></p><${Alert} id="group-problem">${act.problem}<//>
    ${group ? html`<${Shown} group=${group} setGroup=${setGroup} query=${query} />` : html`<p class="quiet" role="status">${act.problem ? "" : common.loading}</p>`}`;
}

function Shown({ group, setGroup, query }) {
  const [dialog, setDialog] = useState("");
  const close = () => setDialog("");
  const path = "/v1/groups/" + group.id;
  const rename = async (name) => {
    setGroup(await client.patch(path, { name }));
    toast(texts.renamed(name));
  };
  const remove = async () => {
    await client.delete(path);
    toast(texts.deleted(group.name));
    navigate("/admin/groups");
  };
  return html`<header class="spread"><h1>${group.name}</h1><div class="row">
      <button type="button" id="rename" onClick=${() => setDialog("rename")}>${texts.rename}</button>
      <button type="button" id="delete" class="danger" onClick=${() => setDialog("delete")}>${texts.delete}</button></div></header>
    ${group.external_id && html`<p class="quiet">${texts.externalId}: ${group.external_id}</p>`}
    <${Members} key=${group.name} group=${group} query=${query} />
    ${dialog === "rename" && html`<${NameDialog} title=${texts.renameTitle(group.name)} name=${group.name} hint=${texts.renameHint} action=${texts.save} run=${rename} onClose=${close} />`}
    ${dialog === "delete" && html`<${Confirm} title=${texts.deleteTitle(group.name)} action=${texts.delete} run=${remove} onClose=${close}><p>${texts.deleteExplained}</p><//>`}`;
}

function Members({ group, query }) {
  const list = useList(client, "/v1/users", "users", { group: group.name, query, limit: 100 });
  const [typed, setTyped] = useSearch(query, (text) => setFilters({ query: text }));
  const [adding, setAdding] = useState(false);
  const act = useAction();
  const owner = useOwner();
  const remove = (user) => act.run(async () => {
    await client.delete(`/v1/groups/${group.id}/members/${user.id}`);
    list.change(list.rows.filter((u) => u !== user));
    toast(texts.removed(nameOf(user)));
  });
  const columns = [
    { name: "user", title: userTexts.name, cell: (u) => html`<${Person} user=${u} />` },
    { name: "role", title: userTexts.role, cell: (u) => html`<${Role} user=${u} owner=${owner} />` },
    { name: "state", title: userTexts.state, cell: (u) => html`<${State} user=${u} />` },
    { name: "action", title: texts.action, cell: (u) => html`<button type="button" class="small" disabled=${act.busy} aria-label=${texts.removeOf(nameOf(u))} onClick=${() => remove(u)}>${texts.remove}</button>` },
  ];
  const close = () => {
    setAdding(false);
    list.reload();
  };
  return html`<section class="stack" id="members" aria-labelledby="members-title">
    <div class="spread"><h2 id="members-title">${texts.members}</h2><div class="row">
      <button type="button" class="small" id="export" onClick=${() => act.later("export", () => download("/v1/users/export", { group: group.name, query }))}>${texts.export}</button>
      <button type="button" class="small main" id="add-members" onClick=${() => setAdding(true)}>${texts.addMembers}</button></div></div>
    <form class="toolbar" role="search" aria-label=${texts.members} onSubmit=${(event) => event.preventDefault()}>
      <${Field} id="query" label=${texts.memberSearch}><input id="query" type="search" maxlength="256" autocomplete="off" value=${typed} onInput=${(event) => setTyped(event.target.value)} /><//></form>
    <${Alert} id="members-problem">${act.problem}<//>
    <${Table} label=${texts.members} columns=${columns} list=${list} empty=${query ? texts.noMatch : texts.noMembers} />
    ${adding && html`<${AddMembers} group=${group} onClose=${close} />`}
  </section>`;
}

// AddMembers finds users as one types, with a button beside each.
function AddMembers({ group, onClose }) {
  const [typed, setTyped] = useState("");
  const [added, setAdded] = useState([]);
  const list = useList(client, "/v1/users", "users", { query: useDelayed(typed), limit: 8 });
  const act = useAction();
  const key = group.name.toLowerCase();
  const isMember = (u) => added.includes(u.id) || u.groups.some((g) => g.toLowerCase() === key);
  const add = (user) => act.run(async () => {
    await client.put(`/v1/groups/${group.id}/members/${user.id}`);
    setAdded((ids) => [...ids, user.id]);
  });
  return html`<${Dialog} title=${texts.addMembersTo(group.name)} onClose=${onClose}>
    <${Field} id="find" label=${texts.findUsers}><input id="find" type="search" maxlength="256" autocomplete="off" spellcheck="false" value=${typed} onInput=${(event) => setTyped(event.target.value)} /><//>
    <${Alert} id="find-problem">${act.problem || list.problem}<//>
    <ul class="rows" id="found">${list.rows.map((u) => html`<li key=${u.id} data-id=${u.id}><${Person} user=${u} />
      ${isMember(u) ? html`<span class="tag good">✓ ${texts.isMember}</span>` : html`<button type="button" class="small" aria-label=${texts.addUserOf(nameOf(u))} disabled=${act.busy} onClick=${() => add(u)}>${texts.addUser}</button>`}</li>`)}</ul>
    ${!list.loading && !list.problem && !list.rows.length && html`<p class="quiet">${texts.noUser}</p>`}
    <footer><button type="button" onClick=${onClose}>${texts.done}</button></footer>
  <//>`;
}
