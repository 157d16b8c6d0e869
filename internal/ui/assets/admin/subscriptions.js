// The page /admin/subscriptions: all subscriptions of the account with their states, which
// are refreshed. Below it is a page for each.

import { useState } from "preact/hooks";

import { navigate } from "../admin.js";
import { Alert, Field, html, Table } from "../components.js";
import { saveCSV } from "../download.js";
import texts from "../texts/subscriptions.js";
import { setFilters, useSearch } from "./filters.js";
import { UserName } from "./names.js";
import { usePolling } from "./polling.js";
import Subscription from "./subscription.js";
import { AddSubscription } from "./subform.js";
import { readStates, readSubscriptions, State, stateOf } from "./substate.js";

const EVERY = 15_000; // ms

export default function Subscriptions({ me, rest, query }) {
  if (rest) return html`<${Subscription} key=${rest} id=${rest} me=${me} />`;
  return html`<${List} me=${me} search=${query.query ?? ""} wanted=${query.state ?? ""} />`;
}

export const nameOf = (s) => s.name || s.url || texts.unnamed;

const columns = [
  { name: "subscription", title: texts.name, cell: (s) => html`<span class="two-lines"><a class="name" href=${"/admin/subscriptions/" + s.id}>${s.name || texts.unnamed}</a><span class="quiet">${s.url || texts.socket}</span></span>` },
  { name: "state", title: texts.state, cell: (s) => html`<${State} state=${s.state} />` },
  { name: "events", title: texts.events, cell: (s) => s.events.join(", ") || texts.allEvents },
  { name: "about", title: texts.about, cell: (s) => texts.people(s.users.length, s.groups.length) || texts.everybody },
  { name: "owner", title: texts.owner, cell: (s) => (s.owner ? html`<a href=${"/admin/users/" + s.owner}><${UserName} id=${s.owner} /></a>` : texts.ownedByAccount) },
];

const exported = ["id", "name", "url", "state", "form", "events", "users", "groups", "app", "owner", "consent_by", "created", "validated", "failures", "reason", "disabled", "paused"];

async function read() {
  const all = await readSubscriptions();
  return { all, states: await readStates(all) };
}

function List({ me, search, wanted }) {
  const { data, problem, again } = usePolling(read, EVERY);
  const [adding, setAdding] = useState(false);
  const [typed, setTyped] = useSearch(search, (query) => setFilters({ query }));
  const all = (data?.all ?? []).map((s) => ({ ...s, state: data.states[s.id] ?? stateOf(s) }));
  const words = search.toLowerCase();
  const rows = all.filter((s) => (!wanted || s.state === wanted) && [s.name, s.url, s.id].join("\n").toLowerCase().includes(words));
  const save = () => saveCSV([exported, ...rows.map((s) => exported.map((name) => [s[name] ?? ""].flat().join(" ")))], "subscriptions.csv");

  return html`<header class="spread"><h1>${texts.title}</h1><div class="row">
      <button type="button" id="export" disabled=${!rows.length} onClick=${save}>${texts.export}</button>
      ${me.scopes.includes("subscription:write:admin") && html`<button type="button" id="add-subscription" class="main" onClick=${() => setAdding(true)}>${texts.add}</button>`}
    </div></header>
    <p class="quiet">${texts.intro} <a href="/help/webhooks">${texts.docs}</a></p>
    <${Alert} id="subscriptions-problem">${problem}<//>
    <form class="toolbar" role="search" aria-label=${texts.title} onSubmit=${(event) => event.preventDefault()}>
      <${Field} id="query" label=${texts.search}><input id="query" type="search" autocomplete="off" spellcheck="false" placeholder=${texts.searchHint} value=${typed} onInput=${(event) => setTyped(event.target.value)} /><//>
      <${Field} id="state" label=${texts.state}><select id="state" value=${wanted} onChange=${(event) => setFilters({ state: event.target.value })}>
        <option value="">${texts.any}</option>${Object.entries(texts.states).map(([name, label]) => html`<option key=${name} value=${name}>${label}</option>`)}</select><//>
    </form>
    <p class="quiet" id="count" role="status">${data ? texts.count(rows.length) : ""}</p>
    <${Table} label=${texts.title} columns=${columns} list=${{ rows, loading: !data && !problem }} empty=${search || wanted ? texts.none : texts.noneYet} />
    ${adding && html`<${AddSubscription} me=${me} onClose=${() => { setAdding(false); again(); }} onDone=${(s) => navigate("/admin/subscriptions/" + s.id)} />`}`;
}
