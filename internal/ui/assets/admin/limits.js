// The page /admin/limits: what the account may have, and has.

import { useEffect, useState } from "preact/hooks";

import { Alert, html, Table, useAction } from "../components.js";
import { saveCSV } from "../download.js";
import { client } from "../session.js";
import texts from "../texts/limits.js";
import { countList } from "./count.js";

const NEAR = 0.9;

async function read({ scopes }) {
  const [account, users, apps, subscriptions] = await Promise.all([
    client.get("/v1/account"),
    countList("/v1/users", "users"),
    countList("/v1/apps", "apps"),
    scopes.includes("subscription:read:admin") && countList("/v1/subscriptions", "subscriptions"),
  ]);
  const used = { users, apps, subscriptions };
  return { account, rows: Object.keys(texts.names).map((name) => ({ id: name, used: used[name] || undefined, most: account.limits[name] })) };
}

const shown = (used) => (used ? (used.more ? texts.atLeast(used.count) : String(used.count)) : "–");

function Share({ row }) {
  if (!row.most || !row.used) return "–";
  const part = row.used.count / row.most;
  return html`<span class="row"><progress value=${row.used.count} max=${row.most} aria-label=${texts.names[row.id]}></progress> ${texts.percent(Math.round(part * 100))} ${part >= NEAR && html`<span class="tag bad">▲ ${texts.near}</span>`}</span>`;
}

const columns = [
  { name: "limit", title: texts.name, cell: (r) => texts.names[r.id] },
  { name: "used", title: texts.used, cell: (r) => shown(r.used) },
  { name: "most", title: texts.most, cell: (r) => r.most || texts.none },
  { name: "share", title: texts.share, cell: (r) => html`<${Share} row=${r} />` },
];

const rateColumns = [
  { name: "label", title: texts.requests, cell: (r) => r.label },
  { name: "rate", title: texts.atOnce, cell: (r) => texts.rate(r.requests, r.seconds) },
  { name: "daily", title: texts.daily, cell: (r) => texts.perDay(r.daily, r.daily_with) },
];

export default function Limits({ me }) {
  const [state, setState] = useState(null);
  const act = useAction();
  useEffect(() => {
    act.run(async () => setState(await read(me)));
  }, []);
  const rows = state?.rows ?? [];
  const save = () => saveCSV([["limit", "used", "at_most"], ...rows.map((r) => [r.id, r.used?.count, r.most || ""])], "limits.csv");
  return html`<header class="spread"><h1>${texts.title}</h1><button type="button" id="export" disabled=${!rows.length} onClick=${save}>${texts.export}</button></header>
    <p class="quiet">${texts.intro} <a href="/help/limits">${texts.docs}</a></p>
    <${Alert}>${act.problem}<//>
    <${Table} label=${texts.title} columns=${columns} list=${{ rows, loading: !state && !act.problem, problem: "" }} />
    ${state && html`<section class="card" id="rates" aria-labelledby="rates-title"><h2 id="rates-title">${texts.rates}</h2>
      <p>${state.account.plan ? texts.plan(state.account.plan) : texts.serverPlan} ${!state.account.rates && texts.planUnlimited}</p>
      ${state.account.rates && html`<${Table} label=${texts.rates} columns=${rateColumns} list=${{ rows: state.account.rates, loading: false, problem: "" }} id=${(r) => r.label} />`}<p class="quiet">${texts.ratesExplained}</p><p class="quiet">${texts.operator}</p></section>`}`;
}
